//! Workloads that were seen before and may come: of a shard that starts from the dataset all of the fleet's, most of which others will
//! score. What was seen of one is gone on with when the first sample of it comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forewarn_features::ServiceStep;
use forewarn_models::scorer::ServiceMemory;
use forewarn_schema::Timestamp;

/// What has not come by then is another shard's, and takes memory: some kB a target.
const WAITED: Duration = Duration::from_secs(3600);

/// See the module. Empty by default.
#[derive(Default)]
pub(crate) struct Expected {
    seen: BTreeMap<Arc<str>, ServiceMemory>,
    /// The first step with anything in it.
    began: Option<Timestamp>,
}

impl Expected {
    pub(crate) fn new(seen: Vec<ServiceMemory>) -> Self {
        Self { seen: seen.into_iter().map(|memory| (Arc::clone(&memory.service), memory)).collect(), began: None }
    }

    /// What was seen of the services that the step at `at` brings for the first time.
    pub(crate) fn come(&mut self, at: Timestamp, steps: &[ServiceStep]) -> Vec<ServiceMemory> {
        if self.seen.is_empty() || steps.is_empty() {
            return Vec::new();
        }
        let began = *self.began.get_or_insert(at);
        let come = steps.iter().filter_map(|step| self.seen.remove(&step.service)).collect();
        if at > began + WAITED {
            self.seen.clear();
        }
        come
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_features::SignalSet;
    use forewarn_models::{Engine, EngineOptions};

    fn step(service: &str, minute: i64) -> ServiceStep {
        ServiceStep { service: service.into(), at: Timestamp::from_seconds(minute * 60), observations: Vec::new() }
    }

    #[test]
    fn a_workload_is_handed_over_once_and_those_that_do_not_come_are_let_go() {
        let signals = Arc::new(SignalSet::new(&["hikaricp".to_owned()], vec![]).unwrap());
        let mut engine = Engine::new(signals, EngineOptions::default());
        engine.observe(Timestamp::from_seconds(0), &["cart", "mail", "web"].map(|service| step(service, 0)));
        let mut expected = Expected::new(engine.memories().collect());
        let mut come = |service: &str, minute: i64| {
            let steps = if service.is_empty() { vec![] } else { vec![step(service, minute)] };
            let come = expected.come(Timestamp::from_seconds(minute * 60), &steps);
            come.iter().map(|memory| memory.service.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(come("", 1), [""; 0], "nobody has sent anything yet");
        assert_eq!(come("cart", 100), ["cart"]);
        assert_eq!(come("cart", 101), [""; 0]);
        assert_eq!(come("mail", 160), ["mail"], "an hour from the first sample on");
        assert_eq!(come("cart", 161), [""; 0]);
        assert_eq!(come("web", 162), [""; 0], "too late");
    }
}
