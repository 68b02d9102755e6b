//! What may be asked, by path and method.

use serde_json::{Value, json};

use super::merged;
use super::pieces::*;

pub(super) fn paths() -> Value {
    merged([samples_in(), requests_out(), labels_back(), models_and_operations()])
}

fn samples_in() -> Value {
    json!({
        "/api/v1/write": {"post": {
            "summary": "Prometheus remote write 1.0 and 2.0",
            "description": "204 only when every sample is in memory or wanted by nobody. 400 names what was refused; the good samples were kept. 503: nothing was taken, send it again.",
            "requestBody": {"required": true, "content": {"application/x-protobuf": {
                "schema": {"type": "string", "format": "binary", "description": "prometheus.WriteRequest, snappy block format"},
            }}},
            "responses": answers(&[("204", "Taken"), ("400", "Malformed, or samples refused"), ("413", "Over a cap"), ("415", "Another format"), ("503", "Not now")]),
        }},
        "/api/v1/otlp/v1/metrics": {"post": {
            "summary": "OTLP metrics, as Prometheus takes them",
            "description": "200: read; points that were refused are counted in partial_success and are not to be sent again. 503: nothing was taken, send it again. Errors but 415 are google.rpc.Status in protobuf.",
            "requestBody": {"required": true, "content": {"application/x-protobuf": {
                "schema": {"type": "string", "format": "binary", "description": "ExportMetricsServiceRequest, plain or in gzip"},
            }}},
            "responses": answers(&[("200", "Read"), ("400", "Malformed"), ("413", "Over a cap"), ("415", "Another format"), ("503", "Not now")]),
        }},
        "/api/v1/predictions": {"get": {
            "summary": "What is said of every target now, soonest breach first",
            "description": "Written once a step; has an ETag.",
            "responses": with(ok(list("Prediction")), &[("304", "The same as If-None-Match names")]),
        }},
        "/api/v1/predictions/{id}": {"get": {
            "summary": "One prediction, with its target's history, expectation and forecast while that is live",
            "parameters": [path("id")],
            "responses": one("PredictionInFull"),
        }},
    })
}

