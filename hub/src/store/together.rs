//! Steps of one kind that are asked for at the same moment, done as one: the database is asked once for all of them, and waits
//! once for the disk. What comes while others are done waits for the next turn, so a step alone waits for nobody, and the more
//! there is to do, the less each costs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{Store, StoreError};

/// Most steps that are done as one.
const MOST: usize = 64;

/// A step of the loop that can be done together with others of its kind.
pub(super) trait Step: Sized + Send + Sync + 'static {
    /// What one of them gives.
    type Done: Send + 'static;

    /// Where those that wait are.
    fn together(store: &Store) -> &Together<Self>;

    /// Does all of `steps` in one transaction; each has its own answer, in their order. With an error nothing was done.
    fn all(
        store: &Store,
        steps: &[Self],
    ) -> impl Future<Output = Result<Vec<Result<Self::Done, StoreError>>, StoreError>> + Send;

    /// Nobody waits any longer for what was done.
    fn unheard(_store: &Store, _done: Self::Done) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Steps that wait to be done.
pub(super) struct Together<S: Step> {
    waiting: Mutex<Vec<(S, Answer<S>)>>,
    /// One at a time: more steps wait for the next one then, which costs less than several small ones beside each other.
    turn: tokio::sync::Mutex<()>,
}

type Answer<S> = oneshot::Sender<Result<<S as Step>::Done, StoreError>>;

impl<S: Step> Default for Together<S> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }
}

impl<S: Step> Together<S> {
    fn waiting(&self) -> MutexGuard<'_, Vec<(S, Answer<S>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is done next, of what somebody still waits for.
    fn next(&self) -> (Vec<S>, Vec<Answer<S>>) {
        let mut waiting = self.waiting();
        waiting.retain(|(_, answer)| !answer.is_closed());
        let many = waiting.len().min(MOST);
        waiting.drain(..many).unzip()
    }
}

impl Store {
    /// Does a step, together with others that wait. One that nobody waits for any longer when its turn comes is left out; once begun, it
    /// is done whoever waits.
    pub(super) async fn step<S: Step>(&self, step: S) -> Result<S::Done, StoreError> {
        let (answer, answered) = oneshot::channel();
        S::together(self).waiting().push((step, answer));
        let store = self.clone();
        tokio::spawn(async move { store.turn::<S>().await });
        answered.await.unwrap_or(Err(StoreError::Other(sqlx::Error::WorkerCrashed)))
    }

    /// Waits for a turn, and does what waits then, which may be nothing any more.
    async fn turn<S: Step>(&self) {
        let _turn = S::together(self).turn.lock().await;
        let (steps, answers) = S::together(self).next();
        if steps.is_empty() {
            return;
        }
        for (answer, done) in answers.into_iter().zip(self.each(&steps).await) {
            if let Err(Ok(done)) = answer.send(done) {
                S::unheard(self, done).await;
            }
        }
    }

    /// What is wrong with one step is nothing to the others: if they fail together, each is done by itself.
    async fn each<S: Step>(&self, steps: &[S]) -> Vec<Result<S::Done, StoreError>> {
        if steps.len() > 1
            && let Ok(done) = S::all(self, steps).await
        {
            return done;
        }
        let mut each = Vec::with_capacity(steps.len());
        for step in steps.chunks(1) {
            match S::all(self, step).await {
                Ok(done) => each.extend(done),
                Err(error) => each.push(Err(error)),
            }
        }
        each
    }
}
