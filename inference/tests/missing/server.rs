//! What the server does where time itself is odd: samples of the future, clocks that jump, senders that catch up.

use forewarn_schema::Timestamp;
use reqwest::StatusCode;
use serde_json::Value;

#[path = "../server/rig.rs"]
#[allow(dead_code, reason = "the tests of the server use the rest")]
mod rig;

use rig::{LATENESS, Rig, START, pool_scrape, start};

/// A scrape and a tick a minute.
async fn serve(rig: &Rig, minutes: std::ops::Range<i64>) {
    for minute in minutes {
        let at = START + minute * 60;
        rig.set_now(at + LATENESS);
        assert_eq!(rig.write(pool_scrape(at, 10.0)).await.0, StatusCode::NO_CONTENT);
        assert_eq!(rig.handle.tick(Timestamp::from_seconds(at + LATENESS)).await, 1, "minute {minute}");
    }
}

async fn tick(rig: &Rig, seconds: i64) -> usize {
    rig.set_now(seconds);
    rig.handle.tick(Timestamp::from_seconds(seconds)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_the_future_is_refused_and_does_not_move_the_time() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    serve(&rig, 0..10).await;
    let now = START + 9 * 60 + LATENESS;
    let (status, problem) = rig.write(pool_scrape(now + 3600, 90.0)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    assert_eq!(rig.metric(r#"forewarn_samples_refused_total{reason="too_far_in_future"}"#).await, Some(2.0));
    // A few minutes ahead is a clock that is a little fast: taken, and waited for.
    assert_eq!(rig.write(pool_scrape(now + 300, 10.0)).await.0, StatusCode::NO_CONTENT);
    assert_eq!(tick(&rig, now).await, 0);
    serve(&rig, 10..12).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ahead_evaluates_nothing_on_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    serve(&rig, 0..10).await;
    let ahead = START + 3600 + 9 * 60 + LATENESS;
    let evaluated = tick(&rig, ahead).await;
    assert!(evaluated <= 1, "{evaluated} steps without a sample");
    assert_eq!(rig.get("/api/v1/predictions").await.1, Value::Array(vec![]), "what is an hour old is not said now");
    serve(&rig, 10..12).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_back_evaluates_no_step_twice() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    serve(&rig, 0..70).await;
    let back = START + 9 * 60 + LATENESS;
    assert_eq!(tick(&rig, back).await, 0);
    assert_eq!(tick(&rig, back + 600).await, 0);
    assert_eq!(rig.metric("forewarn_steps_evaluated_total").await, Some(70.0));
    serve(&rig, 70..72).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_catches_up_is_waited_for_and_its_steps_are_evaluated_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    serve(&rig, 0..10).await;
    // Ten minutes of silence: the server's clock goes on, the data do not.
    let mut evaluated = 0;
    for minute in 10..20 {
        evaluated += tick(&rig, START + minute * 60 + LATENESS).await;
    }
    for minute in 10..20 {
        assert_eq!(rig.write(pool_scrape(START + minute * 60, 10.0)).await.0, StatusCode::NO_CONTENT);
    }
    evaluated += tick(&rig, START + 19 * 60 + LATENESS + 1).await;
    assert_eq!(evaluated, 10, "each minute once");
    let (_, predictions) = rig.get("/api/v1/predictions").await;
    let newest: Timestamp = serde_json::from_value(predictions[0]["at"].clone()).unwrap();
    assert_eq!(newest, Timestamp::from_seconds(START + 19 * 60));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn good_samples_beside_bad_ones_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    serve(&rig, 0..5).await;
    let at = START + 4 * 60;
    let (status, problem) = rig.write(pool_scrape(at, 11.0)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "another value at the same time: {problem}");
    assert_eq!(rig.metric(r#"forewarn_samples_refused_total{reason="duplicate_timestamp"}"#).await, Some(1.0));
    assert_eq!(rig.write(pool_scrape(at, 10.0)).await.0, StatusCode::NO_CONTENT, "the same again is fine");
    serve(&rig, 5..6).await;
    rig.stop().await;
}
