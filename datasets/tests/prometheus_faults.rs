//! What the query API's client does with a server that misbehaves.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod support;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use forewarn_datasets::{BearerToken, HistorySource, PrometheusOptions, PrometheusSource, PullProgress, SourceError};
use forewarn_schema::{Step, TimeRange};
use support::{Script, answer, matrix, options, range, source};

fn hour() -> TimeRange {
    range("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z")
}

async fn fetch(source: &PrometheusSource) -> Result<usize, SourceError> {
    let series = source.fetch("up", hour(), Step::MINUTE).await?;
    Ok(series.iter().map(|s| s.samples.len()).sum())
}

const ONE: &str = r#"{"metric":{"a":"b"},"values":[[1767225600,"1"],[1767225660,"2"]]}"#;

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable_and_named() {
    let port = forewarn_testkit::servers::spare_port().unwrap();
    let source = source(&format!("http://user:s3cret@127.0.0.1:{port}"));
    let error = fetch(&source).await.unwrap_err();
    assert!(error.is_unreachable());
    let text = error.to_string();
    let expected = format!("source \"thanos\" at http://127.0.0.1:{port} is unreachable after 4 attempts: ");
    assert!(text.starts_with(&expected), "{text}");
    assert!(text.to_lowercase().contains("refused") && !text.contains("s3cret"), "{text}");
    assert!(source.probe().await.unwrap_err().is_unreachable());
}

#[tokio::test]
async fn warnings_are_a_partial_answer_and_not_asked_again() {
    let body = r#"{"status":"success","data":{"resultType":"matrix","result":[]},"warnings":["store s3cret gone"]}"#;
    let script = Script::start(vec![answer("200 OK", "", body)]);
    let bearer = Some(BearerToken::Text("s3cret".to_owned()));
    let source = PrometheusSource::new(PrometheusOptions { bearer, ..options(&script.url) }).unwrap();
    let error = fetch(&source).await.unwrap_err();
    assert!(matches!(&error, SourceError::Partial { warnings, .. } if warnings == &["store *** gone"]), "{error}");
    let requests = script.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].contains("partial_response=false"));
    assert!(requests[0].contains("authorization: Bearer s3cret"));
    assert!(requests[0].contains("start=1767225600&end=1767229140&step=60"), "{}", requests[0]);
}

#[derive(Default)]
struct Retries(Mutex<Vec<(u32, String)>>);

impl PullProgress for Retries {
    fn started(&self, _: u64) {}
    fn window_done(&self, _: u64, _: u64) {}
    fn retrying(&self, _what: &str, attempt: u32, error: &str) {
        self.0.lock().unwrap().push((attempt, error.to_owned()));
    }
}

#[tokio::test]
async fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let busy = answer("503 Service Unavailable", "retry-after: 1\r\n", "busy");
    let script = Script::start(vec![busy, matrix(ONE)]);
    let (retries, before) = (Retries::default(), Instant::now());
    let series = source(&script.url).fetch_with_progress("up", hour(), Step::MINUTE, &retries).await.unwrap();
    assert_eq!(series[0].samples.len(), 2);
    assert!(before.elapsed() >= Duration::from_secs(1));
    let told = retries.0.lock().unwrap().clone();
    assert_eq!(told, [(1, "status 503 Service Unavailable: busy".to_owned())]);
}

#[tokio::test]
async fn a_server_that_asks_for_too_long_is_not_waited_for() {
    let script = Script::start(vec![answer("429 Too Many Requests", "retry-after: 86400\r\n", "")]);
    assert!(fetch(&source(&script.url)).await.unwrap_err().is_unreachable());
    assert_eq!(script.requests().len(), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_asked_for_again() {
    let whole = matrix(ONE);
    let script = Script::start(vec![whole[..whole.len() - 20].to_owned(), whole]);
    assert_eq!(fetch(&source(&script.url)).await.unwrap(), 2);
    assert_eq!(script.requests().len(), 2);
}

/// The steps of a request, and an answer with a value at each.
fn every_step(request: &str) -> (i64, String) {
    let number = |name: &str| -> i64 {
        let rest = request.split(&format!("{name}=")).nth(1).unwrap();
        rest.split('&').next().unwrap().parse().unwrap()
    };
    let (start, end) = (number("start"), number("end"));
    let values: Vec<String> = (0..=(end - start) / 60).map(|k| format!("[{},\"1\"]", start + k * 60)).collect();
    let body = format!(r#"{{"metric":{{}},"values":[{}]}}"#, values.join(","));
    (values.len() as i64, matrix(&body))
}

#[tokio::test]
async fn a_window_that_is_too_much_is_halved_until_it_is_not() {
    let refusal =
        r#"{"status":"error","errorType":"execution","error":"query processing would load too many samples"}"#;
    let script = Script::answering(move |_, request| match every_step(request) {
        (steps, whole) if steps <= 15 => whole,
        _ => answer("422 Unprocessable Entity", "", refusal),
    });
    assert_eq!(fetch(&source(&script.url)).await.unwrap(), 60);
    assert_eq!(script.requests().len(), 1 + 2 + 4);

    let script = Script::start(vec![answer("422 Unprocessable Entity", "", refusal)]);
    let error = fetch(&source(&script.url)).await.unwrap_err();
    assert!(error.to_string().contains("too many samples"), "{error}");
    assert!(script.requests().len() < 10);
}

#[tokio::test]
async fn an_answer_over_the_cap_is_fetched_in_halves() {
    let script = Script::answering(|_, request| every_step(request).1);
    let small = PrometheusOptions { max_answer_bytes: 600, ..options(&script.url) };
    assert_eq!(fetch(&PrometheusSource::new(small).unwrap()).await.unwrap(), 60);
    let none = PrometheusOptions { max_answer_bytes: 10, ..options(&script.url) };
    let error = fetch(&PrometheusSource::new(none).unwrap()).await.unwrap_err();
    assert!(matches!(error, SourceError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn no_request_has_more_points_than_allowed() {
    let script = Script::answering(|_, request| every_step(request).1);
    let source = PrometheusSource::new(PrometheusOptions { max_points: 25, ..options(&script.url) }).unwrap();
    assert_eq!(fetch(&source).await.unwrap(), 60);
    let points: Vec<i64> = script.requests().iter().map(|r| every_step(r).0).collect();
    assert_eq!(points, [25, 25, 10]);
}

#[tokio::test]
async fn what_asking_again_cannot_change_is_refused_at_once() {
    for (status, kind) in [("400 Bad Request", 400), ("401 Unauthorized", 401), ("302 Found", 302)] {
        let script = Script::start(vec![answer(status, "location: http://127.0.0.1:1/\r\n", "no\nentry")]);
        let error = fetch(&source(&script.url)).await.unwrap_err();
        assert!(matches!(&error, SourceError::Refused { status, .. } if *status == kind), "{error}");
        assert!(!error.to_string().contains('\n'));
        assert_eq!(script.requests().len(), 1);
    }
    let script = Script::start(vec![answer("200 OK", "", "<html>log in</html>")]);
    assert!(matches!(fetch(&source(&script.url)).await.unwrap_err(), SourceError::Malformed { .. }));
}
