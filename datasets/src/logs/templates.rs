//! What the messages of each workload look like: its templates, when each was first and last seen and how often. As a
//! file: JSON for people, from which mining goes on as if it had not stopped.

use std::collections::BTreeMap;

use forewarn_schema::Timestamp;
use serde::{Deserialize, Serialize};

use super::counts::{ByMinute, DayCounts, NO_TEMPLATE, OTHER_TEMPLATE, Workload};
use super::drain::mask::Masked;
use super::drain::{Drain, DrainParams};
use crate::Day;

const FORMAT_VERSION: u32 = 1;
/// A larger file is not read.
pub(crate) const MAX_BYTES: u64 = 256 << 20;
/// Workloads; more are counted together, as [`Templates::OTHER`].
const MAX_WORKLOADS: usize = 4096;
/// Templates of all workloads together.
const MAX_TEMPLATES: usize = 50_000;

const MINUTE_MS: i64 = 60_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    /// Namespace, then service: found without a copy of either.
    index: BTreeMap<String, BTreeMap<String, usize>>,
    workloads: Vec<Mined>,
    templates: usize,
    masked: Masked,
}

#[derive(Debug)]
struct Mined {
    workload: Workload,
    drain: Drain,
    /// Of each template its place, by its id.
    places: BTreeMap<String, usize>,
    /// As many as there are templates.
    seen: Vec<Sightings>,
}

/// When and how often, to the minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sightings {
    /// Starts of the first and of the last minute; `None` where all its lines were taken back.
    first_last: Option<(Timestamp, Timestamp)>,
    lines: u64,
}

/// A template of a workload, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TemplateRef {
    /// The message is empty.
    None,
    /// It would have been one too many.
    Other,
    /// By its place.
    Known(usize),
}

impl Templates {
    /// The service of those that are too many.
    pub(crate) const OTHER: &'static str = "other";

    /// The workload, by its place, and its template for a message.
    pub(crate) fn learn(&mut self, namespace: &str, service: &str, message: &str) -> (usize, TemplateRef) {
        let workload = self.workload(namespace, service);
        self.masked.set(message);
        let may_begin = self.templates < MAX_TEMPLATES;
        let Some(mined) = self.workloads.get_mut(workload) else { return (workload, TemplateRef::None) };
        let template = match mined.drain.learn(&self.masked, may_begin) {
            Some(template) => TemplateRef::Known(template),
            None if self.masked.len() == 0 => TemplateRef::None,
            None => TemplateRef::Other,
        };
        if let Some(new) = mined.drain.templates().get(mined.seen.len()) {
            mined.places.insert(new.id.clone(), mined.seen.len());
            mined.seen.push(Sightings::default());
            self.templates += 1;
        }
        (workload, template)
    }

    fn workload(&mut self, namespace: &str, service: &str) -> usize {
        if let Some(found) = self.index.get(namespace).and_then(|services| services.get(service)) {
            return *found;
        }
        let is_full = self.workloads.len() >= MAX_WORKLOADS;
        let (namespace, service) = if is_full { ("", Self::OTHER) } else { (namespace, service) };
        let next = self.workloads.len();
        let workload = *self.index.entry(namespace.to_owned()).or_default().entry(service.to_owned()).or_insert(next);
        if workload == next {
            let workload = Workload { namespace: namespace.to_owned(), service: service.to_owned() };
            let drain = Drain::new(DrainParams::default());
            self.workloads.push(Mined { workload, drain, places: BTreeMap::new(), seen: Vec::new() });
        }
        workload
    }

    /// The workload at a place, and the label value of its template.
    pub(crate) fn names(&self, workload: usize, template: TemplateRef) -> Option<(&Workload, &str)> {
        let mined = self.workloads.get(workload)?;
        let template = match template {
            TemplateRef::None => NO_TEMPLATE,
            TemplateRef::Other => OTHER_TEMPLATE,
            TemplateRef::Known(index) => &mined.drain.templates().get(index)?.id,
        };
        Some((&mined.workload, template))
    }

