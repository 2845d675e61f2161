//! What the Python files of the package call: the command, the log, the end of the interpreter, the first moments of a forked child.

use super::router::stop_at_once;
use super::{logs, process};
use pyo3::prelude::*;
use std::time::SystemTime;

/// Runs the `iron-runtime` command with these arguments (without the program's name) and returns its exit code.
#[pyfunction]
#[pyo3(name = "_run_command")]
pub(super) fn run_command(py: Python<'_>, arguments: Vec<std::ffi::OsString>) -> u8 {
    py.detach(|| crate::cli::run(arguments))
}

/// A log line as Python gets it: level, seconds since 1970, file, line, text.
type LogLine = (u8, f64, &'static str, u32, String);

/// Waits for log lines without the GIL. `None`: there will be no more.
#[pyfunction]
#[pyo3(name = "_next_log_lines")]
pub(super) fn next_log_lines(py: Python<'_>) -> Option<Vec<LogLine>> {
    let lines = py.detach(|| process::here()?.log()?.take())?;
    let since_1970 = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    Some(lines.into_iter().map(|line| (line.level, since_1970(line.at), line.file, line.line, line.text)).collect())
}

/// Calls `work` in a thread of the operating system, whatever the program has made of Python's own.
#[pyfunction]
#[pyo3(name = "_start_thread")]
pub(super) fn start_thread(work: Py<PyAny>) -> PyResult<()> {
    std::thread::Builder::new().name("iron-log".into()).spawn(move || {
        Python::try_attach(|py| work.call0(py).map(drop).map_err(|error| error.write_unraisable(py, None)));
    })?;
    Ok(())
}

/// Lines below this level (a number of `logging`) are not made.
#[pyfunction]
#[pyo3(name = "_set_log_level")]
pub(super) fn set_log_level(level: u32) {
    logs::set_level(level);
}

/// For a forked child: the numbers of the sockets that belong to its parent, once. Takes no lock.
#[pyfunction]
#[pyo3(name = "_take_inherited_sockets")]
pub(super) fn take_inherited_sockets() -> Vec<i32> {
    crate::http::handles::take()
}

/// For the end of the interpreter: stops every router of this process at once, ends the log and waits, not for ever, for its last lines.
#[pyfunction]
#[pyo3(name = "_end")]
pub(super) fn end(py: Python<'_>) {
    let Some(process) = process::here() else { return };
    py.detach(|| stop_at_once(process.take_routers()));
    if let Some(queue) = process.log() {
        queue.close();
        py.detach(|| queue.flush());
    }
}
