use forewarn_models::EngineOutput;
use forewarn_schema::{
    AnomalyScore, BreachKind, Explanation, FeedbackSubject, LabelSet, LabelSource, Mode, PredictedBreach, Prediction,
    Probability, RemediationRequest, RequestStatus, Verdict,
};

use super::*;
use crate::app::NewFeedback;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn prediction(pod: &str, seconds: i64, probability: f64) -> Prediction {
    let labels = LabelSet::from([("pod", pod)]);
    Prediction {
        id: Prediction::derive_id("cart", "pool", &labels, at(seconds)),
        at: at(seconds),
        service: "cart".into(),
        signal: "pool".into(),
        kind: BreachKind::PoolExhaustion,
        labels: labels.into(),
        value: 40.0,
        limit: 50.0,
        breach_probability: Probability::new(probability).unwrap(),
        horizon_seconds: 3600.0,
        time_to_breach_seconds: None,
        request_id: None,
        anomaly_score: AnomalyScore::default(),
        model_version: "rules".into(),
        explanation: Explanation::default(),
    }
}

fn request(of: &Prediction, expires: i64) -> RemediationRequest {
    RemediationRequest {
        id: format!("r-{}", of.id),
        prediction_id: of.id.clone(),
        at: of.at,
        service: of.service.clone(),
        signal: of.signal.clone(),
        kind: of.kind,
        labels: (*of.labels).clone(),
        predicted_breach: PredictedBreach { p10: at(expires), p50: at(expires), p90: at(expires) },
        probability: of.breach_probability,
        evidence: Explanation::default(),
        playbook: None,
        window: None,
        mode: Mode::DryRun,
        expires_at: at(expires),
        outcome_url: None,
    }
}

fn output(predictions: Vec<Prediction>, requests: Vec<RemediationRequest>) -> EngineOutput {
    EngineOutput { predictions, requests }
}

async fn in_memory() -> StateStore {
    StateStore::open("sqlite::memory:").await.unwrap()
}

#[tokio::test]
async fn likely_predictions_are_kept_once_in_ten_minutes_a_target() {
    let store = in_memory().await;
    for minute in 0..25 {
        let step = vec![prediction("a", minute * 60, 0.9), prediction("b", minute * 60, 0.4)];
        store.save_step(&output(step, vec![]), true).await.unwrap();
    }
    let kept: Vec<_> = store.predictions(100).await.unwrap().iter().map(|p| (p.labels.to_string(), p.at)).collect();
    let a = r#"{pod="a"}"#.to_owned();
    assert_eq!(kept, [(a.clone(), at(1200)), (a.clone(), at(600)), (a, at(0))]);
}

#[tokio::test]
async fn a_step_stored_twice_is_announced_once() {
    let store = in_memory().await;
    let p = prediction("a", 60, 0.2);
    let step = output(vec![p.clone()], vec![request(&p, 7200)]);
    assert_eq!(store.save_step(&step, true).await.unwrap().len(), 1);
    assert_eq!(store.save_step(&step, true).await.unwrap().len(), 0);
    assert_eq!(store.outbox_pending().await.unwrap(), 1);
    assert_eq!(store.prediction(&p.id).await.unwrap(), Some(p), "an unlikely one that emitted a request is kept");
}

#[tokio::test]
async fn a_targets_messages_leave_in_order() {
    let store = in_memory().await;
    let (first, second, other) = (prediction("a", 60, 0.9), prediction("a", 6000, 0.9), prediction("b", 120, 0.9));
    for p in [&first, &other, &second] {
        store.save_step(&output(vec![p.clone()], vec![request(p, 9000)]), true).await.unwrap();
    }
    let heads = store.outbox_heads(10).await.unwrap();
    let ids: Vec<_> = heads.iter().map(|e| e.event_id.clone()).collect();
    assert_eq!(ids, [format!("r-{}", first.id), format!("r-{}", other.id)]);
    store.outbox_tried(heads[0].seq, &Fate::Retry { error: "no".into() }, at(70)).await.unwrap();
    assert_eq!(store.outbox_heads(10).await.unwrap()[0].attempts, 1);
    store.outbox_tried(heads[0].seq, &Fate::Delivered, at(80)).await.unwrap();
    assert_eq!(store.outbox_heads(10).await.unwrap()[1].event_id, format!("r-{}", second.id));
    let stored = store.request(&format!("r-{}", first.id)).await.unwrap().unwrap();
    assert_eq!((stored.attempts, stored.delivered_at, stored.last_error), (2, Some(at(80)), None));
}

