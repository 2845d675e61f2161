//! The extension module `iron_runtime._core`: the one place that knows Python, and a thin one.
//!
//! Three rules. Whatever may wait does so without the GIL. No thread that answers requests ever takes the GIL: log lines reach Python
//! through a queue and a thread of Python's own. In a forked child nothing that the parent may have locked is touched.

mod errors;
mod events;
mod host;
mod keywords;
mod logs;
mod process;
mod router;

use pyo3::prelude::*;

/// The part of `iron_runtime` that is written in Rust.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<router::LlmRouter>()?;
    module.add_class::<events::Events>()?;
    module.add_function(wrap_pyfunction!(host::run_command, module)?)?;
    module.add_function(wrap_pyfunction!(host::next_log_lines, module)?)?;
    module.add_function(wrap_pyfunction!(host::start_thread, module)?)?;
    module.add_function(wrap_pyfunction!(host::set_log_level, module)?)?;
    module.add_function(wrap_pyfunction!(host::take_inherited_sockets, module)?)?;
    module.add_function(wrap_pyfunction!(host::end, module)?)
}
