//! Answers of a bucket that break off half-way.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]

use forewarn_storage::Store;
use forewarn_testkit::fault_proxy::{FaultProxy, FaultSchedule, HttpFault};
use forewarn_testkit::http;
use forewarn_testkit::servers;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_not_there_though_the_words_broke_off() {
    let Some(server) = servers::s3().unwrap() else { return };
    assert_eq!(http::send("PUT", &format!("{}/bucket", server.url()), &[], &[]).unwrap().status, 200);
    let plan = FaultSchedule { share: 1.0, faults: vec![HttpFault::Truncated], ..FaultSchedule::default() };
    let proxy = FaultProxy::start(&server.url(), plan).unwrap();
    let endpoint = proxy.url();
    let options = [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
        ("aws_region", "us-east-1"),
    ];
    let store = Store::open_with("s3://bucket", &options).unwrap();
    assert_eq!(store.get("nothing", 100).await.unwrap(), None);
    assert_eq!(store.get_range("nothing", 0..10).await.unwrap(), None);
    assert_eq!(proxy.traffic().faults[&HttpFault::Truncated], 2);
}
