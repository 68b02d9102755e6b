//! The registry, over a folder and over an S3 server: the same claims hold for both.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test panics to fail and says why it skips")]

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};

use bytes::Bytes;
use forewarn_models::registry::{RegistryError, VersionState};
use forewarn_models::{ModelRegistry, ModelVersion};
use forewarn_schema::Timestamp;
use forewarn_storage::Store;
use forewarn_testkit::servers;

const AT: Timestamp = Timestamp::from_seconds(1_767_500_000);

fn folder() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("file://{}/a store", folder.path().display())).unwrap();
    (folder, store)
}

/// moto's server and a store in it; `None`, with the reason printed, where moto is not installed.
fn bucket() -> Option<(servers::RunningServer, Store)> {
    let server = servers::s3().unwrap()?;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    let request = "PUT /forewarn HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 "), "the bucket must be made, got {answer}");
    let url = server.url();
    let options = [
        ("aws_endpoint", url.as_str()),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
        ("aws_region", "us-east-1"),
    ];
    let store = Store::open_with("s3://forewarn/team a/prod", &options).unwrap();
    Some((server, store))
}

/// Publish, promote, roll back: the life of two versions.
async fn versions_come_and_go(store: Store) {
    let registry = ModelRegistry::new(store);
    let service = "shop/checkout";
    let (first, second) = (common::bundle(service, 1, 7), common::bundle(service, 2, 7));
    assert_eq!(registry.services().await.unwrap(), Vec::<String>::new());
    assert_eq!(registry.versions(service).await.unwrap(), []);
    assert_eq!(registry.rollback(service, AT).await.unwrap(), None, "nothing to take back is no error");

    let v1 = registry.publish(&first).await.unwrap();
    assert_eq!(registry.publish(&first).await.unwrap(), v1, "the same content is the same version");
    assert_eq!(registry.services().await.unwrap(), [service]);
    assert_eq!(registry.current(service).await.unwrap(), None, "published is not promoted");
    assert_eq!(registry.candidate(service).await.unwrap(), Some(v1.clone()));
    registry.promote(service, &v1, AT, "beats the baselines").await.unwrap();
    assert_eq!(registry.current(service).await.unwrap(), Some(v1.clone()));
    assert_eq!(registry.candidate(service).await.unwrap(), None);

    let v2 = registry.publish(&second).await.unwrap();
    assert_eq!(registry.candidate(service).await.unwrap(), Some(v2.clone()));
    registry.promote(service, &v2, AT, "beats the champion").await.unwrap();
    registry.promote(service, &v2, AT, "again").await.unwrap();
    assert_eq!(
        registry.pointer(service).await.unwrap().promotions.len(),
        2,
        "promoting the current one changes nothing"
    );
    let loaded = registry.load(service, &v2).await.unwrap();
    assert_eq!(loaded.to_artifact().unwrap(), second.to_artifact().unwrap());
    assert_eq!(
        states(&registry, service).await,
        [(v2.clone(), VersionState::Current), (v1.clone(), VersionState::Previous)]
    );

    assert_eq!(registry.rollback(service, AT).await.unwrap(), Some(v1.clone()));
    assert_eq!(registry.current(service).await.unwrap(), Some(v1.clone()));
    assert_eq!(states(&registry, service).await[0], (v2.clone(), VersionState::Candidate));
    // The way forward again, then all the way back to the rules.
    registry.promote(service, &v2, AT, "beats the champion").await.unwrap();
    registry.promote(service, &v1, AT, "beats the baselines").await.unwrap();
    for wanted in [Some(v2.clone()), Some(v1.clone()), None, None] {
        assert_eq!(registry.rollback(service, AT).await.unwrap(), wanted);
    }
    let rolled_back: Vec<ModelVersion> =
        registry.pointer(service).await.unwrap().rollbacks.into_iter().map(|r| r.version).collect();
    assert_eq!(rolled_back, [v2.clone(), v1.clone(), v2, v1]);
}

async fn states(registry: &ModelRegistry, service: &str) -> Vec<(ModelVersion, VersionState)> {
    registry.versions(service).await.unwrap().into_iter().map(|info| (info.version, info.state)).collect()
}

/// Eight writers move one pointer at once: every move is kept, and the pointer is whole.
async fn concurrent_promotions_are_all_kept(store: Store) {
    let registry = ModelRegistry::new(store);
    let mut versions = Vec::new();
    for seed in 0..8 {
        versions.push(registry.publish(&common::bundle("checkout", 1, seed)).await.unwrap());
    }
    let mut tasks = tokio::task::JoinSet::new();
    for version in versions.clone() {
        let registry = registry.clone();
        tasks.spawn(async move { registry.promote("checkout", &version, AT, "race").await });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap().unwrap();
    }
    let pointer = registry.pointer("checkout").await.unwrap();
    let mut promoted: Vec<ModelVersion> = pointer.promotions.iter().map(|p| p.version.clone()).collect();
    assert_eq!(pointer.current.as_ref(), promoted.last());
    promoted.sort();
    versions.sort();
    assert_eq!(promoted, versions);
}

