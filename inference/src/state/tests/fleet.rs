//! Several servers of one state at the same time: how much they may ask for together, and what they store once.

use super::*;

/// A request of its own service, which may act.
fn asked(service: &str, seconds: i64) -> (Prediction, RemediationRequest) {
    let labels = LabelSet::from([("pod", "a")]);
    let id = Prediction::derive_id(service, "pool", &labels, at(seconds));
    let mut said = Prediction { id, service: service.to_owned(), ..prediction("a", seconds, 0.9) };
    let made = RemediationRequest { mode: Mode::Approval, ..request(&said, seconds + 86_400) };
    said.request_id = Some(made.id.clone());
    (said, made)
}

/// As many servers as there are `steps`, each of a shard of its own, each stores its step at the same time; how many requests each had
/// to hold back, and why.
async fn all_at_once(store: &StateStore, steps: Vec<EngineOutput>, limits: Limits) -> Vec<Vec<HeldBy>> {
    let servers = steps.into_iter().enumerate().map(|(number, step)| {
        let (store, shard) = (store.clone(), format!("shard-{number}"));
        tokio::spawn(async move {
            let store = StateStore { term: Arc::default(), ..store.of_shard(&shard) };
            if store.is_shared() {
                let seen = store.leader().await.unwrap();
                store.set_term(store.take_lead("test", seen.as_ref()).await.unwrap());
            }
            store.save_step(&step, true, &limits).await.unwrap().refused.into_values().collect::<Vec<_>>()
        })
    });
    let servers: Vec<_> = servers.collect();
    let mut refused = Vec::new();
    for server in servers {
        refused.push(server.await.unwrap());
    }
    refused
}

fn steps(servers: i64, seconds: i64) -> Vec<EngineOutput> {
    let step = |number: i64| {
        let two = [format!("service-{number}-a"), format!("service-{number}-b")];
        let (said, made) = two.iter().map(|service| asked(service, seconds)).unzip();
        output(said, made)
    };
    (0..servers).map(step).collect()
}

on_both! {
async fn servers_that_ask_at_once_keep_to_the_hourly_rate_together(store) {
    let limits = Limits { max_per_hour: Some(5), max_workloads: None, now: at(60) };
    let refused = all_at_once(&store, steps(6, 60), limits).await;
    assert_eq!(store.requests(100).await.unwrap().len(), 5, "of twelve");
    assert_eq!(refused.concat(), [HeldBy::HourlyRate; 7]);
    // What was refused left nothing behind but that it was held back.
    assert_eq!(store.outbox_messages(&[MessageState::Pending], 100).await.unwrap().len(), 5);
    let held = store.held_in(TimeRange::new(at(0), at(120)).unwrap()).await.unwrap();
    assert_eq!(held.len(), 7);
    assert!(held.iter().all(|held| held.by == HeldBy::HourlyRate && held.since == at(60)));
    let kept = store.predictions(100).await.unwrap();
    assert_eq!(kept.len(), 12, "they are likely");
    assert_eq!(kept.iter().filter(|p| p.request_id.is_some()).count(), 5);

    // Said again, as after a commit that nobody heard of, what is stored has its room.
    let refused = all_at_once(&store, steps(6, 60), limits).await;
    assert_eq!((refused.concat().len(), store.requests(100).await.unwrap().len()), (7, 5));
    // An hour later there is room again.
    assert_eq!(store.made_in_hour(at(3659)).await.unwrap(), 5);
    assert_eq!(store.made_in_hour(at(3660)).await.unwrap(), 0);
    let refused = all_at_once(&store, steps(2, 3660), limits).await;
    assert_eq!((refused.concat().len(), store.requests(100).await.unwrap().len()), (0, 9));
}

async fn servers_that_ask_at_once_keep_to_the_number_of_workloads_together(store) {
    let limits = Limits { max_per_hour: None, max_workloads: Some(3), now: at(60) };
    let refused = all_at_once(&store, steps(4, 60), limits).await;
    assert_eq!(refused.concat(), [HeldBy::BlastRadius; 5]);
    let under_way = store.under_way(at(60)).await.unwrap();
    assert_eq!(under_way.len(), 3);
    // Of a workload that something is done to already there may be another one; a dry run needs no room.
    let service = under_way.first().unwrap().clone();
    let (more, dry) = (asked(&service, 120), asked("elsewhere", 120));
    let dry = (dry.0, RemediationRequest { mode: Mode::DryRun, ..dry.1 });
    let step = output(vec![more.0, dry.0], vec![more.1, dry.1]);
    assert_eq!(all_at_once(&store, vec![step], limits).await.concat(), []);
    // Done with one, there is room for the next; so there is once they have expired.
    let first = store.requests(100).await.unwrap().into_iter().find(|r| r.request.service != service).unwrap();
    store.decide(&first.request.id, Decision::Reject, None, at(130), false).await.unwrap();
    assert_eq!(all_at_once(&store, steps(4, 180), limits).await.concat().len(), 5, "two of the eight are under way");
    assert_eq!(store.under_way(at(180)).await.unwrap().len(), 3);
    assert_eq!(store.under_way(at(200_000)).await.unwrap(), std::collections::BTreeSet::new());
}

async fn what_an_alert_says_is_stored_once_however_many_are_told_at_once(store) {
    let said = prediction("a", 60, 0.9);
    store.keep_prediction(&said).await.unwrap();
    let label = |subject| NewFeedback {
        subject,
        verdict: Verdict::TruePositive,
        note: None,
        source: LabelSource::Alertmanager,
    };
    let hit = label(FeedbackSubject::Prediction { prediction_id: said.id.clone() });
    let breach = FeedbackSubject::Breach { service: "cart".to_owned(), kind: BreachKind::Oom, at: at(90) };
    let miss = NewFeedback { verdict: Verdict::Missed, ..label(breach) };
    for (alert, new, stored) in [
        (Some("one"), &hit, 1),
        (Some("another about the same"), &hit, 0),
        (Some("one"), &miss, 0),
        (Some("a third"), &miss, 1),
        (None, &miss, 0),
    ] {
        let told = (0..6).map(|_| {
            let (store, new) = (store.clone(), new.clone());
            tokio::spawn(async move { store.add_alert_label(alert, &new, &[], at(100)).await.unwrap() })
        });
        let mut labels = 0;
        for told in told.collect::<Vec<_>>() {
            labels += usize::from(told.await.unwrap().is_some());
        }
        assert_eq!(labels, stored, "{alert:?}");
    }
    assert_eq!(store.feedback().await.unwrap().len(), 2);
    // Taken back it stays so, whatever the alert repeats.
    let ids: Vec<String> = store.feedback().await.unwrap().into_iter().map(|label| label.id).collect();
    store.take_back(&ids, at(110)).await.unwrap();
    assert_eq!(store.add_alert_label(Some("one"), &hit, &[], at(120)).await.unwrap(), None);
    // A claim of what cannot be labelled is none.
    let unknown = label(FeedbackSubject::Prediction { prediction_id: "p-0".to_owned() });
    for _ in 0..2 {
        assert!(store.add_alert_label(Some("odd"), &unknown, &[], at(120)).await.is_err());
    }
    assert!(store.add_alert_label(Some("odd"), &label(FeedbackSubject::Span {
        service: "cart".to_owned(),
        kind: None,
        range: TimeRange::new(at(0), at(60)).unwrap(),
    }), &[], at(120)).await.unwrap().is_some());
}
}
