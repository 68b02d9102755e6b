//! The whole machine over a real store: random lives of a playbook, with restarts, replicas, words that are said twice and late, and a
//! server's clock that jumps, against an independent account of what may count.

use std::collections::{BTreeMap, BTreeSet};

use forewarn_models::EngineOutput;
use forewarn_models::decision::DecisionParams;
use forewarn_schema::{
    AnomalyScore, BreachKind, Explanation, LabelSet, PredictedBreach, Probability, RemediationRequest, TimeToBreach,
};
use forewarn_testkit::postgres::Postgres;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::*;
use crate::state::{Decision, Outcome};

const STEP: i64 = 600;
/// Steps of ten minutes: ten minutes to settle, half an hour of hold; a request expires after two hours.
fn options(climb: Climb) -> AutonomyOptions {
    let minutes = |n: u64| std::time::Duration::from_secs(n * 60);
    AutonomyOptions {
        verification: VerificationParams { settling: minutes(10), hold: minutes(30), outcome_grace: minutes(15) },
        climb,
        ..AutonomyOptions::default()
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn signals() -> SignalSet {
    SignalSet::new(&["hikaricp".to_owned()], vec![]).unwrap()
}

fn prediction(seconds: i64, value: f64, hours: Option<f64>) -> Prediction {
    Prediction {
        id: format!("p-{seconds}"),
        at: at(seconds),
        service: "cart".into(),
        signal: "pool".into(),
        kind: BreachKind::PoolExhaustion,
        labels: LabelSet::from([("pod", "cart-1")]).into(),
        value,
        limit: 100.0,
        breach_probability: Probability::saturating(hours.map_or(0.0, |_| 0.9)),
        horizon_seconds: 6.0 * 3600.0,
        time_to_breach_seconds: hours.map(|h| TimeToBreach::new(h * 3000.0, h * 3600.0, h * 4000.0).unwrap()),
        request_id: None,
        anomaly_score: AnomalyScore::default(),
        model_version: "v1".into(),
        explanation: Explanation::default(),
    }
}

fn request(p: &Prediction, mode: Mode) -> RemediationRequest {
    let seconds = p.at.millis() / 1000;
    RemediationRequest {
        id: format!("r-{seconds}"),
        prediction_id: p.id.clone(),
        at: p.at,
        service: p.service.clone(),
        signal: p.signal.clone(),
        kind: p.kind,
        labels: (*p.labels).clone(),
        predicted_breach: PredictedBreach { p10: at(seconds + 3600), p50: at(seconds + 5400), p90: at(seconds + 7200) },
        probability: p.breach_probability,
        evidence: Explanation::default(),
        playbook: Some("restart-pod".into()),
        window: None,
        mode,
        expires_at: at(seconds + 7200),
        outcome_url: None,
    }
}

/// As cautious as announcing is by default.
fn as_default(_: &Prediction) -> Caution {
    let DecisionParams { min_probability, persistence, persistence_racing, .. } = DecisionParams::default();
    Caution { min_probability, persistence, persistence_racing }
}

/// What happens between two steps, or at one.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// A step; what the forecast says of the target at it: out of sight, in sight, at the limit, or nothing.
    Step(Said),
    /// A request is made at the next step, on the rung that the playbook stands on.
    Ask,
    /// Of one of the last requests, by how many before: a word, said so many times.
    Approve(usize, u8),
    Reject(usize),
    Report(usize, Outcome, u8),
    /// So many steps in which nothing happens but that the target does well.
    Calm(u8),
    /// The store is opened anew, as by a server that starts or takes over.
    Restart,
    /// The server's clock jumps by so many seconds.
    Jump(i64),
    Drift,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    Well,
    InSight,
    Breach,
    Nothing,
}

fn deed() -> impl Strategy<Value = Deed> {
    let outcome = prop_oneof![9 => Just(Outcome::Succeeded), 1 => Just(Outcome::Failed)];
    let said = prop_oneof![20 => Just(Said::Well), 1 => Just(Said::InSight), 1 => Just(Said::Breach), 2 => Just(Said::Nothing)];
    let jump = prop_oneof![Just(3600), Just(-3600), Just(86_400), Just(-86_400)];
    prop_oneof![
        4 => said.prop_map(Deed::Step),
        6 => Just(Deed::Ask),
        8 => (0usize..3, 1u8..4).prop_map(|(which, times)| Deed::Approve(which, times)),
        1 => (0usize..3).prop_map(Deed::Reject),
        8 => (0usize..3, outcome, 1u8..4).prop_map(|(which, outcome, times)| Deed::Report(which, outcome, times)),
        6 => (1u8..18).prop_map(Deed::Calm),
        1 => Just(Deed::Restart),
        1 => jump.prop_map(Deed::Jump),
        1 => Just(Deed::Drift),
    ]
}

/// One server after another on one database, and the account that is kept beside them.
struct World {
    url: String,
    store: StateStore,
    other: Option<StateStore>,
    options: AutonomyOptions,
    signals: SignalSet,
    /// The time of the data, and how far the server's clock is from it.
    time: i64,
    skew: i64,
    asked: Vec<RemediationRequest>,
    ask: bool,
    drifts: u32,
    approved: BTreeSet<String>,
    /// What `conclude` gave, by finding.
    found: BTreeMap<&'static str, u32>,
}

impl World {
    async fn new(url: String, shared: bool, options: AutonomyOptions) -> Self {
        let store = open(&url).await;
        // A second server that only watches, and to which people speak as well.
        let other = if shared { Some(StateStore::open(&url).await.unwrap()) } else { None };
        let (asked, approved) = (Vec::new(), BTreeSet::new());
        Self {
            url,
            store,
            other,
            options,
            signals: signals(),
            time: 1_767_225_600,
            skew: 0,
            asked,
            ask: false,
            drifts: 0,
            approved,
            found: BTreeMap::new(),
        }
    }

    fn machine(&self) -> Machine<'_> {
        Machine {
            store: &self.store,
            options: &self.options,
            signals: &self.signals,
            step: Step::new(std::time::Duration::from_secs(STEP.unsigned_abs())).unwrap(),
            default: Mode::DryRun,
            announce: true,
        }
    }

    fn now(&self) -> Timestamp {
        at(self.time + self.skew)
    }

    /// Whom people speak to: now one server, now the other.
    fn spoken_to(&self) -> &StateStore {
        match &self.other {
            Some(other) if self.time / STEP % 2 == 0 => other,
            _ => &self.store,
        }
    }

    async fn rung(&self) -> Rung {
        let standings = self.store.standings(Mode::DryRun).await.unwrap();
        standings.into_iter().next().map_or_else(|| Rung::new(Mode::DryRun, at(self.time)), |standing| standing.rung)
    }

    async fn step(&mut self, said: Said) {
        self.time += STEP;
        let (time, now) = (at(self.time), self.now());
        let before = self.machine().before(time).await.unwrap();
        // A server that does not lead decides nothing.
        if let Some(other) = &self.other {
            let machine = Machine { store: other, ..self.machine() };
            match machine.before(time).await {
                Ok(found) => assert!(found.is_empty(), "who watches concluded {found:?}"),
                Err(error) => assert!(error.is_not_leading(), "{error}"),
            }
        }
        let predictions = match said {
            Said::Well => vec![prediction(self.time, 20.0, None)],
            Said::InSight => vec![prediction(self.time, 60.0, Some(2.0))],
            Said::Breach => vec![prediction(self.time, 100.0, Some(0.0))],
            Said::Nothing => vec![],
        };
        let mut requests = Vec::new();
        if std::mem::take(&mut self.ask) && said == Said::Well {
            requests.push(request(&prediction(self.time, 60.0, Some(1.0)), self.rung().await.mode));
        }
        self.asked.extend(requests.iter().cloned());
        let output = EngineOutput { predictions: predictions.clone(), requests, held: Vec::new() };
        self.store.keep_step(&output, true).await.unwrap();
        self.store.expire(now).await.unwrap();
        let after = self.machine().after(time, &predictions, &as_default).await.unwrap();
        for finding in before.into_iter().chain(after) {
            *self.found.entry(finding.as_str()).or_default() += 1;
        }
    }

    fn recent(&self, which: usize) -> Option<String> {
        self.asked.iter().rev().nth(which).map(|request| request.id.clone())
    }

    async fn do_one(&mut self, deed: Deed) {
        match deed {
            Deed::Step(said) => self.step(said).await,
            Deed::Ask => {
                self.ask = true;
                self.step(Said::Well).await;
            }
            Deed::Calm(steps) => {
                for _ in 0..steps {
                    self.step(Said::Well).await;
                }
            }
            Deed::Approve(which, times) => {
                let Some(id) = self.recent(which) else { return };
                for _ in 0..times {
                    let said = self.spoken_to().decide(&id, Decision::Approve, None, self.now(), true).await;
                    if said.is_ok() {
                        self.approved.insert(id.clone());
                    }
                }
            }
            Deed::Reject(which) => {
                let Some(id) = self.recent(which) else { return };
                let _ = self.spoken_to().decide(&id, Decision::Reject, None, self.now(), true).await;
            }
            Deed::Report(which, outcome, times) => {
                let Some(id) = self.recent(which) else { return };
                for _ in 0..times {
                    let _ = self.spoken_to().report_outcome(&id, outcome, None, self.now()).await;
                }
            }
            Deed::Restart => {
                self.store.close().await;
                self.store = open(&self.url).await;
            }
            Deed::Jump(seconds) => self.skew += seconds,
            Deed::Drift => {
                self.drifts += 1;
                let report = format!("20260101T{:06}Z", self.drifts);
                // Twice, as every look at the registry does.
                for _ in 0..2 {
                    self.machine().drifted(&report, &[("cart".to_owned(), 2)], at(self.time)).await.unwrap();
                }
            }
        }
    }

    /// What must hold after whatever happened.
    async fn check(&self) {
        let moves = self.store.ladder_moves("cart", "restart-pod", 10_000).await.unwrap();
        let (mut in_a_row, mut stood) = (0, 0);
        for one in moves.iter().rev() {
            match one.event.as_str() {
                // One that was asked for on another rung is noted, and counts for nothing.
                "verified" if one.verified > stood => {
                    assert_eq!(one.verified, stood + 1, "one success counts for one");
                    in_a_row += u32::from(one.from == Mode::Approval);
                }
                "verified" => {}
                "failed" | "drifted" => in_a_row = 0,
                "rejected" => in_a_row = if one.to < one.from { 0 } else { in_a_row },
                "climbed" if one.to == Mode::Automatic => {
                    assert_eq!(one.from, Mode::Approval, "no rung is skipped");
                    assert!(in_a_row >= 20, "automatic after {in_a_row} in a row: {moves:?}");
                    in_a_row = 0;
                }
                "climbed" => in_a_row = 0,
                other => panic!("{other} was not done here"),
            }
            stood = one.verified;
            assert!(one.event == "climbed" || one.to <= one.from, "only a climb leads up: {one:?}");
        }
        let verified = moves.iter().filter(|one| one.event == "verified").count();
        assert_eq!(verified as u32, self.found.get("verified").copied().unwrap_or(0), "each is counted once");
        assert!(verified <= self.approved.len() + self.asked.iter().filter(|r| r.mode == Mode::Automatic).count());
        // Approvals outlive restarts and are told once each.
        for id in &self.approved {
            let stored = self.store.request(id).await.unwrap().unwrap();
            let is_kept = matches!(stored.status.as_str(), "approved" | "succeeded" | "failed");
            assert!(is_kept, "{id} was approved and is {:?}", stored.status);
        }
        let states = [
            crate::state::MessageState::Pending,
            crate::state::MessageState::Delivered,
            crate::state::MessageState::Expired,
            crate::state::MessageState::Refused,
        ];
        let messages = self.store.outbox_messages(&states, 10_000).await.unwrap();
        let told = messages.iter().filter(|message| message.event_id.ends_with("-approved"));
        assert_eq!(told.count(), self.approved.len(), "an approval that is said twice acts once");
        let worse = messages.iter().filter(|message| message.event_id.ends_with("-worsened")).count();
        assert_eq!(worse as u32, self.found.get("worsened").copied().unwrap_or(0), "people are told of each, once");
    }
}

