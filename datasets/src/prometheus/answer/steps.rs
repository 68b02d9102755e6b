//! The values of a range query, exactly at the steps that were asked for.

use forewarn_schema::{Sample, Series, Step, TimeRange};

use super::{AnswerError, Number, series_of, timestamp};

/// The series of a range query over `range` (aligned to `step`), sorted by labels.
pub(in crate::prometheus) fn matrix(body: &[u8], range: TimeRange, step: Step) -> Result<Vec<Series>, AnswerError> {
    let advice = "native histograms are not numbers, use histogram_quantile or histogram_avg";
    let series = series_of(body, "a range query", advice, |values| samples(values, range, step))?;
    Ok(series.into_iter().map(|(labels, samples)| Series { labels, samples }).collect())
}

fn samples(values: &[(f64, Number)], range: TimeRange, step: Step) -> Result<Vec<Sample>, String> {
    let mut samples: Vec<Sample> = Vec::with_capacity(values.len());
    for &(seconds, Number(value)) in values {
        let at = timestamp(seconds);
        if !range.contains(at) || at.align_down(step) != at {
            return Err(format!("times must be multiples of {step} within {range}, got {seconds} s"));
        }
        if samples.last().is_some_and(|last| last.at >= at) {
            return Err(format!("times must go up, {at} does not"));
        }
        samples.push(Sample { at, value });
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::Timestamp;
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

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let _ = matrix(&body, hour(), STEP);
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
