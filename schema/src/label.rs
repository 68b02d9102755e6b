//! Label sets: sorted names and values, as Prometheus names series.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The label that carries a metric's name.
pub const METRIC_NAME: &str = "__name__";

/// Sorted label names and values. An empty value means the label is absent, as in Prometheus, so it
/// is never stored.
///
/// All of it lies in one piece of memory, as a server holds one for every series.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct LabelSet {
    /// Names and values, one after the other, each after its length: digits to the base 64, as characters, the lowest first, those
    /// with more to come raised by 64.
    text: Box<str>,
}

const DIGIT_BITS: u32 = 6;
const MORE: u8 = 1 << DIGIT_BITS;

/// Appends `part` after its length.
fn append(text: &mut String, part: &str) {
    let mut rest = part.len();
    while rest >= usize::from(MORE) {
        text.push(char::from(MORE | (rest as u8 % MORE)));
        rest >>= DIGIT_BITS;
    }
    text.push(char::from(rest as u8));
    text.push_str(part);
}

/// The first part of `text`, and what comes after it.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut length = 0;
    for (place, digit) in text.bytes().enumerate() {
        length |= usize::from(digit % MORE) << (DIGIT_BITS * place as u32);
        if digit < MORE {
            return text[place + 1..].split_at_checked(length);
        }
    }
    None
}

impl LabelSet {
    /// No labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of pairs that are sorted by name, each name once, no value empty.
    fn pack<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Self {
        let parts = || pairs.clone().flat_map(|(name, value)| [name, value]);
        let digits = |length: usize| (length.checked_ilog2().unwrap_or(0) / DIGIT_BITS) as usize + 1;
        let mut text = String::with_capacity(parts().map(|part| digits(part.len()) + part.len()).sum());
        parts().for_each(|part| append(&mut text, part));
        Self { text: text.into_boxed_str() }
    }

    /// The value of `name`, or `None` where the label is absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Sets `name`; an empty value removes it.
    pub fn insert(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        let before = self.iter().take_while(|(known, _)| *known < name);
        let after = self.iter().skip_while(|(known, _)| *known <= name);
        let this = Some((name, value)).filter(|(_, value)| !value.is_empty());
        *self = Self::pack(before.chain(this).chain(after));
    }

    /// Takes `name` out, and returns what it was.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let value = self.get(name)?.to_owned();
        *self = self.without(&[name]);
        Some(value)
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let mut rest = &*self.text;
        std::iter::from_fn(move || {
            let (name, after) = split(rest)?;
            let (value, after) = split(after)?;
            rest = after;
            Some((name, value))
        })
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The same labels without `names`.
    pub fn without(&self, names: &[&str]) -> Self {
        Self::pack(self.iter().filter(|(name, _)| !names.contains(name)))
    }

    /// Those of `names` that are present.
    pub fn only(&self, names: &[&str]) -> Self {
        Self::pack(self.iter().filter(|(name, _)| names.contains(name)))
    }

    /// What it takes of memory, in bytes, without itself.
    pub fn heap_bytes(&self) -> usize {
        self.text.len()
    }
}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for LabelSet {
    /// In any order; of a name that is given twice the last value counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs: Vec<(K, V)> = pairs.into_iter().collect();
        let sorted: BTreeMap<&str, &str> = pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        Self::pack(sorted.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (*name, *value)))
    }
}

impl<K: AsRef<str>, V: AsRef<str>, const N: usize> From<[(K, V); N]> for LabelSet {
    fn from(pairs: [(K, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

/// By name and value, pair by pair.
impl Ord for LabelSet {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for LabelSet {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// An object of names and values.
impl Serialize for LabelSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for LabelSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = LabelSet;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of label names and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LabelSet, A::Error> {
                let mut pairs: Vec<(String, String)> = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs.into_iter().collect())
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

/// As PromQL writes it: `up{job="api"}`; `{}` when empty.
impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.get(METRIC_NAME).unwrap_or("");
        write!(f, "{name}")?;
        let mut rest = self.iter().filter(|(k, _)| *k != METRIC_NAME).peekable();
        if rest.peek().is_none() && !name.is_empty() {
            return Ok(());
        }
        write!(f, "{{")?;
        for (i, (k, v)) in rest.enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{k}={v:?}")?;
        }
        write!(f, "}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_promql() {
        let labels = LabelSet::from([("job", "api"), (METRIC_NAME, "up"), ("pod", "a\"b")]);
        assert_eq!(labels.to_string(), r#"up{job="api",pod="a\"b"}"#);
        assert_eq!(LabelSet::new().to_string(), "{}");
        assert_eq!(LabelSet::from([(METRIC_NAME, "up")]).to_string(), "up");
    }

    #[test]
    fn labels_are_sorted_whatever_their_order_and_ordered_pair_by_pair() {
        let mut labels = LabelSet::new();
        for (name, value) in [("pod", "a"), ("job", "api"), ("zone", "é"), ("pod", "b")] {
            labels.insert(name, value);
        }
        assert_eq!(labels, LabelSet::from([("zone", "é"), ("pod", "a"), ("job", "api"), ("pod", "b")]));
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("job", "api"), ("pod", "b"), ("zone", "é")]);
        assert_eq!((labels.remove("pod").as_deref(), labels.remove("pod"), labels.len()), (Some("b"), None, 2));
        // Not by the text as a whole: "ab" and "c" is not "a" and "bc".
        let [a, b] = [LabelSet::from([("ab", "c")]), LabelSet::from([("a", "bc")])];
        assert!(a != b && b < a && LabelSet::new() < b && LabelSet::from([("a", "bb"), ("z", "z")]) < b);
    }

    #[test]
    fn labels_of_any_length_come_out_as_they_went_in() {
        let long = |length: usize| "é".repeat(length / 2) + &"x".repeat(length % 2);
        for length in [1, 63, 64, 65, 4095, 4096, 4097, 262_143, 262_144, 300_001] {
            let (name, value) = (format!("n{}", long(length)), long(length));
            let labels = LabelSet::from([("a", "b"), (&*name, &*value), ("z", "\0\u{7f}")]);
            assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "b"), (&*name, &*value), ("z", "\0\u{7f}")]);
            assert_eq!((labels.text.len(), labels.len()), (labels.heap_bytes(), 3));
        }
    }

    #[test]
    fn json_is_an_object() {
        let labels: LabelSet = serde_json::from_str(r#"{"pod":"a","job":"","az":"1"}"#).unwrap();
        assert_eq!(serde_json::to_string(&labels).unwrap(), r#"{"az":"1","pod":"a"}"#);
        assert!(serde_json::from_str::<LabelSet>("[1]").is_err());
    }

    #[test]
    fn an_empty_value_is_no_label() {
        assert!(LabelSet::from([("job", "")]).is_empty());
    }
}
