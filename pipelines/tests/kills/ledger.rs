//! What was acknowledged, and the questions put to a server that came back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use forewarn_testkit::http;
use serde_json::Value;

#[derive(Default)]
pub(crate) struct Ledger {
    /// Not asked for yet.
    labels: BTreeSet<String>,
    labels_found: usize,
    approvals: BTreeSet<String>,
    /// Id and service.
    requests: BTreeMap<String, String>,
    deliveries: usize,
    sent_again: usize,
}

impl Ledger {
    pub(crate) fn label(&mut self, label: &Value) {
        self.labels.insert(label["id"].as_str().unwrap().to_owned());
    }

    pub(crate) fn approval(&mut self, id: &str) {
        self.approvals.insert(id.to_owned());
    }

    pub(crate) fn request(&mut self, request: &Value) {
        let text = |key: &str| request[key].as_str().unwrap().to_owned();
        self.requests.insert(text("id"), text("service"));
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.labels.extend(other.labels);
        self.approvals.extend(other.approvals);
        self.requests.extend(other.requests);
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.len()
    }

    /// All that was acknowledged is there. A server shows its newest 1,000 labels, so they are asked for every round.
    pub(crate) fn check(&mut self, url: &str) {
        let there: BTreeSet<String> = ids(&answer(url, "/api/v1/feedback"));
        let lost: Vec<&String> = self.labels.difference(&there).collect();
        assert!(lost.is_empty(), "{} of {} labels lost: {lost:?}", lost.len(), self.labels.len());
        self.labels_found += self.labels.len();
        self.labels.clear();
        let requests = answer(url, "/api/v1/requests");
        let there = ids(&requests);
        assert!(self.requests.keys().all(|id| there.contains(id)), "requests lost: {:?} of {there:?}", self.requests);
        for request in requests.as_array().unwrap() {
            self.request(request);
            let approved = self.approvals.contains(request["id"].as_str().unwrap());
            assert!(!approved || request["status"] == "approved", "approval lost: {request}");
        }
        self.one_id_a_service();
    }

    /// Every episode has one id.
    fn one_id_a_service(&self) {
        let services: BTreeSet<&String> = self.requests.values().collect();
        assert_eq!(services.len(), self.requests.len(), "asked twice: {:?}", self.requests);
    }

    /// Every request was delivered, and nothing that is not one; each approval after its request.
    pub(crate) fn check_deliveries(&mut self, url: &str, delivered: &[http::Request]) {
        self.check(url);
        let order: Vec<&str> = delivered.iter().map(|message| message.header("webhook-id").unwrap()).collect();
        let mut expected: BTreeSet<String> = self.requests.keys().cloned().collect();
        expected.extend(self.approvals.iter().map(|id| format!("{id}-approved")));
        let seen: BTreeSet<String> = order.iter().map(|id| (*id).to_owned()).collect();
        let missing: Vec<_> = expected.difference(&seen).collect();
        assert!(missing.is_empty(), "never delivered: {missing:?}");
        for id in &seen {
            let of = id.strip_suffix("-approved").unwrap_or(id);
            assert!(self.requests.contains_key(of), "delivered and not known: {id}");
        }
        let first = |id: &str| order.iter().position(|known| *known == id);
        for id in &self.approvals {
            assert!(first(id) < first(&format!("{id}-approved")), "the approval of {id} came before it");
        }
        (self.deliveries, self.sent_again) = (order.len(), order.len() - seen.len());
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, approvals) = (self.requests.len(), self.approvals.len());
        let (labels, deliveries, again) = (self.labels_found, self.deliveries, self.sent_again);
        write!(
            f,
            "{labels} labels, {approvals} approvals, {requests} requests acknowledged and found again, each with one id; \
             {deliveries} deliveries, {again} of them a second time under the same id"
        )
    }
}

fn answer(url: &str, path: &str) -> Value {
    let answer = http::get(&format!("{url}{path}")).unwrap();
    assert_eq!(answer.status, 200, "GET {path}: {}", answer.body_text());
    serde_json::from_slice(&answer.body).unwrap()
}

fn ids(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}
