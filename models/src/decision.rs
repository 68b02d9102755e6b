//! When a prediction becomes a request: once an episode and workload, never on a flicker.
//!
//! A target is urgent while its breach is probable within its horizon. Urgency must last, a quiet
//! spell must pass before the same target is announced again, siblings that lean the same way share
//! one request, and a budget caps what one service may ask for in a week.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_schema::{LabelSet, Mode, PredictedBreach, Prediction, RemediationRequest, Step, Timestamp, stable_id};
use serde::{Deserialize, Serialize};

/// The model version of a prediction that rests on nothing learnt.
pub const RULES_VERSION: &str = "rules";

/// The forecast of a target that runs up to its limit right from a start: [`Prediction`]'s `explanation.forecast`.
pub const BY_RACE: &str = "race";

/// How careful the decision is. Spans are counts of steps, so that a fine step sees fast leaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionParams {
    /// Urgent means a breach within the horizon with at least this probability. 0..=1, default 0.55.
    pub min_probability: f64,
    /// The same where nothing was learnt of the service, so that nobody knows what is normal there. Default 0.9.
    pub min_probability_unlearnt: f64,
    /// Urgency must have lasted this many steps. Default 30.
    pub persistence: u32,
    /// The same for a target that races from its start to its limit: there is no time to wait. Default 5.
    pub persistence_racing: u32,
    /// A lapse of more steps than this without urgency, and what has lasted starts anew. Default 10.
    pub lapse: u32,
    /// After this many steps without urgency an episode is over. Default 60.
    pub quiet: u32,
    /// The same target is not announced twice within this many steps. Default 180.
    pub cool_down: u32,
    /// Siblings whose median is within this many horizons share the request. Default 3.
    pub sibling_horizons: f64,
    /// Requests a service may emit within 7 days. Default 5.
    pub weekly_budget: u32,
}

impl Default for DecisionParams {
    fn default() -> Self {
        Self {
            min_probability: 0.55,
            min_probability_unlearnt: 0.9,
            persistence: 30,
            persistence_racing: 5,
            lapse: 10,
            quiet: 60,
            cool_down: 180,
            sibling_horizons: 3.0,
            weekly_budget: 5,
        }
    }
}

/// Turns predictions into requests, and remembers which episodes were announced.
#[derive(Debug)]
pub struct RequestPolicy {
    params: DecisionParams,
    step: Step,
    mode: Mode,
    episodes: BTreeMap<(String, String, LabelSet), Episode>,
    emitted: BTreeMap<String, Vec<Timestamp>>,
    /// Requests from before a restart: whom they cover, and until when.
    restored: Vec<RemediationRequest>,
    held_back: u64,
    /// Per service, what took the place of the default.
    min_probability: BTreeMap<String, f64>,
}

#[derive(Debug, Default)]
struct Episode {
    since: Option<Timestamp>,
    last_urgent: Option<Timestamp>,
    announced: Option<Timestamp>,
    covered: bool,
}

/// A request before the engine adds what only it knows: playbook and window.
pub struct Announcement {
    /// Its place among the predictions handed to [`RequestPolicy::decide`].
    pub prediction: usize,
    /// What leaves.
    pub request: RemediationRequest,
}

impl RequestPolicy {
    /// No episode is open.
    pub fn new(params: DecisionParams, step: Step, mode: Mode) -> Self {
        let (episodes, emitted) = (BTreeMap::new(), BTreeMap::new());
        let (restored, min_probability) = (Vec::new(), BTreeMap::new());
        Self { params, step, mode, episodes, emitted, restored, held_back: 0, min_probability }
    }

    /// From which probability on a breach of `service` is urgent; `None`: the default.
    pub fn set_min_probability(&mut self, service: &str, probability: Option<f64>) {
        match probability {
            Some(probability) => self.min_probability.insert(service.to_owned(), probability),
            None => self.min_probability.remove(service),
        };
    }

