//! The state database as the place of pointers: it compares and swaps between processes.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]

use bytes::Bytes;
use forewarn_inference::StateStore;
use forewarn_storage::PointerStore as _;
use forewarn_testkit::postgres::Postgres;

#[tokio::test]
async fn of_two_that_saw_the_same_only_one_moves_the_pointer() {
    let folder = tempfile::tempdir().unwrap();
    only_one_moves_it(format!("sqlite://{}/state.db", folder.path().display())).await;
    if let Some(server) = Postgres::shared() {
        only_one_moves_it(server.database().unwrap()).await;
    }
}

async fn only_one_moves_it(url: String) {
    // Two that open a new database at once, as two pulls do.
    let (one, two) = tokio::join!(StateStore::open(&url), StateStore::open(&url));
    let (one, two) = (one.unwrap(), two.unwrap());
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    assert_eq!(one.get("s3://b/x").await.unwrap(), None);
    assert_eq!(one.swap("s3://b/x", bytes("1"), None).await.unwrap(), Some(1));
    assert_eq!(two.swap("s3://b/x", bytes("2"), None).await.unwrap(), None);
    assert_eq!(two.swap("s3://b/x", bytes("2"), Some(1)).await.unwrap(), Some(2));
    assert_eq!(one.swap("s3://b/x", bytes("3"), Some(1)).await.unwrap(), None);
    assert_eq!(one.get("s3://b/x").await.unwrap(), Some((bytes("2"), 2)));
    assert_eq!(one.get("s3://b/y").await.unwrap(), None);
}
