//! What paths and schemas are put together from.

use serde_json::{Map, Value, json};

pub(super) fn kinds() -> Value {
    json!({"enum": forewarn_schema::BreachKind::ALL.map(forewarn_schema::BreachKind::as_str)})
}

pub(super) fn verdicts() -> Value {
    json!({"enum": forewarn_schema::Verdict::ALL.map(forewarn_schema::Verdict::as_str)})
}

pub(super) fn sources() -> Value {
    json!({"enum": ["api", "page", "shell", "alertmanager", "link"]})
}

pub(super) fn labels() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "string"}})
}

/// A time to breach.
pub(super) fn seconds() -> Value {
    let number = json!({"type": "number"});
    json!({"type": ["object", "null"], "description": "Seconds; null: no breach in sight",
        "properties": {"p10": number, "p50": number, "p90": number}})
}

/// A list of instants with numbers; of those with `true` a gap is null.
pub(super) fn points(numbers: &[(&str, bool)]) -> Value {
    let mut properties = json!({"at": {"type": "string", "format": "date-time"}});
    for (name, may_be_a_gap) in numbers {
        properties[*name] = if *may_be_a_gap { json!({"type": ["number", "null"]}) } else { json!({"type": "number"}) };
    }
    json!({"type": "array", "items": {"type": "object", "properties": properties}})
}

pub(super) fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

pub(super) fn list(schema: &str) -> Value {
    json!({"type": "array", "items": reference(schema)})
}

pub(super) fn query(name: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "required": false, "schema": schema})
}

pub(super) fn path(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
}

pub(super) fn body(schema: &str, required: bool) -> Value {
    json!({"required": required, "content": {"application/json": {"schema": reference(schema)}}})
}

pub(super) fn answer(description: &str, schema: Option<Value>) -> Value {
    match schema {
        Some(schema) => json!({"description": description, "content": {"application/json": {"schema": schema}}}),
        None => json!({"description": description}),
    }
}

/// Answers without a body, and those of 400 and above as problems.
pub(super) fn answers(codes: &[(&str, &str)]) -> Value {
    with(json!({}), codes)
}

pub(super) fn with(responses: Value, codes: &[(&str, &str)]) -> Value {
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

pub(super) fn ok(schema: Value) -> Value {
    json!({"200": answer("Here it is", Some(schema))})
}

pub(super) fn one(schema: &str) -> Value {
    with(ok(reference(schema)), &[("404", "Nothing of that id")])
}

pub(super) fn changed(schema: &str) -> Value {
    with(ok(reference(schema)), &[("404", "Nothing of that id"), ("409", "It does not fit where things stand")])
}
