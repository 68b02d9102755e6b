//! `[telemetry] otlp`: what a server does arrives as spans at a real receiver; one that is away disturbs nobody.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use forewarn_schema::{LabelSet, METRIC_NAME, Sample, Series, Timestamp};
use forewarn_testkit::traces::{Span, TraceReceiver};
use forewarn_testkit::{http, remote_write};
use support::{Serving, run, write_config};

const SIGNAL: &str = "[signals]\npresets = []\n[[signal]]\nname = \"queue\"\nkind = \"custom\"\nservice = \"service\"\n\
                      value = \"queue_depth\"\nlimit = 100\n";

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis() as i64)
}

fn send_a_sample(server: &Serving) {
    let labels = LabelSet::from([(METRIC_NAME, "queue_depth"), ("service", "cart")]);
    let series = Series { labels, samples: vec![Sample { at: now(), value: 10.0 }] };
    let url = format!("{}/api/v1/write", server.url);
    let response = http::post(&url, &remote_write::HEADERS, &remote_write::encode_series(&[series])).unwrap();
    assert!(response.status < 300, "{}", response.body_text());
}

fn spare_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn requests_and_steps_arrive_as_spans_with_their_parts() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), TraceReceiver::start().unwrap());
    let telemetry = format!("[telemetry]\notlp = \"{}\"\nsample = 1.0\n", receiver.url());
    let config = write_config(
        folder.path(),
        &format!("[dataset]\nstep = \"1s\"\nhistory = \"10m\"\n[serve]\nlateness = \"1s\"\n{telemetry}{SIGNAL}"),
    );
    let mut server = Serving::start(&config, spare_port());
    let until = Instant::now() + Duration::from_secs(60);
    let named = |name: &str| -> Vec<Span> { receiver.spans().into_iter().filter(|s| s.name == name).collect() };
    while named("store").is_empty() || named("GET /api/v1/predictions").is_empty() {
        assert!(Instant::now() < until, "{:?}\n{}", receiver.spans(), server.stop());
        send_a_sample(&server);
        server.get("/api/v1/predictions");
        std::thread::sleep(Duration::from_millis(300));
    }
    for part in ["evaluate", "store"] {
        let span = &named(part)[0];
        let step = named("step").into_iter().find(|step| step.span_id == span.parent_span_id).unwrap();
        assert_eq!(step.trace_id, span.trace_id, "{part}");
        assert!(step.start <= span.start && span.start <= span.end && span.end <= step.end, "{part}");
    }
    let request = &named("GET /api/v1/predictions")[0];
    assert!(request.parent_span_id.is_empty());
    assert!(request.attributes.iter().any(|a| a.key == "http.route"), "{request:?}");
    assert!(!named("POST /api/v1/write").is_empty());

    // What is left when it is told to stop is sent before it ends.
    server.get("/api/v1/feedback");
    assert!(Command::new("kill").args(["-TERM", &server.pid().to_string()]).status().unwrap().success());
    while named("GET /api/v1/feedback").is_empty() {
        assert!(Instant::now() < until, "the last spans did not come");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_receiver_that_is_away_disturbs_nobody_and_a_wrong_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let with = |telemetry: &str| write_config(folder.path(), &format!("[telemetry]\n{telemetry}\n{SIGNAL}"));
    let config = with(&format!("otlp = \"http://127.0.0.1:{}\"\nsample = 1.0", spare_port()));
    let mut server = Serving::start(&config, spare_port());
    for _ in 0..20 {
        server.get("/api/v1/predictions");
    }
    let log = server.stop();
    assert!(!log.contains("ERROR"), "{log}");
    for (telemetry, problem) in [
        ("otlp = \"localhost:4318\"", "[telemetry] otlp"),
        ("otlp = \"http://127.0.0.1:4318\"\nsample = 1.5", "wanted a share of 0 to 1, got 1.5"),
        ("otlp = \"http://127.0.0.1:4318\"\nheaders = { authorization = \"${NOT_THERE}\" }", "NOT_THERE"),
        ("headers = { a = \"b\" }", "needs otlp"),
    ] {
        let refused = run(&["check"], Some(&with(telemetry))).expect_code(2);
        assert!(refused.stderr.contains(problem), "{refused}");
    }
}
