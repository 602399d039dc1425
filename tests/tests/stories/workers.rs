//! How Riff's own worker works: ahead of time, several at once, together, short of memory, and through crashes. The engine
//! here runs when the story says so.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use riff_hub::{canonical::Digest, model::ModelSpec, recipe::Recipe};
use riff_tests::{
    PATIENCE, Riff,
    worker::{painter, picture},
};
use riff_worker::{
    client::Client,
    engine::{Artifact, Engine, EngineError, RunContext, Update},
    engines::Engines,
    runner,
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::riff;

/// An engine whose runs begin when a job comes, and end when the story lets them.
struct Staged {
    begun: mpsc::UnboundedSender<String>,
    go: Arc<Semaphore>,
    /// How many such engines were made before it.
    number: usize,
    /// Most jobs that it runs together, and most for which memory suffices.
    batch: (u32, usize),
}

fn words(recipe: &Recipe) -> String {
    recipe.prompt.to_string()
}

fn painted() -> Vec<Artifact> {
    vec![Artifact { media_type: "image/png".into(), bytes: picture(64, 64) }]
}

#[async_trait]
impl Engine for Staged {
    async fn discover(&self) -> Result<Vec<ModelSpec>, EngineError> {
        Ok(vec![painter()])
    }

    fn loaded(&self, _: Digest) -> bool {
        true
    }

    async fn load(&self, _: Digest) -> Result<(), EngineError> {
        Ok(())
    }

    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError> {
        self.begun.send(words(recipe)).unwrap();
        assert!(self.number > 0 || !words(recipe).contains("crash"), "the engine was told to crash");
        if words(recipe).contains("huge") {
            return Err(EngineError::OutOfMemory("24 GiB are too few".to_owned()));
        }
        (context.updates)(Update::Progress { done: 0.95, preview: None });
        tokio::select! {
            permit = self.go.acquire() => permit.unwrap().forget(),
            () = context.cancel.cancelled() => return Err(EngineError::Cancelled),
        }
        Ok(painted())
    }

    fn batch(&self, _: Digest) -> u32 {
        self.batch.0
    }

    async fn run_batch(&self, runs: &[(&Recipe, &RunContext)]) -> Vec<Result<Vec<Artifact>, EngineError>> {
        let together: Vec<String> = runs.iter().map(|(recipe, _)| words(recipe)).collect();
        self.begun.send(together.join(" + ")).unwrap();
        let one = |(recipe, _): &(&Recipe, &RunContext)| match words(recipe).contains("odd") {
            _ if runs.len() > self.batch.1 => Err(EngineError::OutOfMemory("too many".to_owned())),
            true => Err(EngineError::Input("odd".to_owned())),
            false => Ok(painted()),
        };
        runs.iter().map(one).collect()
    }
}

/// A worker with that engine.
struct Stage {
    begun: mpsc::UnboundedReceiver<String>,
    go: Arc<Semaphore>,
    made: Arc<AtomicUsize>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Stage {
    async fn open(riff: &Riff, concurrent: Option<u32>, batch: (u32, usize)) -> Self {
        let token = riff.cli(&["token", "create", "--worker", "stage"]).await.unwrap();
        let client = Client::new(riff.url(), &token).unwrap();
        let (tell, begun) = mpsc::unbounded_channel();
        let (go, made) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (let_go, count) = (go.clone(), made.clone());
        let make = move || -> Arc<dyn Engine> {
            let number = count.fetch_add(1, Ordering::SeqCst);
            Arc::new(Staged { begun: tell.clone(), go: let_go.clone(), number, batch })
        };
        let engines = Engines::of_makers(vec![("staged".to_owned(), concurrent, Box::new(make))]);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move { runner::run(&client, &engines, &stopped).await.unwrap() });
        Self { begun, go, made, stop, task }
    }

    /// What begins to run next.
    async fn next(&mut self) -> String {
        timeout(PATIENCE, self.begun.recv()).await.expect("something begins").unwrap()
    }

    /// Lets one run end.
    fn go(&self) {
        self.go.add_permits(1);
    }

    async fn ended(self) {
        timeout(PATIENCE, self.task).await.expect("it ends").unwrap();
    }
}

/// A hub whose retries come at once.
async fn quick() -> Riff {
    let mut riff = riff();
    riff.set("RIFF_QUEUE__RETRY_BACKOFF_SECONDS", 0.01).start().await.unwrap();
    riff
}

async fn leased(riff: &Riff, job: &str) {
    riff.logged(&format!("leased job=\"{job}\"")).await.unwrap();
}

#[tokio::test]
async fn the_next_job_is_fetched_while_one_runs_and_can_still_be_cancelled() {
    let mut riff = quick().await;
    let _serves = riff.worker("hand").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let mut jobs = Vec::new();
    for line in ["first", "second", "third"] {
        jobs.push(program.job(line).await.unwrap());
    }
    let mut stage = Stage::open(&riff, None, (1, 1)).await;
    assert_eq!(stage.next().await, "first");
    leased(&riff, &jobs[1]).await;
    assert_eq!(program.show(&jobs[1]).await.unwrap().text("state"), "leased", "nothing runs of it");
    program.cancel(&jobs[1]).await.unwrap();
    leased(&riff, &jobs[2]).await;
    stage.go();
    assert_eq!(stage.next().await, "third", "the second never began: {}", riff.log());
    stage.go();
    for (job, state) in jobs.iter().zip(["succeeded", "cancelled", "succeeded"]) {
        assert_eq!(program.ended(job).await.unwrap()["state"], state);
    }
    riff.stop().await.unwrap();
    riff.checker().await.unwrap().check().await.unwrap();
}

#[tokio::test]
async fn a_worker_that_stops_gives_back_at_once_what_it_fetched_ahead() {
    let mut riff = quick().await;
    let hand = riff.worker("hand").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let first = program.job("first").await.unwrap();
    let second = program.job("second").await.unwrap();
    let mut stage = Stage::open(&riff, None, (1, 1)).await;
    assert_eq!(stage.next().await, "first");
    leased(&riff, &second).await;
    stage.stop.cancel();
    let lease = hand.lease().await.unwrap();
    assert_eq!((lease.job.as_str(), lease.attempt), (second.as_str(), 2));
    assert_eq!(program.show(&first).await.unwrap().text("state"), "running", "it goes on");
    hand.finish(&lease).await.unwrap();
    stage.go();
    stage.ended().await;
    assert_eq!(program.ended(&first).await.unwrap()["state"], "succeeded");
    riff.stop().await.unwrap();
    riff.checker().await.unwrap().check().await.unwrap();
}

#[tokio::test]
async fn an_engine_that_crashes_is_started_anew_and_its_job_runs_again() {
    let riff = quick().await;
    let _serves = riff.worker("hand").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let job = program.job("a crash").await.unwrap();
    let mut stage = Stage::open(&riff, None, (1, 1)).await;
    assert_eq!((stage.next().await.as_str(), stage.next().await.as_str()), ("a crash", "a crash"));
    stage.go();
    assert_eq!(program.ended(&job).await.unwrap()["state"], "succeeded");
    assert_eq!(stage.made.load(Ordering::SeqCst), 2, "another engine ran it");
}

#[tokio::test]
async fn an_engine_that_can_runs_several_jobs_at_once() {
    let riff = quick().await;
    let _serves = riff.worker("hand").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let mut jobs = Vec::new();
    for i in 0..3 {
        jobs.push(program.job(&format!("tower {i}")).await.unwrap());
    }
    let mut stage = Stage::open(&riff, Some(3), (1, 1)).await;
    let mut begun = [stage.next().await, stage.next().await, stage.next().await];
    begun.sort();
    assert_eq!(begun, ["tower 0", "tower 1", "tower 2"], "none had to end for another to begin");
    stage.go.add_permits(3);
    for job in &jobs {
        assert_eq!(program.ended(job).await.unwrap()["state"], "succeeded");
    }
}

#[tokio::test]
async fn jobs_run_together_and_fewer_when_memory_is_short() {
    let riff = quick().await;
    let _serves = riff.worker("hand").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let mut jobs = Vec::new();
    for line in ["a", "b", "odd", "d", "e", "f", "g", "h --n 2"] {
        jobs.push(program.job(line).await.unwrap());
    }
    let mut stage = Stage::open(&riff, None, (4, 2)).await;
    assert_eq!(stage.next().await, "a + b + odd + d", "too many");
    assert_eq!((stage.next().await, stage.next().await), ("a + b".into(), "odd + d".into()));
    assert_eq!((stage.next().await, stage.next().await), ("e + f".into(), "g".into()), "no more than 2");
    stage.go();
    assert_eq!(stage.next().await, "h", "another shape");
    for (job, line) in jobs.iter().zip(["a", "b", "odd", "d", "e", "f", "g"]) {
        let wanted = if line == "odd" { "failed" } else { "succeeded" };
        assert_eq!(program.ended(job).await.unwrap()["state"], wanted, "{line}: each has its own end");
    }
}

#[tokio::test]
async fn a_job_that_is_too_large_for_one_worker_is_left_for_another() {
    let riff = quick().await;
    let hand = riff.worker("hand").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let huge = program.job("huge").await.unwrap();
    let mut stage = Stage::open(&riff, None, (1, 1)).await;
    assert_eq!(stage.next().await, "huge");
    riff.logged("24 GiB are too few").await.unwrap();
    let lease = hand.lease().await.unwrap();
    assert_eq!((lease.job.as_str(), lease.attempt), (huge.as_str(), 2));
    let again = program.job("huge and small --width 32").await.unwrap();
    assert_eq!(stage.next().await, "huge and small", "smaller ones it is still given");
    program.cancel(&again).await.unwrap();
    hand.finish(&lease).await.unwrap();
    assert_eq!(program.ended(&huge).await.unwrap()["state"], "succeeded");
}
