//! The hub, the `riff-worker` process, and a real Cog server together.

use riff_tests::{Rack, Riff};

use crate::{cog::Cog, hub, riff};

async fn rack(riff: &Riff, name: &str, sections: &str) -> Rack {
    Rack::new(env!("CARGO_BIN_EXE_riff-worker-under-test"), riff, name, sections).await.unwrap()
}

/// The section of a server, under a name.
fn section(server: &Cog, name: &str, more: &str) -> String {
    format!("[[engine]]\nkind = \"cog\"\nurl = \"{}\"\nname = \"{name}\"\n{more}\n", server.url())
}

#[tokio::test]
async fn a_rack_with_a_cog_server_serves_drains_and_leaves() {
    let mut riff = hub().await;
    let server = Cog::start("image").await;
    let rack = rack(&riff, "rack-1", &section(&server, "paint", "")).await;
    let mut worker = rack.start().unwrap();
    riff.logged("paint").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let job = program.job("a fox --model paint --seed 5 --steps 1").await.unwrap();
    let ended = program.ended(&job).await.unwrap();
    assert_eq!(ended["state"], "succeeded", "{ended}");

    // One that runs for two seconds, and one behind it.
    let long = program.job("a fox --model paint --seed 5 --steps 20 --pause 0.1").await.unwrap();
    let next = program.job("a hen --model paint --seed 5 --steps 20 --pause 0.1").await.unwrap();
    riff.logged(&format!("leased job=\"{long}\"")).await.unwrap();
    worker.ask_to_stop().await.unwrap();
    assert!(worker.ended().await.unwrap().success());
    assert_eq!(program.ended(&long).await.unwrap()["state"], "succeeded", "it was finished");
    assert_eq!(program.show(&next).await.unwrap().text("state"), "queued", "it went back");
    riff.logged("worker has left").await.unwrap();
    program.cancel(&next).await.unwrap();
    riff.stop().await.unwrap();
    riff.checker().await.unwrap().check().await.unwrap();
}

#[tokio::test]
async fn a_rack_survives_the_hub_and_another_takes_over_from_one_that_dies() {
    let mut riff = riff();
    riff.set("RIFF_QUEUE__LEASE_SECONDS", 4).set("RIFF_QUEUE__RETRY_BACKOFF_SECONDS", 0.01);
    riff.start().await.unwrap();
    let server = Cog::start("image").await;
    let address = riff.url().trim_start_matches("http://").to_owned();
    riff.set("RIFF_LISTEN", address);
    let (first, second) = (
        rack(&riff, "rack-1", &section(&server, "paint", "")).await,
        rack(&riff, "rack-2", &section(&server, "paint", "")).await,
    );
    let mut dies = first.start().unwrap();
    riff.logged("paint").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let job = program.job("a fox --model paint --seed 5 --steps 20 --pause 0.1").await.unwrap();
    program.running(&job).await.unwrap();
    riff.kill().await.unwrap();
    riff.start().await.unwrap();
    let ended = program.ended(&job).await.unwrap();
    assert_eq!(ended["state"], "succeeded", "{ended}");
    assert!(
        !riff.log().contains(&format!("leased job=\"{job}\"")),
        "its first attempt went on: {}",
        riff.log()
    );

    let job = program.job("a hen --model paint --seed 5 --steps 20 --pause 0.1").await.unwrap();
    program.running(&job).await.unwrap();
    dies.kill().await.unwrap();
    let _lives = second.start().unwrap();
    let ended = program.ended(&job).await.unwrap();
    assert_eq!(ended["state"], "succeeded", "{ended}");
    riff.logged(&format!("leased job=\"{job}\" worker=\"rack-2\" attempt=2")).await.unwrap();
    riff.stop().await.unwrap();
    riff.checker().await.unwrap().check().await.unwrap();
}

/// What the doctor says, without what differs from run to run and machine to machine.
async fn told(riff: &Riff, rack: &Rack) -> (bool, String) {
    let output = rack.doctor().await.unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let ours = |line: &&str| !["memory", "GPU", "disk"].iter().any(|topic| line.contains(topic));
    let lines: Vec<&str> = told.lines().filter(ours).collect();
    (output.status.success(), lines.join("\n").replace(riff.url(), "HUB"))
}

#[tokio::test]
async fn the_doctor_says_what_is_wrong_in_plain_words() {
    let riff = hub().await;
    let server = Cog::start("image").await;
    let well = rack(&riff, "rack-1", &section(&server, "paint", "concurrent = 2")).await;
    let (is_well, words) = told(&riff, &well).await;
    assert!(is_well, "{words}");
    insta::assert_snapshot!("doctor_well", words.replace(server.url().as_str(), "SERVER"));

    let sections = [
        section(&server, "abstract", ""),
        "[[engine]]\nkind = \"cog\"\nurl = \"http://127.0.0.1:1\"\nname = \"gone\"\n".to_owned(),
    ];
    let ill = rack(&riff, "rack-2", &sections.concat()).await;
    riff.cli(&["token", "revoke", "--worker", "rack-2"]).await.unwrap();
    let (is_well, words) = told(&riff, &ill).await;
    assert!(!is_well);
    insta::assert_snapshot!("doctor_ill", words.replace(server.url().as_str(), "SERVER"));

    let wrong = rack(&riff, "rack-3", "colour = 1").await;
    let (is_well, words) = told(&riff, &wrong).await;
    assert!(!is_well);
    insta::assert_snapshot!("doctor_settings", words);
}