    /// Requests that were open before a restart: their targets are not announced again while they are
    /// valid, and they count against the budget.
    pub fn restore(&mut self, requests: &[RemediationRequest]) {
        for request in requests {
            self.emitted.entry(request.service.clone()).or_default().push(request.at);
        }
        self.restored.extend_from_slice(requests);
    }

    /// Requests that another made of the same steps up to `at`, while this one only watched: they are what was announced,
    /// and nothing else is. An episode of theirs is not announced again; one that they do not hold will be.
    pub fn adopt(&mut self, at: Timestamp, requests: &[RemediationRequest]) {
        self.emitted.clear();
        self.restored.clear();
        self.restore(requests);
        for ((service, signal, labels), episode) in &mut self.episodes {
            let of_target = requests.iter().filter(|r| concerns(r, service, signal, labels));
            // What was asked since urgency began is of this episode, also where it has expired.
            let since = episode.since;
            let covers = |r: &RemediationRequest| r.expires_at > at || since.is_some_and(|since| r.at >= since);
            episode.covered = of_target.clone().any(covers);
            episode.announced = of_target.map(|r| r.at).max();
        }
    }

    /// How many requests the budget has held back so far.
    pub fn held_back(&self) -> u64 {
        self.held_back
    }

    /// Marks the predictions that emit a request, appends one for a workload where several targets
    /// share it, and returns the requests. `predictions` are all of one time.
    pub fn decide(&mut self, at: Timestamp, predictions: &mut Vec<Prediction>) -> Vec<Announcement> {
        self.restored.retain(|r| r.expires_at > at);
        let mut groups: BTreeMap<(String, String, LabelSet), Vec<usize>> = BTreeMap::new();
        for (i, p) in predictions.iter().enumerate() {
            // Pods of one workload share their fate; disks of one node do not.
            let group = (p.service.clone(), p.signal.clone(), p.labels.without(&["pod"]));
            groups.entry(group).or_default().push(i);
            self.update(at, p);
        }
        let mut announcements = Vec::new();
        for ((service, signal, workload), members) in groups {
            let ready: Vec<usize> = members.iter().copied().filter(|i| self.is_ready(at, &predictions[*i])).collect();
            let Some(soonest) = soonest(predictions, &ready) else { continue };
            let leaning: Vec<usize> = members.iter().copied().filter(|i| self.leans(&predictions[*i])).collect();
            for i in &leaning {
                let episode = self.episode(&predictions[*i]);
                episode.covered = true;
                episode.announced = Some(at);
            }
            if !self.within_budget(&service, at) {
                self.held_back += 1;
                continue;
            }
            let emitting = if leaning.len() > 1 {
                let mut shared = predictions[soonest].clone();
                shared.id = Prediction::derive_id(&service, &signal, &workload, at);
                shared.labels = workload;
                predictions.push(shared);
                predictions.len() - 1
            } else {
                soonest
            };
            let prediction = &mut predictions[emitting];
            if let Some(request) = request(prediction, at, self.mode) {
                prediction.request_id = Some(request.id.clone());
                self.emitted.entry(service).or_default().push(at);
                announcements.push(Announcement { prediction: emitting, request });
            }
        }
        announcements
    }

    fn span(&self, steps: u32) -> Duration {
        self.step.duration() * steps
    }

    fn episode(&mut self, p: &Prediction) -> &mut Episode {
        let covered = self.restored.iter().any(|r| concerns(r, &p.service, &p.signal, &p.labels));
        let key = (p.service.clone(), p.signal.clone(), p.labels.clone());
        self.episodes.entry(key).or_insert_with(|| Episode { covered, ..Episode::default() })
    }

    fn is_urgent(&self, p: &Prediction) -> bool {
        let params = &self.params;
        let wanted = match p.model_version == RULES_VERSION {
            true => params.min_probability_unlearnt,
            false => self.min_probability.get(&p.service).copied().unwrap_or(params.min_probability),
        };
        p.time_to_breach_seconds.is_some() && p.breach_probability.get() >= wanted
    }

