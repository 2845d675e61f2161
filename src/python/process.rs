//! What belongs to this process alone.
//!
//! A forked child has its parent's memory but not its threads: a lock that one of them held then is held for ever. So parent and child
//! share nothing here: each process claims a slot of its own in a table, by its process id and without a lock.

use super::logs::Queue;
use super::router::Running;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// How many processes may be forked from each other in a row, each with routers of its own, before logs and the orderly end are no more.
const GENERATIONS: usize = 64;

static TABLE: [Process; GENERATIONS] = [const { Process::free() }; GENERATIONS];

/// One process's own.
pub(super) struct Process {
    owner: AtomicU32,
    log: OnceLock<Queue>,
    routers: Mutex<Vec<Weak<Running>>>,
}

/// This process's slot.
pub(super) fn here() -> Option<&'static Process> {
    let pid = std::process::id();
    TABLE.iter().find(|slot| slot.owner.load(SeqCst) == pid || slot.owner.compare_exchange(0, pid, SeqCst, SeqCst).is_ok())
}

impl Process {
    const fn free() -> Self {
        Self { owner: AtomicU32::new(0), log: OnceLock::new(), routers: Mutex::new(Vec::new()) }
    }

    /// The queue of log lines, once there is a thread that empties it.
    pub(super) fn log(&self) -> Option<&Queue> {
        self.log.get()
    }

    /// Opens the queue; whether this was the first call.
    pub(super) fn open_log(&self) -> bool {
        self.log.set(Queue::default()).is_ok()
    }

    /// Remembers a router for [`Process::take_routers`].
    pub(super) fn add(&self, router: Weak<Running>) {
        let mut routers = self.routers.lock().unwrap_or_else(PoisonError::into_inner);
        routers.retain(|router| router.strong_count() > 0);
        routers.push(router);
    }

    /// The routers of this process that still exist.
    pub(super) fn take_routers(&self) -> Vec<Arc<Running>> {
        let routers = std::mem::take(&mut *self.routers.lock().unwrap_or_else(PoisonError::into_inner));
        routers.iter().filter_map(Weak::upgrade).collect()
    }
}
