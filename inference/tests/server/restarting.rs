//! A server that starts where another one ended.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forewarn_features::{Observation, ServiceStep, SignalSet};
use forewarn_inference::{Checkpoint, CheckpointOptions, ServerOptions};
use forewarn_models::{Engine, EngineOptions};
use forewarn_schema::{LabelSet, Timestamp};
use forewarn_storage::Store;
use forewarn_testkit::remote_write::encode_scrape;
use serde_json::Value;

use crate::rig::{LATENESS, Rig, START, pool_scrape, pool_series, start_at, start_from, start_with};

const HOUR: i64 = 3600;

fn checkpoints(folder: &Path) -> CheckpointOptions {
    let store = Store::open(&format!("file://{}", folder.join("store").display())).unwrap();
    CheckpointOptions { store, path: "serving/test.checkpoint".to_owned(), every: Duration::from_secs(3600) }
}

/// A scrape and a step a minute; what is said after each.
async fn minutes(rig: &Rig, from: i64, to: i64) -> Vec<Value> {
    let mut said = Vec::new();
    for at in (from..to).step_by(60) {
        rig.set_now(at + LATENESS);
        let minute = (at - START) / 60;
        rig.write(pool_scrape(at, 10.0 + 0.1 * minute as f64 + (minute % 7) as f64)).await;
        assert_eq!(rig.handle.tick(Timestamp::from_seconds(at + LATENESS)).await, 1);
        said.push(rig.get("/api/v1/predictions").await.1);
    }
    said
}

#[tokio::test]
async fn a_restarted_server_says_bit_for_bit_what_one_that_ran_through_says() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let through = start_at(one.path(), START, |_| ()).await;
    let expected = minutes(&through, START, START + 3 * HOUR).await;
    through.stop().await;

    let keeping = |options: &mut ServerOptions| options.checkpoint = Some(checkpoints(two.path()));
    let first = start_at(two.path(), START, keeping).await;
    let mut said = minutes(&first, START, START + HOUR).await;
    first.stop().await;
    for hour in 1..3 {
        let from = START + hour * HOUR;
        let checkpoint = Checkpoint::read(&checkpoints(two.path()).store, "serving/test.checkpoint").await.unwrap();
        let next = start_from(two.path(), from, checkpoint.unwrap(), keeping).await;
        // It says at once what the last one said.
        let before = next.get("/api/v1/predictions").await.1;
        assert_eq!(before, *said.last().unwrap());
        said.extend(minutes(&next, from, from + HOUR).await);
        next.handle.checkpoint().await;
        next.crash().await;
    }
    assert_eq!(said.len(), expected.len());
    for (minute, (said, expected)) in said.iter().zip(&expected).enumerate() {
        assert!(expected[0]["value"].is_number());
        assert_eq!(said, expected, "at minute {minute}");
    }
}

#[tokio::test]
async fn a_checkpoint_that_was_cut_or_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start_at(folder.path(), START, |options| options.checkpoint = Some(checkpoints(folder.path()))).await;
    minutes(&rig, START, START + 600).await;
    rig.stop().await;
    let store = checkpoints(folder.path()).store;
    let path = folder.path().join("store/serving/test.checkpoint");
    let whole = std::fs::read(&path).unwrap();
    assert!(Checkpoint::read(&store, "serving/test.checkpoint").await.unwrap().is_some());
    assert!(Checkpoint::read(&store, "serving/other.checkpoint").await.unwrap().is_none());
    for length in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..length]).unwrap();
        Checkpoint::read(&store, "serving/test.checkpoint").await.unwrap_err();
    }
    for at in (0..whole.len()).step_by(41) {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        std::fs::write(&path, &changed).unwrap();
        Checkpoint::read(&store, "serving/test.checkpoint").await.unwrap_err();
    }
}

/// An engine that has seen the hour before the start of these services' connections.
fn having_seen(services: &[&str]) -> Engine {
    let mut engine = Engine::new(signals(), EngineOptions::default());
    for minute in -60..0 {
        let at = Timestamp::from_seconds(START + minute * 60);
        let of = |service: &&str| {
            let labels = Arc::new(LabelSet::from([("pod", format!("{service}-1").as_str())]));
            let value = 40.0 + 0.25 * minute as f64;
            let pool = Observation { signal: "pool".into(), labels, value, limit: Some(100.0) };
            ServiceStep { service: (*service).into(), at, observations: vec![pool] }
        };
        engine.observe(at, &services.iter().map(of).collect::<Vec<_>>());
    }
    engine
}

fn signals() -> Arc<SignalSet> {
    let pool = r#"{"name": "pool", "kind": "pool_exhaustion", "service": "service",
        "value": "max by (service, pod) (hikaricp_connections_active)",
        "limit": "max by (service, pod) (hikaricp_connections_max)"}"#;
    Arc::new(SignalSet::new(&[], vec![serde_json::from_str(pool).unwrap()]).unwrap())
}

#[tokio::test]
async fn of_workloads_that_may_be_others_a_shard_speaks_once_they_come_and_as_if_it_had_known_them() {
    let both = ["cart", "mail"];
    let (whole_dir, shard_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let warmed = |options: &mut ServerOptions| {
        options.warmed_until = Some(Timestamp::from_seconds(START - 60));
        options.max_catch_up = Duration::from_secs(60);
    };
    let whole = start_with(whole_dir.path(), (signals(), having_seen(&both)), vec![], warmed).await;
    let fresh = (signals(), Engine::new(signals(), EngineOptions::default()));
    let shard = start_with(shard_dir.path(), fresh, having_seen(&both).memories().collect(), warmed).await;
    for minute in 0..30 {
        let at = START + minute * 60;
        // The second one comes late.
        let sent: &[&str] = if minute < 4 { &both[..1] } else { &both };
        let series: Vec<_> = sent.iter().flat_map(|s| pool_series(s, 40.0 + 0.25 * minute as f64)).collect();
        let mut said = Vec::new();
        for rig in [&whole, &shard] {
            rig.set_now(at + LATENESS);
            rig.write(encode_scrape(Timestamp::from_seconds(at), &series)).await;
            assert_eq!(rig.handle.tick(Timestamp::from_seconds(at + LATENESS)).await, 1);
            said.push(rig.get("/api/v1/predictions").await.1.as_array().unwrap().clone());
        }
        let of = |said: &[Value], service: &str| said.iter().find(|p| p["service"] == service).cloned();
        assert_eq!(of(&said[1], "cart"), of(&said[0], "cart"), "at minute {minute}");
        assert_ne!(of(&said[0], "mail"), None, "who scores all goes on over a gap: minute {minute}");
        let expected = if minute < 4 { None } else { of(&said[0], "mail") };
        assert_eq!(of(&said[1], "mail"), expected, "at minute {minute}");
    }
    whole.stop().await;
    shard.stop().await;
}
