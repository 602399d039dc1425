//! Attempts at jobs, from their lease to the hub's answer to their end. Jobs that were leased together run together, and
//! each keeps its own lease, progress, cancel and end.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use riff_hub::{
    recipe::Recipe,
    trace,
    wire::{Complete, Fail, FailKind, Lease},
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    Session,
    keep::{self, Held},
    patiently,
    pool::Pool,
    slots::{Run, Waiting},
};
use crate::{
    client::{CallError, Client},
    engine::{Artifact, Engine, EngineError, RunContext},
};

/// How long an engine may take to stop once nobody wants its work any more, before it is left alone with it.
const CLEAN_UP: Duration = Duration::from_secs(10);

/// Runs a lease, and those that came with it, to their ends.
pub(super) async fn run(session: &Session<'_>, pool: &Pool, waiting: Waiting<'_>, lease: Lease) {
    // Of jobs that run together, the first stands for all in what engines log.
    let trace = lease.traceparent.as_deref().and_then(trace::read).unwrap_or_default();
    let span = tracing::info_span!("attempt", job = lease.job, attempt = lease.attempt, trace);
    run_all(session, pool, waiting, lease).instrument(span).await;
}

async fn run_all(session: &Session<'_>, pool: &Pool, waiting: Waiting<'_>, mut lease: Lease) {
    let others = std::mem::take(&mut lease.others);
    let group: Vec<Held> =
        std::iter::once(lease).chain(others).map(|lease| Held::new(session, lease)).collect();
    let keep = |held| async move {
        keep::keep(session, held).await;
        held.cancel.cancel();
    };
    let mut keeping: FuturesUnordered<_> = group.iter().map(keep).collect();
    let mut course = std::pin::pin!(course(session, pool, waiting, &group));
    loop {
        tokio::select! {
            () = &mut course => return,
            // A lease ends with the hub's answer to what is told, too; only that answer says how.
            Some(()) = keeping.next() => {}
        }
    }
}

/// Waits for a slot, runs, frees the slot, and tells the hub how it ended.
async fn course(session: &Session<'_>, pool: &Pool, waiting: Waiting<'_>, group: &[Held]) {
    let unwanted = join_all(group.iter().map(|held| held.cancel.cancelled()));
    // Half of what a lease lasts without a report: what has not begun by then begins sooner elsewhere.
    let patience = Duration::from_millis(session.welcome().lease_ms / 2);
    let run = tokio::select! {
        biased;
        _ = unwanted => return,
        () = session.stop.cancelled() => return give_back(session, group).await,
        run = waiting.begin(group[0].lease.recipe.model) => run,
        () = fetched_and_then(group, sleep(patience)) => {
            pool.slots.in_vain();
            return give_back(session, group).await;
        }
    };
    let made = make(session, pool, group, &run).await;
    drop(run);
    join_all(group.iter().zip(made).map(|(held, made)| tell(session.client, held, made))).await;
}

/// Fetches the pictures of jobs, and goes on waiting.
async fn fetched_and_then(group: &[Held], wait: impl Future<Output = ()>) {
    tokio::join!(join_all(group.iter().map(|held| held.files.fetch())), wait);
}

async fn give_back(session: &Session<'_>, group: &[Held]) {
    for held in group.iter().filter(|held| !held.cancel.is_cancelled()) {
        let job = &held.lease.job;
        match patiently(&CancellationToken::new(), || session.client.release(&held.lease)).await {
            Ok(_) => tracing::info!(job, "given back: it could not begin here"),
            Err(error) => tracing::warn!(job, %error, "dropped"),
        }
    }
}

/// What came of a job, and what it took.
struct Made {
    artifacts: Result<Vec<Artifact>, EngineError>,
    /// Its share of the time of the device.
    took: Duration,
    load: Duration,
}

/// Runs a group; gives what it made, in its order.
async fn make(session: &Session<'_>, pool: &Pool, group: &[Held], run: &Run<'_>) -> Vec<Made> {
    group.iter().for_each(|held| held.begun.cancel());
    let contexts: Vec<RunContext> = group.iter().map(Held::context).collect();
    let runs: Vec<(&Recipe, &RunContext)> =
        group.iter().zip(&contexts).map(|(held, context)| (&held.lease.recipe, context)).collect();
    let model = group[0].lease.recipe.model;
    let working = AssertUnwindSafe(load_and_run(session, pool, &runs)).catch_unwind();
    let stopped = async {
        join_all(group.iter().map(|held| held.cancel.cancelled())).await;
        sleep(CLEAN_UP).await;
    };
    let watched = async {
        let mut shown = group[0].shown.subscribe();
        // The engine may have shown something already.
        shown.mark_changed();
        while shown.changed().await.is_ok() {
            run.progress(shown.borrow_and_update().done);
        }
        std::future::pending().await
    };
    let alike = |error: EngineError| -> Vec<Made> {
        let made = || Made { artifacts: Err(error.clone()), took: Duration::ZERO, load: Duration::ZERO };
        group.iter().map(|_| made()).collect()
    };
    let made = tokio::select! {
        made = working => match made {
            Ok(made) => made.unwrap_or_else(alike),
            Err(_) => alike(EngineError::Crashed("it panicked".to_owned())),
        },
        () = stopped => alike(EngineError::Cancelled),
        () = watched => alike(EngineError::Cancelled),
    };
    for made in &made {
        match made.artifacts {
            Ok(_) => session.engines.trust(model),
            Err(EngineError::Crashed(_)) => session.engines.crashed(model),
            Err(EngineError::Unavailable(_)) => session.engines.doubt(model),
            Err(_) => {}
        }
    }
    made
}

