//! What of the targets is shown: part of a service's or target's name, a kind, only what will breach, and which page
//! of the list. Lives in the URL, so that a link, a reload and the back button keep it.

use std::collections::BTreeMap;

use forewarn_schema::{BreachKind, Prediction};

use super::{view, words};

/// The query of a URL; of a name that is there twice the last counts, what is not known is passed over.
pub(super) type Query = BTreeMap<String, String>;

const MOST_SEARCH: usize = 200;

/// Everything is shown by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Filter {
    /// Part of the service's name or of a label's value, in any case; empty: all.
    pub(super) service: String,
    pub(super) kind: Option<BreachKind>,
    /// Only what will breach.
    pub(super) ahead: bool,
    /// From 1.
    pub(super) page: usize,
}

impl Filter {
    /// A query that says nothing useful is no filter: a page is never an error for its filter.
    pub(super) fn read(query: &Query) -> Self {
        let text = |name: &str| query.get(name).map(|value| value.trim()).unwrap_or_default();
        Self {
            service: text("service").chars().take(MOST_SEARCH).collect(),
            kind: text("kind").parse().ok(),
            ahead: text("ahead") == "1",
            page: text("page").parse().unwrap_or(1).max(1),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        !self.service.is_empty() || self.kind.is_some() || self.ahead
    }

    /// Whether `prediction` is shown.
    pub(super) fn takes(&self, prediction: &Prediction) -> bool {
        let wanted = self.service.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&wanted);
        let named =
            wanted.is_empty() || has(&prediction.service) || prediction.labels.iter().any(|(_, value)| has(value));
        named && self.kind.is_none_or(|kind| kind == prediction.kind) && (!self.ahead || view::will_breach(prediction))
    }

    /// Whether `service` is shown on a page of services.
    pub(super) fn takes_service(&self, service: &str) -> bool {
        service.to_lowercase().contains(&self.service.to_lowercase())
    }

    /// As the query of a URL, with the `?`; empty where it says nothing.
    pub(super) fn query(&self, page: usize) -> String {
        let mut parts = Vec::new();
        if !self.service.is_empty() {
            parts.push(format!("service={}", words::percent_encoded(&self.service)));
        }
        if let Some(kind) = self.kind {
            parts.push(format!("kind={}", kind.as_str()));
        }
        if self.ahead {
            parts.push("ahead=1".to_owned());
        }
        if page > 1 {
            parts.push(format!("page={page}"));
        }
        if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
    }

    /// The kinds to choose from, with the chosen one.
    pub(super) fn kinds(&self) -> Vec<KindChoice> {
        let choice = |kind: BreachKind| KindChoice {
            value: kind.as_str(),
            name: words::kind(kind, "a signal of your own"),
            is_chosen: self.kind == Some(kind),
        };
        BreachKind::ALL.into_iter().map(choice).collect()
    }
}

pub(super) struct KindChoice {
    pub(super) value: &'static str,
    pub(super) name: String,
    pub(super) is_chosen: bool,
}

/// Where one is in a list that is too long for one page.
pub(super) struct Pager {
    pub(super) page: usize,
    pub(super) pages: usize,
    pub(super) shown: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl Pager {
    /// Of `total` entries, `per_page` at a time; also which of them are on the page (half-open). A page past the end
    /// is the last one.
    pub(super) fn of(filter: &Filter, path: &str, total: usize, per_page: usize) -> (Self, std::ops::Range<usize>) {
        let pages = total.div_ceil(per_page).max(1);
        let page = filter.page.clamp(1, pages);
        let range = (page - 1) * per_page..(page * per_page).min(total);
        let to = |page: usize| format!("{path}{}", filter.query(page));
        let pager = Self {
            page,
            pages,
            shown: if range.is_empty() {
                "0".to_owned()
            } else {
                format!("{} to {} of {total}", range.start + 1, range.end)
            },
            before: (page > 1).then(|| to(page - 1)),
            after: (page < pages).then(|| to(page + 1)),
        };
        (pager, range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Query {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_filter_survives_its_own_url() {
        let filter = Filter::read(&query(&[("service", " ca rt "), ("kind", "oom"), ("ahead", "1"), ("page", "3")]));
        assert_eq!(filter.query(filter.page), "?service=ca%20rt&kind=oom&ahead=1&page=3");
        assert_eq!(Filter::default().query(1), "");
    }

    #[test]
    fn nonsense_is_no_filter() {
        let filter = Filter::read(&query(&[("kind", "boom"), ("ahead", "maybe"), ("page", "-1"), ("evil", "1")]));
        assert_eq!(filter, Filter { page: 1, ..Filter::default() });
        assert!(!filter.is_on());
    }

    #[test]
    fn a_page_past_the_end_is_the_last_one() {
        let filter = Filter { page: 99, ..Filter::default() };
        let (pager, range) = Pager::of(&filter, "/", 120, 50);
        assert_eq!((pager.page, pager.pages, range), (3, 3, 100..120));
        assert_eq!((pager.before.as_deref(), pager.after), (Some("/?page=2"), None));
        let (pager, range) = Pager::of(&filter, "/", 0, 50);
        assert_eq!((pager.pages, range.len(), pager.shown.as_str()), (1, 0, "0"));
    }
}
