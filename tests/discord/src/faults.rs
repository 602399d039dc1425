//! What goes wrong on purpose: the next requests that match are answered with an error, late, or never.

use tokio::sync::watch;

/// How a request goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answered with that status; nothing else happens.
    Status(u16),
    /// Answered 429, to be tried again after so many seconds.
    Limited { retry_after: f64, global: bool },
    /// Never answered; nothing else happens.
    Hang,
    /// Takes effect, but is answered with 502, as if the answer had been lost.
    Lost,
    /// Takes effect and is answered once the test lets it. Made by `Discord::hold_next`.
    Held(Held),
    /// Takes effect, and is answered, once the test lets it. Made by `Discord::delay_next`.
    Delayed(Held),
}

/// The test's end of a request that is held.
#[derive(Debug, Clone)]
pub struct Held {
    arrived: watch::Sender<u32>,
    released: watch::Sender<bool>,
}

impl Held {
    pub(crate) fn new() -> Self {
        Self { arrived: watch::Sender::new(0), released: watch::Sender::new(false) }
    }

    /// Waits until a request has come that is held.
    pub async fn arrived(&self) -> anyhow::Result<()> {
        let mut arrived = self.arrived.subscribe();
        let came = tokio::time::timeout(crate::PATIENCE, arrived.wait_for(|&count| count > 0)).await;
        anyhow::ensure!(matches!(came, Ok(Ok(_))), "no request came to be held");
        Ok(())
    }

    /// Lets every held request go on, and every later one.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    pub(crate) async fn pass(&self) {
        self.arrived.send_modify(|count| *count += 1);
        let mut released = self.released.subscribe();
        // The sender is ours: it is there as long as we are.
        let _gone = released.wait_for(|&released| released).await.is_err();
    }
}

/// A fault and which requests it is for.
pub(crate) struct Planned {
    pub method: String,
    pub path_part: String,
    pub fault: Fault,
    pub times: u32,
}

/// Takes the first fault that is for this request.
pub(crate) fn take(planned: &mut Vec<Planned>, method: &str, path: &str) -> Option<Fault> {
    let matches = |plan: &Planned| plan.method == method && path.contains(&plan.path_part);
    let at = planned.iter().position(matches)?;
    planned[at].times -= 1;
    let fault = planned[at].fault.clone();
    if planned[at].times == 0 {
        planned.remove(at);
    }
    Some(fault)
}
