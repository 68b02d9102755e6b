//! From an error to one line and an exit code. Libraries say what went wrong; here it is decided what
//! the shell, or the job that called us, is told.

use std::io;
use std::process::ExitCode;

use forewarn_datasets::{DatasetError, SourceError};
use forewarn_inference::{AppError, DoorError, ServeError, StateError};
use forewarn_models::registry::RegistryError;
use forewarn_storage::StoreError;

use crate::config::ConfigError;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;
pub(crate) const GATE_REFUSED: u8 = 4;
const IN_USE: u8 = 5;
const STORAGE_FULL: u8 = 6;

/// Prints the error and its causes in one line on standard error (with `json`, also one object on
/// standard output) and gives the exit code.
#[allow(clippy::print_stderr, clippy::print_stdout, reason = "the one place that prints errors")]
pub(crate) fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    let line = one_line(error);
    let code = exit_code(error);
    eprintln!("forewarn: {line}");
    if json {
        println!("{}", serde_json::json!({"error": line, "exit_code": code}));
    }
    ExitCode::from(code)
}

/// The chain, joined by colons. A cause that an outer text already holds is not said twice.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if line.contains(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line.split('\n').map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("; ")
}

/// What was asked for may work later: somebody else does not answer.
pub(crate) fn is_unreachable(error: &anyhow::Error) -> bool {
    exit_code(error) == UNREACHABLE
}

fn exit_code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of).unwrap_or(FAILED)
}

/// The code that one error of the chain asks for; `None` where another may know better.
fn code_of(error: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if error.is::<ConfigError>() {
        return Some(USAGE);
    }
    let pick = |in_use: bool, full: bool, unreachable: bool| match (in_use, full, unreachable) {
        (true, _, _) => Some(IN_USE),
        (_, true, _) => Some(STORAGE_FULL),
        (_, _, true) => Some(UNREACHABLE),
        _ => None,
    };
    if let Some(e) = error.downcast_ref::<SourceError>() {
        let wrong_option = matches!(e, SourceError::Options { .. });
        return if wrong_option { Some(USAGE) } else { pick(false, e.is_storage_full(), e.is_unreachable()) };
    }
    if let Some(e) = error.downcast_ref::<DatasetError>() {
        return pick(e.is_in_use(), e.is_storage_full(), e.is_unreachable());
    }
    if let Some(e) = error.downcast_ref::<StoreError>() {
        return pick(e.is_in_use(), e.is_storage_full(), e.is_unreachable());
    }
    if let Some(e) = error.downcast_ref::<RegistryError>() {
        return pick(e.is_in_use(), e.is_storage_full(), e.is_unreachable());
    }
    if let Some(e) = error.downcast_ref::<StateError>() {
        return pick(e.is_in_use(), e.is_storage_full(), e.is_unreachable());
    }
    if error.is::<DoorError>() {
        return Some(USAGE);
    }
    if let Some(
        ServeError::RemoteNotAllowed { .. }
        | ServeError::Door(_)
        | ServeError::Webhook { .. }
        | ServeError::OutOfReach(_)
        | ServeError::NoSharedSecret,
    ) = error.downcast_ref::<ServeError>()
    {
        return Some(USAGE);
    }
    if let Some(e) = error.downcast_ref::<ServeError>() {
        return pick(e.is_in_use(), e.is_storage_full(), e.is_unreachable());
    }
    if let Some(AppError::State(e)) = error.downcast_ref::<AppError>() {
        return pick(e.is_in_use(), e.is_storage_full(), e.is_unreachable());
    }
    match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Some(STORAGE_FULL),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn the_chain_is_one_line_and_decides_the_code() {
        let full = io::Error::new(io::ErrorKind::StorageFull, "no space left on device");
        let error = Err::<(), _>(full).context("cannot write scores.csv").unwrap_err();
        assert_eq!(one_line(&error), "cannot write scores.csv: no space left on device");
        assert_eq!(exit_code(&error), STORAGE_FULL);
        assert_eq!(exit_code(&ConfigError::new("x").into()), USAGE);
        assert_eq!(exit_code(&anyhow::anyhow!("x")), FAILED);
    }
}
