//! What bodies look like, by the name that paths refer to.

use serde_json::{Value, json};

use super::merged;
use super::pieces::*;

pub(super) fn schemas() -> Value {
    merged([what_is_said(), what_came_of_it(), what_may_act(), the_rest()])
}

fn what_is_said() -> Value {
    let text = json!({"type": "string"});
    let time = json!({"type": "string", "format": "date-time"});
    let number = json!({"type": "number"});
    let unit = json!({"type": "number", "minimum": 0, "maximum": 1});
    let labels = labels();
    let kind = kinds();
    let seconds = seconds();
    let explanation = json!({"type": "object", "required": ["summary", "signals", "forecast"], "properties": {
        "summary": text, "forecast": text,
        "signals": {"type": "array", "items": {"type": "object", "properties": {
            "signal": text, "seen": number, "expected": {"type": ["number", "null"]}, "weight": unit}}},
        "warming": {"type": "boolean"},
        "uncalibrated": unit,
    }});
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
            "attempts": {"type": "integer"}, "last_error": maybe_text,
            "verification": {"type": ["object", "null"], "description": "What came of it, as the forecast saw it; null: not known yet",
                "properties": {"finding": {"enum": ["verified", "failed", "worsened", "undecided", "not_done"]}, "reason": text, "at": time}}}},
        "PredictionInFull": {"allOf": [reference("Prediction")], "type": "object", "required": [], "properties": {"target": reference("Target")}},
        "Target": {"type": "object", "description": "What the target did and where it goes, while it is live", "properties": {
            "prediction_id": text, "at": time, "direction": {"enum": ["above", "below"]}, "limit": number,
            "history": points(&[("value", true)]), "expected": points(&[("low", false), ("mid", false), ("high", false)]),
            "forecast": points(&[("p10", false), ("p50", false), ("p90", false)])}},
        "Note": {"type": "object", "additionalProperties": false, "required": [], "properties": {"note": text}},
        "Outcome": {"type": "object", "additionalProperties": false, "required": ["outcome"],
            "properties": {"outcome": {"enum": ["succeeded", "failed"]}, "note": text}},
    })
}

fn what_came_of_it() -> Value {
    let text = json!({"type": "string"});
    let time = json!({"type": "string", "format": "date-time"});
    let number = json!({"type": "number"});
    let unit = json!({"type": "number", "minimum": 0, "maximum": 1});
    let labels = labels();
    let kind = kinds();
    let seconds = seconds();
    let caution = json!({"type": "object", "properties": {
        "min_probability": unit, "persistence": {"type": "integer"}, "persistence_racing": {"type": "integer"}}});
    let because = json!({"type": "object", "properties": {
        "trues": number, "missed": number, "falses": number, "fleet_trues": number, "fleet_falses": number}});
    let maybe_text = json!({"type": ["string", "null"]});
    json!({
        "NewFeedback": {"type": "object", "additionalProperties": false, "required": ["verdict"],
            "description": "Of a prediction: prediction_id. Of a request: request_id. Of a span: service, from, to, perhaps kind. Of a breach that nobody announced: service, kind, at and verdict missed",
            "properties": {"prediction_id": text, "request_id": text, "service": text, "kind": kind, "at": time, "from": time, "to": time,
                "verdict": verdicts(), "note": text}},
        "NewLinks": {"type": "object", "additionalProperties": false, "required": [], "description": "prediction_id or request_id",
            "properties": {"prediction_id": text, "request_id": text, "who": {"type": "string", "maxLength": 32}}},
        "Links": {"type": "object", "required": ["expires_at"], "properties": {"expires_at": time, "true_positive": text, "false_positive": text, "unclear": text}},
        "Feedback": {"type": "object", "properties": {"id": text, "subject": {"oneOf": [
                {"type": "object", "properties": {"of": {"const": "prediction"}, "prediction_id": text}, "required": ["of", "prediction_id"]},
                {"type": "object", "properties": {"of": {"const": "request"}, "request_id": text}, "required": ["of", "request_id"]},
                {"type": "object", "properties": {"of": {"const": "span"}, "service": text, "kind": {"oneOf": [kind, {"type": "null"}]}, "range": {"type": "object", "properties": {"start": time, "end": time}}}, "required": ["of", "service", "range"]},
                {"type": "object", "properties": {"of": {"const": "breach"}, "service": text, "kind": kind, "at": time}, "required": ["of", "service", "kind", "at"]},
            ]}, "verdict": text,
            "note": maybe_text, "source": sources(), "who": text, "created_at": time}},
        "Settlement": {"type": "object", "properties": {
            "id": text, "request_id": maybe_text, "service": text, "signal": text, "kind": kind, "labels": labels, "at": time,
            "probability": {"type": ["number", "null"], "minimum": 0, "maximum": 1}, "horizon_seconds": number, "time_to_breach_seconds": seconds,
            "model_version": text, "settled_at": time, "verdict": {"enum": ["true_positive", "false_positive", "missed", "unclear", null]},
            "judge": {"enum": ["data", "label"]},
            "became": {"type": "object", "required": ["was"], "description": "at of breached and missed, by and would_have of averted", "properties": {
                "was": {"enum": ["breached", "in_breach", "averted", "false_alarm", "unsettled", "missed"]}, "at": time,
                "by": {"enum": ["oom_killed", "restarted", "rolled_out", "scaled", "limit_changed", "ended"]}, "would_have": {"type": "boolean"}}}}},
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
    })
}

