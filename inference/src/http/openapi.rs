//! `GET /api/v1/openapi.json`: what the server takes and gives, as OpenAPI 3.1. Written by hand; a test
//! holds it against the routes.

use axum::Json;
use axum::http;
use serde_json::{Map, Value, json};

use crate::access::Role;

pub(super) async fn serve() -> Json<Value> {
    Json(document())
}

/// The document.
pub(super) fn document() -> Value {
    let mut document = written();
    if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        schemas.values_mut().for_each(require_all);
    }
    if let Some(paths) = document.pointer_mut("/paths").and_then(Value::as_object_mut) {
        for (path, operations) in paths {
            for (method, operation) in operations.as_object_mut().into_iter().flatten() {
                complete(path, method, operation);
            }
        }
    }
    document
}

/// What holds for every operation, so that none has to say it: its name, who may ask, and that a store may fail. An
/// answer that is written out stays.
fn complete(path: &str, method: &str, operation: &mut Value) {
    let needed = http::Method::from_bytes(method.to_uppercase().as_bytes()).ok().and_then(|m| Role::needed(&m, path));
    let has = |name: &str| operation.get(name).is_some();
    let (has_body, is_open) = (has("requestBody"), needed.is_none());
    let takes_id = path.contains('{');
    let is_query = |parameter: &Value| parameter["in"] == "query";
    let has_query = operation["parameters"].as_array().is_some_and(|all| all.iter().any(is_query));
    let mut common = Vec::new();
    if let Some(role) = needed {
        operation["security"] = json!([{}, {"token": []}, {"password": []}]);
        operation["x-role"] = json!(format!("{role:?}").to_lowercase());
        common.extend([
            ("401", "Who asks must say so, and be known"),
            ("403", "The caller's role, or the page it comes from, may not"),
            ("429", "Too many wrong secrets from this address"),
        ]);
    }
    if has_query {
        common.push(("400", "The query has a parameter or a value that is not known"));
    }
    if takes_id {
        common.push(("400", "The path cannot be read"));
    }
    if has_body {
        common.extend([
            ("400", "The body cannot be read"),
            ("413", "The body is over the cap"),
            ("415", "The body is of another type"),
            ("422", "The body can be read and is not what is wanted"),
        ]);
    }
    if !is_open {
        common.push(("503", "The state or the registry cannot be reached; nothing was changed"));
    }
    if method != "get" && !is_open {
        common.push(("507", "The state's disk is full; nothing was changed"));
    }
    let words = path.split(['/', '{', '}', '-', '.']).filter(|word| !matches!(*word, "" | "api" | "v1"));
    operation["operationId"] = json!(words.fold(method.to_owned(), |id, word| format!("{id}_{word}")));
    let written = operation["responses"].take();
    let mut all = with(json!({}), &common);
    if let (Some(all), Value::Object(written)) = (all.as_object_mut(), written) {
        all.extend(written);
    }
    operation["responses"] = all;
}

/// What the server gives it gives whole: an object that does not say which members it must have must have all of them.
fn require_all(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    if let Some(properties) = members.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(require_all);
        let names: Vec<Value> = properties.keys().map(|name| json!(name)).collect();
        members.entry("required").or_insert(Value::Array(names));
    }
    if let Some(items) = members.get_mut("items") {
        require_all(items);
    }
}

fn written() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Forewarn",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Samples in, predictions and remediation requests out, labels back.",
        },
        "paths": paths(),
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic"},
            },
        },
    })
}

