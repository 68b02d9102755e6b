//! Prometheus' text format 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::histogram::Histogram;
use super::list::Metric;

/// Sorted, so that two expositions of the same facts are the same text.
pub(super) type Labels = BTreeMap<String, String>;

/// The text so far.
#[derive(Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// One metric with all its samples; without any it is left out.
    pub(super) fn family(&mut self, metric: Metric, samples: &[(Labels, f64)]) {
        if samples.is_empty() {
            return;
        }
        let (name, r#type, help) = metric.describe();
        // Writing into a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", r#type.as_str());
        for (labels, value) in samples {
            self.0.push_str(name);
            if !labels.is_empty() {
                let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
                let _ = write!(self.0, "{{{}}}", pairs.join(","));
            }
            let _ = writeln!(self.0, " {}", number(*value));
        }
    }

    /// One histogram without labels.
    pub(super) fn histogram(&mut self, metric: Metric, histogram: &Histogram) {
        let (name, r#type, help) = metric.describe();
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", r#type.as_str());
        for (bound, count) in histogram.cumulative() {
            let _ = writeln!(self.0, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(self.0, "{name}_bucket{{le=\"+Inf\"}} {}", histogram.count);
        let _ = writeln!(self.0, "{name}_sum {}\n{name}_count {}", number(histogram.sum), histogram.count);
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_label_values_are_written_as_prometheus_reads_them() {
        let mut out = Exposition::default();
        let labels = Labels::from([("mountpoint".to_owned(), "C:\\\"x\"\n".to_owned())]);
        out.family(Metric::BreachProbability, &[(labels, 0.25), (Labels::new(), f64::INFINITY)]);
        let text = out.finish();
        assert!(text.starts_with("# HELP forewarn_breach_probability "));
        assert!(text.contains("\n# TYPE forewarn_breach_probability gauge\n"));
        assert!(text.contains(r#"{mountpoint="C:\\\"x\"\n"} 0.25"#), "{text}");
        assert!(text.ends_with("forewarn_breach_probability +Inf\n"));
    }
}