    /// Adds the lines of a day to what was seen.
    pub(crate) fn saw(&mut self, day: Day, counts: &DayCounts) {
        let midnight = day.range().start.millis();
        let at = |minute: u16| Timestamp::from_millis(midnight + i64::from(minute) * MINUTE_MS);
        for (kind, minutes) in counts.by_kind() {
            let services = self.index.get(&kind.workload.namespace);
            let workload = services.and_then(|services| services.get(&kind.workload.service));
            let Some(mined) = workload.and_then(|index| self.workloads.get_mut(*index)) else { continue };
            let place = mined.places.get(&kind.template);
            let Some(seen) = place.and_then(|place| mined.seen.get_mut(*place)) else { continue };
            seen.add(&minutes, at);
        }
    }

    /// Forgets what was seen, but not the templates.
    pub(crate) fn forget_sightings(&mut self) {
        self.workloads.iter_mut().flat_map(|mined| &mut mined.seen).for_each(|seen| *seen = Sightings::default());
    }

    /// Every workload's templates that were first seen within the day, by minute: how many.
    pub(crate) fn first_seen(&self, day: Day) -> BTreeMap<Workload, ByMinute> {
        let range = day.range();
        let mut found: BTreeMap<Workload, ByMinute> = BTreeMap::new();
        for mined in &self.workloads {
            let firsts = mined.seen.iter().filter_map(|seen| seen.first_last).map(|(first, _)| first);
            for first in firsts.filter(|first| range.contains(*first)) {
                let minute = (first.millis() - range.start.millis()) / MINUTE_MS;
                let minute = u16::try_from(minute).unwrap_or(u16::MAX);
                *found.entry(mined.workload.clone()).or_default().entry(minute).or_default() += 1;
            }
        }
        found
    }

    /// The file's bytes.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let places = self.index.values().flat_map(BTreeMap::values);
        let workloads = places.filter_map(|place| self.workloads.get(*place)).map(Mined::to_file).collect();
        let file = File { format_version: FORMAT_VERSION, workloads };
        let mut bytes = serde_json::to_vec_pretty(&file).map_err(|e| e.to_string())?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// What the file holds, or what is wrong with it.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let file: File = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if file.format_version != FORMAT_VERSION {
            return Err(format!("format_version must be {FORMAT_VERSION}, got {}", file.format_version));
        }
        let mut templates = Self::default();
        for of_file in file.workloads {
            let workload = Workload { namespace: of_file.namespace, service: of_file.service };
            let seen: Vec<Sightings> = of_file.templates.iter().map(FileTemplate::sightings).collect();
            let ids: Vec<String> = of_file.templates.iter().map(|t| t.id.clone()).collect();
            let learnt = of_file.templates.into_iter().map(|t| (t.seed.unwrap_or_else(|| t.text.clone()), t.text));
            let drain = Drain::restored(DrainParams::default(), learnt)?;
            if drain.templates().iter().map(|t| &t.id).ne(&ids) {
                return Err(format!("the ids of the templates of {:?} must be those of their seeds", workload.service));
            }
            let services = templates.index.entry(workload.namespace.clone()).or_default();
            if services.insert(workload.service.clone(), templates.workloads.len()).is_some() {
                return Err(format!("a workload must be there once, {:?} is twice", workload.service));
            }
            templates.templates += seen.len();
            let places = ids.into_iter().enumerate().map(|(place, id)| (id, place)).collect();
            templates.workloads.push(Mined { workload, drain, places, seen });
        }
        Ok(templates)
    }
}

impl Sightings {
    fn add(&mut self, minutes: &ByMinute, at: impl Fn(u16) -> Timestamp) {
        let (Some(first), Some(last)) = (minutes.keys().next(), minutes.keys().next_back()) else { return };
        let (first, last) = (at(*first), at(*last));
        let (first, last) = self.first_last.map_or((first, last), |(f, l)| (f.min(first), l.max(last)));
        self.first_last = Some((first, last));
        self.lines = self.lines.saturating_add(minutes.values().sum());
    }
}