fn paths() -> Value {
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
        "/api/v1/feedback": {
            "get": {"summary": "Labels, newest first, at most 1000", "responses": ok(list("Feedback"))},
            "post": {
                "summary": "Label a prediction, or a breach that nobody announced",
                "requestBody": body("NewFeedback", true),
                "responses": with(json!({"201": answer("Stored", Some(reference("Feedback")))}), &[("404", "No such prediction"), ("422", "Neither a prediction nor a breach")]),
            },
        },
        "/api/v1/feedback/{id}": {"delete": {
            "summary": "Take a label back",
            "parameters": [path("id")],
            "responses": answers(&[("204", "Taken back"), ("404", "No such label")]),
        }},
        "/api/v1/alertmanager": {"post": {
            "summary": "Alertmanager's webhook (version 4): firing alerts as labels",
            "description": "An alert with the label forewarn_prediction_id says that the prediction came true; one with service and kind, that a breach came: announced or missed. Others are counted.",
            "requestBody": {"required": true, "content": {"application/json": {"schema": {"type": "object"}}}},
            "responses": ok(json!({"type": "object", "properties": {"labelled": {"type": "integer"}, "ignored": {"type": "integer"}}})),
        }},
        "/api/v1/models": {"get": {
            "summary": "What serves each service",
            "responses": ok(list("ServiceModel")),
        }},
        "/api/v1/models/{service}/promote": {"post": {
            "summary": "Promote the newest candidate of a service and serve it",
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

fn schemas() -> Value {
    let text = json!({"type": "string"});
    let time = json!({"type": "string", "format": "date-time"});
    let number = json!({"type": "number"});
    let unit = json!({"type": "number", "minimum": 0, "maximum": 1});
    let labels = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let kind = json!({"enum": ["oom", "pool_exhaustion", "error_rate", "disk_full", "certificate_expiry", "custom"]});
    let seconds = json!({"type": ["object", "null"], "description": "Seconds; null: no breach in sight",
        "properties": {"p10": number, "p50": number, "p90": number}});
    let explanation = json!({"type": "object", "required": ["summary", "signals", "forecast"], "properties": {
        "summary": text, "forecast": text,
        "signals": {"type": "array", "items": {"type": "object", "properties": {
            "signal": text, "seen": number, "expected": {"type": ["number", "null"]}, "weight": unit}}},
        "warming": {"type": "boolean"},
        "uncalibrated": unit,
    }});
    let caution = json!({"type": "object", "properties": {
        "min_probability": unit, "persistence": {"type": "integer"}, "persistence_racing": {"type": "integer"}}});
    let because = json!({"type": "object", "properties": {
        "trues": number, "missed": number, "falses": number, "fleet_trues": number, "fleet_falses": number}});
    let mode = json!({"enum": ["dry_run", "approval", "automatic"]});
    let maybe_text = json!({"type": ["string", "null"]});
    json!({
        "Problem": {"type": "object", "description": "RFC 9457", "required": ["type", "title", "status", "detail"],
            "properties": {"type": text, "title": text, "status": {"type": "integer"}, "detail": text}},
        "Prediction": {"type": "object", "properties": {
            "id": text, "at": time, "service": text, "signal": text, "kind": kind, "labels": labels, "value": number,
            "limit": number, "breach_probability": unit, "horizon_seconds": number, "time_to_breach_seconds": seconds,
            "request_id": maybe_text, "anomaly_score": unit, "model_version": text, "explanation": explanation}},
        "StoredRequest": {"type": "object", "properties": {
            "id": text, "prediction_id": text, "at": time, "service": text, "signal": text, "kind": kind, "labels": labels,
            "predicted_breach": {"type": "object", "properties": {"p10": time, "p50": time, "p90": time}},
            "probability": unit, "evidence": explanation, "playbook": maybe_text, "window": {"type": ["object", "null"], "properties": {"start": time, "end": time}},
            "mode": {"enum": ["dry_run", "approval", "automatic"]}, "expires_at": time, "outcome_url": maybe_text,
            "status": {"enum": ["open", "approved", "rejected", "succeeded", "failed", "expired"]}, "status_at": time,
            "note": maybe_text, "delivered_at": {"type": ["string", "null"], "format": "date-time"},
            "attempts": {"type": "integer"}, "last_error": maybe_text}},
        "PredictionInFull": {"allOf": [reference("Prediction")], "type": "object", "required": [], "properties": {"target": reference("Target")}},
        "Target": {"type": "object", "description": "What the target did and where it goes, while it is live", "properties": {
            "prediction_id": text, "at": time, "direction": {"enum": ["above", "below"]}, "limit": number,
            "history": points(&[("value", true)]), "expected": points(&[("low", false), ("mid", false), ("high", false)]),
            "forecast": points(&[("p10", false), ("p50", false), ("p90", false)])}},
        "Note": {"type": "object", "additionalProperties": false, "required": [], "properties": {"note": text}},
        "Outcome": {"type": "object", "additionalProperties": false, "required": ["outcome"],
            "properties": {"outcome": {"enum": ["succeeded", "failed"]}, "note": text}},
        "NewFeedback": {"type": "object", "additionalProperties": false, "required": ["verdict"],
            "description": "Either prediction_id, or service, kind and at with verdict missed",
            "properties": {"prediction_id": text, "service": text, "kind": kind, "at": time,
                "verdict": {"enum": ["true_positive", "false_positive", "missed", "unclear"]}, "note": text}},
        "Feedback": {"type": "object", "properties": {"id": text, "subject": {"oneOf": [
                {"type": "object", "properties": {"of": {"const": "prediction"}, "prediction_id": text}, "required": ["of", "prediction_id"]},
                {"type": "object", "properties": {"of": {"const": "request"}, "request_id": text}, "required": ["of", "request_id"]},
                {"type": "object", "properties": {"of": {"const": "span"}, "service": text, "kind": {"oneOf": [kind, {"type": "null"}]}, "range": {"type": "object", "properties": {"start": time, "end": time}}}, "required": ["of", "service", "range"]},
                {"type": "object", "properties": {"of": {"const": "breach"}, "service": text, "kind": kind, "at": time}, "required": ["of", "service", "kind", "at"]},
            ]}, "verdict": text,
            "note": maybe_text, "source": {"enum": ["api", "page", "shell", "alertmanager", "link"]}, "who": text, "created_at": time}},
        "Safety": {"type": "object", "properties": {
            "stopped": {"type": ["object", "null"], "properties": {"since": time, "who": text, "note": maybe_text}},
            "held": {"type": "array", "items": {"type": "object", "properties": {
                "service": text, "signal": text, "labels": labels, "since": time,
                "by": {"enum": ["stopped", "maintenance", "weekly_budget", "blast_radius", "hourly_rate"]}}}},
            "max_per_hour": {"type": ["integer", "null"]}, "max_workloads": {"type": ["integer", "null"]},
            "under_way": {"type": "array", "items": text}, "maintenance": {"type": "array", "items": {"type": "object"}},
            "silences": list("Silence")}},
        "Thresholds": {"type": "object", "properties": {
            "learning": {"type": "boolean"},
            "thresholds": {"type": "array", "items": {"type": "object", "properties": {
                "service": maybe_text, "kind": kind, "start": caution, "now": caution, "because": because,
                "steps": {"type": "array", "items": {"type": "object", "properties": {
                    "at": time, "service": maybe_text, "kind": kind, "from": caution, "to": caution, "because": because}}}}}},
            "recalibration": {"type": "array", "items": {"type": "object", "properties": {
                "kind": kind, "slope": number, "offset": number, "blocks": number}}},
            "moves": {"type": "array", "items": {"type": "object", "properties": {
                "at": time, "service": maybe_text, "kind": kind, "start": caution, "from": caution, "to": caution,
                "because": {"oneOf": [because, {"type": "null"}]}}}}}},
        "Silence": {"type": "object", "properties": {"id": text, "service": maybe_text, "from": time, "until": time, "who": text,
            "note": maybe_text}},
        "NewSilence": {"type": "object", "additionalProperties": false, "required": ["until"],
            "properties": {"service": text, "from": time, "until": time, "note": text}},
        "Modes": {"type": "object", "properties": {"default": mode, "modes": list("Mode")}},
        "Mode": {"type": "object", "properties": {"service": text, "playbook": text, "mode": mode, "since": time,
            "verified": {"type": "integer"}, "who": text, "note": maybe_text}},
        "NewMode": {"type": "object", "additionalProperties": false, "required": ["mode"],
            "properties": {"mode": mode, "unearned": {"type": "boolean"}, "note": text}},
        "Outbox": {"type": "object", "properties": {
            "messages": list("OutboxMessage"),
            "alertmanagers": {"type": "array", "items": {"type": "object", "properties": {
                "url": text, "up": {"type": ["boolean", "null"]}, "told_at": {"type": ["string", "null"], "format": "date-time"},
                "firing": {"type": "integer"}, "failures": {"type": "integer"}, "last_error": maybe_text}}}}},
        "OutboxMessage": {"type": "object", "properties": {
            "event_id": text, "request_id": text, "target_key": text,
            "state": {"enum": ["pending", "delivered", "refused", "expired"]}, "attempts": {"type": "integer"},
            "last_error": maybe_text, "expires_at": time, "delivered_at": {"type": ["string", "null"], "format": "date-time"}}},
        "Resend": {"type": "object", "additionalProperties": false, "properties": {"after_expiry": {"type": "boolean"}}},
        "AuditEntry": {"type": "object", "properties": {"seq": {"type": "integer"}, "at": time, "who": text, "action": text,
            "object": text, "detail": text}},
        "ServiceModel": {"type": "object", "properties": {"service": text, "current": maybe_text, "serving": maybe_text,
            "candidate": maybe_text, "versions": {"type": "array", "items": text}, "error": maybe_text}},
    })
}

/// A list of instants with numbers; of those with `true` a gap is null.
fn points(numbers: &[(&str, bool)]) -> Value {
    let mut properties = json!({"at": {"type": "string", "format": "date-time"}});
    for (name, may_be_a_gap) in numbers {
        properties[*name] = if *may_be_a_gap { json!({"type": ["number", "null"]}) } else { json!({"type": "number"}) };
    }
    json!({"type": "array", "items": {"type": "object", "properties": properties}})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn list(schema: &str) -> Value {
    json!({"type": "array", "items": reference(schema)})
}

fn query(name: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "required": false, "schema": schema})
}

fn path(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
}

fn body(schema: &str, required: bool) -> Value {
    json!({"required": required, "content": {"application/json": {"schema": reference(schema)}}})
}

fn answer(description: &str, schema: Option<Value>) -> Value {
    match schema {
        Some(schema) => json!({"description": description, "content": {"application/json": {"schema": schema}}}),
        None => json!({"description": description}),
    }
}

/// Answers without a body, and those of 400 and above as problems.
fn answers(codes: &[(&str, &str)]) -> Value {
    with(json!({}), codes)
}

fn with(responses: Value, codes: &[(&str, &str)]) -> Value {
    let mut all = match responses {
        Value::Object(all) => all,
        _ => Map::new(),
    };
    for (code, description) in codes {
        let problem = json!({"description": description, "content": {"application/problem+json": {"schema": reference("Problem")}}});
        let response = if *code >= "400" { problem } else { answer(description, None) };
        all.insert((*code).to_owned(), response);
    }
    Value::Object(all)
}

fn ok(schema: Value) -> Value {
    json!({"200": answer("Here it is", Some(schema))})
}

fn one(schema: &str) -> Value {
    with(ok(reference(schema)), &[("404", "Nothing of that id")])
}

fn changed(schema: &str) -> Value {
    with(ok(reference(schema)), &[("404", "Nothing of that id"), ("409", "It does not fit where things stand")])
}
