//! The few fields of a JSON object that we want, found in one pass without building the rest. A field is named by its
//! path, and found whether the object nests it, dots it, or does some of each: `kubernetes.labels.app` is all of
//! `{"kubernetes":{"labels":{"app":…}}}`, `{"kubernetes":{"labels.app":…}}` and `{"kubernetes.labels.app":…}`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A longer path is nothing that was asked for.
const MAX_PATH: usize = 256;

/// Which fields are wanted: several things, each with its candidates, the best first.
#[derive(Clone, Debug)]
pub(crate) struct FieldPaths<const N: usize> {
    /// By path, whose thing it is and the candidate's rank; the lowest rank wins. A path that only leads to wanted ones is
    /// nobody's.
    wanted: BTreeMap<String, Vec<(usize, usize)>>,
}

/// A field's value. Other kinds of values are as good as absent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// Never empty.
    Text(Cow<'a, str>),
    /// Never NaN.
    Number(f64),
}

impl<const N: usize> FieldPaths<N> {
    pub(crate) fn new(candidates: [&[String]; N]) -> Self {
        let mut wanted: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
        for (thing, paths) in candidates.into_iter().enumerate() {
            for (rank, path) in paths.iter().enumerate() {
                for (dot, _) in path.match_indices('.') {
                    wanted.entry(path.get(..dot).unwrap_or_default().to_owned()).or_default();
                }
                wanted.entry(path.clone()).or_default().push((thing, rank));
            }
        }
        Self { wanted }
    }

    /// The best candidate of each thing in `json`, which must be one JSON object and nothing else.
    pub(crate) fn find<'a>(&self, json: &'a str) -> Result<[Option<Value<'a>>; N], serde_json::Error> {
        let mut found = [const { None }; N];
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let mut path = String::new();
        deserializer.deserialize_map(Object { paths: self, path: &mut path, found: &mut found })?;
        deserializer.end()?;
        Ok(found.map(|best| best.map(|(_, value)| value)))
    }
}

/// The best so far of each thing, with its rank.
type Found<'de, const N: usize> = [Option<(usize, Value<'de>)>; N];

/// An object at a path.
struct Object<'o, 'de, const N: usize> {
    paths: &'o FieldPaths<N>,
    path: &'o mut String,
    found: &'o mut Found<'de, N>,
}

impl<'de, const N: usize> Visitor<'de> for Object<'_, 'de, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let above = self.path.len();
        while let Some(Text(key)) = map.next_key()? {
            if above + key.len() >= MAX_PATH {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if above > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            if self.paths.wanted.contains_key(self.path) {
                map.next_value_seed(Object { paths: self.paths, path: self.path, found: self.found })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            self.path.truncate(above);
        }
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.keep(Value::Text(Cow::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.keep(Value::Text(Cow::Owned(text.to_owned())));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.keep(Value::Number(number as f64));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.keep(Value::Number(number as f64));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.keep(Value::Number(number));
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

impl<'de, const N: usize> Object<'_, 'de, N> {
    fn keep(self, value: Value<'de>) {
        if matches!(&value, Value::Text(text) if text.is_empty()) {
            return;
        }
        for &(thing, rank) in self.paths.wanted.get(self.path).into_iter().flatten() {
            let Some(best) = self.found.get_mut(thing) else { continue };
            // Of a field that is there twice, the last one, as JSON readers do.
            if best.as_ref().is_none_or(|(of_best, _)| rank <= *of_best) {
                *best = Some((rank, value.clone()));
            }
        }
    }
}

impl<'de, const N: usize> DeserializeSeed<'de> for Object<'_, 'de, N> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A key, borrowed where it holds no escapes.
struct Text<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paths(of: &[&str]) -> FieldPaths<1> {
        FieldPaths::new([&of.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>()])
    }

    fn found(of: &[&str], json: &str) -> Option<String> {
        let [found] = paths(of).find(json).unwrap();
        found.map(|value| match value {
            Value::Text(text) => text.into_owned(),
            Value::Number(number) => number.to_string(),
        })
    }

    #[test]
    fn nested_and_dotted_are_the_same_path() {
        let path = ["kubernetes.labels.app.kubernetes.io/name"];
        for json in [
            r#"{"kubernetes":{"labels":{"app.kubernetes.io/name":"cart"}}}"#,
            r#"{"kubernetes.labels.app.kubernetes.io/name":"cart"}"#,
            r#"{"x":[1,{"y":2}],"kubernetes":{"labels.app.kubernetes.io/name":"cart","pod":"p"}}"#,
        ] {
            assert_eq!(found(&path, json).unwrap(), "cart", "{json}");
        }
        assert_eq!(found(&path, r#"{"kubernetes":{"labels":null}}"#), None);
        assert_eq!(found(&path, r#"{"kubernetes":"none"}"#), None);
    }

    #[test]
    fn the_first_candidate_wins_wherever_it_stands() {
        let both = ["log", "message"];
        assert_eq!(found(&both, r#"{"message":"b","log":"a"}"#).unwrap(), "a");
        assert_eq!(found(&both, r#"{"log":"a","message":"b"}"#).unwrap(), "a");
        assert_eq!(found(&both, r#"{"log":"","message":"b\n"}"#).unwrap(), "b\n");
        assert_eq!(found(&both, r#"{"log":{"x":1},"message":7.5}"#).unwrap(), "7.5");
        assert_eq!(found(&["a", "a.b"], r#"{"a":{"b":1}}"#).unwrap(), "1");
    }

    #[test]
    fn only_one_whole_object_will_do() {
        for json in ["", "[]", "7", "{", r#"{"a":1}x"#, r#"{"a":1}{"a":2}"#, r#"{"a":01}"#, r#"{"#] {
            assert!(paths(&["a"]).find(json).is_err(), "{json:?}");
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
        let _ = paths(&["a"]).find(&deep);
        let _ = paths(&["a.a"]).find(&format!(r#"{{"a":{}"#, "[".repeat(100_000)));
    }

    proptest! {
        #[test]
        fn any_text_ends(text in "[{}\\[\\]\",:a1. \\\\u]{0,60}") {
            let _ = paths(&["a", "a.a", "1"]).find(&text);
        }
    }
}
