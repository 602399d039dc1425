//! Overload: what cannot be served in a sensible time is refused at once, with a sentence.

use crate::support::{Community, painter};

#[tokio::test]
async fn beyond_the_limit_prompts_are_refused_until_there_is_room() {
    let community = Community::with(|settings| settings.limits.all = 3).await;
    community.hello("w", &[painter()]).await;
    let (alice, bob) = (community.member("alice").await, community.member("bob").await);
    for prompt in ["a lighthouse", "a pond", "a hill"] {
        community.job(&alice, prompt).await;
    }
    let refusal = community.submit(&bob, "a cat").await.unwrap_err();
    insta::assert_snapshot!(refusal, @"Riff has as much to do as it can take: 3 prompts are waiting. Nothing was queued; try again in a few minutes.");
    assert_eq!((refusal.code(), refusal.retry_after()), ("overloaded", Some(60)));
    assert_eq!(community.left(&bob).await, 3_600.0, "a refusal costs nothing");

    community.serve("w").await;
    community.pass(1).await;
    let all_or_none = community.submit(&bob, "{red, blue} cat").await;
    assert_eq!(all_or_none.unwrap_err().code(), "overloaded");
    community.job(&bob, "a cat").await;
}

#[tokio::test]
async fn a_community_that_is_full_leaves_the_others_their_room() {
    let community = Community::with(|settings| settings.limits.community = 2).await;
    community.hello("w", &[painter()]).await;
    let (alice, bob) = (community.member("alice").await, community.member("bob").await);
    community.room(&alice, "chat:1", "flood").await;
    community.room(&bob, "chat:2", "quiet").await;
    for prompt in ["one", "two"] {
        community.submit_in(&alice, "chat:1", prompt).await.unwrap();
    }
    let refusal = community.submit_in(&alice, "chat:1", "three").await.unwrap_err();
    insta::assert_snapshot!(refusal, @"2 prompts are waiting in this community, as many as it may have: let some of them finish, and try again in a minute.");
    community.submit_in(&bob, "chat:2", "one").await.unwrap();
    community.job(&bob, "one on the web").await;
}

#[tokio::test]
async fn a_flood_does_not_reach_the_database() {
    let community = Community::with(|settings| settings.limits.all = 1).await;
    community.hello("w", &[painter()]).await;
    let alice = community.member("alice").await;
    community.job(&alice, "a lighthouse").await;
    community.hub.store.close().await;
    assert_eq!(community.submit(&alice, "a pond").await.unwrap_err().code(), "overloaded");
}

#[tokio::test]
async fn what_was_refused_for_another_reason_takes_no_room() {
    let community = Community::with(|settings| {
        settings.limits.all = 2;
        settings.allowance_ms = 1_500;
    })
    .await;
    community.hello("w", &[painter()]).await;
    let (alice, bob) = (community.member("alice").await, community.member("bob").await);
    community.job(&alice, "a lighthouse").await;
    assert_eq!(community.submit(&alice, "a pond").await.unwrap_err().code(), "quota-exceeded");
    community.job(&bob, "a cat").await;
}
