//! A look at the logs before anything is counted: how much there is, and what the newest objects' lines look like. So a
//! wrong key in the configuration shows before a pull.

use std::collections::BTreeSet;

use forewarn_schema::Timestamp;
use forewarn_storage::{ObjectInfo, Store};
use futures::StreamExt;

use super::LogsOptions;
use super::compression::text_of;
use super::error::LogsError;
use super::fetch::Fetch;
use super::lines::{Line, for_each_line};
use super::record::RecordReader;

/// Objects that are looked into: the newest.
const SAMPLED_OBJECTS: usize = 4;
/// Text of each that is read.
const SAMPLED_TEXT: u64 = 1 << 20;
/// More names are not listed.
const MAX_NAMES: usize = 1000;

/// What a look at the logs found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LogsSurvey {
    /// Objects below the prefix.
    pub objects: u64,
    /// Their bytes, as stored.
    pub bytes: u64,
    /// When the newest was written.
    pub newest: Option<Timestamp>,
    /// Objects whose beginnings were read.
    pub sampled_objects: u64,
    /// Lines in them.
    pub lines: u64,
    /// Lines in them that would not be counted: not JSON, no time, too long.
    pub wrong_lines: u64,
    /// From the earliest to the latest line.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Services that they name, sorted; at most 1,000.
    pub services: Vec<String>,
    /// Pods that they name; at most 1,000 are told apart.
    pub pods: u64,
}

pub(crate) async fn survey(objects: &Store, options: &LogsOptions) -> Result<LogsSurvey, LogsError> {
    let mut survey = LogsSurvey::default();
    let mut newest: Vec<ObjectInfo> = Vec::new();
    let mut listing = std::pin::pin!(objects.objects("")?);
    while let Some(info) = listing.next().await {
        let info = info?;
        if info.size == 0 {
            continue;
        }
        survey.objects += 1;
        survey.bytes += info.size;
        newest.push(info);
        newest.sort_by(|a, b| (b.last_modified_ms, &b.path).cmp(&(a.last_modified_ms, &a.path)));
        newest.truncate(SAMPLED_OBJECTS);
    }
    survey.newest = newest.first().map(|info| Timestamp::from_millis(info.last_modified_ms));
    let (mut services, mut pods) = (BTreeSet::new(), BTreeSet::new());
    for info in newest {
        let Some((_, chunks)) = Fetch::start(objects, info.path).opened().await? else { continue };
        let options = options.clone();
        let looking = tokio::task::spawn_blocking(move || look(chunks, &options));
        let sample = match looking.await {
            Ok(sample) => sample,
            Err(e) => std::panic::resume_unwind(e.into_panic()),
        };
        survey.sampled_objects += 1;
        survey.lines += sample.lines;
        survey.wrong_lines += sample.wrong;
        survey.times = match (survey.times, sample.times) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (ours, theirs) => ours.or(theirs),
        };
        services.extend(sample.services);
        pods.extend(sample.pods);
    }
    survey.services = services.into_iter().take(MAX_NAMES).collect();
    survey.pods = pods.len().min(MAX_NAMES) as u64;
    Ok(survey)
}

#[derive(Default)]
struct Sample {
    lines: u64,
    wrong: u64,
    times: Option<(Timestamp, Timestamp)>,
    services: BTreeSet<String>,
    pods: BTreeSet<String>,
}

/// Reads the beginning of one object. Its end, however it comes, is of no interest, nor is a line that it cuts.
fn look(object: impl std::io::Read, options: &LogsOptions) -> Sample {
    let reader = RecordReader::new(options);
    let mut sample = Sample::default();
    let _ = text_of(object, SAMPLED_TEXT, options.max_ratio).and_then(|mut text| {
        for_each_line(&mut text, options.max_line, |line| {
            let record = match line {
                Line::Whole(bytes) | Line::Last(bytes) => {
                    let text = String::from_utf8_lossy(bytes);
                    reader
                        .read(&text)
                        .ok()
                        .map(|record| (record.at, record.service.into_owned(), record.pod.into_owned()))
                }
                Line::TooLong => None,
            };
            let Some((at, service, pod)) = record else {
                let counts = !matches!(line, Line::Last(_));
                sample.lines += u64::from(counts);
                sample.wrong += u64::from(counts);
                return;
            };
            sample.lines += 1;
            sample.times = Some(sample.times.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
            if sample.services.len() < MAX_NAMES {
                sample.services.insert(service);
            }
            if !pod.is_empty() && sample.pods.len() < MAX_NAMES {
                sample.pods.insert(pod);
            }
        })
    });
    sample
}