    fn update(&mut self, at: Timestamp, p: &Prediction) {
        let (urgent, quiet) = (self.is_urgent(p), self.span(self.params.quiet));
        let lapse = self.span(self.params.lapse);
        let leans = self.leans(p);
        let episode = self.episode(p);
        if urgent {
            episode.since.get_or_insert(at);
        }
        if urgent || leans && episode.covered {
            episode.last_urgent = Some(at);
        } else if episode.last_urgent.is_none_or(|last| at > last + quiet) {
            (episode.since, episode.covered) = (None, false);
        } else if !episode.covered && episode.last_urgent.is_none_or(|last| at > last + lapse) {
            episode.since = None;
        }
    }

    fn is_ready(&mut self, at: Timestamp, p: &Prediction) -> bool {
        let (urgent, persistence) = (self.is_urgent(p), self.persistence(p));
        let cool_down = self.span(self.params.cool_down);
        let episode = self.episode(p);
        let lasted = episode.since.is_some_and(|since| since + persistence <= at);
        let cooled = episode.announced.is_none_or(|last| last + cool_down <= at);
        urgent && lasted && cooled && !episode.covered
    }

    /// How long urgency must have lasted.
    fn persistence(&self, p: &Prediction) -> Duration {
        let racing = p.explanation.forecast == BY_RACE;
        self.span(if racing { self.params.persistence_racing } else { self.params.persistence })
    }

    fn leans(&self, p: &Prediction) -> bool {
        p.time_to_breach_seconds.is_some_and(|ttb| ttb.p50() <= self.params.sibling_horizons * p.horizon_seconds)
    }

    fn within_budget(&mut self, service: &str, at: Timestamp) -> bool {
        const WEEK: Duration = Duration::from_secs(7 * 86_400);
        let emitted = self.emitted.entry(service.to_owned()).or_default();
        emitted.retain(|t| *t + WEEK > at);
        emitted.len() < self.params.weekly_budget as usize
    }
}

/// Whether a request is about that target: its own, or its whole workload's.
fn concerns(r: &RemediationRequest, service: &str, signal: &str, labels: &LabelSet) -> bool {
    r.service == service && r.signal == signal && r.labels.iter().all(|(k, v)| labels.get(k) == Some(v))
}

fn soonest(predictions: &[Prediction], of: &[usize]) -> Option<usize> {
    let p50 = |i: &usize| predictions[*i].time_to_breach_seconds.map_or(f64::INFINITY, |t| t.p50());
    of.iter().copied().min_by(|a, b| p50(a).total_cmp(&p50(b)))
}

/// `None` only where the prediction has no time to breach.
fn request(p: &Prediction, at: Timestamp, mode: Mode) -> Option<RemediationRequest> {
    let ttb = p.time_to_breach_seconds?;
    let after = |seconds: f64| at + Duration::from_secs_f64(seconds);
    let predicted_breach = PredictedBreach { p10: after(ttb.p10()), p50: after(ttb.p50()), p90: after(ttb.p90()) };
    let parts = [&*p.service, &*p.signal, &p.labels.to_string(), &at.millis().to_string()];
    Some(RemediationRequest {
        id: stable_id("r", &parts),
        prediction_id: p.id.clone(),
        at,
        service: p.service.clone(),
        signal: p.signal.clone(),
        kind: p.kind,
        labels: p.labels.clone(),
        predicted_breach,
        probability: p.breach_probability,
        evidence: p.explanation.clone(),
        playbook: None,
        window: None,
        // What is not known yet is for a person to judge.
        mode: if p.explanation.warming && mode == Mode::Automatic { Mode::Approval } else { mode },
        // Past the latest likely breach there is nothing left to prevent.
        expires_at: predicted_breach.p90.max(at + Duration::from_secs(300)),
        outcome_url: None,
    })
}