impl Mined {
    fn to_file(&self) -> FileWorkload {
        let templates = self.drain.templates().iter().zip(&self.seen).map(|(template, seen)| {
            let text = template.text();
            FileTemplate {
                id: template.id.clone(),
                seed: (template.seed != text).then(|| template.seed.clone()),
                text,
                first_seen: seen.first_last.map(|(first, _)| first),
                last_seen: seen.first_last.map(|(_, last)| last),
                lines: seen.lines,
            }
        });
        FileWorkload {
            namespace: self.workload.namespace.clone(),
            service: self.workload.service.clone(),
            templates: templates.collect(),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format_version: u32,
    workloads: Vec<FileWorkload>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileWorkload {
    namespace: String,
    service: String,
    templates: Vec<FileTemplate>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTemplate {
    id: String,
    text: String,
    /// Left out where it is the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<String>,
    first_seen: Option<Timestamp>,
    last_seen: Option<Timestamp>,
    lines: u64,
}

impl FileTemplate {
    fn sightings(&self) -> Sightings {
        Sightings { first_last: self.first_seen.zip(self.last_seen), lines: self.lines }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::counts::Kind;
    use crate::logs::level::Level;
    use proptest::prelude::*;

    fn day() -> Day {
        "2026-01-02".parse().unwrap()
    }

    /// Learns the messages, each seen in the minute of its place.
    fn learnt(messages: &[String]) -> Templates {
        let mut templates = Templates::default();
        let mut counts = DayCounts::default();
        for (i, message) in messages.iter().enumerate() {
            let (workload, template) = templates.learn("shop", ["cart", "shop"][i % 2], message);
            let (workload, template) = templates.names(workload, template).unwrap();
            let kind = Kind { workload: workload.clone(), level: Level::Info, template: template.to_owned() };
            counts.add(kind, 0, i as u16, 1);
        }
        templates.saw(day(), &counts);
        templates
    }

    #[test]
    fn a_template_is_shown_with_when_and_how_often() {
        let messages = ["order 1 paid", "started", "order 2 paid", "order 3 lost"].map(str::to_owned);
        let templates = learnt(&messages);
        let text = String::from_utf8(templates.to_bytes().unwrap()).unwrap();
        let wanted = r#"        {
          "id": "6e8b6e76ac1c",
          "text": "order <num> paid",
          "first_seen": "2026-01-02T00:00:00Z",
          "last_seen": "2026-01-02T00:02:00Z",
          "lines": 2
        }"#;
        let without_id = |text: &str| text.lines().filter(|l| !l.contains("\"id\"")).collect::<Vec<_>>().join("\n");
        assert!(without_id(&text).contains(&without_id(wanted)), "{text}");
        let firsts = templates.first_seen(day());
        let cart = Workload { namespace: "shop".to_owned(), service: "cart".to_owned() };
        assert_eq!(firsts[&cart], ByMinute::from([(0, 1)]));
        assert_eq!(firsts.len(), 2);
        for (from, to) in [
            ("\"format_version\": 1", "\"format_version\": 2"),
            ("order <num> paid", "order"),
            ("\"shop\",\n      \"service\": \"shop\"", "\"shop\",\n      \"service\": \"cart\""),
        ] {
            assert!(text.contains(from));
            assert!(Templates::from_bytes(text.replace(from, to).as_bytes()).is_err(), "{from}");
        }
    }

    #[test]
    fn a_flood_of_workloads_is_counted_together() {
        let mut templates = Templates::default();
        for i in 0..MAX_WORKLOADS + 10 {
            templates.learn("", &format!("s{i}"), "x");
        }
        assert_eq!(templates.workloads.len(), MAX_WORKLOADS + 1);
        let (place, template) = templates.learn("", "one more", "x");
        assert_eq!(templates.names(place, template).unwrap().0.service, Templates::OTHER);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn mining_goes_on_from_the_file(messages in proptest::collection::vec("[ab]{1,2} [a-d]{1,3}( [a-z]{3}){0,3}", 0..40)) {
            let templates = learnt(&messages);
            let bytes = templates.to_bytes().unwrap();
            let mut restored = Templates::from_bytes(&bytes).unwrap();
            prop_assert_eq!(restored.to_bytes().unwrap(), bytes);
            let mut templates = templates;
            for message in &messages {
                let at = |t: &mut Templates| {
                    let (workload, template) = t.learn("shop", "cart", message);
                    t.names(workload, template).map(|(w, id)| (w.clone(), id.to_owned()))
                };
                prop_assert_eq!(at(&mut templates), at(&mut restored));
            }
        }

        #[test]
        fn any_bytes_are_an_error_or_templates(text in "[{}\\[\\]\":a-z_,0-9 ]{0,80}") {
            let _ = Templates::from_bytes(text.as_bytes());
        }
    }
}
