//! A server that starts where another one ended.

use std::path::Path;
use std::time::Duration;

use forewarn_inference::{Checkpoint, CheckpointOptions, ServerOptions};
use forewarn_schema::Timestamp;
use forewarn_storage::Store;
use serde_json::Value;

use crate::rig::{LATENESS, Rig, START, pool_scrape, start_at, start_from};

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
