//! What an operator meets: a full disk, a broken model, a second server, metrics, a foreign page.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use forewarn_models::ModelRegistry;
use forewarn_schema::Timestamp;
use forewarn_testkit::webhook::WebhookReceiver;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::Connection;

use crate::rig::{START, bind, options, pool_scrape, start, webhook};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_intake_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = WebhookReceiver::start(0).unwrap();
    let cap = 1 << 20;
    let rig = start(folder.path(), |options| {
        options.webhook = Some(webhook(&receiver, SECRET));
        options.state_max_bytes = Some(cap);
    })
    .await;
    // Somebody else fills the disk to the last page.
    let url = format!("sqlite://{}", folder.path().join("state.db").display());
    let mut other = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", cap / 4096)))
        .execute(&mut other)
        .await
        .unwrap();
    while sqlx::query("INSERT INTO audit (at_ms, action, object, detail) VALUES (0, 'fill', '', hex(zeroblob(1500)))")
        .execute(&mut other)
        .await
        .is_ok()
    {}
    let mut last = 0;
    for minute in 0..480 {
        last = START + minute * 60;
        rig.set_now(last + 15);
        let (status, problem) = rig.write(pool_scrape(last, 10.0 + 0.25 * minute as f64)).await;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            assert!(problem["detail"].as_str().unwrap().contains("state storage is full"), "{problem}");
            break;
        }
        assert_eq!(status, StatusCode::NO_CONTENT);
        rig.handle.tick(Timestamp::from_seconds(last + 15)).await;
    }
    assert_eq!(rig.get("/-/ready").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(rig.get("/-/healthy").await.0, StatusCode::OK);
    assert_eq!(rig.handle.tick(Timestamp::from_seconds(last + 15)).await, 0, "no step follows one that is not stored");
    assert!(rig.metric("forewarn_state_failures_total").await > Some(0.0));

    sqlx::query("DELETE FROM audit WHERE action = 'fill'").execute(&mut other).await.unwrap();
    rig.handle.tick(Timestamp::from_seconds(last + 15)).await;
    assert_eq!(rig.get("/-/ready").await.0, StatusCode::OK);
    assert_eq!(rig.write(pool_scrape(last, 10.0)).await.0, StatusCode::NO_CONTENT);
    rig.leak_until_request_from(last + 60).await;
    assert!(receiver.wait_for(1, Duration::from_secs(20)));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_promotes_or_takes_back_serves_without_a_look_at_every_pointer() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().join("store").display());
    let registry = ModelRegistry::open(&url).await.unwrap();
    let version = registry.publish(&crate::bundles::bundle("cart", 1, 7)).await.unwrap();
    let rig = start(folder.path(), |options| options.registry_poll = Some(Duration::from_secs(86_400))).await;
    let serving = format!(r#"forewarn_model_info{{model_version="{version}",service="cart"}}"#);
    let until = async |wanted: Option<f64>| {
        for _ in 0..300 {
            if rig.metric(&serving).await == wanted {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    };
    tokio::time::sleep(Duration::from_millis(1500)).await;
    registry.promote("cart", &version, Timestamp::from_seconds(START), "by hand").await.unwrap();
    assert!(until(Some(1.0)).await, "promoted, and not served");
    registry.rollback("cart", Timestamp::from_seconds(START + 60)).await.unwrap();
    assert!(until(None).await, "taken back, and served on");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_model_is_refused_and_the_one_before_serves() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let registry = ModelRegistry::open(&format!("file://{}", store.display())).await.unwrap();
    let (good, bad) = (crate::bundles::bundle("cart", 1, 7), crate::bundles::bundle("cart", 2, 7));
    let v1 = registry.publish(&good).await.unwrap().to_string();
    let rig = start(folder.path(), |_| {}).await;

    // A candidate that was not evaluated is not promoted from here; one that passed is.
    let (status, problem) = rig.post("/api/v1/models/cart/promote", Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem["detail"].as_str().unwrap().contains("never evaluated"), "{problem}");
    let report = |version: &str| {
        let judged = json!({"service": "cart", "candidate": {"version": version}, "verdict": {"verdict": "pass", "reason": "better"}});
        [("report.json".to_owned(), json!({"services": [judged]}).to_string().into())].into()
    };
    registry.put_report("r1", &report(&v1)).await.unwrap();
    let (status, model) = rig.post("/api/v1/models/cart/promote", Value::Null).await;
    assert_eq!((status, &model["serving"]), (StatusCode::OK, &json!(v1)), "{model}");
    assert_eq!(rig.metric(&format!(r#"forewarn_model_info{{model_version="{v1}",service="cart"}}"#)).await, Some(1.0));

    // The next one is promoted by somebody else, and then damaged on disk.
    let v2 = registry.publish(&bad).await.unwrap();
    registry.promote("cart", &v2, Timestamp::from_seconds(START), "by hand").await.unwrap();
    let tensors = store.join(format!("models/cart/{v2}/tensors.safetensors"));
    let mut bytes = std::fs::read(&tensors).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&tensors, bytes).unwrap();
    let (status, problem) = rig.post("/-/reload", Value::Null).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(problem["serving"]["cart"], json!(v1));
    assert!(problem["refused"]["cart"].as_str().unwrap().contains("tensors.safetensors"), "{problem}");
    assert_eq!(rig.metric("forewarn_models_refused_total").await, Some(1.0));
    let (_, models) = rig.get("/api/v1/models").await;
    assert_eq!(models[0]["current"], json!(v2));
    assert_eq!(models[0]["serving"], json!(v1));

    let (status, model) = rig.post("/api/v1/models/cart/rollback", Value::Null).await;
    assert_eq!((status, &model["current"], &model["error"]), (StatusCode::OK, &json!(v1), &Value::Null), "{model}");
    assert_eq!(rig.post("/-/reload", Value::Null).await.0, StatusCode::OK);
    let (_, model) = rig.post("/api/v1/models/cart/rollback", Value::Null).await;
    assert_eq!((&model["current"], &model["serving"]), (&Value::Null, &Value::Null), "{model}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_go_wrong_later_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    let second = bind(folder.path(), options(folder.path())).await.err().unwrap();
    assert!(second.is_in_use(), "{second}");
    rig.stop().await;
    let mut open = options(folder.path());
    open.listen = ([0, 0, 0, 0], 0).into();
    let refused = bind(folder.path(), open.clone()).await.err().unwrap().to_string();
    assert!(refused.contains("allow_unauthenticated_remote"), "{refused}");
    open.allow_unauthenticated_remote = true;
    bind(folder.path(), open).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_own_tool_finds_nothing_wrong_with_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    rig.leak_until_request(START).await;
    let response = rig.client.get(format!("{}/metrics", rig.base)).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    let median = r#"forewarn_time_to_breach_seconds{kind="pool_exhaustion",pod="cart-1",quantile="0.5",service="cart",signal="pool"} "#;
    assert!(text.contains(median), "{text}");
    assert!(text.contains("forewarn_requests_total{kind=\"pool_exhaustion\",mode=\"dry_run\"} 1\n"));
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("skipped: promtool is not installed");
        return;
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sites_page_changes_nothing_and_reads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    let post = |name: &'static str, value: &'static str| {
        rig.client.post(format!("{}/-/reload", rig.base)).header(name, value).send()
    };
    for (name, value) in
        [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("host", "evil.example:9797")]
    {
        let response = post(name, value).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{name}: {value}");
        assert_eq!(response.headers()["x-frame-options"], "DENY");
    }
    assert_eq!(post("sec-fetch-site", "same-origin").await.unwrap().status(), StatusCode::OK);
    assert_eq!(post("host", "localhost:1").await.unwrap().status(), StatusCode::OK);
    rig.stop().await;
}
