//! Events in this process: what Rust's and Python's callers hold.

use crate::event::Numbered;
use std::time::Duration;

/// What a subscriber is told.
#[derive(Clone, Debug)]
pub enum Told {
    /// An event.
    Event(std::sync::Arc<Numbered>),
    /// So many events were dropped, because they were not taken in time or were no longer in the ring.
    Gap(u64),
}

/// A subscription to events. Dropped, it ends.
pub struct Subscription {
    receiver: crossbeam_channel::Receiver<Told>,
}

impl Subscription {
    pub(super) fn new(receiver: crossbeam_channel::Receiver<Told>) -> Self {
        Self { receiver }
    }

    /// The next event; `None`: none came within `timeout`, or the router has stopped (see [`Subscription::is_over`]).
    pub fn next_within(&self, timeout: Duration) -> Option<Told> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// Whether the router has stopped and everything has been taken.
    pub fn is_over(&self) -> bool {
        matches!(self.receiver.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected))
    }
}

impl Iterator for Subscription {
    type Item = Told;

    fn next(&mut self) -> Option<Told> {
        self.receiver.recv().ok()
    }
}
