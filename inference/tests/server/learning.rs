//! Labels move thresholds: a day later, logged, and back when they are taken back.

use forewarn_models::decision::DecisionParams;
use forewarn_schema::{LabelSet, Timestamp};
use forewarn_testkit::remote_write::encode_scrape;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rig::{LATENESS, Rig, START, pool_series, start_deciding};

const DAY: i64 = 86_400;
const SERVICES: [&str; 5] = ["cart", "checkout", "pay", "user", "web"];

/// Noisy, so that there is room above.
fn noisy() -> DecisionParams {
    DecisionParams { min_probability_unlearnt: 0.35, persistence: 5, ..DecisionParams::default() }
}

/// Connections of every service stand at `active`, and a step is made of it.
async fn minute(rig: &Rig, at: i64, active: f64) {
    rig.set_now(at + LATENESS);
    let series: Vec<(LabelSet, f64)> = SERVICES.iter().flat_map(|service| pool_series(service, active)).collect();
    let (status, answer) = rig.write(encode_scrape(Timestamp::from_seconds(at), &series)).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    rig.handle.tick(Timestamp::from_seconds(at + LATENESS)).await;
}

async fn requests(rig: &Rig) -> Vec<Value> {
    rig.get("/api/v1/requests").await.1.as_array().unwrap().clone()
}

/// All of them leak until each has asked; then each is called a false alarm.
async fn cry_wolf(rig: &Rig) -> Vec<String> {
    for m in 0..480 {
        minute(rig, START + m * 60, 10.0 + 0.25 * m as f64).await;
        if requests(rig).await.len() == SERVICES.len() {
            break;
        }
    }
    let mut labels = Vec::new();
    for request in requests(rig).await {
        let label = json!({"prediction_id": request["prediction_id"], "verdict": "false_positive"});
        let (status, label) = rig.post("/api/v1/feedback", label).await;
        assert!(status.is_success(), "{label}");
        labels.push(label["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(labels.len(), SERVICES.len());
    labels
}

async fn thresholds(rig: &Rig) -> Value {
    let (status, view) = rig.get("/api/v1/thresholds").await;
    assert_eq!(status, StatusCode::OK, "{view}");
    view
}

fn of<'a>(view: &'a Value, service: &str) -> &'a Value {
    view["thresholds"].as_array().unwrap().iter().find(|t| t["service"] == service).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn false_alarms_raise_thresholds_a_step_a_day_and_labels_taken_back_were_never_there() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start_deciding(folder.path(), noisy(), START).await;
    let labels = cry_wolf(&rig).await;
    assert_eq!(thresholds(&rig).await["thresholds"], json!([]), "nothing moves on the day of the labels");

    minute(&rig, START + DAY + 60, 10.0).await;
    let view = thresholds(&rig).await;
    let cart = of(&view, "cart");
    assert_eq!((&cart["start"]["min_probability"], &cart["now"]["min_probability"]), (&json!(0.35), &json!(0.55)));
    assert_eq!(cart["because"]["falses"], json!(1.0));
    assert_eq!(cart["steps"].as_array().unwrap().len(), 1);
    let gauge = r#"forewarn_threshold_min_probability{kind="pool_exhaustion",service="cart"}"#;
    assert_eq!(rig.metric(gauge).await, Some(0.55));
    // The fleet's, and each service's own.
    assert_eq!(view["moves"].as_array().unwrap().len(), SERVICES.len() + 1);
    let trail = rig.get("/api/v1/audit").await.1;
    let noted = trail["entries"].as_array().unwrap().iter().find(|t| t["object"] == "cart/pool_exhaustion").unwrap();
    assert_eq!(
        (&noted["action"], noted["detail"].as_str().unwrap().starts_with("0.35 for 5 steps to 0.55")),
        (&json!("threshold"), true)
    );

    // Another server on the same state: the same, and nothing is noted twice.
    rig.stop().await;
    let rig = start_deciding(folder.path(), noisy(), START + DAY + 60).await;
    minute(&rig, START + DAY + 120, 10.0).await;
    assert_eq!(thresholds(&rig).await, view);

    for label in labels {
        let (status, answer) = rig.send(Method::DELETE, &format!("/api/v1/feedback/{label}"), Value::Null).await;
        assert!(status.is_success(), "{answer}");
    }
    minute(&rig, START + DAY + 180, 10.0).await;
    let back = thresholds(&rig).await;
    assert_eq!(back["thresholds"], json!([]));
    assert_eq!(back["moves"][0]["because"], Value::Null);
    assert_eq!(back["moves"][0]["to"], back["moves"][0]["start"]);
    assert_eq!(rig.metric(gauge).await, None);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_told_not_to_learn_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start_deciding(folder.path(), noisy(), START).await;
    cry_wolf(&rig).await;
    rig.stop().await;
    let rig = crate::rig::start_at(folder.path(), START + DAY, |options| options.learn = false).await;
    minute(&rig, START + DAY + 60, 10.0).await;
    let view = thresholds(&rig).await;
    assert_eq!((&view["learning"], &view["thresholds"], &view["moves"]), (&json!(false), &json!([]), &json!([])));
    rig.stop().await;
}
