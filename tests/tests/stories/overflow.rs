//! Overflow: a hosted service helps out when the community's own machine would take too long, and stops at a cap.

use riff_hub::model::{Cost, ModelSpec};
use riff_tests::Riff;
use riff_worker::engines::replicate;
use serde_json::{Value, json};

use crate::{replicate::Replicate, riff};

/// A variable that cargo sets for every test, and so the account's token here.
const VARIABLE: &str = "CARGO_PKG_NAME";

/// A service, and a hub whose own worker has an account there: a cent a run, beyond two seconds.
async fn hub_with_account(monthly_usd: f64) -> (Riff, Replicate, Value) {
    let server = Replicate::start(&std::env::var(VARIABLE).unwrap()).await;
    let mut riff = riff();
    let ledger = riff.data().join("spent").display().to_string();
    let model = json!({"id": "acme/painter", "name": "brush", "usd_per_run": 0.01, "seconds": 1.0});
    let section = json!({"url": server.url, "token_env": VARIABLE, "monthly_usd": monthly_usd, "ledger": ledger,
                         "overflow_after_seconds": 2.0, "models": [model]});
    let keys = section.as_object().unwrap().iter().filter(|(key, _)| *key != "models");
    let mut toml = "[[engine]]\nkind = \"replicate\"\n".to_owned();
    keys.for_each(|(key, value)| toml += &format!("{key} = {value}\n"));
    toml += "[[engine.models]]\n";
    model.as_object().unwrap().iter().for_each(|(key, value)| toml += &format!("{key} = {value}\n"));
    let file = riff.data().join("riff.toml");
    std::fs::write(&file, toml).unwrap();
    riff.set("RIFF_CONFIG", file.display()).set("RIFF_WORKER__IN_PROCESS", "true");
    riff.set("RIFF_WORKER__WEIGHTS", "nowhere").start().await.unwrap();
    riff.logged("brush").await.unwrap();
    (riff, server, section)
}

/// The same version as a machine of the community serves it, at one second a run.
async fn ours(section: Value) -> ModelSpec {
    let engine = replicate::engine(serde_json::from_value(section).unwrap());
    let [spec] = engine.discover().await.unwrap().try_into().unwrap();
    let cost = Cost { fixed: 1.0, per_megapixel: 0.0, per_token: 0.0, load: 0.0 };
    ModelSpec { overflow: None, cost, ..spec }
}

#[tokio::test]
async fn jobs_overflow_only_beyond_the_limit() {
    let (riff, server, section) = hub_with_account(1.0).await;
    let ours = riff.worker_of("ours", vec![ours(section).await]).await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let mut jobs = Vec::new();
    for number in 0..3 {
        jobs.push(program.job(&format!("a tower {number} --model brush")).await.unwrap());
    }
    // Ours, which idles here, is expected to need one, two and three seconds.
    assert_eq!(program.ended(&jobs[2]).await.unwrap()["state"], "succeeded");
    jobs.push(program.job("another tower --model brush").await.unwrap());
    assert_eq!(program.ended(&jobs[3]).await.unwrap()["state"], "succeeded");
    for job in &jobs[..2] {
        assert_eq!(program.show(job).await.unwrap().text("state"), "queued", "they are within the limit");
        let lease = ours.lease().await.unwrap();
        assert_eq!(&lease.job, job);
        ours.finish(&lease).await.unwrap();
    }
    let paid: Vec<Value> = server.asked().into_iter().map(|asked| asked["input"]["prompt"].clone()).collect();
    assert_eq!(paid, ["a tower 2", "another tower"]);
    assert_eq!(server.wrong(), [""; 0]);
}

#[tokio::test]
async fn overflow_stops_at_the_cap_and_the_operator_is_told() {
    let (riff, server, section) = hub_with_account(0.02).await;
    let program = riff.program("robot").await.unwrap();
    for number in 0..2 {
        let job = program.job(&format!("a tower {number} --model brush")).await.unwrap();
        assert_eq!(program.ended(&job).await.unwrap()["state"], "succeeded");
    }
    let late = program.job("a tower too many --model brush").await.unwrap();
    riff.logged("the cap of 0.02 USD, which monthly_usd sets, is reached").await.unwrap();
    riff.logged("has 0.02 USD for").await.unwrap();
    riff.logged("attempt failed").await.unwrap();
    assert_eq!(program.show(&late).await.unwrap().text("state"), "queued", "nobody pays for it");
    assert_eq!(server.asked().len(), 2, "nothing was sent");

    let ours = riff.worker_of("ours", vec![ours_without_money(section).await]).await.unwrap();
    let lease = ours.lease().await.unwrap();
    assert_eq!(lease.job, late);
    ours.finish(&lease).await.unwrap();
    assert_eq!(program.ended(&late).await.unwrap()["state"], "succeeded");
}

/// The same, where the account has nothing left to describe it with.
async fn ours_without_money(mut section: Value) -> ModelSpec {
    section["monthly_usd"] = json!(1.0);
    ours(section).await
}
