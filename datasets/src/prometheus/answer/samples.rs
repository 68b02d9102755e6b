//! The samples of a range selector in an instant query, at their own times.

use forewarn_schema::{LabelSet, Sample, TimeRange};

use super::{AnswerError, Number, series_of, timestamp};

/// The NaN that Prometheus writes. Text has lost the bits, and this is what they were wherever a NaN was scraped.
const NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

const NO_HISTOGRAMS: &str = "the query API tells too little of native histograms to rebuild them (no schema, no zero \
    threshold, no empty bucket, no reset), set fetch = \"remote_read\" or read the blocks";

/// The series with samples in `range`, sorted by labels.
///
/// Asked for from one millisecond before the range, because Prometheus 2 counts that edge in and Prometheus 3 does not;
/// what lies before the range is left out, anything else outside it is refused.
pub(in crate::prometheus) fn samples(
    body: &[u8],
    range: TimeRange,
) -> Result<Vec<(LabelSet, Vec<Sample>)>, AnswerError> {
    let mut series = series_of(body, "a range selector", NO_HISTOGRAMS, |values| samples_of(values, range))?;
    series.retain(|(_, samples)| !samples.is_empty());
    Ok(series)
}

fn samples_of(values: &[(f64, Number)], range: TimeRange) -> Result<Vec<Sample>, String> {
    let mut samples: Vec<Sample> = Vec::with_capacity(values.len());
    for &(seconds, Number(value)) in values {
        let at = timestamp(seconds);
        if at.millis() == range.start.millis().saturating_sub(1) {
            continue;
        }
        if !range.contains(at) {
            return Err(format!("times must be within {range}, got {seconds} s"));
        }
        if samples.last().is_some_and(|last| last.at >= at) {
            return Err(format!("times must go up, {at} does not"));
        }
        samples.push(Sample { at, value: if value.is_nan() { f64::from_bits(NAN_BITS) } else { value } });
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::Timestamp;
    use proptest::prelude::*;

    fn minute() -> TimeRange {
        TimeRange { start: Timestamp::from_seconds(60), end: Timestamp::from_seconds(120) }
    }

    fn read(series: &str) -> Result<Vec<(LabelSet, Vec<Sample>)>, AnswerError> {
        let body = format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{series}]}}}}"#);
        samples(body.as_bytes(), minute())
    }

    #[test]
    fn times_are_native_and_the_left_edge_of_prometheus_2_is_left_out() {
        let values = r#"[[59.999,"0"],[60,"1"],[60.001,"NaN"],[119.999,"+Inf"]]"#;
        let series = read(&format!(r#"{{"metric":{{"a":"b"}},"values":{values}}}"#)).unwrap();
        let found: Vec<(i64, u64)> = series[0].1.iter().map(|s| (s.at.millis(), s.value.to_bits())).collect();
        let one = (60_000, 1.0_f64.to_bits());
        assert_eq!(found, [one, (60_001, 0x7ff8_0000_0000_0001), (119_999, f64::INFINITY.to_bits())]);
    }

    #[test]
    fn a_series_without_a_sample_in_the_range_is_left_out() {
        assert_eq!(read(r#"{"metric":{"a":"b"},"values":[[59.999,"0"]]},{"metric":{"a":"c"}}"#), Ok(Vec::new()));
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        for values in [r#"[[120,"1"]]"#, r#"[[59.998,"1"]]"#, r#"[[61,"1"],[61,"1"]]"#, r#"[[62,"1"],[61,"1"]]"#] {
            let error = read(&format!(r#"{{"metric":{{}},"values":{values}}}"#));
            assert!(matches!(error, Err(AnswerError::Malformed(_))), "{values} must be refused");
        }
    }

    #[test]
    fn native_histograms_are_refused_by_name() {
        let histogram = r#"{"count":"1","sum":"2","buckets":[[0,"1","2","1"]]}"#;
        let error = read(&format!(r#"{{"metric":{{"__name__":"h"}},"histograms":[[61,{histogram}]]}}"#));
        let Err(AnswerError::Malformed(reason)) = error else { panic!("{error:?}") };
        assert!(reason.contains("remote_read") && reason.ends_with("(series h)"), "{reason}");
    }

    proptest! {
        #[test]
        fn arbitrary_json_never_panics_and_gives_only_what_was_asked_for(
            pieces in proptest::collection::vec(prop_oneof![
                Just(r#"{"status":"success","data":{"resultType":"matrix","result":["#.to_owned()),
                Just(r#"{"metric":{"a":"b"},"values":["#.to_owned()), Just(r#"{"metric":{},"values":["#.to_owned()),
                Just("]}".to_owned()), Just("]}}".to_owned()), Just(",".to_owned()), Just("null".to_owned()),
                (any::<f64>(), ".*").prop_map(|(t, v)| format!("[{t},{v:?}]")),
                (59_000_i64..121_000).prop_map(|ms| format!("[{},\"{ms}\"]", ms as f64 / 1000.0)),
            ], 0..12),
        ) {
            if let Ok(series) = samples(pieces.concat().as_bytes(), minute()) {
                prop_assert!(series.iter().flat_map(|s| &s.1).all(|s| minute().contains(s.at)));
                prop_assert!(series.windows(2).all(|w| w[0].0 < w[1].0));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let _ = samples(&body, minute());
        }
    }
}