async fn load_and_run(
    session: &Session<'_>,
    pool: &Pool,
    runs: &[(&Recipe, &RunContext)],
) -> Result<Vec<Made>, EngineError> {
    let begun = Instant::now();
    let model = runs[0].0.model;
    let gone = || EngineError::Unavailable("this worker does not serve that model any more".to_owned());
    let engine = session.engines.of(model).ok_or_else(gone)?;
    if !engine.loaded(model) {
        let loaded = engine.load(model).await;
        if let Err(EngineError::OutOfMemory(_)) = loaded {
            session.engines.unload_others(model).await;
            engine.load(model).await?;
        } else {
            loaded?;
        }
    }
    let load = begun.elapsed();
    let made = run_group(&*engine, pool, runs).await;
    let made = made.into_iter().enumerate();
    // The first of a group bears the loading: it was leased for it.
    let made = made.map(|(at, (artifacts, took))| {
        let load = if at == 0 { load } else { Duration::ZERO };
        Made { artifacts, took, load }
    });
    Ok(made.collect())
}

/// What came of a recipe, and its share of the time.
type Ran = (Result<Vec<Artifact>, EngineError>, Duration);

/// Runs so many recipes at a time.
async fn run_parts(
    engine: &dyn Engine,
    pool: &Pool,
    runs: &[(&Recipe, &RunContext)],
    most: usize,
) -> Vec<Ran> {
    let mut made = Vec::with_capacity(runs.len());
    for part in runs.chunks(most) {
        made.extend(run_group(engine, pool, part).await);
    }
    made
}

/// Runs recipes together; where memory is too short for that, half of them at a time from now on.
fn run_group<'a>(
    engine: &'a dyn Engine,
    pool: &'a Pool,
    runs: &'a [(&'a Recipe, &'a RunContext)],
) -> BoxFuture<'a, Vec<Ran>> {
    async move {
        let begun = Instant::now();
        if let [(recipe, context)] = runs {
            return vec![(engine.run(recipe, context).await, begun.elapsed())];
        }
        let model = runs[0].0.model;
        let most = pool.most(model).unwrap_or(runs.len());
        if runs.len() > most {
            return run_parts(engine, pool, runs, most).await;
        }
        let made = engine.run_batch(runs).await;
        if made.iter().any(|made| matches!(made, Err(EngineError::OutOfMemory(_)))) {
            let half = runs.len().div_ceil(2);
            tracing::warn!(
                jobs = runs.len(),
                then = half,
                "out of memory: fewer jobs run together from now on"
            );
            pool.limit(model, half);
            return run_parts(engine, pool, runs, half).await;
        }
        let share = begun.elapsed() / runs.len() as u32;
        made.into_iter().map(|made| (made, share)).collect()
    }
    .boxed()
}

/// Tells the hub how a run ended.
async fn tell(client: &Client, held: &Held, made: Made) {
    let told = match &made.artifacts {
        Ok(artifacts) => deliver(client, &held.lease, artifacts, &made).await,
        Err(EngineError::Cancelled) => Ok(()),
        Err(error) => give_up(client, &held.lease, error).await,
    };
    if let Err(error) = told {
        tracing::warn!(job = held.lease.job, %error, "dropped");
    }
}

async fn deliver(
    client: &Client,
    lease: &Lease,
    artifacts: &[Artifact],
    made: &Made,
) -> Result<(), CallError> {
    let never = CancellationToken::new();
    for (index, artifact) in artifacts.iter().enumerate() {
        let put = || client.put_output(lease, index as u32, &artifact.media_type, artifact.bytes.clone());
        match patiently(&never, put).await {
            Err(CallError::Refused { status, detail }) => {
                let reason = format!("the hub refused result {}: {detail} ({status})", index + 1);
                return give_up(client, lease, &EngineError::Failed(reason)).await;
            }
            stored => stored?,
        };
    }
    let complete = Complete {
        attempt: lease.attempt,
        outputs: artifacts.len() as u32,
        gpu_seconds: made.took.as_secs_f64(),
        load_seconds: made.load.as_secs_f64(),
    };
    patiently(&never, || client.complete(&lease.job, &complete)).await?;
    tracing::info!(job = lease.job, gpu_seconds = complete.gpu_seconds, "handed in");
    Ok(())
}

async fn give_up(client: &Client, lease: &Lease, error: &EngineError) -> Result<(), CallError> {
    let reason = error.to_string();
    tracing::warn!(job = lease.job, reason, "failed");
    let kind = match error {
        EngineError::OutOfMemory(_) => FailKind::OutOfMemory,
        _ => FailKind::Other,
    };
    let fail = Fail { attempt: lease.attempt, reason, retry: error.is_worth_retrying(), kind };
    patiently(&CancellationToken::new(), || client.fail(&lease.job, &fail)).await.map(drop)
}