fn requests_out() -> Value {
    json!({
        "/api/v1/requests": {"get": {
            "summary": "Remediation requests, newest first, at most 500",
            "responses": ok(list("StoredRequest")),
        }},
        "/api/v1/requests/{id}/approve": {"post": {
            "summary": "Say yes to a request",
            "parameters": [path("id")],
            "requestBody": body("Note", false),
            "responses": changed("StoredRequest"),
        }},
        "/api/v1/requests/{id}/reject": {"post": {
            "summary": "Say no to a request",
            "parameters": [path("id")],
            "requestBody": body("Note", false),
            "responses": changed("StoredRequest"),
        }},
        "/api/v1/requests/{id}/outcome": {"post": {
            "summary": "Report what became of a remediation",
            "parameters": [path("id")],
            "requestBody": body("Outcome", true),
            "responses": changed("StoredRequest"),
        }},
        "/api/v1/requests/stop": {"post": {
            "summary": "Stop requests: none is made, none leaves, none can be approved",
            "requestBody": body("Note", false),
            "responses": with(ok(reference("Safety")), &[("422", "The note is too long")]),
        }},
        "/api/v1/requests/resume": {"post": {
            "summary": "Let requests be made again; those that are still due are made at the next step",
            "requestBody": body("Note", false),
            "responses": with(ok(reference("Safety")), &[("422", "The note is too long")]),
        }},
        "/api/v1/safety": {"get": {"summary": "What holds requests back now", "responses": ok(reference("Safety"))}},
        "/api/v1/silences": {
            "get": {"summary": "Silences that are not over, soonest end first", "responses": ok(list("Silence"))},
            "post": {
                "summary": "Ask nothing of a service, or of all, for a while; predictions go on",
                "requestBody": body("NewSilence", true),
                "responses": with(json!({"201": answer("Stored", Some(reference("Silence")))}), &[("422", "Its times do not fit")]),
            },
        },
        "/api/v1/silences/{id}": {"delete": {
            "summary": "End a silence now",
            "parameters": [path("id")],
            "responses": answers(&[("204", "Ended"), ("404", "No such silence that is not over")]),
        }},
        "/api/v1/thresholds": {"get": {
            "summary": "From when on breaches are announced, by service and kind, and what labels taught of that",
            "responses": ok(reference("Thresholds")),
        }},
        "/api/v1/modes": {"get": {
            "summary": "How far each playbook may act by itself on each service",
            "responses": ok(reference("Modes")),
        }},
        "/api/v1/modes/{service}/{playbook}": {
            "put": {
                "summary": "Set how far a playbook may act by itself on a service; automatic must be earned, or wanted unearned",
                "parameters": [path("service"), path("playbook")],
                "requestBody": body("NewMode", true),
                "responses": with(ok(reference("Mode")), &[("409", "It is not earned"), ("422", "A name or the note is too long")]),
            },
            "delete": {
                "summary": "Give a playbook back to the default",
                "parameters": [path("service"), path("playbook")],
                "responses": answers(&[("204", "It has the default now"), ("404", "It had it")]),
            },
        },
        "/api/v1/ladders": {"get": {
            "summary": "What each playbook has earned on each service, and remediations of the last day that made things worse",
            "responses": ok(reference("Autonomy")),
        }},
        "/api/v1/ladders/{service}/{playbook}": {"get": {
            "summary": "How a playbook moved on a service and what was counted for it, newest first, at most 100",
            "parameters": [path("service"), path("playbook")],
            "responses": ok(list("LadderMove")),
        }},
        "/api/v1/outbox": {"get": {
            "summary": "Messages that wait, were refused or expired, newest first, at most 500; and how each Alertmanager is doing",
            "parameters": [query("state", json!({"enum": ["pending", "delivered", "refused", "expired"]}))],
            "responses": ok(reference("Outbox")),
        }},
        "/api/v1/outbox/{id}/resend": {"post": {
            "summary": "Send a message again, with the same id; one that expired only after_expiry",
            "parameters": [path("id")],
            "requestBody": body("Resend", false),
            "responses": changed("OutboxMessage"),
        }},
        "/api/v1/audit": {"get": {
            "summary": "Who decided what, newest first; before is the number to ask for the next page with",
            "parameters": [query("before", json!({"type": "integer"})), query("limit", json!({"type": "integer", "minimum": 1, "maximum": 1000}))],
            "responses": ok(json!({"type": "object", "properties": {
                "before": {"type": ["integer", "null"]}, "entries": list("AuditEntry")}})),
        }},
    })
}

