use forewarn_models::EngineOutput;
use forewarn_models::guardrails::{Held, HeldBy};
use forewarn_models::ladder::Rung;
use forewarn_schema::{
    AnomalyScore, Became, BreachKind, Explanation, FeedbackSubject, Happening, LabelSet, LabelSource, Mode,
    PredictedBreach, Prediction, Probability, RemediationRequest, RequestStatus, Settlement, TimeRange, Verdict,
};

use forewarn_testkit::postgres::Postgres;

use super::*;
use crate::app::NewFeedback;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

pub(crate) fn prediction(pod: &str, seconds: i64, probability: f64) -> Prediction {
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
    EngineOutput { predictions, requests, held: Vec::new() }
}

impl StateStore {
    /// A step that nothing limits: the ids of its requests that are new.
    pub(crate) async fn keep_step(&self, output: &EngineOutput, announce: bool) -> Result<Vec<String>, StateError> {
        Ok(self.save_step(output, announce, &Limits::default()).await?.fresh)
    }
}

async fn in_memory() -> StateStore {
    StateStore::open("sqlite::memory:").await.unwrap()
}

/// A fresh database of a real PostgreSQL, whose lead the store has; `None` where that is not installed.
async fn on_server() -> Option<StateStore> {
    let store = StateStore::open(&Postgres::shared()?.database().unwrap()).await.unwrap();
    let term = store.take_lead("test", None).await.unwrap().unwrap();
    store.set_term(Some(term));
    Some(store)
}

/// The same claim of both databases.
macro_rules! on_both {
    ($(async fn $claim:ident($store:ident) $body:block)*) => { $(
        mod $claim {
            use super::*;

            async fn claim($store: StateStore) $body

            #[tokio::test]
            async fn sqlite() {
                claim(in_memory().await).await;
            }

            #[tokio::test]
            async fn postgresql() {
                if let Some(store) = on_server().await {
                    claim(store).await;
                }
            }
        }
    )* };
}

mod fleet;
mod labels;

