//! Conditional writes as a bucket keeps them, and what happens where it does not.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use forewarn_storage::{Conditions, PointerError, PointerStore, Store, Version};
use forewarn_testkit::fault_proxy::{FaultProxy, FaultSchedule, HttpFault};
use forewarn_testkit::http;
use forewarn_testkit::servers::{self, RunningServer};

fn moto() -> Option<RunningServer> {
    let server = servers::s3().unwrap()?;
    assert_eq!(http::send("PUT", &format!("{}/bucket", server.url()), &[], &[]).unwrap().status, 200);
    Some(server)
}

fn open(endpoint: &str) -> Store {
    let options = [
        ("aws_endpoint", endpoint),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
        ("aws_region", "us-east-1"),
    ];
    Store::open_with("s3://bucket/team/a", &options).unwrap()
}

fn one(fault: HttpFault) -> FaultSchedule {
    FaultSchedule { seed: 1, share: 1.0, faults: vec![fault], strips_conditions: false }
}

/// Compares and swaps in memory.
#[derive(Debug, Default)]
struct InMemory(Mutex<HashMap<String, (Bytes, i64)>>);

#[async_trait]
impl PointerStore for InMemory {
    async fn get(&self, key: &str) -> Result<Option<(Bytes, i64)>, PointerError> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }

    async fn swap(&self, key: &str, bytes: Bytes, seen: Option<i64>) -> Result<Option<i64>, PointerError> {
        let mut map = self.0.lock().unwrap();
        if map.get(key).map(|(_, version)| *version) != seen {
            return Ok(None);
        }
        let version = seen.unwrap_or(0) + 1;
        map.insert(key.to_owned(), (bytes, version));
        Ok(Some(version))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_ignores_conditions_is_found_out_and_nothing_is_left_behind() {
    let Some(server) = moto() else { return };
    let store = open(&server.url());
    assert_eq!(store.probe_conditions().await.unwrap(), Conditions::Kept);
    let stripping = FaultSchedule { strips_conditions: true, ..FaultSchedule::default() };
    let proxy = FaultProxy::start(&server.url(), stripping).unwrap();
    assert_eq!(open(&proxy.url()).probe_conditions().await.unwrap(), Conditions::Ignored("If-None-Match"));
    assert_eq!(store.files("").await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_is_not_misled_by_conflicts_and_lost_answers() {
    let Some(server) = moto() else { return };
    for fault in [HttpFault::Conflict, HttpFault::LostAnswer] {
        let proxy = FaultProxy::start(&server.url(), one(fault)).unwrap();
        assert_eq!(open(&proxy.url()).probe_conditions().await.unwrap(), Conditions::Kept, "{fault:?}");
        let stripping = FaultSchedule { strips_conditions: true, ..one(fault) };
        let proxy = FaultProxy::start(&server.url(), stripping).unwrap();
        let found = open(&proxy.url()).probe_conditions().await.unwrap();
        assert!(matches!(found, Conditions::Ignored(_)), "{fault:?}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_write_that_conflicts_or_loses_its_answer_is_written_and_a_second_one_is_refused() {
    let Some(server) = moto() else { return };
    for (i, fault) in [HttpFault::Conflict, HttpFault::LostAnswer, HttpFault::SlowDown].into_iter().enumerate() {
        let proxy = FaultProxy::start(&server.url(), one(fault)).unwrap();
        let (store, path) = (open(&proxy.url()), format!("pointer-{i}.json"));
        let mine = store.replace(&path, Bytes::from_static(b"1"), &Version::ABSENT).await.unwrap();
        let error = store.replace(&path, Bytes::from_static(b"2"), &Version::ABSENT).await.unwrap_err();
        assert!(error.is_in_use(), "{fault:?}: {error}");
        store.replace(&path, Bytes::from_static(b"3"), &mine).await.unwrap();
        let error = store.replace(&path, Bytes::from_static(b"4"), &mine).await.unwrap_err();
        assert!(error.is_in_use(), "{fault:?}: {error}");
        assert_eq!(store.get(&path, 10).await.unwrap().unwrap(), "3", "{fault:?}");
        assert!(proxy.traffic().faults[&fault] > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_whose_answer_breaks_off_is_asked_for_again() {
    let Some(server) = moto() else { return };
    let store = open(&server.url());
    for name in ["a", "b", "c"] {
        store.put(&format!("folder/{name}"), Bytes::from_static(b"x")).await.unwrap();
    }
    let proxy = FaultProxy::start(&server.url(), one(HttpFault::Truncated)).unwrap();
    assert_eq!(open(&proxy.url()).files("folder").await.unwrap(), ["a", "b", "c"]);
    assert_eq!(open(&proxy.url()).get("folder/a", 10).await.unwrap().unwrap(), "x");
    let proxy = FaultProxy::start(&server.url(), one(HttpFault::WrongContentRange)).unwrap();
    store.put("long", Bytes::from_static(b"0123456789")).await.unwrap();
    assert_eq!(open(&proxy.url()).get_range("long", 2..5).await.unwrap().unwrap(), "234");
    assert!(proxy.traffic().faults[&HttpFault::WrongContentRange] > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_conditions_pointers_move_in_the_other_store_and_the_bucket_has_a_copy() {
    let Some(server) = moto() else { return };
    let plain = open(&server.url());
    // What the bucket has already is where the pointer starts from.
    plain.put("counter", Bytes::from_static(b"5")).await.unwrap();
    let stripping = FaultSchedule { strips_conditions: true, ..FaultSchedule::default() };
    let proxy = FaultProxy::start(&server.url(), stripping).unwrap();
    let store = open(&proxy.url()).with_pointers(Arc::new(InMemory::default()));

    let seen = store.get_versioned("counter", 10).await.unwrap().1;
    let mine = store.replace("counter", Bytes::from_static(b"6"), &seen).await.unwrap();
    let error = store.replace("counter", Bytes::from_static(b"9"), &seen).await.unwrap_err();
    assert!(error.is_in_use(), "{error}");
    store.replace("counter", Bytes::from_static(b"7"), &mine).await.unwrap();

    // Sixteen that count up at once: not one step is lost.
    let count = |store: Store| async move {
        loop {
            let (bytes, seen) = store.get_versioned("counter", 10).await.unwrap();
            let now: u32 = String::from_utf8_lossy(&bytes.unwrap()).parse().unwrap();
            if store.replace("counter", Bytes::from((now + 1).to_string()), &seen).await.is_ok() {
                return;
            }
        }
    };
    futures::future::join_all((0..16).map(|_| tokio::spawn(count(store.clone())))).await;
    assert_eq!(store.get_versioned("counter", 10).await.unwrap().0.unwrap(), "23");
    assert_eq!(plain.get("counter", 10).await.unwrap().unwrap(), "23");
}
