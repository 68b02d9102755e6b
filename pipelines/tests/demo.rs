//! The demo, as a new user runs it.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod support;

use std::time::{Duration, Instant};

use support::run;

#[test]
fn the_demo_tells_its_story_and_ends_by_itself() {
    let began = Instant::now();
    let said = run(&["demo", "--once", "--json", "--listen", "127.0.0.1:0"], None).expect_code(0);
    let live = &said.json()["live"];
    assert_eq!(live["signature"], "verified", "{said}");
    assert_eq!(live["label"]["verdict"], "true_positive", "{said}");
    // What is promised on two cores; a test machine may be busy with other tests.
    assert!(began.elapsed() < Duration::from_secs(180), "took {:?}", began.elapsed());
}