/// Opened by a server that leads, whoever did before.
async fn open(url: &str) -> StateStore {
    let store = StateStore::open(url).await.unwrap();
    if store.is_shared() {
        let seen = store.leader().await.unwrap();
        let term = store.take_lead("test", seen.as_ref()).await.unwrap().unwrap();
        store.set_term(Some(term));
    }
    store
}

/// Random lives, of which each goes on for so many deeds.
fn lives(count: usize, deeds: usize) -> Vec<Vec<Deed>> {
    let mut runner = TestRunner::deterministic();
    let life = prop::collection::vec(deed(), deeds);
    (0..count).map(|_| life.new_tree(&mut runner).unwrap().current()).collect()
}

async fn live(world: &mut World, life: &[Deed]) {
    for deed in life {
        world.do_one(*deed).await;
    }
    world.check().await;
}

/// A short dry run, so that random lives come to approval often.
fn quick() -> AutonomyOptions {
    let ladder = LadderParams { dry_run: std::time::Duration::from_secs(3 * 3600), ..LadderParams::default() };
    AutonomyOptions { ladder, ..options(Climb::ByItself) }
}

#[tokio::test]
async fn whatever_happens_the_ladder_holds_on_sqlite() {
    for (i, life) in lives(12, 200).iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("state.db").display());
        let mut world = World::new(url, false, quick()).await;
        live(&mut world, life).await;
        assert!(!world.asked.is_empty(), "life {i} asked for nothing");
    }
}

