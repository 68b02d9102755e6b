//! A challenger scores beside what serves, announces nothing, and takes over or does not.

use std::path::Path;
use std::time::Duration;

use forewarn_models::{ModelRegistry, ModelVersion};
use forewarn_schema::Timestamp;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::Connection;

use crate::rig::{LATENESS, Rig, START, pool_scrape, start, start_at};

/// A candidate of `cart` that passed the gate.
pub(crate) async fn candidate(folder: &Path) -> (ModelRegistry, ModelVersion) {
    let registry = ModelRegistry::open(&format!("file://{}", folder.join("store").display())).await.unwrap();
    let version = registry.publish(&crate::bundles::bundle("cart", 1, 7)).await.unwrap();
    let judged = json!({"service": "cart", "candidate": {"version": version.to_string()},
        "verdict": {"verdict": "pass", "reason": "better"}});
    let report = [("report.json".to_owned(), json!({"services": [judged]}).to_string().into())];
    registry.put_report("r1", &report.into()).await.unwrap();
    (registry, version)
}

async fn minute(rig: &Rig, minute: i64, active: f64) {
    let at = START + minute * 60;
    rig.set_now(at + LATENESS);
    let (status, answer) = rig.write(pool_scrape(at, active)).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    rig.handle.tick(Timestamp::from_seconds(at + LATENESS)).await;
}

pub(crate) async fn model(rig: &Rig) -> Value {
    rig.get("/api/v1/models").await.1[0].clone()
}

/// How many rows the state has of `table`.
async fn kept(folder: &Path, table: &str) -> i64 {
    let url = format!("sqlite://{}", folder.join("state.db").display());
    let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    sqlx::query_scalar(sql).fetch_one(&mut database).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenger_scores_the_same_steps_over_a_restart_and_takes_over_after_its_period() {
    let folder = tempfile::tempdir().unwrap();
    let (_, version) = candidate(folder.path()).await;
    let with_shadow = |options: &mut forewarn_inference::ServerOptions| options.shadow = Duration::from_secs(2 * 3600);
    let rig = start(folder.path(), with_shadow).await;
    let (status, promoted) = rig.post("/api/v1/models/cart/promote", Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{promoted}");
    assert_eq!((&promoted["serving"], &promoted["shadow"]["version"]), (&Value::Null, &json!(version.to_string())));
    let (status, problem) = rig.post("/api/v1/models/cart/promote", Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem["detail"].as_str().unwrap().contains("is in its shadow period until"), "{problem}");
    for at in 0..60 {
        minute(&rig, at, 20.0 + (at % 3) as f64).await;
    }
    let info = format!(r#"{{model_version="{version}",service="cart"}}"#);
    assert_eq!(rig.metric(&format!("forewarn_shadow_info{info}")).await, Some(1.0));
    assert_eq!(rig.metric(&format!("forewarn_model_info{info}")).await, None);
    let (_, said) = rig.get("/api/v1/predictions").await;
    let versions: Vec<_> = said.as_array().unwrap().iter().map(|p| &p["model_version"]).collect();
    assert_eq!(versions, [&json!("rules")], "what the challenger says is not shown");
    let page = rig.client.get(format!("{}/models", rig.base)).send().await.unwrap().text().await.unwrap();
    assert!(
        page.contains("In shadow") && page.contains("It scores beside what serves until 2026-01-01 02:00"),
        "{page}"
    );
    rig.crash().await;

    let rig = start_at(folder.path(), START + 3600, with_shadow).await;
    for at in 60..120 {
        minute(&rig, at, 20.0 + (at % 3) as f64).await;
    }
    assert_eq!(model(&rig).await["current"], Value::Null, "the period is not over");
    minute(&rig, 120, 20.0).await;
    let model = model(&rig).await;
    assert_eq!((&model["current"], &model["serving"]), (&json!(version.to_string()), &json!(version.to_string())));
    let ended = &model["shadow"]["ended"];
    assert_eq!((&ended["promoted"], &ended["comparison"]["takes_over"]), (&json!(true), &json!(true)), "{ended}");
    assert_eq!(rig.metric(&format!("forewarn_shadow_info{info}")).await, None);
    minute(&rig, 121, 20.0).await;
    assert_eq!(rig.get("/api/v1/predictions").await.1[0]["model_version"], json!(version.to_string()));
    let (_, trail) = rig.get("/api/v1/audit").await;
    let actions: Vec<_> = trail["entries"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["promote", "shadow"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenger_that_would_have_raised_a_false_alarm_is_refused_and_nobody_hears_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_, version) = candidate(folder.path()).await;
    const HOURS: i64 = 16;
    let rig = start(folder.path(), |options| options.shadow = Duration::from_secs(HOURS.unsigned_abs() * 3600)).await;
    assert_eq!(rig.post("/api/v1/models/cart/promote", Value::Null).await.0, StatusCode::OK);
    // A climb that ends before rules alone would be sure enough: only the challenger speaks up.
    let (mut at, mut active) = (0, 10.0);
    while kept(folder.path(), "shadow_requests").await == 0 {
        assert!(at < 360, "the challenger would not have asked for anything");
        minute(&rig, at, active).await;
        (at, active) = (at + 1, active + 0.25);
    }
    for at in at..=HOURS * 60 {
        minute(&rig, at, active).await;
    }
    assert_eq!(rig.get("/api/v1/requests").await.1, json!([]), "what the challenger would have asked for never leaves");
    let model = model(&rig).await;
    assert_eq!((&model["current"], &model["serving"]), (&Value::Null, &Value::Null));
    let ended = &model["shadow"]["ended"];
    assert_eq!(ended["promoted"], false, "{ended}");
    assert_eq!(ended["reason"], "it would have made 1 false alarms, what serves made 0");
    assert!(ended["comparison"]["pairs"].as_u64().unwrap() > 0, "{ended}");
    let page = rig.client.get(format!("{}/models", rig.base)).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("Refused by its shadow period") && page.contains("Challenger"));
    let (status, problem) = rig.post("/api/v1/models/cart/promote", Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(
        problem["detail"].as_str().unwrap().contains(&format!("the shadow period of {version} of cart refused it")),
        "{problem}"
    );
    rig.stop().await;
}