#[cfg(test)]
mod tests {
    use forewarn_schema::{AnomalyScore, BreachKind, Explanation, Probability, TimeToBreach};

    use super::*;

    fn prediction(at: Timestamp, pod: &str, hours: Option<f64>) -> Prediction {
        let labels = LabelSet::from([("pod", pod)]);
        let ttb = hours.map(|h| TimeToBreach::new(3240.0 * h, 3600.0 * h, 4000.0 * h).unwrap());
        Prediction {
            id: Prediction::derive_id("cart", "pool", &labels, at),
            at,
            service: "cart".into(),
            signal: "pool".into(),
            kind: BreachKind::PoolExhaustion,
            labels,
            value: 400.0,
            limit: 500.0,
            breach_probability: Probability::saturating(if hours.is_some_and(|h| h < 5.0) { 0.95 } else { 0.1 }),
            horizon_seconds: 6.0 * 3600.0,
            time_to_breach_seconds: ttb,
            request_id: None,
            anomaly_score: AnomalyScore::default(),
            model_version: "rules".into(),
            explanation: Explanation::default(),
        }
    }

    /// Feeds a minute at a time; returns the minutes and labels of the requests.
    fn run(
        policy: &mut RequestPolicy,
        minutes: std::ops::Range<i64>,
        pods: &[(&str, Option<f64>)],
    ) -> Vec<(i64, String)> {
        let mut requests = Vec::new();
        for minute in minutes {
            let at = Timestamp::from_seconds(minute * 60);
            let mut predictions: Vec<_> = pods.iter().map(|(pod, hours)| prediction(at, pod, *hours)).collect();
            for a in policy.decide(at, &mut predictions) {
                assert_eq!(predictions[a.prediction].request_id.as_ref(), Some(&a.request.id));
                requests.push((minute, a.request.labels.to_string()));
            }
        }
        requests
    }

    fn policy() -> RequestPolicy {
        RequestPolicy::new(DecisionParams::default(), Step::MINUTE, Mode::DryRun)
    }