#[tokio::test]
async fn whatever_happens_the_ladder_holds_on_postgresql_with_two_replicas() {
    let Some(server) = Postgres::shared() else { return };
    for life in lives(4, 120) {
        let mut world = World::new(server.database().unwrap(), true, quick()).await;
        live(&mut world, &life).await;
    }
}

/// One request that is approved, done and verified, whatever the clock and the servers do meanwhile.
async fn succeed(world: &mut World, n: i64) {
    let jumps = [3600, -3600, 86_400, -86_400];
    world.do_one(Deed::Ask).await;
    world.do_one(Deed::Approve(0, 2)).await;
    if n % 3 == 0 {
        world.do_one(Deed::Restart).await;
    }
    world.do_one(Deed::Calm(2)).await;
    world.do_one(Deed::Report(0, Outcome::Succeeded, 3)).await;
    world.do_one(Deed::Jump(jumps[(n % 4) as usize])).await;
    world.do_one(Deed::Calm(8)).await;
    world.do_one(Deed::Jump(-jumps[(n % 4) as usize])).await;
}

async fn nineteen_and_twenty(url: String, shared: bool) {
    let mut world = World::new(url, shared, options(Climb::ByItself)).await;
    world.do_one(Deed::Ask).await;
    // A clock that jumps a day does not shorten the dry run.
    world.do_one(Deed::Jump(86_400 * 20)).await;
    world.do_one(Deed::Calm(200)).await;
    assert_eq!(world.rung().await.mode, Mode::DryRun);
    world.do_one(Deed::Jump(-86_400 * 20)).await;
    for _ in 0..14 * 144 - 200 {
        world.step(Said::Well).await;
    }
    assert_eq!(world.rung().await.mode, Mode::Approval, "after fourteen days of data");
    for n in 0..19 {
        succeed(&mut world, n).await;
        assert_eq!((world.rung().await.mode, world.rung().await.verified), (Mode::Approval, n as u32 + 1));
    }
    world.do_one(Deed::Calm(100)).await;
    assert_eq!(world.rung().await.mode, Mode::Approval, "nineteen are not twenty, however long");
    succeed(&mut world, 19).await;
    world.do_one(Deed::Calm(1)).await;
    assert_eq!(world.rung().await.mode, Mode::Automatic);
    // One that nobody reports on takes it back.
    world.do_one(Deed::Ask).await;
    assert_eq!(world.asked.last().unwrap().mode, Mode::Automatic);
    deliver_all(&world).await;
    world.do_one(Deed::Calm(12)).await;
    assert_eq!(world.rung().await.mode, Mode::Automatic, "it may still be reported");
    world.do_one(Deed::Calm(6)).await;
    assert_eq!((world.rung().await.mode, world.rung().await.verified), (Mode::Approval, 0), "silence is a failure");
    world.do_one(Deed::Report(0, Outcome::Succeeded, 1)).await;
    world.do_one(Deed::Calm(10)).await;
    assert_eq!((world.rung().await.mode, world.rung().await.verified), (Mode::Approval, 0), "too late");
    world.check().await;
}

