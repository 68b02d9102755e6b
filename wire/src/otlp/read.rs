//! From a body to points, hostile bodies included. A data point that breaks the rules costs itself alone.

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use forewarn_schema::{HistogramSample, LabelSet, METRIC_NAME, Sample, Timestamp};

use super::attributes::{self, Attributes, text};
use super::names::{self, Suffix};
use super::points::{self, DataPoint, Kind};
use crate::fields::{Field, Fields, Value};
use crate::remote_write::labels::{MAX_NAME_BYTES, shorten};

/// Sums and histograms of this temporality are totals since a start.
const CUMULATIVE: u64 = 2;
/// Data points of one message.
const MAX_POINTS: usize = 1 << 20;
/// Attributes that say who sends: they become `job` and `instance`.
const IDENTITY: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];

/// Caps on one request, and what of a resource its series carry.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// Decompressed, bytes; what is kept of it takes at most twice that in labels.
    pub max_decoded_bytes: usize,
    /// Attributes of the resource that become labels of every series, besides `job` and `instance`.
    pub promote: &'a [String],
}

/// How the body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// `gzip`.
    Gzip,
}

/// The message cannot be read; nothing of it was kept.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OtlpError {
    /// It becomes larger than allowed.
    #[error("the decompressed body must be at most {limit} bytes, got more")]
    TooLarge {
        /// The cap, bytes.
        limit: usize,
    },
    /// It is not gzip.
    #[error("the body is not gzip: {0}")]
    Gzip(String),
    /// It is not the message.
    #[error("the message is malformed at resource {resource}: {reason}")]
    Malformed {
        /// Resources read before.
        resource: usize,
        /// What is wrong.
        reason: String,
    },
}

/// One data point that somebody wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    /// Its float samples.
    pub floats: Vec<(LabelSet, Sample)>,
    /// Its native histogram.
    pub histogram: Option<(LabelSet, HistogramSample)>,
}

/// A message, read.
#[derive(Debug, Default, PartialEq)]
pub struct Incoming {
    /// Points with at least one sample that is wanted; only those samples.
    pub points: Vec<Point>,
    /// Points of which nothing is wanted.
    pub unwanted: usize,
    /// Samples that nobody wants.
    pub unwanted_samples: usize,
    /// Points that break the rules, by reason.
    pub refused: BTreeMap<&'static str, usize>,
    /// What was wrong with the first of those.
    pub example: Option<String>,
    /// Bytes of labels that are kept.
    label_bytes: usize,
    points_seen: usize,
}

/// Decompresses and reads `body`; keeps the samples whose labels `wants` wants.
pub fn read(
    body: &[u8],
    encoding: Encoding,
    limits: Limits<'_>,
    wants: &dyn Fn(&LabelSet) -> bool,
) -> Result<Incoming, OtlpError> {
    let unpacked = match encoding {
        Encoding::Identity if body.len() > limits.max_decoded_bytes => {
            return Err(OtlpError::TooLarge { limit: limits.max_decoded_bytes });
        }
        Encoding::Identity => None,
        Encoding::Gzip => Some(unpack(body, limits.max_decoded_bytes)?),
    };
    let message = unpacked.as_deref().unwrap_or(body);
    let mut reader = Reader { limits, wants, incoming: Incoming::default() };
    for (resource, field) in Fields::of(message).enumerate() {
        let malformed = |reason| OtlpError::Malformed { resource, reason };
        if let Field { tag: 1, value: Value::Bytes(bytes), .. } = field.map_err(malformed)? {
            reader.resource(bytes).map_err(malformed)?;
        }
    }
    Ok(reader.incoming)
}

fn unpack(body: &[u8], limit: usize) -> Result<Vec<u8>, OtlpError> {
    let mut unpacked = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(body).take(most).read_to_end(&mut unpacked).map_err(|e| OtlpError::Gzip(e.to_string()))?;
    if unpacked.len() > limit { Err(OtlpError::TooLarge { limit }) } else { Ok(unpacked) }
}

