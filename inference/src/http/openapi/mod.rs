//! `GET /api/v1/openapi.json`: what the server takes and gives, as OpenAPI 3.1. Written by hand; a test
//! holds it against the routes.

mod paths;
mod pieces;
mod schemas;

use axum::Json;
use axum::http;
use serde_json::{Value, json};

use self::pieces::with;
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
        "paths": paths::paths(),
        "components": {
            "schemas": schemas::schemas(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic"},
            },
        },
    })
}

/// The members of several objects as one: a literal of all of them is more than the macro takes.
fn merged(parts: impl IntoIterator<Item = Value>) -> Value {
    let members =
        parts.into_iter().filter_map(|part| if let Value::Object(members) = part { Some(members) } else { None });
    Value::Object(members.flatten().collect())
}
