//! What a command says at its end: text for people, or one JSON object, and the exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::Value;

use crate::errors::GATE_REFUSED;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    text: String,
    json: Value,
    refused: bool,
}

impl Outcome {
    /// `json` must be an object.
    pub(crate) fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json, refused: false }
    }

    /// Done, but a gate refused what was asked for: exit code 4.
    pub(crate) fn refused(self) -> Self {
        Self { refused: true, ..self }
    }

    /// The object, for a command that is made of others.
    pub(crate) fn json(&self) -> &Value {
        &self.json
    }

    /// The text, for a command that is made of others.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Prints and gives the exit code. A closed pipe (`| head`) is not an error.
    pub(crate) fn print(&self, json: bool) -> ExitCode {
        let text = if json { self.json.to_string() } else { self.text.trim_end().to_owned() };
        if !text.is_empty() {
            let _ = writeln!(io::stdout().lock(), "{text}");
        }
        if self.refused { ExitCode::from(GATE_REFUSED) } else { ExitCode::SUCCESS }
    }
}