on_both! {
async fn what_is_learnt_from_and_what_came_of_it_is_kept(store) {
    use forewarn_models::learning::{Because, Caution, Followed, Reached};
    let caution = |min_probability| Caution { min_probability, persistence: 30, persistence_racing: 5 };
    let said = prediction("a", 60, 0.9);
    let asked = request(&said, 7200);
    store.keep_step(&output(vec![said.clone()], vec![asked.clone()]), false).await.unwrap();
    let reached = |seconds: i64| vec![Reached { caution: caution(0.55), at: at(seconds) }];
    for seconds in [60, 120] {
        let followed = Followed { request_id: asked.id.clone(), reached: reached(seconds) };
        store.save_reached(&[followed]).await.unwrap();
    }
    assert_eq!(store.reached().await.unwrap(), std::collections::BTreeMap::from([(asked.id.clone(), reached(120))]));

    let before = store.judged_mark().await.unwrap();
    let label = NewFeedback {
        subject: FeedbackSubject::Span {
            service: "cart".to_owned(),
            kind: None,
            range: forewarn_schema::TimeRange::new(at(0), at(120)).unwrap(),
        },
        verdict: Verdict::FalsePositive,
        note: None,
        source: LabelSource::Api,
    };
    let label = store.add_feedback(&label, at(180)).await.unwrap();
    assert_ne!(store.judged_mark().await.unwrap(), before);
    assert_eq!(store.judged_predictions().await.unwrap().keys().collect::<Vec<_>>(), [&said.id]);
    assert_eq!(store.take_back(std::slice::from_ref(&label.id), at(240)).await.unwrap(), 1);
    assert_eq!(store.judged_mark().await.unwrap(), before);

    let moved = |seconds: i64, from: f64, to: f64| ThresholdMove {
        at: at(seconds),
        service: Some("cart".to_owned()),
        kind: BreachKind::PoolExhaustion,
        start: caution(0.55),
        from: caution(from),
        to: caution(to),
        because: Some(Because { falses: 4.0, ..Because::default() }),
    };
    let (first, second) = (moved(60, 0.55, 0.65), moved(120, 0.65, 0.75));
    let fleet = ThresholdMove { service: None, ..first.clone() };
    store.add_threshold_moves(&[first.clone(), fleet.clone()]).await.unwrap();
    store.add_threshold_moves(std::slice::from_ref(&second)).await.unwrap();
    assert_eq!(store.threshold_moves(2).await.unwrap(), [second.clone(), fleet.clone()]);
    let last = store.last_threshold_moves().await.unwrap();
    assert!(last.len() == 2 && last.contains(&second) && last.contains(&fleet), "{last:?}");
    let noted = &store.trail(None, 1).await.unwrap()[0];
    assert_eq!((noted.action.as_str(), noted.object.as_str()), ("threshold", "cart/pool_exhaustion"));
    assert_eq!(noted.detail, "0.65 for 30 steps to 0.75 for 30 steps: 0 true (0 missed), 4 false");
}

async fn a_stop_stays_until_it_is_taken_back_and_both_are_in_the_trail(store) {
    assert_eq!(store.stopped().await.unwrap(), None);
    store.stop(Some("a\0b"), at(60)).await.unwrap();
    store.stop(None, at(120)).await.unwrap();
    let stop = store.stopped().await.unwrap().unwrap();
    assert_eq!((stop.since, stop.note.as_deref().map(|n| n.starts_with('a'))), (at(60), Some(true)), "the first stays");
    store.resume(None, at(180)).await.unwrap();
    assert_eq!(store.stopped().await.unwrap(), None);
    let trail = store.trail(None, 10).await.unwrap();
    assert_eq!(trail.iter().map(|t| t.action.as_str()).collect::<Vec<_>>(), ["resume", "stop", "stop"]);
    assert_eq!(store.trail(Some(trail[0].seq), 1).await.unwrap(), trail[1..2]);
}

async fn a_silence_is_listed_until_its_end_and_ends_once(store) {
    let silence = |id: &str, service: Option<&str>, until: i64| Silence {
        id: id.to_owned(),
        service: service.map(str::to_owned),
        from: at(0),
        until: at(until),
        who: "ann".to_owned(),
        note: None,
    };
    let (all, one) = (silence("s1", None, 600), silence("s2", Some("cart"), 300));
    store.add_silence(&all, at(0)).await.unwrap();
    store.add_silence(&one, at(0)).await.unwrap();
    assert_eq!(store.silences(at(200)).await.unwrap(), [one, all.clone()]);
    assert_eq!(store.silences(at(300)).await.unwrap(), [all]);
    assert!(store.end_silence("s1", at(400)).await.unwrap());
    assert!(!store.end_silence("s1", at(400)).await.unwrap());
    assert_eq!(store.silences(at(400)).await.unwrap(), []);
}

async fn what_was_held_back_and_who_looked_unusual_is_noted_once(store) {
    let held = |since| Held {
        service: "cart".to_owned(),
        signal: "memory".to_owned(),
        labels: LabelSet::new(),
        by: HeldBy::Maintenance,
        since: at(since),
    };
    let step = |second: i64, score: f64| {
        let unusual = Prediction { anomaly_score: AnomalyScore::saturating(score), ..prediction("p", second, 0.1) };
        EngineOutput { held: vec![held(60)], ..output(vec![unusual], vec![]) }
    };
    for (second, score) in [(60, 0.9995), (120, 0.9999), (660, 0.9992), (1320, 0.5)] {
        store.keep_step(&step(second, score), true).await.unwrap();
    }
    let all = TimeRange { start: at(0), end: at(10_000) };
    assert_eq!(store.held_in(all).await.unwrap(), [held(60)]);
    let seen: Vec<_> = store.sightings_in(all).await.unwrap().into_iter().map(|s| s.at).collect();
    assert_eq!(seen, [at(60), at(660)], "one in ten minutes, and only the unusual");
    assert_eq!(store.sightings_in(TimeRange { start: at(61), end: at(660) }).await.unwrap(), []);
    store.prune(at(100 * 86_400)).await.unwrap();
    assert!(store.held_in(all).await.unwrap().is_empty() && store.sightings_in(all).await.unwrap().is_empty());
}

async fn an_announcement_is_settled_once(store) {
    let settled = |id: &str, became| Settlement {
        id: id.to_owned(),
        request_id: None,
        service: "cart".to_owned(),
        signal: "memory".to_owned(),
        kind: BreachKind::Oom,
        labels: LabelSet::from([("pod", "cart-1")]),
        at: at(60),
        probability: Some(Probability::saturating(0.8)),
        horizon_seconds: 3600.0,
        time_to_breach_seconds: None,
        model_version: "rules".to_owned(),
        became,
        settled_at: at(5000),
    };
    let first = settled("p-1", Became::Averted { by: Some(Happening::Restarted), would_have: Some(true) });
    assert_eq!(store.add_settlements(&[first.clone(), settled("p-2", Became::FalseAlarm)]).await.unwrap(), 2);
    assert_eq!(store.add_settlements(&[settled("p-1", Became::FalseAlarm)]).await.unwrap(), 0);
    let stored = store.settlements_since(at(5000)).await.unwrap();
    assert_eq!((stored.len(), &stored[0]), (2, &first));
    assert_eq!(store.settlements_since(at(5001)).await.unwrap(), []);
    let of_request = Settlement { request_id: Some("r-3".to_owned()), ..settled("p-3", Became::FalseAlarm) };
    store.add_settlements(std::slice::from_ref(&of_request)).await.unwrap();
    assert_eq!(store.settlements_to_learn_from(at(5001)).await.unwrap(), [of_request], "what labels may be of, however old");
    assert_eq!(store.settlements_to_learn_from(at(5000)).await.unwrap().len(), 3);
}

async fn a_mode_is_set_changed_and_given_back(store) {
    let rung = |mode, verified| Rung { mode, since: at(60), verified };
    let put = async |wanted: Rung, note| {
        let may = |_: &Rung| Ok::<_, ()>(wanted.clone());
        store.set_mode(("cart", "restart"), Mode::DryRun, note, at(60), may).await.unwrap().unwrap();
    };
    put(rung(Mode::Approval, 3), Some("works")).await;
    put(rung(Mode::Automatic, 20), None).await;
    let stored = store.mode("cart", "restart").await.unwrap().unwrap();
    assert_eq!((stored.rung, stored.note), (rung(Mode::Automatic, 20), None));
    assert_eq!(store.modes().await.unwrap().len(), 1);
    let modes = (Mode::Automatic, Mode::DryRun);
    assert!(store.forget_mode("cart", "restart", modes, at(90)).await.unwrap());
    assert!(!store.forget_mode("cart", "restart", modes, at(90)).await.unwrap());
    let moves = store.ladder_moves("cart", "restart", 10).await.unwrap();
    let moves: Vec<_> = moves.iter().map(|m| (m.event.as_str(), m.from, m.to)).collect();
    assert_eq!(
        moves,
        [
            ("forgotten", Mode::Automatic, Mode::DryRun),
            ("set", Mode::Approval, Mode::Automatic),
            ("set", Mode::DryRun, Mode::Approval)
        ]
    );
    assert_eq!(store.mode("cart", "restart").await.unwrap(), None);
}

async fn a_message_that_was_refused_is_seen_and_sent_again(store) {
    let p = prediction("a", 60, 0.9);
    store.keep_step(&output(vec![p.clone()], vec![request(&p, 7200)]), true).await.unwrap();
    let head = store.outbox_heads(10).await.unwrap().remove(0);
    store.outbox_tried(head.seq, &Fate::Refused { error: "410".to_owned() }, at(70)).await.unwrap();
    let dead = [MessageState::Refused, MessageState::Expired];
    let seen = store.outbox_messages(&dead, 10).await.unwrap();
    assert_eq!((seen.len(), seen[0].attempts, seen[0].last_error.as_deref()), (1, 1, Some("410")));
    assert_eq!(store.outbox_counts().await.unwrap(), [("refused".to_owned(), 1)]);
    assert_eq!(store.resend(&head.event_id, false, at(80)).await.unwrap().state, MessageState::Pending);
    assert_eq!(store.outbox_heads(10).await.unwrap()[0].event_id, head.event_id);
    assert!(matches!(store.resend("none", false, at(80)).await, Err(StateError::NotFound { .. })));
    assert!(matches!(store.resend(&head.event_id, false, at(90_000)).await, Err(StateError::NotResent { .. })));
    assert_eq!(store.requests_in_sight(at(0), 10).await.unwrap().len(), 1);
}

async fn likely_predictions_are_kept_once_in_ten_minutes_a_target(store) {
    for minute in 0..25 {
        let step = vec![prediction("a", minute * 60, 0.9), prediction("b", minute * 60, 0.4)];
        store.keep_step(&output(step, vec![]), true).await.unwrap();
    }
    let kept: Vec<_> = store.predictions(100).await.unwrap().iter().map(|p| (p.labels.to_string(), p.at)).collect();
    let a = r#"{pod="a"}"#.to_owned();
    assert_eq!(kept, [(a.clone(), at(1200)), (a.clone(), at(600)), (a, at(0))]);
}

async fn a_step_stored_twice_is_announced_once(store) {
    let p = prediction("a", 60, 0.2);
    let step = output(vec![p.clone()], vec![request(&p, 7200)]);
    assert_eq!(store.keep_step(&step, true).await.unwrap().len(), 1);
    assert_eq!(store.keep_step(&step, true).await.unwrap().len(), 0);
    assert_eq!(store.outbox_pending().await.unwrap(), 1);
    assert_eq!(store.prediction(&p.id).await.unwrap(), Some(p), "an unlikely one that emitted a request is kept");
}

async fn a_targets_messages_leave_in_order(store) {
    let (first, second, other) = (prediction("a", 60, 0.9), prediction("a", 6000, 0.9), prediction("b", 120, 0.9));
    for p in [&first, &other, &second] {
        store.keep_step(&output(vec![p.clone()], vec![request(p, 9000)]), true).await.unwrap();
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

async fn a_decision_holds_and_an_expired_request_takes_none(store) {
    let (p, late) = (prediction("a", 60, 0.9), prediction("b", 60, 0.9));
    let step = output(vec![p.clone(), late.clone()], vec![request(&p, 7200), request(&late, 100)]);
    store.keep_step(&step, true).await.unwrap();
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

async fn old_predictions_go_unless_somebody_refers_to_them(store) {
    let (labelled, plain, requested) = (prediction("a", 60, 0.9), prediction("b", 60, 0.9), prediction("c", 60, 0.9));
    let step = vec![labelled.clone(), plain.clone(), requested.clone()];
    store.keep_step(&output(step, vec![request(&requested, 100)]), false).await.unwrap();
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

async fn a_target_of_another_shard_is_left_to_its_leader(store) {
    let p = prediction("a", 60, 0.9);
    store.keep_step(&output(vec![p.clone()], vec![request(&p, 9000)]), true).await.unwrap();
    let other = store.clone().of_shard("1");
    assert_eq!(other.outbox_heads(10).await.unwrap(), []);
    other.decide(&format!("r-{}", p.id), Decision::Approve, None, at(70), true).await.unwrap();
    assert_eq!(other.outbox_heads(10).await.unwrap(), [], "approved here, delivered there");
    assert_eq!(store.outbox_pending().await.unwrap(), 2);
}

async fn a_try_that_ends_late_does_not_undo_a_delivery(store) {
    let p = prediction("a", 60, 0.9);
    store.keep_step(&output(vec![p.clone()], vec![request(&p, 9000)]), true).await.unwrap();
    let seq = store.outbox_heads(1).await.unwrap()[0].seq;
    store.outbox_tried(seq, &Fate::Delivered, at(70)).await.unwrap();
    store.outbox_tried(seq, &Fate::Retry { error: "of a leader before".into() }, at(80)).await.unwrap();
    assert_eq!(store.outbox_pending().await.unwrap(), 0);
}

async fn of_two_that_decide_at_once_one_does(store) {
    let p = prediction("a", 60, 0.9);
    store.keep_step(&output(vec![p.clone()], vec![request(&p, 9000)]), true).await.unwrap();
    let id = format!("r-{}", p.id);
    let (yes, no) = tokio::join!(
        store.decide(&id, Decision::Approve, None, at(70), true),
        store.decide(&id, Decision::Reject, None, at(70), true),
    );
    let status = store.request(&id).await.unwrap().unwrap().status;
    assert_eq!((yes.is_ok(), no.is_ok()), (status == RequestStatus::Approved, status == RequestStatus::Rejected));
    let announced = if status == RequestStatus::Approved { 2 } else { 1 };
    assert_eq!(store.outbox_pending().await.unwrap(), announced);
}

async fn a_zero_byte_in_a_label_stops_nothing(store) {
    let mut p = prediction("a\0b", 60, 0.9);
    p.service = "ca\0rt".into();
    let step = output(vec![p.clone()], vec![request(&p, 9000)]);
    assert_eq!(store.keep_step(&step, true).await.unwrap().len(), 1);
    assert_eq!(store.prediction(&p.id).await.unwrap(), Some(p.clone()), "the body is as it was");
    store.decide(&format!("r-{}", p.id), Decision::Reject, Some("no\0"), at(70), true).await.unwrap();
    assert_eq!(store.failure(), None);
}

async fn only_one_of_those_who_saw_the_same_leads(store) {
    let (store, other) = (store.clone().of_shard("led"), store.of_shard("led"));
    let first = store.take_lead("first", None).await.unwrap().unwrap();
    assert_eq!(other.take_lead("second", None).await.unwrap(), None);
    let seen = other.leader().await.unwrap().unwrap();
    assert_eq!(seen.holder, "first");
    assert!(store.beat(first).await.unwrap());
    assert_eq!(other.take_lead("second", Some(&seen)).await.unwrap(), None, "it beat since");
    let seen = other.leader().await.unwrap().unwrap();
    let second = other.take_lead("second", Some(&seen)).await.unwrap().unwrap();
    assert!(!store.beat(first).await.unwrap(), "what was replaced does not beat");
    assert_eq!(store.take_lead("first", Some(&seen)).await.unwrap(), None);
    other.resign(second).await.unwrap();
    assert_eq!(store.leader().await.unwrap().unwrap().holder, "");
}
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
async fn another_database_is_refused() {
    for (url, says) in
        [("mysql://user:secret@db", "the scheme must be sqlite or postgres"), ("sqlite://", "a path must follow")]
    {
        let error = StateStore::open(url).await.unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("secret"), "{error}");
    }
    let missing = StateStore::open("sqlite:///no/such/folder/state.db").await.unwrap_err();
    assert!(missing.to_string().contains("/no/such/folder/state.db"), "{missing}");
}

#[tokio::test]
async fn a_leader_that_was_replaced_stores_nothing() {
    let Some(store) = on_server().await else { return };
    let (p, later) = (prediction("a", 60, 0.9), prediction("b", 120, 0.9));
    store.keep_step(&output(vec![p.clone()], vec![request(&p, 9000)]), true).await.unwrap();
    let seen = store.leader().await.unwrap().unwrap();
    let term = store.take_lead("another", Some(&seen)).await.unwrap();
    let step = output(vec![later.clone()], vec![request(&later, 9000)]);
    let refused = store.keep_step(&step, true).await.unwrap_err();
    assert!(refused.is_not_leading(), "{refused}");
    assert_eq!(store.failure(), None, "that is no failure of the database");
    assert_eq!(store.prediction(&later.id).await.unwrap(), None);
    store.set_term(term);
    store.keep_step(&step, true).await.unwrap();
    assert!(store.prediction(&later.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_copy_under_load_is_of_one_instant_and_never_over_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
    let store = StateStore::open(&url("state.db")).await.unwrap();
    let writing = store.clone();
    let load = tokio::spawn(async move {
        for minute in 0..400 {
            let p = prediction("a", minute * 600, 0.9);
            writing.keep_step(&output(vec![p.clone()], vec![request(&p, 4_000_000_000)]), true).await.unwrap();
        }
    });
    let copy = folder.path().join("copy #1 %41?.db");
    while store.requests(1).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let bytes = store.backup_to(&copy).await.unwrap();
    load.await.unwrap();
    assert_eq!(std::fs::metadata(&copy).unwrap().len(), bytes);
    let again = store.backup_to(&copy).await.unwrap_err().to_string();
    assert!(again.contains("it is there already"), "{again}");
    std::fs::rename(&copy, folder.path().join("restored.db")).unwrap();
    let restored = StateStore::open(&url("restored.db")).await.unwrap();
    let requests = restored.requests(1000).await.unwrap();
    let messages = restored.outbox_pending().await.unwrap();
    assert_eq!(requests.len() as u64, messages, "both of one change or neither");
    assert!(!requests.is_empty() && requests.len() < 400, "{} of 400", requests.len());
}

#[tokio::test]
async fn a_server_that_refuses_or_is_away_is_told_apart_and_no_password_is_shown() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database().unwrap();
    let wrong = url.replace("hunter2", "hunter3");
    let error = StateStore::open(&wrong).await.unwrap_err();
    let text = crate::error::chain(&error);
    assert!(text.contains("password authentication failed") && !text.contains("hunter"), "{text}");
    assert!(!error.is_unreachable());
    let away = format!("{}127.0.0.1:1/none", &url[..url.find("127.0.0.1").unwrap()]);
    let error = StateStore::open(&away).await.unwrap_err();
    assert!(error.is_unreachable() && !crate::error::chain(&error).contains("hunter"), "{error:?}");
}

/// A pod's connections reached their limit.
fn reached(pod: &str, seconds: i64) -> forewarn_models::settle::Happened {
    forewarn_models::settle::Happened {
        service: "cart".into(),
        signal: "pool".into(),
        kind: BreachKind::PoolExhaustion,
        labels: LabelSet::from([("pod", pod)]).into(),
        at: at(seconds),
        what: forewarn_models::settle::What::Reached { onset: at(seconds - 3600), limit: 50.0 },
        would_have: forewarn_models::settle::WouldHave::Unknown,
    }
}

on_both! {
    async fn what_was_said_waits_until_it_is_settled_and_is_settled_once(store) {
        let likely = prediction("a", 600, 0.9);
        let asked = Prediction { request_id: Some("r".to_owned()), ..prediction("b", 600, 0.9) };
        let asking = request(&asked, 4200);
        store.keep_step(&output(vec![likely.clone(), asked.clone()], vec![asking]), false).await.unwrap();
        assert_eq!(store.due(at(600 + 3600)).await.unwrap(), [], "their horizon is not over");
        let due = store.due(at(600 + 3600 + 1800)).await.unwrap();
        let waiting: Vec<_> = due.iter().map(|one| (one.labels.get("pod").unwrap(), one.request_id.as_deref())).collect();
        assert_eq!(waiting.len(), 2);
        assert!(waiting.contains(&("a", None)) && waiting.contains(&("b", Some("r"))), "{waiting:?}");

        // A breach is looked at at once; what is not certain then waits on.
        store.add_happenings(&[reached("a", 1200), reached("a", 1200)], &[], at(1320)).await.unwrap();
        assert_eq!(store.due(at(1320)).await.unwrap().len(), 2);
        store.postpone(&[(asked.id.clone(), at(6000))]).await.unwrap();
        let [one] = store.due(at(1320)).await.unwrap().try_into().unwrap();
        assert_eq!(one.id, likely.id);
        assert_eq!(store.happenings_since(at(0)).await.unwrap(), [reached("a", 1200)]);
        assert_eq!(store.happenings_since(at(1201)).await.unwrap(), []);

        let settled = one.clone().settled(forewarn_schema::Became::Breached { at: at(1200) }, at(1320));
        let otherwise = one.settled(forewarn_schema::Became::FalseAlarm, at(9000));
        assert_eq!(store.add_settlements(std::slice::from_ref(&settled)).await.unwrap(), 1);
        assert_eq!(store.add_settlements(&[otherwise]).await.unwrap(), 0, "the first word stands");
        assert_eq!(store.settlements_since(at(0)).await.unwrap(), [settled]);
        assert_eq!(store.unsettled_count().await.unwrap(), 1);
        // The same step again asks for nothing that is settled.
        store.keep_prediction(&likely).await.unwrap();
        store.keep_step(&output(vec![likely], vec![]), false).await.unwrap();
        assert_eq!(store.unsettled_count().await.unwrap(), 1);
        store.prune(at(100 * 86_400)).await.unwrap();
        assert_eq!(store.happenings_since(at(0)).await.unwrap(), []);
    }

    async fn each_shard_settles_what_it_said_itself(store) {
        store.keep_step(&output(vec![prediction("a", 600, 0.9)], vec![]), false).await.unwrap();
        store.add_happenings(&[reached("a", 1200)], &[], at(1320)).await.unwrap();
        let other = store.clone().of_shard("1");
        assert_eq!(other.due(at(100_000)).await.unwrap(), []);
        assert_eq!(other.happenings_since(at(0)).await.unwrap(), []);
        assert_eq!(store.due(at(100_000)).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn who_does_not_lead_settles_nothing() {
    let Some(store) = on_server().await else { return };
    let likely = prediction("a", 600, 0.9);
    store.keep_step(&output(vec![likely], vec![]), false).await.unwrap();
    let one = store.due(at(100_000)).await.unwrap().remove(0);
    let settled = one.settled(forewarn_schema::Became::FalseAlarm, at(9000));
    store.set_term(None);
    assert!(store.add_settlements(std::slice::from_ref(&settled)).await.unwrap_err().is_not_leading());
    assert!(store.add_happenings(&[reached("a", 1200)], &[settled], at(1320)).await.unwrap_err().is_not_leading());
    assert_eq!(store.unsettled_count().await.unwrap(), 1);
}
