//! What comes in while the killing goes on: samples of leaks, labels, approvals. Whatever was acknowledged is noted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use forewarn_schema::{LabelSet, Sample, Series, Timestamp};
use forewarn_testkit::{http, remote_write};
use serde_json::{Value, json};

use crate::ledger::Ledger;

const STEP: i64 = 5;
/// A leak is this old when it is first told of.
const AGE: i64 = 20 * 60;
/// And is told of for so many rounds.
const ROUNDS: usize = 4;

/// Numbers that are the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Pools whose connections leak: service and since when, in Unix seconds.
#[derive(Clone, Default)]
pub(crate) struct Leaks(Vec<(String, i64)>);

impl Leaks {
    /// Another one; the oldest is forgotten.
    pub(crate) fn begin(&mut self, round: usize) {
        self.0.push((format!("svc-{round}"), now() - AGE));
        if self.0.len() > ROUNDS {
            self.0.remove(0);
        }
    }

    /// All samples from `from` to now: a connection more every 24 s, of a hundred.
    fn samples(&self, from: i64) -> Vec<u8> {
        let to = now() / STEP * STEP;
        let mut all = Vec::new();
        for (service, since) in &self.0 {
            for (name, value) in [("hikaricp_connections_active", None), ("hikaricp_connections_max", Some(100.0))] {
                let times = (from.max(*since) / STEP..=to / STEP).map(|n| n * STEP);
                let sample = |at: i64| {
                    let leaked = 10.0 + (at - since) as f64 / 24.0;
                    Sample { at: Timestamp::from_seconds(at), value: value.unwrap_or(leaked.min(100.0)) }
                };
                let labels = LabelSet::from([("__name__", name), ("service", service), ("pod", "p-1")]);
                all.push(Series { labels, samples: times.map(sample).collect() });
            }
        }
        remote_write::encode_series(&all)
    }
}

pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Ledger>>,
}

impl Traffic {
    /// To each of `servers`, whether it lives or not, until [`Self::stop`].
    pub(crate) fn start(servers: Vec<String>, leaks: Leaks) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        // A server shows its newest 1,000 labels: a round has fewer.
        let pause = Duration::from_millis(if servers.len() > 1 { 40 } else { 10 });
        for url in servers {
            let (told, stopping) = (leaks.clone(), Arc::clone(&stop));
            let to = url.clone();
            threads.push(std::thread::spawn(move || tell(&to, &told, &stopping)));
            let stopping = Arc::clone(&stop);
            threads.push(std::thread::spawn(move || operate(&url, pause, &stopping)));
        }
        Self { stop, threads }
    }

    /// Ends, and gives what was acknowledged.
    pub(crate) fn stop(self) -> Ledger {
        self.stop.store(true, Ordering::SeqCst);
        let mut ledger = Ledger::default();
        for thread in self.threads {
            ledger.extend(thread.join().unwrap());
        }
        ledger
    }
}

/// The whole story once, then what is new.
fn tell(url: &str, leaks: &Leaks, stop: &AtomicBool) -> Ledger {
    let mut from = 0;
    while !stop.load(Ordering::SeqCst) {
        let until = now();
        let body = leaks.samples(from);
        if http::post(&format!("{url}/api/v1/write"), &remote_write::HEADERS, &body).is_ok_and(|a| a.status == 204) {
            from = until - 2 * STEP;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ledger::default()
}

/// Labels one after the other, with a pause between them; and every open request is approved.
fn operate(url: &str, pause: Duration, stop: &AtomicBool) -> Ledger {
    let mut ledger = Ledger::default();
    let json_type = [("content-type", "application/json")];
    while !stop.load(Ordering::SeqCst) {
        for _ in 0..10 {
            let at = Timestamp::from_seconds(now());
            let label = json!({"service": "svc", "kind": "oom", "at": at, "verdict": "missed"}).to_string();
            if let Ok(answer) = http::post(&format!("{url}/api/v1/feedback"), &json_type, label.as_bytes())
                && answer.status == 201
            {
                let label: Value = serde_json::from_slice(&answer.body).unwrap();
                ledger.label(&label);
            }
            std::thread::sleep(pause);
        }
        let Ok(answer) = http::get(&format!("{url}/api/v1/requests")) else { continue };
        let Ok(Value::Array(requests)) = serde_json::from_slice(&answer.body) else { continue };
        for request in &requests {
            ledger.request(request);
            let id = request["id"].as_str().unwrap();
            if request["status"] == "open"
                && http::post(&format!("{url}/api/v1/requests/{id}/approve"), &json_type, b"{}")
                    .is_ok_and(|answer| answer.status == 200)
            {
                ledger.approval(id);
            }
        }
    }
    ledger
}

pub(crate) fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}
