//! The query API's JSON, from bytes that nobody vouches for. Pure: what is asked and asked again is in `client`.
//!
//! Here what all answers have in common; `steps` and `samples` read those that hold values.

mod samples;
mod steps;

use std::collections::BTreeMap;
use std::fmt;

use forewarn_schema::{LabelSet, Timestamp};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny, Visitor};

pub(super) use self::samples::samples;
pub(super) use self::steps::matrix;

/// How much of a server's words is kept in an error.
const MAX_WORDS: usize = 300;
const MAX_WARNINGS: usize = 5;
const NO_DATA: &str = "it has no data";

/// The envelope of every answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "D: DeserializeOwned"))]
struct Envelope<D> {
    status: String,
    #[serde(default)]
    data: Option<D>,
    #[serde(default)]
    error_type: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    #[serde(default)]
    infos: Option<Vec<String>>,
    /// VictoriaMetrics' cluster.
    #[serde(default)]
    is_partial: Option<bool>,
}

/// Remarks on the expression (Prometheus 3), which say nothing about the data.
const REMARK: &str = "PromQL info:";

impl<D> Envelope<D> {
    /// What says that the answer is not whole: any warning, and any information that is no remark on the expression.
    fn not_whole(&mut self) -> Vec<String> {
        let mut said = self.warnings.take().unwrap_or_default();
        said.extend(self.infos.take().unwrap_or_default().into_iter().filter(|info| !info.starts_with(REMARK)));
        if said.is_empty() && self.is_partial == Some(true) {
            said.push("it says that it is partial".to_owned());
        }
        said
    }
}

/// What is wrong with an answer of status 200.
#[derive(Debug, PartialEq)]
pub(in crate::prometheus) enum AnswerError {
    /// It says itself that it is not whole.
    Partial(Vec<String>),
    /// It is not an answer to what was asked.
    Malformed(String),
}

/// A server's refusal: what kind, and its words.
#[derive(Debug, PartialEq)]
pub(in crate::prometheus) struct Refusal {
    /// Prometheus' `errorType`: `timeout`, `execution`, `bad_data`, …; empty where it is not Prometheus' JSON.
    pub(in crate::prometheus) kind: String,
    pub(in crate::prometheus) words: String,
}

impl Refusal {
    /// From the body of any answer that is not 200.
    pub(in crate::prometheus) fn of(body: &[u8]) -> Self {
        match serde_json::from_slice::<Envelope<IgnoredAny>>(body) {
            Ok(envelope) => {
                let words = envelope.error.as_deref().map(shorten).unwrap_or_default();
                Self { kind: envelope.error_type.unwrap_or_default(), words }
            }
            Err(_) => {
                Self { kind: String::new(), words: shorten(&String::from_utf8_lossy(&body[..body.len().min(4096)])) }
            }
        }
    }
}

/// `data` of a whole, successful answer.
fn open<D: DeserializeOwned>(body: &[u8]) -> Result<D, AnswerError> {
    let mut envelope: Envelope<D> = serde_json::from_slice(body).map_err(|e| {
        let start = shorten(&String::from_utf8_lossy(&body[..body.len().min(60)]));
        AnswerError::Malformed(format!("it is not the query API's JSON ({e}), it starts with {start:?}"))
    })?;
    let warnings = envelope.not_whole();
    if !warnings.is_empty() {
        return Err(AnswerError::Partial(warnings.iter().take(MAX_WARNINGS).map(|w| shorten(w)).collect()));
    }
    if envelope.status != "success" {
        let words = envelope.error.as_deref().map(shorten).unwrap_or_default();
        return Err(AnswerError::Malformed(format!(
            "status must be success, got {:?} {words}",
            shorten(&envelope.status)
        )));
    }
    envelope.data.ok_or_else(|| malformed(NO_DATA.to_owned()))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryData {
    result_type: String,
    result: serde_json::Value,
}

/// The label sets of an instant query, sorted; one empty set for a scalar.
pub(in crate::prometheus) fn label_sets(body: &[u8]) -> Result<Vec<LabelSet>, AnswerError> {
    #[derive(Deserialize)]
    struct VectorSeries {
        metric: BTreeMap<String, String>,
    }
    let data: QueryData = open(body)?;
    match data.result_type.as_str() {
        "scalar" => Ok(vec![LabelSet::new()]),
        "vector" => {
            let series: Vec<VectorSeries> =
                serde_json::from_value(data.result).map_err(|e| malformed(format!("a vector was wanted ({e})")))?;
            let mut sets: Vec<LabelSet> = series.into_iter().map(|s| s.metric.into_iter().collect()).collect();
            sets.sort();
            Ok(sets)
        }
        other => Err(malformed(format!("an instant query must give a vector or a scalar, got {:?}", shorten(other)))),
    }
}

/// The label sets of a list of series, sorted, none twice.
pub(super) fn series(body: &[u8]) -> Result<Vec<LabelSet>, AnswerError> {
    // Absent and null are how some servers write an empty list.
    let sets = match open::<Option<Vec<BTreeMap<String, String>>>>(body) {
        Ok(sets) => sets.unwrap_or_default(),
        Err(AnswerError::Malformed(reason)) if reason == NO_DATA => Vec::new(),
        Err(e) => return Err(e),
    };
    let mut sets: Vec<LabelSet> = sets.into_iter().map(|set| set.into_iter().collect()).collect();
    sets.sort();
    sets.dedup();
    Ok(sets)
}

/// Whether a list of label names has any.
pub(in crate::prometheus) fn any_names(body: &[u8]) -> Result<bool, AnswerError> {
    // Absent and null are how some servers write an empty list.
    match open::<Option<Vec<String>>>(body) {
        Ok(names) => Ok(names.is_some_and(|names| !names.is_empty())),
        Err(AnswerError::Malformed(reason)) if reason == NO_DATA => Ok(false),
        Err(e) => Err(e),
    }
}

/// The version in the build information, where it is there.
pub(in crate::prometheus) fn version(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct BuildInfo {
        version: String,
    }
    open::<BuildInfo>(body).ok().map(|b| shorten(&b.version)).filter(|v| !v.is_empty())
}

#[derive(Debug, Deserialize)]
struct MatrixData {
    #[serde(rename = "resultType")]
    result_type: String,
    result: Vec<MatrixSeries>,
}

#[derive(Debug, Deserialize)]
struct MatrixSeries {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, Number)>,
    #[serde(default)]
    histograms: Vec<IgnoredAny>,
}

