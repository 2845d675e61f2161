//! Events as Python takes them: an iterator of dicts that waits without the GIL, in steps short enough for Ctrl-C.

use super::errors;
use crate::live::{Subscription, Told};
use crate::wire::news;
use pyo3::intern;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest wait before Ctrl-C and `close()` are looked for.
const STEP: Duration = Duration::from_millis(100);

/// What happens in a router, as dicts: what ``LlmRouter.events`` returns.
#[pyclass(frozen, module = "iron_runtime._core")]
pub(super) struct Events {
    pid: u32,
    timeout: Option<Duration>,
    /// The lock is held for moments only: who waits has a reference of his own. A forked child never takes it.
    subscription: Mutex<Option<Arc<Subscription>>>,
}

/// What a look at a subscription found.
enum Found {
    News(Told),
    Nothing,
    End,
}

#[pymethods]
impl Events {
    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.in_its_process()?;
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut found = self.look(Duration::ZERO);
        loop {
            match found {
                Found::News(told) => return dict_of(py, &told).map(Some),
                Found::End => return Ok(None),
                Found::Nothing => py.check_signals()?,
            }
            let left = deadline.map_or(STEP, |deadline| deadline.saturating_duration_since(Instant::now()).min(STEP));
            if left.is_zero() {
                return Ok(None);
            }
            found = py.detach(|| self.look(left));
        }
    }

    /// Whether nothing will follow any more: it was closed, or the router has stopped and everything was taken.
    #[getter]
    fn is_over(&self) -> PyResult<bool> {
        self.in_its_process()?;
        Ok(self.subscription().is_none_or(|subscription| subscription.is_over()))
    }

    /// End it, also under a thread that waits. Twice is fine.
    fn close(&self) {
        if self.in_its_process().is_ok() {
            let subscription = self.subscription.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(subscription);
        }
    }

    fn __enter__(this: Py<Self>) -> PyResult<Py<Self>> {
        this.get().in_its_process()?;
        Ok(this)
    }

    #[pyo3(signature = (exc_type=None, exc_value=None, traceback=None))]
    fn __exit__(&self, exc_type: Option<Bound<'_, PyAny>>, exc_value: Option<Bound<'_, PyAny>>, traceback: Option<Bound<'_, PyAny>>) {
        let _ = (exc_type, exc_value, traceback);
        self.close();
    }
}

impl Events {
    pub(super) fn new(subscription: Subscription, timeout: Option<Duration>) -> Self {
        Self { pid: std::process::id(), timeout, subscription: Mutex::new(Some(Arc::new(subscription))) }
    }

    fn in_its_process(&self) -> PyResult<()> {
        if self.pid == std::process::id() { Ok(()) } else { Err(errors::not_here(self.pid)) }
    }

    fn subscription(&self) -> Option<Arc<Subscription>> {
        self.subscription.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the next event, waiting so long for it.
    fn look(&self, wait: Duration) -> Found {
        let Some(subscription) = self.subscription() else { return Found::End };
        match subscription.next_within(wait) {
            Some(told) => Found::News(told),
            None if subscription.is_over() => Found::End,
            None => Found::Nothing,
        }
    }
}

impl Drop for Events {
    /// In a forked child nothing is touched: the parent's threads may have held the locks in there.
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            std::mem::forget(self.subscription.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

/// The one JSON form, as Python's own objects, in its order.
fn dict_of<'py>(py: Python<'py>, told: &Told) -> PyResult<Bound<'py, PyAny>> {
    let text = match told {
        Told::Event(event) => news::json(event.seq, &event.event),
        Told::Gap(missed) => news::gap(*missed),
    };
    py.import(intern!(py, "json"))?.call_method1(intern!(py, "loads"), (text,))
}