async fn deliver_all(world: &World) {
    loop {
        let heads = world.store.outbox_heads(10_000).await.unwrap();
        if heads.is_empty() {
            return;
        }
        for entry in heads {
            world.store.outbox_tried(entry.seq, &crate::state::Fate::Delivered, world.now()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn twenty_verified_successes_and_not_nineteen_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    nineteen_and_twenty(format!("sqlite://{}", folder.path().join("state.db").display()), false).await;
}

#[tokio::test]
async fn twenty_verified_successes_and_not_nineteen_on_postgresql_with_two_replicas() {
    let Some(server) = Postgres::shared() else { return };
    nineteen_and_twenty(server.database().unwrap(), true).await;
}

/// A playbook that a person has put on a rung.
async fn on(mode: Mode, options: AutonomyOptions) -> World {
    let world = World::new("sqlite::memory:".to_owned(), false, options).await;
    let now = world.now();
    let put =
        world.store.set_mode(("cart", "restart-pod"), Mode::DryRun, None, now, |_| Ok::<_, ()>(Rung::new(mode, now)));
    put.await.unwrap().unwrap();
    world
}

#[tokio::test]
async fn a_request_rejected_in_automatic_takes_a_step_back_before_the_next_step_is_decided() {
    let mut world = on(Mode::Automatic, options(Climb::Offer)).await;
    world.do_one(Deed::Ask).await;
    world.do_one(Deed::Reject(0)).await;
    world.machine().before(at(world.time + STEP)).await.unwrap();
    assert_eq!(world.rung().await.mode, Mode::Approval);
    let trail = world.store.trail(None, 3).await.unwrap();
    let of_mode = trail.iter().find(|entry| entry.action == "mode").unwrap();
    assert_eq!(
        (of_mode.detail.as_str(), of_mode.who.as_str()),
        ("automatic to approval: a person said no", "forewarn")
    );
}

#[tokio::test]
async fn what_was_never_delivered_is_nobodys_failure() {
    let mut world = on(Mode::Automatic, options(Climb::Offer)).await;
    world.do_one(Deed::Ask).await;
    world.do_one(Deed::Calm(20)).await;
    assert_eq!(world.rung().await.mode, Mode::Automatic);
    let verification = world.store.request(&world.recent(0).unwrap()).await.unwrap().unwrap().verification.unwrap();
    assert_eq!(
        (verification.finding, verification.reason.as_str()),
        (Finding::NotDone, "its message was not delivered")
    );
}

#[tokio::test]
async fn what_nobody_had_approved_is_no_success_and_a_failure_all_the_same() {
    let mut world = on(Mode::Approval, options(Climb::Offer)).await;
    world.do_one(Deed::Ask).await;
    world.do_one(Deed::Report(0, Outcome::Succeeded, 1)).await;
    world.do_one(Deed::Calm(10)).await;
    assert_eq!((world.rung().await.mode, world.rung().await.verified), (Mode::Approval, 0));
    world.do_one(Deed::Ask).await;
    world.do_one(Deed::Report(0, Outcome::Failed, 1)).await;
    world.do_one(Deed::Step(Said::Well)).await;
    assert_eq!(world.rung().await.mode, Mode::DryRun, "at once, not after the hold");
}

#[tokio::test]
async fn a_remediation_that_made_it_worse_costs_a_step_and_calls_people_once() {
    let mut world = on(Mode::Automatic, options(Climb::Offer)).await;
    world.do_one(Deed::Ask).await;
    world.do_one(Deed::Report(0, Outcome::Succeeded, 1)).await;
    world.do_one(Deed::Step(Said::Well)).await;
    world.do_one(Deed::Step(Said::Breach)).await;
    world.do_one(Deed::Step(Said::Breach)).await;
    assert_eq!(world.rung().await.mode, Mode::Approval);
    let worsened = world.store.worsened_since(at(0), 10).await.unwrap();
    assert_eq!(worsened.len(), 1);
    assert_eq!(worsened[0].verification.reason, "the limit was reached after the remediation was reported done");
    let heads = world.store.outbox_heads(10).await.unwrap();
    let message = heads.iter().find(|entry| entry.is_escalation()).unwrap();
    let said: serde_json::Value = serde_json::from_str(&message.payload).unwrap();
    assert_eq!((&said["type"], &said["service"]), (&"remediation.worsened".into(), &"cart".into()));
    assert_eq!(said["verification"]["evidence"]["value"], 100.0);
    assert!(message.expires_at > worsened[0].request.expires_at, "people are told also after the expiry");
    world.check_messages(1).await;
}

#[tokio::test]
async fn a_breach_that_announcing_has_learnt_to_announce_is_in_sight() {
    // Twelve hours off, with a probability of 0.1.
    let far = |seconds: i64| Prediction {
        breach_probability: Probability::saturating(0.1),
        ..prediction(seconds, 20.0, Some(12.0))
    };
    for (from, finding) in [(0.55, Finding::Verified), (0.1, Finding::Failed)] {
        let mut world = on(Mode::Approval, options(Climb::Offer)).await;
        world.do_one(Deed::Ask).await;
        world.do_one(Deed::Approve(0, 1)).await;
        world.do_one(Deed::Report(0, Outcome::Succeeded, 1)).await;
        let caution = |p: &Prediction| Caution { min_probability: from, ..as_default(p) };
        let mut found = Vec::new();
        for _ in 0..8 {
            world.time += STEP;
            found.extend(world.machine().after(at(world.time), &[far(world.time)], &caution).await.unwrap());
        }
        assert_eq!(found, [finding], "announced from {from} on");
    }
}

impl World {
    async fn check_messages(&self, worse: usize) {
        let states = [crate::state::MessageState::Pending];
        let messages = self.store.outbox_messages(&states, 100).await.unwrap();
        assert_eq!(messages.iter().filter(|m| m.event_id.ends_with("-worsened")).count(), worse);
    }
}

#[tokio::test]
async fn what_is_earned_is_offered_and_taken_by_a_person_alone() {
    let mut world = World::new("sqlite::memory:".to_owned(), false, options(Climb::Offer)).await;
    world.do_one(Deed::Ask).await;
    for _ in 0..15 * 144 {
        world.step(Said::Well).await;
    }
    assert_eq!(world.rung().await.mode, Mode::DryRun);
    assert_eq!(world.options.earned("restart-pod", &world.rung().await, at(world.time)), Some(Mode::Approval));
    let capped = AutonomyOptions { highest: Mode::DryRun, ..world.options.clone() };
    assert_eq!(capped.earned("restart-pod", &world.rung().await, at(world.time)), None);
}

#[tokio::test]
async fn a_drift_costs_one_step_a_report() {
    let mut world = on(Mode::Automatic, options(Climb::Offer)).await;
    world.do_one(Deed::Drift).await;
    assert_eq!(world.rung().await.mode, Mode::Approval, "the same report is looked at again and again");
    world.machine().drifted("other", &[("pay".to_owned(), 3), ("cart".to_owned(), 0)], at(world.time)).await.unwrap();
    assert_eq!(world.rung().await.mode, Mode::Approval, "another service's, and nothing that moved");
    world.do_one(Deed::Drift).await;
    assert_eq!(world.rung().await.mode, Mode::DryRun);
}

#[test]
fn a_cap_holds_whatever_is_set() {
    let playbooks =
        BTreeMap::from([("drain-node".to_owned(), Mode::DryRun), ("restart-pod".to_owned(), Mode::Automatic)]);
    let options = AutonomyOptions { highest: Mode::Approval, playbooks, ..AutonomyOptions::default() };
    assert_eq!(options.highest_of("restart-pod"), Mode::Approval, "a playbook's cap is below that of all");
    assert_eq!((options.highest_of("drain-node"), options.highest_of("other")), (Mode::DryRun, Mode::Approval));
    let set = StoredMode {
        service: "cart".into(),
        playbook: "other".into(),
        rung: Rung::new(Mode::Automatic, at(0)),
        who: "ann".into(),
        note: None,
    };
    assert_eq!(options.capped(set).1, Mode::Approval);
}
