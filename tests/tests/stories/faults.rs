//! Workers that misbehave, and machines that fail: nothing is lost, nothing is posted twice.

use std::io::Cursor;

use bytes::Bytes;
use riff_tests::worker::picture;
use riff_worker::client::CallError;

use crate::{hub, riff};

#[tokio::test]
async fn a_worker_that_dies_mid_job_costs_nobody_anything() {
    let mut riff = riff();
    riff.set("RIFF_QUEUE__LEASE_SECONDS", 1.5).set("RIFF_QUEUE__RETRY_BACKOFF_SECONDS", 0.01);
    riff.start().await.unwrap();
    let dies = riff.worker("dies").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let job = program.job("a lighthouse").await.unwrap();
    let lost = dies.lease().await.unwrap();
    dies.report(&lost, 0.5).await.unwrap();

    let lives = riff.worker("lives").await.unwrap();
    let again = lives.lease().await.unwrap();
    assert_eq!((again.job.as_str(), again.attempt), (job.as_str(), 2));
    let late = dies.finish(&lost).await;
    assert!(matches!(late, Err(CallError::LeaseLost(_))), "{late:?}");
    lives.finish(&again).await.unwrap();
    let late = dies.complete(&lost, 1.0).await;
    assert!(matches!(late, Err(CallError::LeaseLost(_))), "{late:?}");
    let ended = program.ended(&job).await.unwrap();
    assert_eq!((&ended["state"], &ended["outputs"].as_array().unwrap().len()), (&"succeeded".into(), &1));
    riff.stop().await.unwrap();
    riff.checker().await.unwrap().check().await.unwrap();
}