#[tokio::test]
async fn a_decision_holds_and_an_expired_request_takes_none() {
    let store = in_memory().await;
    let (p, late) = (prediction("a", 60, 0.9), prediction("b", 60, 0.9));
    let step = output(vec![p.clone(), late.clone()], vec![request(&p, 7200), request(&late, 100)]);
    store.save_step(&step, true).await.unwrap();
    let id = format!("r-{}", p.id);
    for _ in 0..2 {
        let stored = store.decide(&id, Decision::Approve, Some("go"), at(200), true).await.unwrap();
        assert_eq!((stored.status, stored.note.as_deref()), (RequestStatus::Approved, Some("go")));
    }
    assert_eq!(store.outbox_pending().await.unwrap(), 3, "the approval is announced, once");
    let error = store.decide(&id, Decision::Reject, None, at(210), true).await.unwrap_err();
    assert_eq!(error.to_string(), format!("request {id} is approved already"));
    let late = format!("r-{}", late.id);
    assert!(store.decide(&late, Decision::Approve, None, at(200), true).await.is_err());
    let settled = store.report_outcome(&late, Outcome::Succeeded, None, at(300)).await.unwrap();
    assert_eq!(settled.status, RequestStatus::Succeeded, "what was begun in time may end late");
    assert!(store.decide("r-none", Decision::Approve, None, at(1), true).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn labels_read_back_and_can_be_taken_back() {
    let store = in_memory().await;
    let p = prediction("a", 60, 0.9);
    store.keep_prediction(&p).await.unwrap();
    let of_prediction = NewFeedback {
        subject: FeedbackSubject::Prediction { prediction_id: p.id.clone() },
        verdict: Verdict::FalsePositive,
        note: Some("a deploy".into()),
        source: LabelSource::Shell,
    };
    let of_breach = NewFeedback {
        subject: FeedbackSubject::Breach { service: "cart".into(), kind: BreachKind::Oom, at: at(50) },
        verdict: Verdict::Missed,
        note: None,
        source: LabelSource::Alertmanager,
    };
    let first = store.add_feedback(&of_prediction, at(100)).await.unwrap();
    let second = store.add_feedback(&of_breach, at(200)).await.unwrap();
    assert_eq!(store.feedback().await.unwrap(), [first.clone(), second.clone()]);
    assert!(store.delete_feedback(&first.id, at(300)).await.unwrap());
    assert!(!store.delete_feedback(&first.id, at(300)).await.unwrap());
    assert_eq!(store.feedback().await.unwrap(), [second]);
    let unknown = FeedbackSubject::Prediction { prediction_id: "p-none".into() };
    let refused = store.add_feedback(&NewFeedback { subject: unknown, ..of_prediction }, at(1)).await.unwrap_err();
    assert_eq!(refused.to_string(), "no prediction with id p-none");
}

#[tokio::test]
async fn old_predictions_go_unless_somebody_refers_to_them() {
    let store = in_memory().await;
    let (labelled, plain, requested) = (prediction("a", 60, 0.9), prediction("b", 60, 0.9), prediction("c", 60, 0.9));
    let step = vec![labelled.clone(), plain.clone(), requested.clone()];
    store.save_step(&output(step, vec![request(&requested, 100)]), false).await.unwrap();
    let label = NewFeedback {
        subject: FeedbackSubject::Prediction { prediction_id: labelled.id.clone() },
        verdict: Verdict::Unclear,
        note: None,
        source: LabelSource::Page,
    };
    store.add_feedback(&label, at(100)).await.unwrap();
    store.prune(at(100 * 86_400)).await.unwrap();
    assert_eq!(store.prediction(&plain.id).await.unwrap(), None);
    assert!(store.prediction(&labelled.id).await.unwrap().is_some());
    assert!(store.prediction(&requested.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_full_store_says_so_keeps_what_it_has_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("state.db").display());
    let store = StateStore::open_capped(&url, Some(400 << 10)).await.unwrap();
    let mut stored = 0;
    let error = loop {
        let mut p = prediction("a", stored, 0.9);
        p.explanation.summary = "x".repeat(10_000);
        match store.keep_prediction(&p).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_storage_full(), "{error:?}");
    assert_eq!(error.to_string(), "state storage is full, cannot store a prediction");
    assert!(store.failure().is_some());
    assert!(store.probe().await.unwrap_err().is_storage_full());
    assert_eq!(store.predictions(1000).await.unwrap().len() as i64, stored, "nothing acknowledged is lost");
    sqlx::query("DELETE FROM predictions").execute(&store.pool).await.unwrap();
    store.probe().await.unwrap();
    assert_eq!(store.failure(), None);
}

#[tokio::test]
async fn a_second_server_is_refused_until_the_first_ends() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("state.db").display());
    let (first, second) = (StateStore::open(&url).await.unwrap(), StateStore::open(&url).await.unwrap());
    let lock = first.lock_server().unwrap();
    let error = second.lock_server().unwrap_err();
    assert!(error.is_in_use());
    assert!(error.to_string().contains("in use by another forewarn server"), "{error}");
    drop(lock);
    second.lock_server().unwrap();
}

#[tokio::test]
async fn only_sqlite_is_taken() {
    for (url, says) in [
        ("postgres://user:secret@db/forewarn", "PostgreSQL is not supported by this version"),
        ("mysql://db", "the scheme must be sqlite"),
        ("sqlite://", "a path must follow"),
    ] {
        let error = StateStore::open(url).await.unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("secret"), "{error}");
    }
    let missing = StateStore::open("sqlite:///no/such/folder/state.db").await.unwrap_err();
    assert!(missing.to_string().contains("/no/such/folder/state.db"), "{missing}");
}