fn labels_back() -> Value {
    json!({
        "/api/v1/settlements": {"get": {
            "summary": "What became of what was said, settled from the data, in the order in which that was known; next is what to ask for the next page with",
            "parameters": [query("since", json!({"type": "string", "description": "Settled at or after: RFC 3339 or Unix seconds"})), query("after", json!({"type": "string", "description": "Of those settled at that very time, after the one with this id"})), query("limit", json!({"type": "integer", "minimum": 1, "maximum": 1000}))],
            "responses": with(ok(json!({"type": "object", "properties": {
                "next": {"type": ["object", "null"], "properties": {"since": {"type": "string", "format": "date-time"}, "after": {"type": "string"}}},
                "settlements": list("Settlement")}})), &[("400", "Not a time")]),
        }},
        "/api/v1/feedback": {
            "get": {
                "summary": "Labels, newest first, at most 1000; before is the id to ask for older ones with",
                "description": "While there are more, the header Link has the next query (rel=next). taken_back=true: those that were taken back, instead.",
                "parameters": [query("service", json!({"type": "string"})), query("kind", kinds()), query("verdict", verdicts()),
                    query("source", sources()), query("since", json!({"type": "string", "format": "date-time"})),
                    query("before", json!({"type": "string"})), query("taken_back", json!({"type": "boolean"})),
                    query("limit", json!({"type": "integer", "minimum": 1, "maximum": 1000}))],
                "responses": with(ok(list("Feedback")), &[("404", "No label of the id in before")]),
            },
            "post": {
                "summary": "Label a prediction, a request, a span of time, or a breach that nobody announced; or many of them",
                "description": "Many labels, at most 1000, are an array, or JSON objects one a line; all of them are stored, or none, and the error says which is wrong.",
                "requestBody": {"required": true, "content": {
                    "application/json": {"schema": {"oneOf": [reference("NewFeedback"), {"type": "array", "minItems": 1, "maxItems": 1000, "items": reference("NewFeedback")}]}},
                    "application/x-ndjson": {"schema": {"type": "string", "description": "NewFeedback, one a line"}},
                }},
                "responses": with(json!({"201": answer("Stored", Some(json!({"oneOf": [reference("Feedback"), list("Feedback")]})))}), &[("404", "No such prediction or request"), ("422", "A label that is of nothing, or too many")]),
            },
        },
        "/api/v1/feedback/links": {"post": {
            "summary": "Links by which somebody without a login may label: one a verdict, for a message",
            "requestBody": body("NewLinks", true),
            "responses": with(ok(reference("Links")), &[("404", "No such prediction or request"), ("409", "Links are turned off"), ("422", "Neither a prediction nor a request")]),
        }},
        "/api/v1/feedback/{id}": {"delete": {
            "summary": "Take a label back: what spoke before speaks again",
            "parameters": [path("id")],
            "responses": answers(&[("204", "Taken back"), ("404", "No such label")]),
        }},
        "/api/v1/feedback/{id}/restore": {"post": {
            "summary": "Give a label back that was taken back, as it was",
            "parameters": [path("id")],
            "responses": one("Feedback"),
        }},
        "/api/v1/alertmanager": {"post": {
            "summary": "Alertmanager's webhook (version 4): firing alerts as labels",
            "description": "An alert with the label forewarn_prediction_id says that the prediction came true; one with service and kind, that a breach came: announced or missed. Others are counted.",
            "requestBody": {"required": true, "content": {"application/json": {"schema": {"type": "object"}}}},
            "responses": ok(json!({"type": "object", "properties": {"labelled": {"type": "integer"}, "ignored": {"type": "integer"}}})),
        }},
    })
}

fn models_and_operations() -> Value {
    json!({
        "/api/v1/models": {"get": {
            "summary": "What serves each service",
            "responses": ok(list("ServiceModel")),
        }},
        "/api/v1/models/{service}/promote": {"post": {
            "summary": "Promote the newest candidate of a service: serve it, or let it score beside what serves for its shadow period first",
            "parameters": [path("service")],
            "responses": changed("ServiceModel"),
        }},
        "/api/v1/models/{service}/rollback": {"post": {
            "summary": "Go back to what served before the last promotion",
            "parameters": [path("service")],
            "responses": changed("ServiceModel"),
        }},
        "/api/v1/openapi.json": {"get": {"summary": "This document", "responses": ok(json!({"type": "object"}))}},
        "/metrics": {"get": {
            "summary": "Prometheus metrics",
            "responses": {"200": {"description": "Text format 0.0.4", "content": {"text/plain": {"schema": {"type": "string"}}}}},
        }},
        "/-/healthy": {"get": {"summary": "Whether the process is alive", "responses": answers(&[("200", "Alive")])}},
        "/-/ready": {"get": {
            "summary": "Whether samples are taken and decisions can be stored",
            "responses": answers(&[("200", "Ready"), ("503", "Not ready")]),
        }},
        "/-/reload": {"post": {
            "summary": "Serve what the registry's pointers name now",
            "responses": answers(&[("200", "What serves each service"), ("500", "A promoted model was refused; what served before still serves")]),
        }},
    })
}