#[tokio::test]
async fn garbage_and_bombs_are_refused_by_name() {
    let riff = hub().await;
    let worker = riff.worker("w").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let job = program.job("a lighthouse").await.unwrap();
    let lease = worker.lease().await.unwrap();
    let mut told = String::new();
    let truncated = picture(64, 64).slice(..60);
    let text = Bytes::from_static(b"a poem");
    for (name, media_type, bytes) in [
        ("garbage", "image/png", Bytes::from_static(b"\x00\x01garbage")),
        ("truncated", "image/png", truncated),
        ("bomb", "image/png", bomb()),
        ("text", "text/plain", text),
        ("html", "image/png", Bytes::from_static(b"<html>502 Bad Gateway</html>")),
        ("empty", "image/png", Bytes::new()),
    ] {
        match worker.upload(&lease, media_type, bytes).await {
            Err(CallError::Refused { status, detail }) => {
                told.push_str(&format!("{name}: {status}: {detail}\n"))
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    insta::assert_snapshot!(told);
    let huge = worker.upload(&lease, "image/png", vec![0; 40 * 1_024 * 1_024].into()).await;
    assert!(huge.is_err(), "over 32 MiB");
    let beyond = worker.client.put_output(&lease, 1, "image/png", picture(64, 64)).await;
    assert!(beyond.unwrap_err().to_string().contains("the recipe makes 1"));
    let incomplete = worker.complete(&lease, 1.0).await.unwrap_err();
    assert!(incomplete.to_string().contains("1 were asked for, 0 are stored"), "{incomplete}");
    worker.finish(&lease).await.expect("a good result is still taken");
    assert_eq!(program.ended(&job).await.unwrap()["state"], "succeeded");
}

/// A PNG of 60,000 × 60,000 pixels in a few kilobytes.
fn bomb() -> Bytes {
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = png::Encoder::new(&mut bytes, 60_000, 60_000);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().unwrap();
    writer.write_chunk(png::chunk::IDAT, &[0x78, 0x9c, 0x63]).unwrap();
    drop(writer);
    bytes.into_inner().into()
}

#[tokio::test]
async fn a_failure_is_shown_with_its_reason() {
    let riff = hub().await;
    let worker = riff.worker("w").await.unwrap();
    let alice = riff.member("alice").unwrap();
    let mut channel = alice.open_channel().await.unwrap();
    alice.imagine("a lighthouse").await.unwrap();
    let lease = worker.lease().await.unwrap();
    worker.fail(&lease, "the GPU ran out of memory at 64×64", false).await.unwrap();
    let post = channel.posted().await.unwrap();
    insta::assert_snapshot!(post, @r#"
    alice: a lighthouse
    reason: Failed; nothing was charged: the GPU ran out of memory at 64×64.
    buttons: ✏️ Remix | 🍴 Fork
    "#);
}

#[tokio::test]
async fn a_locked_database_delays_and_loses_nothing() {
    let mut riff = riff();
    riff.set("RIFF_STORE__BUSY_TIMEOUT_MS", 50).start().await.unwrap();
    let worker = riff.worker("w").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let checker = riff.checker().await.unwrap();
    let lock = checker.lock().await.unwrap();
    let refused = program.create("a lighthouse").await.unwrap();
    assert_eq!(refused.status.as_u16(), 503);
    insta::assert_snapshot!(refused.text("detail"), @"Riff can't take this right now because the database is locked by another process; stop that process, or wait and try again. Nothing was lost; try again in a moment.");
    assert_eq!(program.show("nothing").await.unwrap().status.as_u16(), 404, "reading goes on");
    drop(lock);

    let job = program.job("a lighthouse").await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    assert_eq!(program.ended(&job).await.unwrap()["state"], "succeeded");
    riff.stop().await.unwrap();
    checker.check().await.unwrap();
    assert_eq!(checker.count("SELECT COUNT(*) FROM job").await.unwrap(), 1);
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    let mut riff = riff();
    riff.start().await.unwrap();
    let _token = riff.worker("w").await.unwrap();
    let token = riff.cli(&["token", "create", "--member", "robot"]).await.unwrap();
    riff.stop().await.unwrap();
    // Files of this process may not grow past 400 blocks of 512 bytes; being told so is an error, not a signal.
    riff.limit(Some("trap '' XFSZ; ulimit -f 400")).start().await.unwrap();
    let program = riff_tests::Program::new(riff.url(), &token);
    let mut accepted = 0;
    let refused = loop {
        let answer = program.create(&format!("prompt {accepted} {}", "word ".repeat(300))).await.unwrap();
        match answer.status.as_u16() {
            201 => accepted += 1,
            _ => break answer,
        }
        assert!(accepted < 1_000, "the limit is never reached");
    };
    assert_eq!(refused.status.as_u16(), 503, "{refused:?}");
    insta::assert_snapshot!(refused.text("detail"), @"Riff can't take this right now because the disk is full or the data folder's file size limit is reached; free some room and try again. Nothing was lost; try again in a moment.");
    riff.kill().await.unwrap();

    riff.limit(None).start().await.unwrap();
    let worker = riff.worker("w").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let last = program.job("one more").await.unwrap();
    for _ in 0..=accepted {
        worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    }
    program.ended(&last).await.unwrap();
    assert!(worker.lease_now().await.unwrap().is_none(), "exactly what was accepted is there");
    riff.stop().await.unwrap();
    riff.checker().await.unwrap().check().await.unwrap();
}

#[tokio::test]
async fn weights_that_are_missing_or_damaged_are_named_and_pictures_go_on() {
    let mut riff = riff();
    let weights = tempfile::TempDir::new().unwrap();
    std::fs::write(weights.path().join("broken.gguf"), b"GGUF\x03\x00\x00\x00 and then nothing").unwrap();
    riff.with_engines().set("RIFF_WORKER__WEIGHTS", weights.path().display()).start().await.unwrap();
    riff.engines_ready().await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let job = program.job("a lighthouse --n 1 --width 64 --height 64").await.unwrap();
    assert_eq!(program.ended(&job).await.unwrap()["state"], "succeeded");
    let refused = program.create("/ask why?").await.unwrap();
    insta::assert_snapshot!(refused.text("detail"), @"No model for /ask is here yet: an operator has to start a worker that serves one.");
    let log = riff.log();
    assert!(log.contains("broken.gguf"), "{log}");
}
