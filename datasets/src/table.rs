//! One day of one source in memory: per series its points, sorted as the file is.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use forewarn_features::Role;
use forewarn_schema::{LabelSet, Series, Timestamp};

use crate::parquet_file::labels_of;

/// Unix milliseconds and a value.
pub(crate) type Point = (i64, f64);

/// What tells series of the dataset apart. The order of its fields is the order of rows in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SeriesKey {
    /// What the labels have under the signal's service label; empty where they have none.
    pub(crate) service: Arc<str>,
    pub(crate) signal: Arc<str>,
    /// As [`role_text`] writes it.
    pub(crate) role: &'static str,
    /// A JSON object of the labels sorted by name, without spaces.
    pub(crate) labels: Arc<str>,
}

/// See the module. Points are sorted by time, no time twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DayTable {
    pub(crate) series: BTreeMap<SeriesKey, Vec<Point>>,
}

/// A role in the file.
pub(crate) fn role_text(role: Role) -> &'static str {
    match role {
        Role::Value => "value",
        Role::Limit => "limit",
    }
}

/// The role of a text in a file; `None` for any other text.
pub(crate) fn role_of(text: &str) -> Option<Role> {
    [Role::Value, Role::Limit].into_iter().find(|role| role_text(*role) == text)
}

/// Labels in the file. The same labels give the same text.
pub(crate) fn labels_text(labels: &LabelSet) -> String {
    serde_json::to_string(labels).expect("a map of strings is JSON")
}

impl DayTable {
    pub(crate) fn rows(&self) -> usize {
        self.series.values().map(Vec::len).sum()
    }

    /// Adds what a query of a signal gave, whose services are in the label `service`. Where a series already has a point
    /// at a time, the new one replaces it.
    pub(crate) fn add(&mut self, signal: &Arc<str>, role: Role, service: &str, answer: Vec<Series>) {
        for series in answer {
            let points: Vec<Point> = series.samples.iter().map(|s| (s.at.millis(), s.value)).collect();
            if points.is_empty() {
                continue;
            }
            let labels = labels_text(&series.labels).into();
            let service = series.labels.get(service).unwrap_or_default().into();
            let key = SeriesKey { service, signal: Arc::clone(signal), role: role_text(role), labels };
            match self.series.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(points);
                }
                Entry::Occupied(mut entry) => {
                    let older = std::mem::take(entry.get_mut());
                    *entry.get_mut() = merge(points, older);
                }
            }
        }
    }

    /// Forgets everything of a query.
    pub(crate) fn remove(&mut self, signal: &str, role: Role) {
        self.series.retain(|key, _| &*key.signal != signal || key.role != role_text(role));
    }

    /// Gives the rows of a query their service, which is in the label `service`: rows of format 1 have none.
    pub(crate) fn place(&mut self, signal: &str, role: Role, service: &str) -> Result<(), String> {
        let is_of_query = |key: &SeriesKey, _: &mut Vec<Point>| *key.signal == *signal && key.role == role_text(role);
        let unplaced: Vec<(SeriesKey, Vec<Point>)> = self.series.extract_if(.., is_of_query).collect();
        for (key, points) in unplaced {
            let service = labels_of(&key.labels)?.get(service).unwrap_or_default().into();
            self.series.insert(SeriesKey { service, ..key }, points);
        }
        Ok(())
    }

    /// How many series and rows there are of a query.
    pub(crate) fn count(&self, signal: &str, role: Role) -> (u64, u64) {
        let of_query = self.series.iter().filter(|(key, _)| &*key.signal == signal && key.role == role_text(role));
        of_query.fold((0, 0), |(series, rows), (_, points)| (series + 1, rows + points.len() as u64))
    }

    /// The times at which anything was seen, sorted.
    pub(crate) fn times(&self) -> Vec<Timestamp> {
        let mut times: Vec<i64> = self.series.values().flatten().map(|point| point.0).collect();
        times.sort_unstable();
        times.dedup();
        times.into_iter().map(Timestamp::from_millis).collect()
    }
}

/// Both, sorted by time; where both have a time, `first` wins.
pub(crate) fn merge(first: Vec<Point>, second: Vec<Point>) -> Vec<Point> {
    if first.last().zip(second.first()).is_none_or(|(a, b)| a.0 < b.0) {
        return [first, second].concat();
    }
    if second.last().zip(first.first()).is_some_and(|(a, b)| a.0 < b.0) {
        return [second, first].concat();
    }
    let mut merged = Vec::with_capacity(first.len() + second.len());
    let mut rest = second.into_iter().peekable();
    for point in first {
        while let Some(earlier) = rest.next_if(|p| p.0 < point.0) {
            merged.push(earlier);
        }
        rest.next_if(|p| p.0 == point.0);
        merged.push(point);
    }
    merged.extend(rest);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wins_where_both_have_a_time() {
        assert_eq!(merge(vec![(2, 1.0)], vec![(1, 9.0), (2, 9.0), (3, 9.0)]), [(1, 9.0), (2, 1.0), (3, 9.0)]);
        assert_eq!(merge(vec![(5, 1.0)], vec![(1, 9.0)]), [(1, 9.0), (5, 1.0)]);
        assert_eq!(merge(vec![], vec![(1, 9.0)]), [(1, 9.0)]);
    }
}
