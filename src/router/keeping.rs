//! Where a router keeps its rows: in a file, or the last of them in memory. One small place that knows both.

use crate::clock::UnixMs;
use crate::config::{Config, Window};
use crate::error::Error;
#[cfg(feature = "ledger")]
use crate::ledger::Ledger;
use crate::ledger::{Memory, MemoryOutbox};
use crate::money::NanoUsd;
use crate::outbox::{Leases, Outbox};
use crate::row::{Books, Row};
use std::sync::Arc;
#[cfg(feature = "ledger")]
use std::time::Duration;

/// How long a stop waits until the rows of the journal are in the ledger; those that are not by then are taken in when it is next opened.
#[cfg(feature = "ledger")]
const STOP: Duration = Duration::from_secs(5);

/// The books of one router.
pub(super) enum Keeping {
    /// The last rows, in memory.
    Memory(Arc<Memory>),
    /// All of them, in a file.
    #[cfg(feature = "ledger")]
    File(Arc<Ledger>),
}

impl Keeping {
    /// Opens the ledger that the settings name.
    ///
    /// # Errors
    /// The file can't be used.
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        match &config.state {
            None => Ok(Self::Memory(Arc::new(Memory::new()))),
            #[cfg(feature = "ledger")]
            Some(path) => Ok(Self::File(Ledger::open_with(path, super::history::digest)?)),
            #[cfg(not(feature = "ledger"))]
            Some(path) => Err(Error::Config(format!("state {}: this build has no ledger (cargo feature `ledger`)", path.display()))),
        }
    }

    /// For whoever settles calls.
    pub(super) fn books(&self) -> Arc<dyn Books> {
        match self {
            Self::Memory(memory) => memory.clone(),
            #[cfg(feature = "ledger")]
            Self::File(ledger) => ledger.clone(),
        }
    }

    /// What waits for the control server.
    pub(super) fn outbox(&self) -> Arc<dyn Outbox> {
        match self {
            Self::Memory(_) => Arc::new(MemoryOutbox::default()),
            #[cfg(feature = "ledger")]
            Self::File(ledger) => ledger.clone(),
        }
    }

    /// Where open leases survive a crash, if anywhere.
    pub(super) fn lease_store(&self) -> Option<Arc<dyn Leases>> {
        match self {
            Self::Memory(_) => None,
            #[cfg(feature = "ledger")]
            Self::File(ledger) => Some(ledger.clone()),
        }
    }

    /// What earlier rows count against the budget's window: the router's, then one an agent.
    ///
    /// # Errors
    /// The ledger can't be read; a window that needs one, without.
    pub(super) fn earlier(
        &self,
        config: &Config,
        #[cfg_attr(not(feature = "ledger"), allow(unused_variables))] now: UnixMs,
    ) -> Result<(NanoUsd, Vec<NanoUsd>), Error> {
        let window = config.spending.window;
        if window == Window::Run {
            return Ok((NanoUsd::ZERO, vec![NanoUsd::ZERO; config.agents.len()]));
        }
        match self {
            Self::Memory(_) => {
                let _ = now;
                Err(Error::Config("budget_window day, month and total count the rows of a ledger: name its file with state".into()))
            }
            #[cfg(feature = "ledger")]
            Self::File(ledger) => {
                let since = window.begins(now);
                let names: Vec<_> = config.agents.iter().map(|agent| agent.name.as_str()).collect();
                Ok((ledger.spent_since(since)?, ledger.spent_since_by_agent(since, &names)?))
            }
        }
    }

    /// The last rows, newest first.
    pub(super) fn last_rows(&self, limit: usize) -> Vec<Arc<Row>> {
        match self {
            Self::Memory(memory) => memory.rows(limit),
            #[cfg(feature = "ledger")]
            Self::File(_) => Vec::new(),
        }
    }

    /// The router has stopped.
    pub(super) fn stop(&self) {
        #[cfg(feature = "ledger")]
        if let Self::File(ledger) = self {
            ledger.stop(STOP);
        }
    }
}
