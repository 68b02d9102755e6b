//! A bucket that conflicts, slows down, loses answers, breaks off and lies about ranges: the dataset comes out the same.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::collections::BTreeMap;

use forewarn_datasets::{Dataset, NoProgress};
use forewarn_schema::Step;
use forewarn_testkit::fault_proxy::{FaultProxy, FaultSchedule, HTTP_FAULTS, HttpFault};
use support::{MadeUp, bucket, range, s3_options, service_signals, store};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pull_through_faults_ends_with_the_same_bytes() {
    let Some(server) = bucket() else { return };
    let (source, signals) = (MadeUp { services: 4, pods: 2 }, service_signals());
    let step: Step = "5m".parse().unwrap();
    let first = range("2026-01-01T00:00:00Z", "2026-01-04T06:00:00Z");
    let more = range("2026-01-01T00:00:00Z", "2026-01-06T00:00:00Z");
    let (_folder, url) = store();
    let calm = Dataset::open(&url).await.unwrap();
    calm.pull(&source, &signals, step, more, &NoProgress).await.unwrap();
    let wanted = calm.manifest().await.unwrap().unwrap();
    let wanted_steps = calm.read(&signals, more).await.unwrap();

    let mut faults: BTreeMap<HttpFault, u64> = BTreeMap::new();
    let mut listings = 0;
    for seed in 0..5 {
        let schedule = FaultSchedule { seed, share: 0.4, faults: HTTP_FAULTS.to_vec(), strips_conditions: false };
        let proxy = FaultProxy::start(&server.url(), schedule).unwrap();
        let endpoint = proxy.url();
        let place = format!("s3://history/{seed}");
        let dataset = Dataset::open_with(&place, &s3_options(&endpoint)).await.unwrap();
        // In two pulls, so that a file is superseded, read back and removed.
        for range in [first, more] {
            let pulled = dataset.pull(&source, &signals, step, range, &NoProgress).await;
            assert!(pulled.is_ok(), "seed {seed}: {pulled:?}, {:?}", proxy.traffic());
        }
        let services = ["service-001".to_owned()].into();
        let some = dataset.read_services(&signals, more, &services).await.unwrap();
        assert_eq!(some["service-001"], wanted_steps["service-001"], "seed {seed}");
        assert_eq!(dataset.read(&signals, more).await.unwrap(), wanted_steps, "seed {seed}");

        // As it is in the bucket, seen without the proxy: the manifest has every file's digest, and reading checks them.
        let behind = server.url();
        let seen = Dataset::open_with(&place, &s3_options(&behind)).await.unwrap();
        assert_eq!(seen.manifest().await.unwrap().unwrap().digest(), wanted.digest(), "seed {seed}");
        assert_eq!(seen.read(&signals, more).await.unwrap(), wanted_steps, "seed {seed}");
        let traffic = proxy.traffic();
        for (fault, count) in traffic.faults {
            *faults.entry(fault).or_default() += count;
        }
        listings += traffic.listings;
    }
    // A pull lists nothing, so an old listing cannot mislead it; everything else has happened.
    assert_eq!(listings, 0);
    let missed: Vec<_> = HTTP_FAULTS.iter().filter(|f| !faults.contains_key(f)).collect();
    assert_eq!(missed, [&HttpFault::StaleListing], "{faults:?}");
}
