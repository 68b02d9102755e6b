//! `forewarn serve` is killed at any moment, again and again, while samples, labels and approvals come in and messages
//! leave. What it acknowledged is there afterwards, nobody is asked twice under different ids, and it comes back by
//! itself. `KILLS=50 cargo test --workspace --test kills -- --nocapture` is the long run; here a few.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test panics to fail and says what it measured")]

mod ledger;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod traffic;

use std::time::{Duration, Instant};

use forewarn_testkit::postgres::Postgres;
use forewarn_testkit::webhook::WebhookReceiver;

use crate::ledger::Ledger;
use crate::server::{Server, config};
use crate::traffic::{Dice, Leaks, Traffic};

const PATIENCE: Duration = Duration::from_secs(60);

fn kills(few: usize) -> usize {
    std::env::var("KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}

/// Waits for `done`; gives how long it took.
fn until(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what} does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
    began.elapsed()
}

/// What the times of many rounds come to.
fn told(what: &str, mut times: Vec<Duration>) -> String {
    times.sort();
    let (median, most) = (times[times.len() / 2].as_secs_f64(), times[times.len() - 1].as_secs_f64());
    format!("{what}: median {median:.2} s, at most {most:.2} s")
}

#[test]
fn killed_while_it_works_sqlite_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = WebhookReceiver::start(0).unwrap();
    let state = format!("sqlite://{}/state.db", folder.path().display());
    let config = config(folder.path(), &state, &receiver);
    let (mut dice, mut leaks, mut ledger) = (Dice::new(7), Leaks::default(), Ledger::default());
    let (mut server, mut ready) = (Server::new(&config, folder.path(), "a"), Vec::new());
    let least = kills(4);
    // On a busy machine a server may be killed each time before it asks for anything: it gets more rounds then, and longer ones.
    while ready.len() < least || ledger.requests() == 0 && ready.len() < least + 12 {
        let round = ready.len();
        server.start();
        ready.push(until("readiness", || server.is_ready()));
        ledger.check(&server.url());
        // Each round a new one begins; those of the last rounds go on, told from the start to a server that forgot them.
        leaks.begin(round);
        let traffic = Traffic::start(vec![server.url()], leaks.clone());
        let longer = 500 * (round + 1).saturating_sub(least) as u64;
        std::thread::sleep(Duration::from_millis(300 + dice.below(1700) + longer));
        server.kill();
        ledger.extend(traffic.stop());
    }
    server.start();
    until("readiness", || server.is_ready());
    ledger.check(&server.url());
    until("every delivery", || server.metric("forewarn_outbox_pending") == Some(0.0));
    ledger.check_deliveries(&server.url(), &receiver.requests());
    println!("sqlite: {} kills, {ledger}; {}", ready.len(), told("ready after", ready));
    assert!(ledger.requests() > 0, "nothing was asked, so nothing was tried");
}

#[test]
fn of_two_servers_on_postgresql_the_leader_is_killed_and_the_other_goes_on() {
    let Some(database) = Postgres::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let receiver = WebhookReceiver::start(0).unwrap();
    let config = config(folder.path(), &database.database().unwrap(), &receiver);
    let (mut dice, mut leaks, mut ledger) = (Dice::new(11), Leaks::default(), Ledger::default());
    let mut servers = ["a", "b"].map(|name| Server::new(&config, folder.path(), name));
    servers.iter_mut().for_each(Server::start);
    let (mut ready, mut taken) = (Vec::new(), Vec::new());
    for round in 0..kills(1) {
        ready.push(until("readiness", || servers.iter().all(Server::is_ready)));
        until("a leader", || servers.iter().any(Server::leads));
        leaks.begin(round);
        let traffic = Traffic::start(servers.iter().map(Server::url).collect(), leaks.clone());
        std::thread::sleep(Duration::from_millis(2500 + dice.below(1500)));
        let leader = usize::from(!servers[0].leads());
        let other = 1 - leader;
        servers[leader].kill();
        taken.push(until("another leader", || servers[other].leads()));
        ledger.extend(traffic.stop());
        ledger.check(&servers[other].url());
        servers[leader].start();
    }
    until("readiness", || servers.iter().all(Server::is_ready));
    let traffic = Traffic::start(servers.iter().map(Server::url).collect(), leaks.clone());
    std::thread::sleep(Duration::from_secs(8));
    ledger.extend(traffic.stop());
    until("every delivery", || servers[0].metric("forewarn_outbox_pending") == Some(0.0));
    ledger.check(&servers[0].url());
    ledger.check_deliveries(&servers[1].url(), &receiver.requests());
    println!(
        "postgresql: {} kills of the leader, {ledger}; {}; {}",
        taken.len(),
        told("the other leads after", taken),
        told("both ready after", ready)
    );
    assert!(ledger.requests() > 0, "nothing was asked, so nothing was tried");
}
