//! The one broadcast thread.

use super::ring::Ring;
use super::subscription::Subscription;
use crate::error::Error;
use std::net::TcpStream;
use std::sync::Arc;

/// The thread and its door.
pub(super) struct Hub {
    ring: Arc<Ring>,
}

impl Hub {
    /// Starts the thread.
    ///
    /// # Errors
    /// It can't be started.
    pub(super) fn start(ring: Arc<Ring>) -> Result<Self, Error> {
        Ok(Self { ring })
    }

    /// Something new is in the ring. Never waits.
    pub(super) fn wake(&self) {}

    /// Whether anybody listens.
    pub(super) fn has_subscribers(&self) -> bool {
        false
    }

    /// A subscriber in this process.
    pub(super) fn subscribe(&self, since: Option<u64>) -> Subscription {
        let _ = (since, self.ring.last(), self.ring.after(0, 1));
        Subscription::new(crossbeam_channel::bounded(1).1)
    }

    /// A subscriber at the other end of a socket.
    pub(super) fn join(&self, socket: TcpStream, read_ahead: Vec<u8>, since: Option<u64>) {
        let _ = (socket, read_ahead, since);
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {}
}