fn what_may_act() -> Value {
    let text = json!({"type": "string"});
    let time = json!({"type": "string", "format": "date-time"});
    let labels = labels();
    let mode = json!({"enum": ["dry_run", "approval", "automatic"]});
    let maybe_text = json!({"type": ["string", "null"]});
    json!({
        "Safety": {"type": "object", "properties": {
            "stopped": {"type": ["object", "null"], "properties": {"since": time, "who": text, "note": maybe_text}},
            "held": {"type": "array", "items": {"type": "object", "properties": {
                "service": text, "signal": text, "labels": labels, "since": time,
                "by": {"enum": ["stopped", "maintenance", "weekly_budget", "blast_radius", "hourly_rate"]}}}},
            "max_per_hour": {"type": ["integer", "null"]}, "max_workloads": {"type": ["integer", "null"]},
            "under_way": {"type": "array", "items": text}, "maintenance": {"type": "array", "items": {"type": "object"}},
            "silences": list("Silence")}},
        "Silence": {"type": "object", "properties": {"id": text, "service": maybe_text, "from": time, "until": time, "who": text,
            "note": maybe_text}},
        "NewSilence": {"type": "object", "additionalProperties": false, "required": ["until"],
            "properties": {"service": text, "from": time, "until": time, "note": text}},
        "Modes": {"type": "object", "properties": {"default": mode, "modes": list("Mode")}},
        "Mode": {"type": "object", "properties": {"service": text, "playbook": text, "mode": mode, "since": time,
            "verified": {"type": "integer"}, "who": text, "note": maybe_text}},
        "NewMode": {"type": "object", "additionalProperties": false, "required": ["mode"],
            "properties": {"mode": mode, "unearned": {"type": "boolean"}, "note": text}},
        "Autonomy": {"type": "object", "properties": {
            "climb": {"enum": ["offer", "by_itself"]},
            "ladders": list("Ladder"),
            "worsened": {"type": "array", "items": {"type": "object", "required": ["id", "service", "verification"]}}}},
        "Ladder": {"type": "object", "properties": {"service": text, "playbook": text, "mode": mode, "since": time,
            "verified": {"type": "integer"}, "wanted": {"type": "integer"},
            "dry_run_until": {"type": ["string", "null"], "format": "date-time"},
            "earned": {"enum": ["approval", "automatic", null]}, "highest": mode}},
        "LadderMove": {"type": "object", "properties": {"at": time,
            "event": {"enum": ["verified", "failed", "rejected", "drifted", "climbed", "set", "forgotten"]},
            "from": mode, "to": mode, "verified": {"type": "integer"}, "reason": text, "who": text}},
    })
}

fn the_rest() -> Value {
    let text = json!({"type": "string"});
    let time = json!({"type": "string", "format": "date-time"});
    let maybe_text = json!({"type": ["string", "null"]});
    json!({
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
            "candidate": maybe_text, "versions": {"type": "array", "items": text}, "error": maybe_text,
            "shadow": {"type": ["object", "null"], "description": "The candidate that scores beside what serves, or how the last period ended",
                "required": ["version", "since", "until", "reason", "ended"]}}},
    })
}
