//! Remote write: what is taken, what is refused, and that the sender is told the truth of it.

use forewarn_schema::{LabelSet, Sample, Series, Timestamp};
use forewarn_testkit::remote_write::{HEADERS, encode_scrape, encode_series, v2};
use reqwest::StatusCode;

use crate::rig::{START, pool_scrape, start};

fn active(pod: &str, samples: &[(i64, f64)]) -> Series {
    Series {
        labels: LabelSet::from([("__name__", "hikaricp_connections_active"), ("service", "cart"), ("pod", pod)]),
        samples: samples.iter().map(|(at, value)| Sample { at: Timestamp::from_seconds(*at), value: *value }).collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resend_is_taken_again_and_keeps_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    rig.set_now(START + 120);
    let body = encode_series(&[active("a", &[(START, 1.0), (START + 15, 2.0)]), active("b", &[(START, 3.0)])]);
    for _ in 0..3 {
        assert_eq!(rig.write(body.clone()).await.0, StatusCode::NO_CONTENT);
    }
    assert_eq!(rig.metric("forewarn_live_series").await, Some(2.0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn good_samples_of_a_partly_bad_write_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    rig.set_now(START + 60);
    assert_eq!(rig.write(encode_series(&[active("a", &[(START, 1.0)])])).await.0, StatusCode::NO_CONTENT);
    let unwanted = (LabelSet::from([("__name__", "go_goroutines")]), 5.0);
    assert_eq!(rig.write(encode_scrape(Timestamp::from_seconds(START), &[unwanted])).await.0, StatusCode::NO_CONTENT);
    let far = START + 60 + 601;
    let (status, problem) = rig
        .write(encode_series(&[
            active("a", &[(START, 7.0), (START + 30, 2.0)]),
            active("b", &[(START, 1.0), (far, 1.0)]),
        ]))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(problem["kept"], 2);
    assert_eq!(problem["refused"]["duplicate_timestamp"], 1);
    assert_eq!(problem["refused"]["too_far_in_future"], 1);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("2 of 4 samples refused (duplicate_timestamp 1, too_far_in_future 1)"), "{detail}");
    assert!(detail.contains(r#"hikaricp_connections_active{pod="a",service="cart"}"#), "{detail}");
    assert_eq!(rig.metric("forewarn_samples_kept_total").await, Some(3.0));
    assert_eq!(rig.metric("forewarn_samples_unwanted_total").await, Some(1.0));
    assert_eq!(rig.metric(r#"forewarn_samples_refused_total{reason="too_far_in_future"}"#).await, Some(1.0));
    rig.stop().await;
}

/// A message of version 2.0: the status, and what the answer says was written (samples, histograms, exemplars).
async fn write_2(rig: &crate::rig::Rig, request: &v2::Request, content_type: &str) -> (StatusCode, [String; 3]) {
    let mut post = rig.client.post(format!("{}/api/v1/write", rig.base)).body(v2::compress(request));
    for (name, value) in v2::HEADERS {
        post = post.header(name, if name == "content-type" { content_type } else { value });
    }
    let answer = post.send().await.unwrap();
    let written = ["samples", "histograms", "exemplars"].map(|what| {
        let header = answer.headers().get(format!("x-prometheus-remote-write-{what}-written"));
        header.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    });
    (answer.status(), written)
}

#[tokio::test(flavor = "multi_thread")]
async fn version_2_is_taken_beside_version_1_and_says_how_much_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    rig.set_now(START + 120);
    assert_eq!(rig.write(encode_series(&[active("a", &[(START, 1.0)])])).await.0, StatusCode::NO_CONTENT);
    let request = v2::request(&[active("a", &[(START, 1.0), (START + 15, 2.0)]), active("b", &[(START, 3.0)])]);
    let written = |samples: &str| [samples.to_owned(), "0".to_owned(), "0".to_owned()];
    for content_type in [
        "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        "Application/X-Protobuf; Proto=\"io.prometheus.write.v2.Request\"",
    ] {
        assert_eq!(write_2(&rig, &request, content_type).await, (StatusCode::NO_CONTENT, written("3")));
    }
    assert_eq!(rig.metric("forewarn_live_series").await, Some(2.0), "the same series by either version");

    let conflict = v2::request(&[active("a", &[(START, 9.0)]), active("c", &[(START, 1.0)])]);
    assert_eq!(write_2(&rig, &conflict, v2::HEADERS[1].1).await, (StatusCode::BAD_REQUEST, written("1")));
    assert_eq!(rig.metric("forewarn_live_series").await, Some(3.0), "the good one is kept");

    let mistaken = write_2(&rig, &request, "application/x-protobuf").await;
    assert_eq!(mistaken.0, StatusCode::UNSUPPORTED_MEDIA_TYPE, "not taken for an empty message of version 1.0");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_that_left_and_came_back_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    let both = |at: i64| encode_series(&[active("a", &[(at, 1.0)]), active("b", &[(at, 1.0)])]);
    let write = async |at: i64, body: Vec<u8>| {
        rig.set_now(at + 15);
        assert_eq!(rig.write(body).await.0, StatusCode::NO_CONTENT);
        rig.handle.tick(Timestamp::from_seconds(at + 15)).await;
    };
    write(START, both(START)).await;
    // Only b goes on, until a is forgotten and b has another place.
    for minute in 1..30 {
        let at = START + minute * 60;
        write(at, encode_series(&[active("b", &[(at, minute as f64)])])).await;
    }
    assert_eq!(rig.metric("forewarn_live_series").await, Some(1.0));
    let at = START + 1800;
    write(at, both(at)).await;
    assert_eq!(rig.metric("forewarn_live_series").await, Some(2.0));
    assert_eq!(rig.metric("forewarn_samples_refused_total").await, None);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_this_format_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |options| options.max_write_bytes = 1000).await;
    let url = format!("{}/api/v1/write", rig.base);
    let version_3 = "application/x-protobuf;proto=io.prometheus.write.v3.Request";
    let cases = [
        ("content-type", "application/json", "content-type must be application/x-protobuf"),
        ("content-encoding", "gzip", "content-encoding must be snappy"),
        ("content-type", version_3, "got io.prometheus.write.v3.Request"),
    ];
    for (wrong, value, says) in cases {
        let mut request = rig.client.post(&url).body("garbage");
        for (name, good) in HEADERS {
            request = request.header(name, if name == wrong { value } else { good });
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let text = response.text().await.unwrap();
        assert!(text.contains(says), "{text}");
    }
    let (status, problem) = rig.write(vec![0; 1001]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(problem["detail"], "the compressed body must be at most 1000 bytes");
    // Says that it becomes 4 GiB.
    let (status, problem) = rig.write(vec![0xff, 0xff, 0xff, 0xff, 0x0f]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{problem}");
    let (status, problem) = rig.write(b"not snappy".to_vec()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(problem["detail"].as_str().unwrap().starts_with("the body is not snappy block format"), "{problem}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_are_evaluated_once_and_late_by_the_lateness() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    let at = Timestamp::from_seconds;
    assert_eq!(rig.handle.tick(at(START + 600)).await, 0, "nothing has arrived");
    for minute in 0..3 {
        rig.set_now(START + minute * 60);
        rig.write(pool_scrape(START + minute * 60, 5.0)).await;
    }
    assert_eq!(rig.handle.tick(at(START + 134)).await, 2);
    assert_eq!(rig.handle.tick(at(START + 135)).await, 1);
    assert_eq!(rig.handle.tick(at(START + 135)).await, 0);
    let (_, predictions) = rig.get("/api/v1/predictions").await;
    assert_eq!(predictions[0]["service"], "cart");
    assert_eq!(predictions[0]["labels"]["pod"], "cart-1");
    assert_eq!(predictions[0]["time_to_breach_seconds"], serde_json::Value::Null);
    let id = predictions[0]["id"].as_str().unwrap();
    let (status, one) = rig.get(&format!("/api/v1/predictions/{id}")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(one["target"]["limit"], 100.0);
    assert_eq!(one["target"]["history"][0]["value"], 5.0);
    // Ten minutes of silence later nothing is said of the past as if it were now.
    rig.set_now(START + 1200);
    assert_eq!(rig.get("/api/v1/predictions").await.1, serde_json::json!([]));
    rig.stop().await;
}
