//! One holder at a time, over a folder and over a real S3 server.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]

use std::time::Duration;

use forewarn_storage::Store;
use forewarn_testkit::http;
use forewarn_testkit::servers;

const SILENCE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn in_a_folder_the_lease_is_a_lock() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("file://{}", dir.path().display())).unwrap();
    let lease = store.lease("runs/.lease", SILENCE).await.unwrap();
    let refused = store.lease("runs/.lease", SILENCE).await.unwrap_err();
    assert!(refused.is_in_use() && refused.to_string().contains("pid"), "{refused}");
    lease.release().await;
    drop(store.lease("runs/.lease", SILENCE).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_bucket_a_holder_that_lives_keeps_it_and_one_that_is_silent_loses_it() {
    let Some(server) = servers::s3().unwrap() else { return };
    assert_eq!(http::send("PUT", &format!("{}/bucket", server.url()), &[], &[]).unwrap().status, 200);
    let endpoint = server.url();
    let options = [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
        ("aws_region", "us-east-1"),
    ];
    let store = Store::open_with("s3://bucket/team", &options).unwrap();
    let lease = store.lease("runs/lease", SILENCE).await.unwrap();
    assert!(store.lease("runs/lease", SILENCE).await.unwrap_err().is_in_use(), "it beats");
    lease.release().await;

    // Given back, it is free at once; of many who want it one has it.
    let wanting = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.lease("runs/lease", SILENCE).await })
    });
    let mut held = Vec::new();
    for one in wanting.collect::<Vec<_>>() {
        match one.await.unwrap() {
            Ok(lease) => held.push(lease),
            Err(e) => assert!(e.is_in_use(), "{e}"),
        }
    }
    assert_eq!(held.len(), 1);

    // Dropped without a word, as by a kill: the next one has it after a while.
    drop(held);
    let next = store.lease("runs/lease", SILENCE).await.unwrap();
    // Taken from under its holder, it is lost, and the holder is told.
    store.put("runs/lease", bytes::Bytes::from_static(b"somebody 7")).await.unwrap();
    tokio::time::timeout(5 * SILENCE, next.lost()).await.unwrap();
    next.release().await;
    assert_eq!(store.get("runs/lease", 100).await.unwrap().unwrap(), "somebody 7", "what is not ours stays");
}