    #[test]
    fn one_request_an_episode_after_it_lasted() {
        let mut policy = policy();
        assert_eq!(run(&mut policy, 0..600, &[("a", Some(3.0))]), [(30, r#"{pod="a"}"#.to_owned())]);
        assert_eq!(run(&mut policy, 600..700, &[("a", None)]), []);
        assert_eq!(run(&mut policy, 700..900, &[("a", Some(3.0))]).len(), 1, "a new episode is announced");
    }

    #[test]
    fn a_flicker_is_not_announced() {
        let mut policy = policy();
        for start in (0..900).step_by(90) {
            assert_eq!(run(&mut policy, start..start + 10, &[("a", Some(1.0))]), []);
            assert_eq!(run(&mut policy, start + 10..start + 90, &[("a", None)]), []);
        }
    }

    #[test]
    fn what_has_lasted_starts_anew_after_a_lapse() {
        let mut policy = policy();
        assert_eq!(run(&mut policy, 0..25, &[("a", Some(1.0))]), []);
        assert_eq!(run(&mut policy, 25..40, &[("a", None)]), [], "longer than the lapse that is forgiven");
        assert_eq!(run(&mut policy, 40..60, &[("a", Some(1.0))]), []);
        assert_eq!(run(&mut policy, 60..65, &[("a", None)]), []);
        assert_eq!(run(&mut policy, 65..90, &[("a", Some(1.0))]), [(70, r#"{pod="a"}"#.to_owned())]);
    }

    #[test]
    fn a_race_from_a_start_is_not_waited_for() {
        let mut policy = policy();
        let first = (0..30).find(|minute| {
            let at = Timestamp::from_seconds(minute * 60);
            let mut racing = prediction(at, "a", Some(0.2));
            racing.explanation.forecast = BY_RACE.to_owned();
            !policy.decide(at, &mut vec![racing]).is_empty()
        });
        assert_eq!(first, Some(5));
    }

    #[test]
    fn a_service_may_ask_for_more_certainty() {
        let mut policy = policy();
        policy.set_min_probability("cart", Some(0.97));
        let learnt = |minute: i64| {
            let at = Timestamp::from_seconds(minute * 60);
            Prediction { model_version: "v1".into(), ..prediction(at, "a", Some(3.0)) }
        };
        let requests = |policy: &mut RequestPolicy, minutes: std::ops::Range<i64>| {
            let decide = |m: i64| policy.decide(Timestamp::from_seconds(m * 60), &mut vec![learnt(m)]).len();
            minutes.map(decide).sum::<usize>()
        };
        assert_eq!(requests(&mut policy, 0..100), 0);
        policy.set_min_probability("cart", None);
        assert_eq!(requests(&mut policy, 100..200), 1, "the default again");
    }

    #[test]
    fn nothing_is_automatic_while_a_service_is_warming() {
        let at = Timestamp::from_seconds(0);
        let mut warming = prediction(at, "a", Some(3.0));
        let mode_of = |p: &Prediction, mode| request(p, at, mode).unwrap().mode;
        assert_eq!(mode_of(&warming, Mode::Automatic), Mode::Automatic);
        warming.explanation.warming = true;
        assert_eq!(mode_of(&warming, Mode::Automatic), Mode::Approval);
        assert_eq!(mode_of(&warming, Mode::DryRun), Mode::DryRun);
    }

    #[test]
    fn siblings_share_one_request() {
        let requests = run(&mut policy(), 0..600, &[("a", Some(3.0)), ("b", Some(8.0)), ("c", None)]);
        assert_eq!(requests, [(30, "{}".to_owned())]);
    }

    #[test]
    fn the_budget_holds_back_and_a_restart_remembers() {
        let mut tight =
            RequestPolicy::new(DecisionParams { weekly_budget: 1, ..Default::default() }, Step::MINUTE, Mode::DryRun);
        assert_eq!(run(&mut tight, 0..100, &[("a", Some(3.0))]).len(), 1);
        assert_eq!(run(&mut tight, 100..200, &[("b", Some(3.0))]), []);
        assert_eq!(tight.held_back(), 1);

        let at = Timestamp::from_seconds(0);
        let open = request(&prediction(at, "a", Some(3.0)), at, Mode::DryRun).unwrap();
        let mut restarted = policy();
        restarted.restore(&[open]);
        assert_eq!(run(&mut restarted, 5..100, &[("a", Some(3.0))]), []);
    }

    #[test]
    fn a_watcher_that_takes_over_announces_what_was_not_and_only_that() {
        let pods = [("a", Some(3.0)), ("b", Some(80.0))];
        let (mut leader, mut watcher) = (policy(), policy());
        let announced = |policy: &mut RequestPolicy, minutes: std::ops::Range<i64>| {
            let of = |m: i64| {
                let at = Timestamp::from_seconds(m * 60);
                let mut predictions: Vec<_> = pods.iter().map(|(pod, hours)| prediction(at, pod, *hours)).collect();
                policy.decide(at, &mut predictions).into_iter().map(|a| a.request).collect::<Vec<_>>()
            };
            minutes.flat_map(of).collect::<Vec<_>>()
        };
        let of_leader = announced(&mut leader, 0..40);
        assert_eq!(of_leader.len(), 1);
        // It began to watch later, and has not come to a decision.
        assert_eq!(announced(&mut watcher, 20..40).len(), 0);
        watcher.adopt(Timestamp::from_seconds(40 * 60), &of_leader);
        assert_eq!(announced(&mut watcher, 40..400).len(), 0, "the leader's request covers the episode");

        let mut watcher = policy();
        assert_eq!(announced(&mut watcher, 0..40).len(), 1);
        watcher.adopt(Timestamp::from_seconds(40 * 60), &[]);
        assert_eq!(announced(&mut watcher, 40..100).len(), 1, "what the leader died with is announced after all");
    }
}
