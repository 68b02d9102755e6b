//! A shadow period with several servers on one real PostgreSQL: all let the challenger score, one keeps what it says and ends the period.

use std::time::Duration;

use forewarn_inference::ServerOptions;
use forewarn_testkit::postgres::Postgres;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::Connection;

use crate::replicas::{minute, wait_to_lead};
use crate::rig::{Rig, start};
use crate::shadowing::{candidate, model};

/// What `sql` counts in the database at `url`.
async fn count(url: &str, sql: &'static str) -> i64 {
    let mut database = sqlx::PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut database).await.unwrap()
}

async fn actions(rig: &Rig) -> Vec<String> {
    let (_, trail) = rig.get("/api/v1/audit").await;
    trail["entries"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_counts_once_and_the_challenger_takes_over_once_whoever_leads() {
    let Some(server) = Postgres::shared() else { return };
    let (folder, url) = (tempfile::tempdir().unwrap(), server.database().unwrap());
    let (_, version) = candidate(folder.path()).await;
    let tweak = |options: &mut ServerOptions| {
        options.state_url = url.clone();
        options.shadow = Duration::from_secs(2 * 3600);
    };
    let first = start(folder.path(), tweak).await;
    wait_to_lead(&first).await;
    let second = start(folder.path(), tweak).await;
    // Asked of the one that watches.
    let (status, promoted) = second.post("/api/v1/models/cart/promote", Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{promoted}");
    first.handle.reload().await.unwrap();
    let info = format!(r#"forewarn_shadow_info{{model_version="{version}",service="cart"}}"#);
    for rig in [&first, &second] {
        assert_eq!(rig.metric(&info).await, Some(1.0), "it scores on both");
    }
    for at in 0..60 {
        minute(&[&first, &second], at).await;
    }
    const SCORED: &str = "SELECT scored FROM shadow_periods";
    assert_eq!(count(&url, SCORED).await, 60, "a step that both score counts once");
    let pairs = count(&url, "SELECT count(*) FROM shadow_pairs").await;
    let distinct = count(&url, "SELECT count(*) FROM (SELECT DISTINCT target_key, at_ms FROM shadow_pairs) p").await;
    assert_eq!(pairs, distinct);

    first.crash().await;
    wait_to_lead(&second).await;
    let third = start(folder.path(), tweak).await;
    for at in 60..120 {
        minute(&[&third, &second], at).await;
    }
    assert_eq!(count(&url, SCORED).await, 120, "the one that took over goes on");
    assert_eq!(model(&third).await["current"], Value::Null, "the period is not over");
    for at in 120..125 {
        minute(&[&third, &second], at).await;
    }
    let ended = model(&second).await;
    assert_eq!((&ended["current"], &ended["serving"]), (&json!(version.to_string()), &json!(version.to_string())));
    assert_eq!(ended["shadow"]["ended"]["promoted"], true, "{ended}");
    assert_eq!(actions(&second).await, ["promote", "shadow"]);
    assert_eq!(second.metric(&info).await, None);

    // Somebody rolls back; the next leader has not looked at the registry since, and does not promote it again.
    assert_eq!(third.metric(&info).await, Some(1.0), "it has not heard of it");
    assert_eq!(second.post("/api/v1/models/cart/rollback", Value::Null).await.0, StatusCode::OK);
    second.crash().await;
    wait_to_lead(&third).await;
    for at in 125..128 {
        minute(&[&third], at).await;
    }
    let now = model(&third).await;
    assert_eq!((&now["current"], &now["serving"]), (&Value::Null, &Value::Null), "{now}");
    assert_eq!(actions(&third).await, ["rollback", "promote", "shadow"]);
    assert_eq!(third.metric(&info).await, None, "it is over here, too");
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_challenger_would_have_asked_for_is_kept_by_whoever_takes_over() {
    let Some(server) = Postgres::shared() else { return };
    let (folder, url) = (tempfile::tempdir().unwrap(), server.database().unwrap());
    candidate(folder.path()).await;
    let tweak = |options: &mut ServerOptions| {
        options.state_url = url.clone();
        options.shadow = Duration::from_secs(24 * 3600);
    };
    const ASKED: &str = "SELECT count(*) FROM shadow_requests";
    let first = start(folder.path(), tweak).await;
    wait_to_lead(&first).await;
    assert_eq!(first.post("/api/v1/models/cart/promote", Value::Null).await.0, StatusCode::OK);
    let second = start(folder.path(), tweak).await;
    // Only the one who watches gets samples, so that nobody keeps what its challenger would ask for.
    for at in 0..300 {
        minute(&[&second], at).await;
    }
    assert_eq!(count(&url, ASKED).await, 0);
    first.crash().await;
    wait_to_lead(&second).await;
    minute(&[&second], 300).await;
    assert_eq!(count(&url, ASKED).await, 1, "the one that took over would ask for it");
    for at in 301..340 {
        minute(&[&second], at).await;
    }
    assert_eq!(count(&url, ASKED).await, 1, "once");
    second.stop().await;
}
