//! Operators: settings, tokens, starting and stopping.

use std::process::ExitStatus;

use crate::{hub, riff};

async fn refusal(settings: &str) -> String {
    let mut riff = riff();
    let file = riff.data().join("riff.toml");
    std::fs::write(&file, settings).unwrap();
    let ended = riff.start_in_vain(&["--config", file.to_str().unwrap()]).await.unwrap();
    assert!(!ended.status.success());
    ended.stderr.replace(riff.data().to_str().unwrap(), "DATA")
}

#[tokio::test]
async fn settings_that_do_not_work_are_refused_with_file_and_key() {
    insta::assert_snapshot!(refusal("listne = \"127.0.0.1:80\"").await, @r#"
    riff: the settings are refused:
      TOML file (DATA/riff.toml): listne: unknown field: found `listne`, expected `one of `listen`, `public_url`, `cookie_key`, `data`, `default_models`, `log`, `store`, `blobs`, `rate`, `quota`, `queue`, `fairness`, `operate`, `moderation`, `sound`, `discord`, `worker`, `engine`, `channels``
    riff settings prints every setting with its default
    "#);
    insta::assert_snapshot!(refusal("[queue]\nlease_seconds = -1.0").await, @r#"
    riff: the settings are refused:
      TOML file (DATA/riff.toml): queue.lease_seconds: -1 is not a number of seconds from 0.001 to 31536000
    riff settings prints every setting with its default
    "#);
    insta::assert_snapshot!(refusal("[queue]\nmax_attempts = 0").await, @r#"
    riff: the settings are refused:
      TOML file (DATA/riff.toml): queue.max_attempts: invalid value signed int `0`, expected a nonzero u32
    riff settings prints every setting with its default
    "#);
    insta::assert_snapshot!(refusal("[quota]\ngpu_seconds_per_day = \"lots\"").await, @r#"
    riff: the settings are refused:
      TOML file (DATA/riff.toml): quota.gpu_seconds_per_day: invalid type: found string "lots", expected f64
    riff settings prints every setting with its default
    "#);
    insta::assert_snapshot!(refusal("not toml").await, @r#"
    riff: the settings are refused:
      TOML file (DATA/riff.toml): TOML parse error at line 1, column 5
      |
    1 | not toml
      |     ^
    expected `.`, `=`

    riff settings prints every setting with its default
    "#);
    let mut riff = riff();
    riff.set("RIFF_QUEUE__MAX_ATTEMPTS", "many");
    insta::assert_snapshot!(riff.start_in_vain(&[]).await.unwrap().stderr, @r#"
    riff: the settings are refused:
      `RIFF_` environment variable(s): queue.max_attempts: invalid type: found string "many", expected a nonzero u32
    riff settings prints every setting with its default
    "#);
    let gone = riff.start_in_vain(&["--config", "/nowhere/riff.toml"]).await.unwrap();
    insta::assert_snapshot!(gone.stderr, @"riff: the settings file /nowhere/riff.toml is not there: check --config or RIFF_CONFIG");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = hub().await;
    let mut second = riff();
    let address = first.url().trim_start_matches("http://").to_owned();
    second.set("RIFF_LISTEN", &address);
    let ended = second.start_in_vain(&[]).await.unwrap();
    let told = ended.stderr.replace(&address, "ADDRESS");
    insta::assert_snapshot!(told, @"riff: cannot listen on ADDRESS; stop the program that does, or choose another address with RIFF_LISTEN: Address already in use (os error 98)");
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_used_is_named() {
    let mut riff = riff();
    let file = riff.data().join("file");
    std::fs::write(&file, "").unwrap();
    riff.set("RIFF_LISTEN", "127.0.0.1:0");
    let ended = riff.start_in_vain_on(&file.join("data")).await.unwrap();
    let told = ended.stderr.replace(riff.data().to_str().unwrap(), "DATA");
    insta::assert_snapshot!(told, @"riff: the data folder DATA/file/data cannot be used: Not a directory (os error 20)");
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_named_without_its_password() {
    let mut riff = riff();
    riff.set("RIFF_STORE__POSTGRES", "postgres://riff:secret@127.0.0.1:1/riff");
    let told = riff.start_in_vain(&[]).await.unwrap().stderr;
    assert!(told.contains("PostgreSQL at 127.0.0.1:1 cannot be used: "), "{told}");
    assert!(told.contains("check store.postgres"), "{told}");
    assert!(!told.contains("secret"), "{told}");
}

#[tokio::test]
async fn the_printed_settings_are_a_settings_file() {
    let mut riff = riff();
    let printed = riff.cli(&["settings"]).await.unwrap();
    let file = riff.data().join("riff.toml");
    std::fs::write(&file, &printed).unwrap();
    riff.set("RIFF_CONFIG", file.display()).start().await.unwrap();
}

#[tokio::test]
async fn tokens_are_shown_once_and_can_be_revoked() {
    let riff = hub().await;
    let token = riff.cli(&["token", "create", "--worker", "rack-1"]).await.unwrap();
    let database = std::fs::read(riff.data().join("riff.sqlite")).unwrap();
    let log = std::fs::read(riff.data().join("riff.sqlite-wal")).unwrap_or_default();
    let stored = |bytes: &[u8]| bytes.windows(token.len()).any(|window| window == token.as_bytes());
    assert!(!stored(&database) && !stored(&log), "only a hash is stored");
    let models = vec![riff_tests::worker::painter()];
    riff_tests::Worker::hello(riff.url(), &token, models.clone()).await.unwrap();
    riff.cli(&["token", "revoke", "--worker", "rack-1"]).await.unwrap();
    let refused = riff_tests::Worker::hello(riff.url(), &token, models).await;
    assert!(refused.err().unwrap().to_string().contains("revoked"));
}

#[tokio::test]
async fn asked_to_stop_it_finishes_what_it_has() {
    let mut riff = riff();
    riff.with_engines().start().await.unwrap();
    riff.engines_ready().await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let alice = riff.member("alice").unwrap();
    let mut channel = alice.open_channel().await.unwrap();
    program.job("a lighthouse --n 4 --width 1024 --height 1024").await.unwrap();
    channel
        .card(|card| {
            card.status.as_deref().is_some_and(|status| status == "Starting" || status.starts_with("Running"))
        })
        .await
        .unwrap();
    let status: ExitStatus = riff.stop().await.unwrap();
    assert!(status.success());
    riff.checker().await.unwrap().check().await.unwrap();
}