async fn reports_are_kept_newest_first(store: Store) {
    let registry = ModelRegistry::new(store);
    let files = BTreeMap::from([("report.json".to_owned(), Bytes::from_static(b"{}"))]);
    registry.put_report("20260108T000000Z", &files).await.unwrap();
    registry.put_report("20260115T000000Z", &files).await.unwrap();
    assert_eq!(registry.reports().await.unwrap(), ["20260115T000000Z", "20260108T000000Z"]);
    assert_eq!(registry.report_files("20260108T000000Z").await.unwrap(), ["report.json"]);
    assert_eq!(registry.report("20260108T000000Z", "report.json").await.unwrap(), "{}");
    let missing = registry.report("20260108T000000Z", "report.html").await.unwrap_err();
    assert!(matches!(missing, RegistryError::UnknownReport { .. }));
    for (name, file) in [("..", "x"), ("a/b", "x"), ("x", "../../etc/passwd"), ("", "x")] {
        assert!(matches!(registry.report(name, file).await, Err(RegistryError::Name { .. })), "{name}/{file}");
    }
}

#[tokio::test]
async fn in_a_folder_versions_come_and_go() {
    let (_folder, store) = folder();
    versions_come_and_go(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_folder_concurrent_promotions_are_all_kept() {
    let (_folder, store) = folder();
    concurrent_promotions_are_all_kept(store).await;
}

#[tokio::test]
async fn in_a_folder_reports_are_kept_newest_first() {
    let (_folder, store) = folder();
    reports_are_kept_newest_first(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_bucket_the_same_holds() {
    let Some((_server, store)) = bucket() else { return };
    versions_come_and_go(store.clone()).await;
    concurrent_promotions_are_all_kept(store.clone()).await;
    reports_are_kept_newest_first(store.clone()).await;
    let registry = ModelRegistry::new(store);
    assert!(!registry.lock().unwrap().is_exclusive(), "a bucket has no locks");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_an_error_and_not_an_empty_registry() {
    let Some((server, _store)) = bucket() else { return };
    let url = server.url();
    let options = [("aws_endpoint", url.as_str()), ("aws_access_key_id", "t"), ("aws_secret_access_key", "t")];
    let store = Store::open_with("s3://nowhere/x", &options).unwrap();
    let error = ModelRegistry::new(store).services().await.unwrap_err();
    assert!(error.to_string().contains("s3://nowhere/x"), "{error}");
}

#[tokio::test]
async fn a_corrupt_version_is_refused_by_name_and_never_promoted() {
    let (folder, store) = folder();
    let registry = ModelRegistry::new(store);
    let v1 = registry.publish(&common::bundle("checkout", 1, 7)).await.unwrap();
    let v2 = registry.publish(&common::bundle("checkout", 2, 7)).await.unwrap();
    registry.promote("checkout", &v1, AT, "first").await.unwrap();
    let at = folder.path().join("a store/models/checkout").join(v2.as_str());
    for file in ["manifest.json", "parts.json", "tensors.safetensors"] {
        let whole = std::fs::read(at.join(file)).unwrap();
        let mut corrupt = whole.clone();
        corrupt[whole.len() / 2] ^= 0x10;
        std::fs::write(at.join(file), &corrupt).unwrap();
        let error = registry.load("checkout", &v2).await.unwrap_err();
        assert!(error.is_refused_model());
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(file), "{source}");
        assert!(registry.promote("checkout", &v2, AT, "second").await.is_err());
        assert_eq!(registry.current("checkout").await.unwrap(), Some(v1.clone()));
        std::fs::write(at.join(file), whole).unwrap();
    }
    registry.promote("checkout", &v2, AT, "whole again").await.unwrap();
    // Another version's files in its place are whole, and still not what was asked for.
    let v3 = registry.publish(&common::bundle("checkout", 1, 8)).await.unwrap();
    for file in ["manifest.json", "parts.json", "tensors.safetensors"] {
        std::fs::copy(at.join(file), at.parent().unwrap().join(v3.as_str()).join(file)).unwrap();
    }
    assert!(registry.load("checkout", &v3).await.unwrap_err().is_refused_model());
}

#[tokio::test]
async fn a_rollback_skips_a_version_that_can_no_longer_be_read() {
    let (folder, store) = folder();
    let registry = ModelRegistry::new(store);
    let mut versions = Vec::new();
    for seed in 0..3 {
        let version = registry.publish(&common::bundle("checkout", 1, seed)).await.unwrap();
        registry.promote("checkout", &version, AT, "better").await.unwrap();
        versions.push(version);
    }
    std::fs::remove_dir_all(folder.path().join("a store/models/checkout").join(versions[1].as_str())).unwrap();
    assert_eq!(registry.rollback("checkout", AT).await.unwrap(), Some(versions[0].clone()));
}

#[tokio::test]
async fn a_pointer_that_is_not_ours_is_left_alone() {
    let (folder, store) = folder();
    let registry = ModelRegistry::new(store);
    let version = registry.publish(&common::bundle("checkout", 1, 7)).await.unwrap();
    let path = folder.path().join("a store/models/checkout/current.json");
    for text in [
        "",
        "{",
        r#"{"format_version": 9}"#,
        r#"{"format_version":1,"service":"checkout","current":"20260102T000000Z-00000000","promotions":[],"rollbacks":[]}"#,
    ] {
        std::fs::write(&path, text).unwrap();
        assert!(matches!(registry.promote("checkout", &version, AT, "x").await, Err(RegistryError::Pointer { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[tokio::test]
async fn a_second_process_is_refused_by_the_lock() {
    let (_folder, store) = folder();
    let registry = ModelRegistry::new(store);
    let held = registry.lock().unwrap();
    assert!(held.is_exclusive());
    assert!(registry.lock().unwrap_err().is_in_use());
    // The server may still move a pointer while a long training holds the lock.
    let version = registry.publish(&common::bundle("checkout", 1, 7)).await.unwrap();
    registry.promote("checkout", &version, AT, "over HTTP").await.unwrap();
    drop(held);
    assert!(registry.lock().is_ok());
}