struct Reader<'a> {
    limits: Limits<'a>,
    wants: &'a dyn Fn(&LabelSet) -> bool,
    incoming: Incoming,
}

/// What every series of a resource has in common.
struct Resource {
    attributes: Attributes,
    labels: LabelSet,
    newest: Option<Timestamp>,
}

/// A metric's name and how it is to be read.
struct Metric<'a> {
    name: String,
    kind: Kind,
    data: &'a [u8],
}

impl Reader<'_> {
    /// `ResourceMetrics`.
    fn resource(&mut self, message: &[u8]) -> Result<(), String> {
        let mut resource = Resource { attributes: Attributes::new(), labels: LabelSet::new(), newest: None };
        // What a resource is may stand behind what it has.
        for field in Fields::of(message) {
            let Field { tag: 1, value: Value::Bytes(bytes), .. } = field? else { continue };
            for field in Fields::of(bytes) {
                if let Field { tag: 1, value: Value::Bytes(pair), .. } = field? {
                    attributes::add(pair, &mut resource.attributes)?;
                }
            }
        }
        resource.labels = self.shared_labels(&resource.attributes);
        for field in Fields::of(message) {
            let Field { tag: 2, value: Value::Bytes(scope), .. } = field? else { continue };
            for field in Fields::of(scope) {
                if let Field { tag: 2, value: Value::Bytes(metric), .. } = field? {
                    self.metric(metric, &mut resource)?;
                }
            }
        }
        self.target_info(&resource);
        Ok(())
    }

    /// `job`, `instance`, and what is promoted.
    fn shared_labels(&self, of: &Attributes) -> LabelSet {
        let promoted = of.iter().filter(|(key, _)| self.limits.promote.contains(key));
        let mut labels = attributes::labels(promoted);
        let [namespace, name, instance] = IDENTITY.map(|key| of.get(key).map_or("", String::as_str));
        if !name.is_empty() {
            let job = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
            labels.insert("job", job);
        }
        if !instance.is_empty() {
            labels.insert("instance", instance);
        }
        labels
    }

    /// Everything that is known of a resource, as a series of its own whose value is 1.
    fn target_info(&mut self, resource: &Resource) {
        let Some(at) = resource.newest else { return };
        let others = resource.attributes.iter().filter(|(key, _)| !IDENTITY.contains(&key.as_str()));
        let mut labels = attributes::labels(others);
        let named = ["job", "instance"].map(|name| resource.labels.get(name));
        if labels.is_empty() || named.iter().all(Option::is_none) {
            return;
        }
        for (name, value) in ["job", "instance"].into_iter().zip(named) {
            labels.insert(name, value.unwrap_or(""));
        }
        labels.insert(METRIC_NAME, "target_info");
        if (self.wants)(&labels) {
            self.incoming.points.push(Point { floats: vec![(labels, Sample { at, value: 1.0 })], histogram: None });
        }
    }

    fn metric(&mut self, message: &[u8], resource: &mut Resource) -> Result<(), String> {
        let Some(metric) = self.described(message)? else { return Ok(()) };
        for field in Fields::of(metric.data) {
            let Field { tag: 1, value: Value::Bytes(bytes), .. } = field? else { continue };
            self.incoming.points_seen += 1;
            if self.incoming.points_seen > MAX_POINTS {
                return Err(format!("a message must have at most {MAX_POINTS} data points, got more"));
            }
            match points::read(bytes, metric.kind) {
                Ok(point) => self.point(&metric.name, &point, resource)?,
                Err(reason) => self.incoming.refuse("invalid_point", 1, || format!("{}: {reason}", metric.name)),
            }
        }
        Ok(())
    }

    /// Name and kind; `None` where its points are refused, all for one reason, or there are none.
    fn described<'m>(&mut self, message: &'m [u8]) -> Result<Option<Metric<'m>>, String> {
        let (mut name, mut unit, mut of) = ("", "", None);
        for field in Fields::of(message) {
            match field? {
                Field { tag: 1, value: Value::Bytes(bytes), .. } => name = text(bytes)?,
                Field { tag: 3, value: Value::Bytes(bytes), .. } => unit = text(bytes)?,
                Field { tag: tag @ (5 | 7 | 9 | 10 | 11), value: Value::Bytes(bytes), .. } => of = Some((tag, bytes)),
                Field { tag: 1 | 3 | 5 | 7 | 9 | 10 | 11, .. } => {
                    return Err("a metric's name, unit and data have other types".to_owned());
                }
                _ => {}
            }
        }
        let Some((tag, data)) = of else { return Ok(None) };
        let (mut count, mut temporality, mut rises) = (0, 0, false);
        for field in Fields::of(data) {
            match field? {
                Field { tag: 1, .. } => count += 1,
                Field { tag: 2, value: Value::Number(number), .. } => temporality = number,
                Field { tag: 3, value: Value::Number(number), .. } => rises = number != 0,
                _ => {}
            }
        }
        let has_temporality = matches!(tag, 7 | 9 | 10);
        if has_temporality && temporality != CUMULATIVE {
            let what = || format!("{}: sums and histograms must be cumulative", shorten(name));
            self.incoming.refuse("not_cumulative", count, what);
            return Ok(None);
        }
        let (kind, suffix) = match tag {
            5 => (Kind::Number, Suffix::Gauge),
            7 if rises => (Kind::Number, Suffix::Total),
            7 => (Kind::Number, Suffix::None),
            9 => (Kind::Histogram, Suffix::None),
            10 => (Kind::Exponential, Suffix::None),
            _ => (Kind::Summary, Suffix::None),
        };
        let named = names::metric(name, unit, suffix);
        if named.is_empty() || named.len() > MAX_NAME_BYTES {
            let what = || {
                format!(
                    "a metric must have a name of 1 to {MAX_NAME_BYTES} letters and digits, got {:?}",
                    shorten(name)
                )
            };
            self.incoming.refuse("invalid_name", count, what);
            return Ok(None);
        }
        Ok(Some(Metric { name: named, kind, data }))
    }

    fn point(&mut self, name: &str, point: &DataPoint, resource: &mut Resource) -> Result<(), String> {
        resource.newest = resource.newest.max(Some(point.at));
        let mut labels = attributes::labels(point.attributes.iter());
        // Who sends is not for a data point to say.
        for (name, value) in resource.labels.iter() {
            labels.insert(name, value);
        }
        let mut kept = Point::default();
        for (labels, sample) in point.samples(name, &labels) {
            match (self.wants)(&labels) {
                true => {
                    self.pay_for(&labels)?;
                    kept.floats.push((labels, sample));
                }
                false => self.incoming.unwanted_samples += 1,
            }
        }
        if let Some(histogram) = &point.histogram {
            labels.insert(METRIC_NAME, name);
            match (self.wants)(&labels) {
                true => {
                    self.pay_for(&labels)?;
                    kept.histogram = Some((labels, histogram.clone()));
                }
                false => self.incoming.unwanted_samples += 1,
            }
        }
        match kept.floats.is_empty() && kept.histogram.is_none() {
            true => self.incoming.unwanted += 1,
            false => self.incoming.points.push(kept),
        }
        Ok(())
    }

    /// A small message with many buckets repeats its labels many times over.
    fn pay_for(&mut self, labels: &LabelSet) -> Result<(), String> {
        self.incoming.label_bytes += labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let most = self.limits.max_decoded_bytes.saturating_mul(2);
        match self.incoming.label_bytes > most {
            true => Err(format!("the labels of its series must take at most {most} bytes, got more")),
            false => Ok(()),
        }
    }
}

impl Incoming {
    /// Notes that `points` points are refused.
    pub fn refuse(&mut self, reason: &'static str, points: usize, example: impl FnOnce() -> String) {
        if points > 0 {
            *self.refused.entry(reason).or_insert(0) += points;
            self.example.get_or_insert_with(example);
        }
    }
}
