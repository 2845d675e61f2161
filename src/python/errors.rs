//! Failures as Python exceptions: the classes stand in `iron_runtime/errors.py`, this file says which failure is which.

use crate::error::Error;
use pyo3::prelude::*;
use pyo3::types::PyType;
use std::io;

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::NoProvider => exception("ConfigError", NO_PROVIDER),
            Error::Bind { address, source } => system("BindError", &address, &source),
            Error::Io { what, source } => system(class_of(&source), &what, &source),
            Error::Control(_) => exception("ControlServerError", message),
            Error::Stopped => stopped(),
            _ => exception("ConfigError", message),
        }
    }
}

const NO_PROVIDER: &str = "no provider key: give provider_key, provider_keys (or openai_key, anthropic_key), or api_key with server_url, \
     or set OPENAI_API_KEY, ANTHROPIC_API_KEY, or IC_TOKEN with IC_SERVER; LlmRouter(mock=True) needs no key";

/// A keyword that does not exist.
pub(super) fn unknown_keyword(message: String) -> PyErr {
    exception("UnknownKeywordError", message)
}

/// Keywords that can't be used together, or a value of the wrong form.
pub(super) fn config(message: String) -> PyErr {
    exception("ConfigError", message)
}

/// Used after `stop()`.
pub(super) fn stopped() -> PyErr {
    exception("StoppedError", "Router is stopped")
}

/// Used in a forked child.
pub(super) fn not_here(pid: u32) -> PyErr {
    let message = format!(
        "not running here: this router belongs to process {pid}, of which this one is a fork; make a new LlmRouter in this process, \
         or take base_url and api_key before the fork and use those"
    );
    exception("NotRunningHereError", message)
}

/// A fault of ours.
pub(super) fn internal(message: &str) -> PyErr {
    exception("IronError", message.to_string())
}

fn class_of(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "FileMissingError",
        io::ErrorKind::TimedOut => "RouterTimeoutError",
        _ => "FileError",
    }
}

/// An `OSError` with its `errno`, where there is one.
fn system(class: &str, what: &str, source: &io::Error) -> PyErr {
    match source.raw_os_error() {
        Some(errno) => {
            let text = source.to_string();
            let text = text.split(" (os error").next().unwrap_or_default().to_string();
            exception(class, (errno, text, what.to_string()))
        }
        None => exception(class, format!("{what}: {source}")),
    }
}

fn exception<A: Arguments>(class: &str, arguments: A) -> PyErr {
    Python::attach(|py| match find(py, class) {
        Ok(class) => arguments.raise(class),
        Err(error) => error,
    })
}

fn find<'py>(py: Python<'py>, class: &str) -> PyResult<Bound<'py, PyType>> {
    Ok(py.import("iron_runtime.errors")?.getattr(class)?.cast_into::<PyType>()?)
}

/// What an exception is made from.
trait Arguments {
    fn raise(self, class: Bound<'_, PyType>) -> PyErr;
}

impl Arguments for String {
    fn raise(self, class: Bound<'_, PyType>) -> PyErr {
        PyErr::from_type(class, (self,))
    }
}

impl Arguments for &'static str {
    fn raise(self, class: Bound<'_, PyType>) -> PyErr {
        PyErr::from_type(class, (self,))
    }
}

impl Arguments for (i32, String, String) {
    fn raise(self, class: Bound<'_, PyType>) -> PyErr {
        PyErr::from_type(class, self)
    }
}
