//! Answers as Thanos Query, Mimir and the proxies before them give them, from a server that replays their shapes: what is
//! whole is taken, what is not is an error with the server's words, and what is too much is asked for in parts.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use forewarn_datasets::{
    Fetch, HistorySource, PrometheusOptions, PrometheusSource, RawSeries, SampleQuery, SampleSource, SourceError,
    SourceResolution,
};
use forewarn_schema::{Step, TimeRange};
use support::{Script, answer, options, range, samples, selector};

fn day() -> TimeRange {
    range("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
}

fn query() -> SampleQuery {
    SampleQuery { selectors: vec![selector("up", &[])], range: day() }
}

fn by_selector(url: &str) -> PrometheusOptions {
    PrometheusOptions { fetch: Fetch::Samples, ..options(url) }
}

async fn pull(options: PrometheusOptions) -> Result<(Vec<RawSeries>, forewarn_datasets::Provenance), SourceError> {
    samples(&PrometheusSource::new(options).unwrap(), &query()).await
}

/// A whole answer with these series, and what else the envelope says.
fn success(result: &str, more: &str) -> String {
    let body = format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{result}]}}{more}}}"#);
    answer("200 OK", "content-type: application/json\r\n", &body)
}

/// One sample in the middle of what was asked for.
fn one_sample(request: &str) -> String {
    success(&format!(r#"{{"metric":{{"__name__":"up"}},"values":[[{},"1"]]}}"#, asked_until(request) - 30), "")
}

/// The last second of the window that was asked for, rounded up.
fn asked_until(request: &str) -> i64 {
    parameter(request, "time").unwrap().parse::<f64>().unwrap().ceil() as i64
}

fn asked_span(request: &str) -> i64 {
    let query = parameter(request, "query").unwrap();
    query.rsplit_once('[').unwrap().1.trim_end_matches("ms]").parse().unwrap()
}

fn parameter(request: &str, name: &str) -> Option<String> {
    let body = request.split("\n\n").nth(1).unwrap_or_else(|| request.lines().last().unwrap());
    url::form_urlencoded::parse(body.trim().as_bytes()).find(|(n, _)| n == name).map(|(_, v)| v.into_owned())
}

#[tokio::test]
async fn an_answer_that_says_it_is_not_whole_is_an_error_with_the_servers_words() {
    for (more, words) in [
        (r#","warnings":["No StoreAPIs matched for this query"]"#, "No StoreAPIs matched"),
        (r#","warnings":["receive series from Addr: store-1: rpc error: code = Unavailable"]"#, "store-1"),
        (r#","infos":["the result was cut short"]"#, "cut short"),
        (r#","isPartial":true"#, "partial"),
    ] {
        let script = Script::answering(move |_, request| match request.starts_with("POST /api/v1/series ") {
            true => answer("200 OK", "", &format!(r#"{{"status":"success","data":[]{more}}}"#)),
            false => success("", more),
        });
        let error = pull(by_selector(&script.url)).await.unwrap_err();
        assert!(matches!(error, SourceError::Partial { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(script.requests().len(), 1, "asking again gives the same");
        let source = PrometheusSource::new(options(&script.url)).unwrap();
        let error = source.fetch("up", day(), Step::MINUTE).await.unwrap_err();
        assert!(matches!(error, SourceError::Partial { .. }), "{error}");
        let error = SampleSource::series(&source, &query()).await.unwrap_err();
        assert!(matches!(error, SourceError::Partial { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_partial_answer_is_forbidden_and_replicas_are_as_configured() {
    let script = Script::answering(|_, request| one_sample(request));
    pull(by_selector(&script.url)).await.unwrap();
    let labels = vec!["replica".to_owned(), "prometheus_replica".to_owned()];
    for dedup in [true, false] {
        let replicas =
            PrometheusOptions { dedup: Some(dedup), replica_labels: labels.clone(), ..by_selector(&script.url) };
        pull(replicas).await.unwrap();
    }
    let tenant = ("THANOS-TENANT".to_owned(), "team-a".to_owned());
    let org = ("X-Scope-OrgID".to_owned(), "team-b".to_owned());
    pull(PrometheusOptions { headers: vec![tenant, org], ..by_selector(&script.url) }).await.unwrap();
    let requests = script.requests();
    for request in &requests {
        assert_eq!(parameter(request, "partial_response").as_deref(), Some("false"));
        assert_eq!(parameter(request, "max_source_resolution").as_deref(), Some("0s"));
        assert_eq!(parameter(request, "nocache").as_deref(), Some("1"));
    }
    let dedup: Vec<Option<String>> = requests.iter().map(|r| parameter(r, "dedup")).collect();
    assert_eq!(dedup, [None, Some("true".to_owned()), Some("false".to_owned()), None]);
    assert!(
        requests[1].contains("replicaLabels%5B%5D=replica&replicaLabels%5B%5D=prometheus_replica"),
        "{}",
        requests[1]
    );
    let last = requests[3].to_lowercase();
    assert!(last.contains("thanos-tenant: team-a") && last.contains("x-scope-orgid: team-b"), "{last}");
}

/// Raw samples of the last 6 hours alone, 5 minutes apart of the last 12, an hour apart of all.
fn retention(request: &str, at: &str) -> bool {
    let age = day().end.seconds() as i64 - asked(request);
    let hours = match at {
        "0s" => 6,
        "5m" => 12,
        _ => 24,
    };
    age <= hours * 3600
}

/// Where a window, or a range of steps, begins.
fn asked(request: &str) -> i64 {
    match parameter(request, "start") {
        Some(start) => start.parse().unwrap(),
        None => asked_until(request) - asked_span(request) / 1000,
    }
}

#[tokio::test]
async fn where_raw_samples_are_gone_coarser_ones_are_used_if_allowed_and_it_is_said() {
    let script = Script::answering(|_, request| match parameter(request, "max_source_resolution").unwrap().as_str() {
        "1h" => one_sample(request),
        _ => success("", ""),
    });
    let (series, provenance) = pull(by_selector(&script.url)).await.unwrap();
    assert_eq!((series.len(), provenance.resolution_ms, script.requests().len()), (0, 0, 1));
    let allowed = |most| PrometheusOptions { max_source_resolution: most, ..by_selector(&script.url) };
    let (series, provenance) = pull(allowed(SourceResolution::FiveMinutes)).await.unwrap();
    assert_eq!((series.len(), provenance.resolution_ms, script.requests().len()), (0, 0, 3));
    let (series, provenance) = pull(allowed(SourceResolution::OneHour)).await.unwrap();
    assert_eq!((series.len(), provenance.resolution_ms, script.requests().len()), (1, 3_600_000, 6));
    assert!(provenance.from.iter().any(|f| f.ends_with(" at 1h")), "{:?}", provenance.from);
}

#[tokio::test]
async fn steps_from_coarser_samples_are_told_window_by_window() {
    let script = Script::answering(|_, request| {
        let at = parameter(request, "max_source_resolution").unwrap();
        let one = format!(r#"{{"metric":{{}},"values":[[{},"1"]]}}"#, asked(request));
        success(if retention(request, &at) { &one } else { "" }, "")
    });
    let most = SourceResolution::OneHour;
    // Four windows of 6 hours.
    let options = PrometheusOptions { max_source_resolution: most, max_points: 360, ..options(&script.url) };
    let source = PrometheusSource::new(options).unwrap();
    let series = source.fetch("up", day(), Step::MINUTE).await.unwrap();
    assert_eq!(series[0].samples.len(), 4);
    let minutes: Vec<u64> = source.downsampled().iter().map(|(_, apart)| apart.as_secs() / 60).collect();
    assert_eq!(minutes, [60, 60, 5]);
    assert_eq!(script.requests().len(), 3 + 3 + 2 + 1);
}

const MIMIR: &str = r#"{"status":"error","errorType":"execution","error":"the query exceeded the maximum number of chunks (err-mimir-max-chunks-per-query)"}"#;

#[tokio::test]
async fn a_limit_of_mimir_halves_the_window_and_its_id_is_in_the_error() {
    let script = Script::answering(|_, request| match asked_span(request) {
        span if span <= 6 * 3_600_000 => one_sample(request),
        _ => answer("422 Unprocessable Entity", "", MIMIR),
    });
    let (series, _) = pull(by_selector(&script.url)).await.unwrap();
    assert_eq!(series[0].samples.len(), 4);
    let spans: Vec<i64> = script.requests().iter().map(|r| asked_span(r) / 3_600_000).collect();
    assert_eq!(spans, [24, 12, 6, 6, 6, 6], "what was too much is not tried again");

    let script = Script::start(vec![answer("422 Unprocessable Entity", "", MIMIR)]);
    let error = pull(by_selector(&script.url)).await.unwrap_err();
    assert!(error.to_string().contains("err-mimir-max-chunks-per-query"), "{error}");
    assert_eq!(script.requests().len(), 1 + 10);
}

#[tokio::test]
async fn a_server_that_asks_for_quiet_is_left_alone_by_all_and_then_gives_everything() {
    for busy in ["429 Too Many Requests", "503 Service Unavailable"] {
        let script = Script::answering(move |i, request| match i {
            0 => answer(busy, "retry-after: 1\r\n", "err-mimir-tenant-max-request-rate"),
            _ => one_sample(request),
        });
        let before = Instant::now();
        let selectors = ["a", "b", "c", "d", "e", "f"].map(|name| selector(name, &[])).to_vec();
        let source = PrometheusSource::new(PrometheusOptions { concurrency: 1, ..by_selector(&script.url) }).unwrap();
        samples(&source, &SampleQuery { selectors, range: day() }).await.unwrap();
        assert!(before.elapsed() >= Duration::from_secs(1));
        assert_eq!(script.requests().len(), 7);
    }
}

#[tokio::test]
async fn a_server_that_never_gets_better_is_given_up_in_time() {
    let script = Script::start(vec![answer("503 Service Unavailable", "retry-after: 1\r\n", "draining")]);
    let patience = Duration::from_millis(1500);
    let options = PrometheusOptions { give_up_after: patience, retries: 1000, ..by_selector(&script.url) };
    let before = Instant::now();
    // Ten halvings, each with its own patience, would be too long; one request is enough to see it.
    let source = PrometheusSource::new(options).unwrap();
    let error = HistorySource::count(&source, "up", day().end).await.unwrap_err();
    assert!(error.is_unreachable() && error.to_string().contains("draining"), "{error}");
    assert!(before.elapsed() < patience + Duration::from_secs(1));
    assert_eq!(script.requests().len(), 2);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_asked_for_again_and_wrong_json_is_not() {
    let script = Script::answering(|i, request| {
        let whole = one_sample(request);
        if i == 0 { whole[..whole.len() - 10].to_owned() } else { whole }
    });
    assert_eq!(pull(by_selector(&script.url)).await.unwrap().0.len(), 1);
    assert_eq!(script.requests().len(), 2);
    for body in [
        "<html>log in</html>",
        "",
        "{",
        r#"{"status":"success"}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
    ] {
        let script = Script::start(vec![answer("200 OK", "", body)]);
        let error = pull(by_selector(&script.url)).await.unwrap_err();
        assert!(matches!(error, SourceError::Malformed { .. }), "{body}: {error}");
        assert_eq!(script.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_slow_answer_is_asked_for_in_parts() {
    let slow = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&slow);
    let script = Script::answering(move |_, request| {
        if asked_span(request) > 12 * 3_600_000 {
            seen.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1500));
        }
        one_sample(request)
    });
    let options = PrometheusOptions { timeout: Duration::from_secs(1), ..by_selector(&script.url) };
    // At least two windows; more where this machine is slow, too.
    assert!(pull(options).await.unwrap().0[0].samples.len() >= 2);
    assert_eq!(slow.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn who_has_no_remote_read_is_asked_for_samples_and_who_has_neither_for_steps() {
    let refuse = || answer("404 Not Found", "", "404 page not found");
    for (has_selectors, expected) in [(true, Fetch::Samples), (false, Fetch::Steps)] {
        let script = Script::answering(move |_, request| match request.starts_with("POST /api/v1/query ") {
            true if has_selectors => success("", ""),
            true => answer("400 Bad Request", "", r#"{"status":"error","errorType":"bad_data","error":"no"}"#),
            false => refuse(),
        });
        let auto = PrometheusOptions { fetch: Fetch::Auto, ..options(&script.url) };
        let source = PrometheusSource::new(auto).unwrap();
        assert_eq!(source.fetch_used().await.unwrap(), expected);
        source.fetch_used().await.unwrap();
        assert_eq!(script.requests().len(), 2, "it is found out once");
    }
    let closed = Script::start(vec![answer("401 Unauthorized", "", "who are you")]);
    let source = PrometheusSource::new(PrometheusOptions { fetch: Fetch::Auto, ..options(&closed.url) }).unwrap();
    assert!(matches!(source.fetch_used().await.unwrap_err(), SourceError::Refused { status: 401, .. }));
}

#[tokio::test]
async fn remote_read_that_fails_half_way_is_asked_for_in_parts_and_its_words_are_kept() {
    let headers = "content-type: application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse\r\n";
    let script = Script::answering(move |_, _| answer("200 OK", headers, "query timed out in expression evaluation\n"));
    let remote = PrometheusOptions { fetch: Fetch::RemoteRead, ..options(&script.url) };
    let error = pull(remote).await.unwrap_err().to_string();
    assert!(error.contains("frame 1") && error.contains("query timed out"), "{error}");
    assert_eq!(script.requests().len(), 1 + 10);
}
