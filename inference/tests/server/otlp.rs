//! OTLP metrics: the same series, and so the same predictions, as by remote write; and a sender that is told what was refused.

use std::io::Write as _;

use forewarn_schema::Timestamp;
use forewarn_testkit::otlp::{self, Metric, decode_response, encode, gauge, request};
use reqwest::{StatusCode, header};

use crate::rig::{LATENESS, Rig, START, pool_scrape, start};

const PATH: &str = "/api/v1/otlp/v1/metrics";
const PROTOBUF: &str = "application/x-protobuf";

async fn send(rig: &Rig, body: Vec<u8>, encoding: Option<&str>) -> (StatusCode, Vec<u8>) {
    let mut post = rig.client.post(format!("{}{PATH}", rig.base)).header(header::CONTENT_TYPE, PROTOBUF).body(body);
    if let Some(encoding) = encoding {
        post = post.header(header::CONTENT_ENCODING, encoding);
    }
    let answer = post.send().await.unwrap();
    assert_eq!(answer.headers()[header::CONTENT_TYPE], PROTOBUF);
    (answer.status(), answer.bytes().await.unwrap().to_vec())
}

/// What `pool_scrape` says, by another sender.
fn pool(at: i64, active: f64) -> Vec<Metric> {
    let labels = [("service", "cart"), ("pod", "cart-1")];
    vec![
        gauge("hikaricp.connections.active", "", at, active, &labels),
        gauge("hikaricp.connections.max", "", at, 100.0, &labels),
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_by_otlp_is_predicted_as_what_is_written() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (by_write, by_otlp) = (start(one.path(), |_| {}).await, start(other.path(), |_| {}).await);
    for minute in 0..30 {
        let (at, active) = (START + minute * 60, 10.0 + minute as f64);
        for rig in [&by_write, &by_otlp] {
            rig.set_now(at + LATENESS);
        }
        assert_eq!(by_write.write(pool_scrape(at, active)).await.0, StatusCode::NO_CONTENT);
        let body = encode(&request(&[], pool(at, active)));
        let (body, encoding) = if minute % 2 == 0 { (gzip(&body), Some("gzip")) } else { (body, None) };
        assert_eq!(send(&by_otlp, body, encoding).await, (StatusCode::OK, Vec::new()));
        for rig in [&by_write, &by_otlp] {
            assert_eq!(rig.handle.tick(Timestamp::from_seconds(at + LATENESS)).await, 1);
        }
    }
    let mut said = Vec::new();
    for rig in [&by_write, &by_otlp] {
        let (_, mut predictions) = rig.get("/api/v1/predictions").await;
        assert_eq!(predictions.as_array().unwrap().len(), 1);
        predictions[0].as_object_mut().unwrap().remove("id");
        said.push(predictions);
    }
    assert_eq!(said[0], said[1]);
    assert_eq!(by_otlp.metric("forewarn_samples_kept_total").await, Some(60.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_is_told_how_many_points_were_refused_and_the_others_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |options| {
        options.otlp_promote = vec!["k8s.pod.name".to_owned()];
        options.max_write_bytes = 10_000;
        options.max_decoded_bytes = 20_000;
    });
    let rig = rig.await;
    rig.set_now(START + 60);
    let delta = otlp::Sum {
        data_points: vec![otlp::NumberDataPoint { time_unix_nano: 1, as_int: Some(1), ..Default::default() }; 3],
        aggregation_temporality: 1,
        is_monotonic: true,
    };
    let far = gauge("hikaricp.connections.active", "", START + 3600, 1.0, &[("service", "cart"), ("pod", "x")]);
    let unwanted = gauge("jvm.threads", "", START, 1.0, &[]);
    let delta = Metric { name: "hits".to_owned(), sum: Some(delta), ..Metric::default() };
    let metrics = [pool(START, 5.0), vec![delta, far, unwanted]].concat();
    let (status, body) = send(&rig, encode(&request(&[("k8s.pod.name", "cart-1")], metrics)), None).await;
    assert_eq!(status, StatusCode::OK);
    let partial = decode_response(&body).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 4);
    let why = partial.error_message;
    assert!(why.starts_with("not_cumulative 3, too_far_in_future 1; the first: hits:"), "{why}");
    assert_eq!(rig.metric("forewarn_live_series").await, Some(2.0));
    assert_eq!(rig.metric(r#"forewarn_samples_refused_total{reason="not_cumulative"}"#).await, Some(3.0));

    let (status, body) = send(&rig, b"\x0a\xff".to_vec(), None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(String::from_utf8_lossy(&body).contains("malformed"), "a google.rpc.Status says why");
    let (status, _) = send(&rig, gzip(&vec![0; 30_000]), Some("gzip")).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _) = send(&rig, vec![0; 10_001], None).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    for (content_type, encoding) in [("application/json", "gzip"), (PROTOBUF, "zstd")] {
        let post = rig.client.post(format!("{}{PATH}", rig.base)).header(header::CONTENT_TYPE, content_type);
        let answer = post.header(header::CONTENT_ENCODING, encoding).body("{}").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
