//! The live half of the loop, all parts real: an exporter leaks connections, Prometheus scrapes it four
//! times a second and remote-writes into `forewarn serve`, which asks for remediation at a webhook; a label comes
//! back from the shell, and Prometheus scrapes what Forewarn says.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod support;

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use forewarn_testkit::exporter::{LeakParams, LeakingExporter};
use forewarn_testkit::webhook::{WebhookReceiver, verify};
use forewarn_testkit::{http, servers};
use serde_json::Value;
use support::{Serving, run, write_config};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn a_leak_becomes_a_verified_webhook_and_a_label_that_the_next_report_shows() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = WebhookReceiver::start(1).unwrap();
    let exporter = LeakingExporter::start(LeakParams {
        service: "cart".to_owned(),
        normal: 10.0,
        limit: 100.0,
        onset: Duration::from_secs(10),
        per_second: 0.9,
    })
    .unwrap();
    let port = servers::spare_port().unwrap();
    let yaml = format!(
        "global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n\
         remote_write:\n  - url: http://127.0.0.1:{port}/api/v1/write\n    queue_config: {{batch_send_deadline: 200ms}}\n\
         scrape_configs:\n\
         \x20 - job_name: leak\n    static_configs: [{{targets: [\"{}\"]}}]\n\
         \x20 - job_name: forewarn\n    static_configs: [{{targets: [\"127.0.0.1:{port}\"]}}]\n",
        exporter.target()
    );
    let Some(prometheus) = servers::prometheus(&yaml, None).unwrap() else { return };
    let rest = format!(
        "[[source]]\nname = \"real\"\nkind = \"prometheus\"\nurl = \"{}\"\n\
         [dataset]\nstep = \"250ms\"\nhistory = \"10m\"\n\
         [serve]\nlateness = \"250ms\"\n\
         [requests]\nwebhook = \"{}\"\nwebhook_secret = \"{SECRET}\"\n",
        prometheus.url(),
        receiver.url()
    );
    let config = write_config(dir.path(), &rest);
    let mut serving = Serving::start(&config, port);

    // A trend needs some two hundred steps without a model: at four a second a minute. The first attempt was answered 503: the request comes again, with the same id.
    if !receiver.wait_for(2, Duration::from_secs(120)) {
        let predictions = serving.get("/api/v1/predictions");
        panic!("no request came; predictions {predictions}; log {}", serving.stop());
    }
    let delivered = receiver.requests();
    assert_eq!(delivered[0].header("webhook-id"), delivered[1].header("webhook-id"));
    let request = &delivered[1];
    verify(SECRET, request).unwrap();
    let message: Value = serde_json::from_slice(&request.body).unwrap();
    let stored = serving.get("/api/v1/requests");
    let stored = &stored[0];
    assert_eq!(stored["kind"], "pool_exhaustion", "{message}");
    assert_eq!(stored["service"], "cart");
    assert_eq!(stored["mode"], "dry_run");

    let prediction_id = stored["prediction_id"].as_str().unwrap();
    let said = run(&["label", prediction_id, "true_positive", "--note", "it leaks"], Some(&config)).expect_code(0);
    assert!(said.stdout.contains(prediction_id), "{said}");
    let labels = serving.get("/api/v1/feedback");
    assert_eq!(labels[0]["verdict"], "true_positive");
    assert_eq!(labels[0]["source"], "shell");

    promtool_accepts(&http::get(&format!("{}/metrics", serving.url)).unwrap().body);
    scraped_back(&prometheus.url());
    the_next_report_shows_the_label(&config, prediction_id);
}

fn promtool_accepts(metrics: &[u8]) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(metrics).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn scraped_back(prometheus: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let url = format!("{prometheus}/api/v1/query?query=forewarn_breach_probability");
        let answer: Value = serde_json::from_slice(&http::get(&url).unwrap().body).unwrap();
        let result = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        if result.iter().any(|series| series["metric"]["kind"] == "pool_exhaustion") {
            return;
        }
        assert!(Instant::now() < until, "never scraped back: {answer}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Pulls what Prometheus has seen and judges the rules on it: the label is in the report.
fn the_next_report_shows_the_label(config: &std::path::Path, prediction_id: &str) {
    run(&["pull"], Some(config)).expect_code(0);
    let evaluated = run(&["evaluate", "--json"], Some(config)).expect_code(0).json();
    assert_eq!(evaluated["labels"], 1, "{evaluated}");
    let html = evaluated["html"].as_str().unwrap().strip_prefix("file://").unwrap().to_owned();
    let report: Value = serde_json::from_slice(&fs::read(html.replace(".html", ".json")).unwrap()).unwrap();
    assert_eq!(report["feedback"]["labels"][0]["subject"]["prediction_id"], prediction_id);
    assert!(fs::read_to_string(html).unwrap().contains("it leaks"));
}