/// A value: text in the answer, so that infinities and NaN have a form.
#[derive(Clone, Copy, Debug)]
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NumberText)
    }
}

/// Reads a number where it stands, without a copy of its text: answers have millions.
struct NumberText;

impl Visitor<'_> for NumberText {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value in a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
        // Rust reads what Go writes: NaN, +Inf and -Inf included.
        text.parse().map(Number).map_err(|_| E::custom(format!("{:?} is no value", shorten(text))))
    }
}

/// The series of a matrix, each with what `samples` makes of its values, sorted by labels and none twice. `wanted` says
/// what should have been a matrix.
fn series_of<T>(
    body: &[u8],
    wanted: &str,
    advice_on_histograms: &str,
    samples: impl Fn(&[(f64, Number)]) -> Result<T, String>,
) -> Result<Vec<(LabelSet, T)>, AnswerError> {
    let data: MatrixData = open(body)?;
    if data.result_type != "matrix" {
        return Err(malformed(format!("{wanted} must give a matrix, got {:?}", shorten(&data.result_type))));
    }
    let mut series = Vec::with_capacity(data.result.len());
    for one in data.result {
        let labels: LabelSet = one.metric.into_iter().collect();
        let of = |reason: &str| malformed(format!("{reason} (series {})", shorten(&labels.to_string())));
        if !one.histograms.is_empty() {
            return Err(of(advice_on_histograms));
        }
        let samples = samples(&one.values).map_err(|reason| of(&reason))?;
        series.push((labels, samples));
    }
    series.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(twice) = series.windows(2).find(|w| w[0].0 == w[1].0) {
        return Err(malformed(format!("a series must be there once, got {} twice", shorten(&twice[0].0.to_string()))));
    }
    Ok(series)
}

/// Of seconds as they stand in an answer. Saturates where the number is absurd; whoever knows the range refuses it.
fn timestamp(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1000.0).round() as i64)
}

fn malformed(reason: String) -> AnswerError {
    AnswerError::Malformed(reason)
}

/// In one line, without control characters, cut short.
pub(in crate::prometheus) fn shorten(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = words.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect();
    if words.chars().count() > MAX_WORDS {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whatever_says_that_an_answer_is_not_whole_makes_it_partial() {
        let answer = |more: &str| format!(r#"{{"status":"success",{more},"data":["job"]}}"#);
        let partial = |words: &str| Err(AnswerError::Partial(vec![words.to_owned()]));
        assert_eq!(any_names(answer(r#""warnings":["store gone"]"#).as_bytes()), partial("store gone"));
        assert_eq!(any_names(answer(r#""infos":["results cut short"]"#).as_bytes()), partial("results cut short"));
        assert_eq!(any_names(answer(r#""isPartial":true"#).as_bytes()), partial("it says that it is partial"));
        for whole in
            [r#""isPartial":false"#, r#""warnings":null"#, r#""infos":["PromQL info: metric might not be a counter"]"#]
        {
            assert_eq!(any_names(answer(whole).as_bytes()), Ok(true), "{whole}");
        }
    }

    #[test]
    fn a_refusal_keeps_the_servers_words_in_one_line() {
        let body = br#"{"status":"error","errorType":"execution","error":"many-to-many\nmatching"}"#;
        let expected = Refusal { kind: "execution".to_owned(), words: "many-to-many matching".to_owned() };
        assert_eq!(Refusal::of(body), expected);
        assert_eq!(Refusal::of(b"<html>\xff").kind, "");
    }

    #[test]
    fn series_are_sorted_and_there_once() {
        let body = br#"{"status":"success","data":[{"b":"1"},{"a":"1","c":""},{"b":"1"}]}"#;
        assert_eq!(series(body), Ok(vec![LabelSet::from([("a", "1")]), LabelSet::from([("b", "1")])]));
        assert_eq!(series(br#"{"status":"success","data":null}"#), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let _ = (series(&body), label_sets(&body), any_names(&body), version(&body), Refusal::of(&body));
        }
    }
}
