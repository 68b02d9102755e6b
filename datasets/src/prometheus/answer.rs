//! The query API's JSON, from bytes that nobody vouches for. Pure: what is asked and asked again is in `client`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use forewarn_schema::{LabelSet, STALE_NAN_BITS, Sample, Series, Step, TimeRange, Timestamp};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

/// How much of a server's words is kept in an error.
const MAX_WORDS: usize = 300;
const MAX_WARNINGS: usize = 5;

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
}

/// What is wrong with an answer of status 200.
#[derive(Debug, PartialEq)]
pub(crate) enum AnswerError {
    /// It says itself that it is not whole.
    Partial(Vec<String>),
    /// It is not an answer to what was asked.
    Malformed(String),
}

/// A server's refusal: what kind, and its words.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal {
    /// Prometheus' `errorType`: `timeout`, `execution`, `bad_data`, …; empty where it is not Prometheus' JSON.
    pub(crate) kind: String,
    pub(crate) words: String,
}

impl Refusal {
    /// From the body of any answer that is not 200.
    pub(crate) fn of(body: &[u8]) -> Self {
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
    let envelope: Envelope<D> = serde_json::from_slice(body).map_err(|e| {
        let start = shorten(&String::from_utf8_lossy(&body[..body.len().min(60)]));
        AnswerError::Malformed(format!("it is not the query API's JSON ({e}), it starts with {start:?}"))
    })?;
    let warnings = envelope.warnings.unwrap_or_default();
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
    envelope.data.ok_or_else(|| AnswerError::Malformed("it has no data".to_owned()))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryData {
    result_type: String,
    result: serde_json::Value,
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
#[derive(Debug)]
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        // Rust reads what Go writes: NaN, +Inf and -Inf included.
        let value: f64 =
            text.parse().map_err(|_| serde::de::Error::custom(format!("{:?} is no value", shorten(&text))))?;
        // A staleness marker says that there is no value; as any other NaN it is one that is not a number.
        Ok(Self(if value.to_bits() == STALE_NAN_BITS { f64::NAN } else { value }))
    }
}

/// The series of a range query over `range` (aligned to `step`), sorted by labels.
pub(crate) fn matrix(body: &[u8], range: TimeRange, step: Step) -> Result<Vec<Series>, AnswerError> {
    let data: MatrixData = open(body)?;
    if data.result_type != "matrix" {
        return Err(malformed(format!("a range query must give a matrix, got {:?}", shorten(&data.result_type))));
    }
    let mut series = Vec::with_capacity(data.result.len());
    for one in data.result {
        let labels: LabelSet = one.metric.into_iter().collect();
        if !one.histograms.is_empty() {
            let advice = "native histograms are not numbers, use histogram_quantile or histogram_avg";
            return Err(malformed(format!("{advice} (series {})", shorten(&labels.to_string()))));
        }
        let samples = samples(&one.values, range, step)
            .map_err(|reason| malformed(format!("{reason} (series {})", shorten(&labels.to_string()))))?;
        series.push(Series { labels, samples });
    }
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    if let Some(twice) = series.windows(2).find(|w| w[0].labels == w[1].labels) {
        return Err(malformed(format!(
            "a series must be there once, got {} twice",
            shorten(&twice[0].labels.to_string())
        )));
    }
    Ok(series)
}

fn samples(values: &[(f64, Number)], range: TimeRange, step: Step) -> Result<Vec<Sample>, String> {
    let mut samples: Vec<Sample> = Vec::with_capacity(values.len());
    for (seconds, Number(value)) in values {
        // Saturates where the number is absurd; the check below refuses it.
        let at = Timestamp::from_millis((seconds * 1000.0).round() as i64);
        if !range.contains(at) || at.align_down(step) != at {
            return Err(format!("times must be multiples of {step} within {range}, got {seconds} s"));
        }
        if samples.last().is_some_and(|last| last.at >= at) {
            return Err(format!("times must go up, {at} does not"));
        }
        samples.push(Sample { at, value: *value });
    }
    Ok(samples)
}

/// The label sets of an instant query, sorted; one empty set for a scalar.
pub(crate) fn label_sets(body: &[u8]) -> Result<Vec<LabelSet>, AnswerError> {
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

/// Whether a list of label names has any.
pub(crate) fn any_names(body: &[u8]) -> Result<bool, AnswerError> {
    // Absent and null are how some servers write an empty list.
    match open::<Option<Vec<String>>>(body) {
        Ok(names) => Ok(names.is_some_and(|names| !names.is_empty())),
        Err(AnswerError::Malformed(reason)) if reason == "it has no data" => Ok(false),
        Err(e) => Err(e),
    }
}

/// The version in the build information, where it is there.
pub(crate) fn version(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct BuildInfo {
        version: String,
    }
    open::<BuildInfo>(body).ok().map(|b| shorten(&b.version)).filter(|v| !v.is_empty())
}

fn malformed(reason: String) -> AnswerError {
    AnswerError::Malformed(reason)
}

/// In one line, without control characters, cut short.
pub(crate) fn shorten(text: &str) -> String {
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

    const STEP: Step = Step::MINUTE;

    fn hour() -> TimeRange {
        TimeRange { start: Timestamp::from_seconds(0), end: Timestamp::from_seconds(3600) }
    }

    fn matrix_of(values: &str) -> Result<Vec<Series>, AnswerError> {
        let body = format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"a":"b"}},"values":{values}}}]}}}}"#
        );
        matrix(body.as_bytes(), hour(), STEP)
    }

    #[test]
    fn infinities_and_nan_are_values() {
        let series = matrix_of(r#"[[0,"1.5e3"],[60,"+Inf"],[120.000,"-Inf"],[180,"NaN"]]"#).unwrap();
        let values: Vec<f64> = series[0].samples.iter().map(|s| s.value).collect();
        assert_eq!(values[..3], [1500.0, f64::INFINITY, f64::NEG_INFINITY]);
        assert!(values[3].is_nan());
    }

    #[test]
    fn times_that_were_not_asked_for_are_refused() {
        for values in [
            r#"[[1,"1"]]"#,
            r#"[[3600,"1"]]"#,
            r#"[[-60,"1"]]"#,
            r#"[[60,"1"],[60,"1"]]"#,
            r#"[[120,"1"],[60,"1"]]"#,
            r#"[[1e300,"1"]]"#,
            r#"[[60,"one"]]"#,
            r#"[[60,1]]"#,
        ] {
            assert!(matches!(matrix_of(values), Err(AnswerError::Malformed(_))), "{values} must be refused");
        }
    }

    #[test]
    fn a_warning_makes_an_answer_partial() {
        let body = br#"{"status":"success","warnings":["store gone"],"data":{"resultType":"matrix","result":[]}}"#;
        assert_eq!(matrix(body, hour(), STEP), Err(AnswerError::Partial(vec!["store gone".to_owned()])));
    }

    #[test]
    fn a_refusal_keeps_the_servers_words_in_one_line() {
        let body = br#"{"status":"error","errorType":"execution","error":"many-to-many\nmatching"}"#;
        let expected = Refusal { kind: "execution".to_owned(), words: "many-to-many matching".to_owned() };
        assert_eq!(Refusal::of(body), expected);
        assert_eq!(Refusal::of(b"<html>\xff").kind, "");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let _ = (matrix(&body, hour(), STEP), label_sets(&body), any_names(&body), version(&body), Refusal::of(&body));
        }

        #[test]
        fn arbitrary_json_never_panics_and_gives_only_what_was_asked_for(
            pieces in proptest::collection::vec(prop_oneof![
                Just(r#"{"status":"success","data":{"resultType":"matrix","result":["#.to_owned()),
                Just(r#"{"metric":{"a":"b"},"values":["#.to_owned()),
                Just("]}".to_owned()), Just("]}}".to_owned()), Just(",".to_owned()), Just("null".to_owned()),
                (any::<f64>(), ".*").prop_map(|(t, v)| format!("[{t},{v:?}]")),
                (-2_i64..62).prop_map(|k| format!("[{},\"{k}\"]", k * 60)),
            ], 0..12),
        ) {
            if let Ok(series) = matrix(pieces.concat().as_bytes(), hour(), STEP) {
                prop_assert!(series.iter().flat_map(|s| &s.samples).all(|s| hour().contains(s.at)));
            }
        }
    }
}
