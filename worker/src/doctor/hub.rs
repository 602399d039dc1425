//! Whether the hub is there, lets this worker in, and speaks its protocol.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use riff_hub::wire::{PROTOCOL, Standing};

use super::Finding;
use crate::{
    client::{CallError, Client},
    http,
};

/// Clocks that differ by more make the logs of hub and worker hard to compare. The hub says whole seconds.
const SAME_TIME: Duration = Duration::from_secs(5);

/// Asks the hub.
pub(super) async fn examine(hub: &str, token: &str) -> Vec<Finding> {
    let client = match Client::new(hub, token) {
        Ok(client) => client,
        Err(error) => return vec![Finding::trouble("hub", error.to_string())],
    };
    match client.me().await {
        Ok((standing, date)) => of_standing(hub, &standing, date.and_then(difference)),
        Err(error) => of_error(hub, &error),
    }
}

/// How far the hub's clock is from this one.
fn difference(date: SystemTime) -> Option<Duration> {
    let now = SystemTime::now();
    now.duration_since(date).or_else(|_| date.duration_since(now)).ok()
}

fn of_standing(hub: &str, standing: &Standing, difference: Option<Duration>) -> Vec<Finding> {
    let mut findings = vec![
        Finding::fine("hub", format!("{hub} answers")),
        Finding::fine("token", format!("the hub calls this worker {:?}", standing.worker)),
    ];
    findings.push(match standing.protocol {
        PROTOCOL => Finding::fine("protocol", format!("both speak version {PROTOCOL}")),
        other => Finding::trouble(
            "protocol",
            format!("the hub speaks version {other}, this worker version {PROTOCOL}"),
        )
        .advise("Update the older of the two."),
    });
    if standing.set_aside_ms > 0 {
        let (failures, seconds) = (standing.failures, standing.set_aside_ms.div_ceil(1_000));
        let found =
            format!("{failures} attempts failed in a row: the hub gives this worker nothing for {seconds} s");
        findings.push(
            Finding::trouble("standing", found)
                .advise("The worker's log says why they failed. One success clears it."),
        );
    }
    match difference {
        Some(difference) if difference > SAME_TIME => {
            let found = format!("the hub's clock and this one differ by {} s", difference.as_secs());
            findings.push(
                Finding::note("clock", found)
                    .advise("Times in the logs will not match: turn on NTP on both."),
            );
        }
        Some(_) => findings.push(Finding::fine("clock", "the same as the hub's")),
        None => {}
    }
    findings
}

fn of_error(hub: &str, error: &CallError) -> Vec<Finding> {
    let answers = || Finding::fine("hub", format!("{hub} answers"));
    match error {
        CallError::Token(_) => vec![
            answers(),
            Finding::trouble("token", "the hub does not know it, or it was revoked").advise(
                "Make one on the hub with `riff token create --worker NAME`, and set RIFF_TOKEN or `token`.",
            ),
        ],
        CallError::Refused { status, .. } if *status == StatusCode::NOT_FOUND => vec![
            Finding::trouble("hub", format!("something answers at {hub} that is no hub, or an older one"))
                .advise(
                    "`hub` is the address that `riff` prints when it starts. Update the older of the two.",
                ),
        ],
        CallError::Unreachable(error) if error.is_decode() => vec![
            Finding::trouble("hub", format!("something answers at {hub} that is no hub"))
                .advise("`hub` is the address that `riff` prints when it starts."),
        ],
        CallError::Unreachable(error) => {
            vec![Finding::trouble("hub", format!("{hub} cannot be reached: {}", http::innermost(error))).advise(
                "Check that it runs, that `hub` is its address, and that it listens where this machine reaches it\n\
                 (`listen` in its settings; 127.0.0.1 is for its own machine alone).",
            )]
        }
        other => vec![Finding::trouble("hub", other.to_string()).advise("The hub's log says more.")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Report;

    fn told(findings: Vec<Finding>) -> String {
        Report { findings }.to_string()
    }

    #[test]
    fn what_a_hub_says_is_told_in_words() {
        let standing = Standing { protocol: PROTOCOL, worker: "rack-1".into(), failures: 0, set_aside_ms: 0 };
        insta::assert_snapshot!(told(of_standing("http://hub:7433", &standing, Some(Duration::ZERO))), @r#"
        ok    hub       http://hub:7433 answers
        ok    token     the hub calls this worker "rack-1"
        ok    protocol  both speak version 1
        ok    clock     the same as the hub's
        All is well.
        "#);
        let standing = Standing { protocol: 9, failures: 6, set_aside_ms: 19_400, ..standing };
        let late = Some(Duration::from_secs(71));
        insta::assert_snapshot!(told(of_standing("http://hub:7433", &standing, late)), @r#"
        ok    hub       http://hub:7433 answers
        ok    token     the hub calls this worker "rack-1"
        BAD   protocol  the hub speaks version 9, this worker version 1
                        Update the older of the two.
        BAD   standing  6 attempts failed in a row: the hub gives this worker nothing for 20 s
                        The worker's log says why they failed. One success clears it.
        note  clock     the hub's clock and this one differ by 71 s
                        Times in the logs will not match: turn on NTP on both.
        2 things are wrong.
        "#);
    }

    #[tokio::test]
    async fn a_hub_that_is_not_there_is_named_with_what_to_do() {
        insta::assert_snapshot!(told(examine("http://127.0.0.1:1", "riff_w_x").await), @r"
        BAD   hub  http://127.0.0.1:1 cannot be reached: Connection refused (os error 111)
                   Check that it runs, that `hub` is its address, and that it listens where this machine reaches it
                   (`listen` in its settings; 127.0.0.1 is for its own machine alone).
        One thing is wrong.
        ");
        insta::assert_snapshot!(told(examine("nowhere", "riff_w_x").await), @r#"
        BAD   hub  the hub's address "nowhere" is not a URL: write it like http://127.0.0.1:7433
        One thing is wrong.
        "#);
    }
}
