//! What happens, shown while it happens: the last events in a ring (`ring`), one thread that sends them to whoever subscribed (`hub`,
//! `socket`, `subscription`, at most so many of them: `seat`), figures for Prometheus (`metrics`), the page for people (`dashboard`).
//!
//! A request's thread pays for two short locks and, if somebody listens, one wake-up; it never waits for a subscriber, and what a
//! subscriber can't take in time is counted and told to him as a gap.

pub(crate) mod dashboard;
mod hub;
pub mod metrics;
mod ring;
mod seat;
mod socket;
mod subscription;

pub use subscription::{Subscription, Told};

use crate::error::Error;
use crate::event::{Audience, Event};
use crate::wire::news::Hello;
use hub::Hub;
use metrics::Metrics;
use ring::Ring;
use std::net::TcpStream;
use std::sync::Arc;

/// How many of the last events are kept for those who come later.
pub const RING_EVENTS: usize = 4096;

/// The live view of one router.
pub struct Live {
    ring: Arc<Ring>,
    hub: Hub,
    metrics: Metrics,
    capture: bool,
}

impl Live {
    /// Starts the broadcast thread. `capture`: details are wanted although nobody looks.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(capture: bool) -> Result<Arc<Self>, Error> {
        let ring = Arc::new(Ring::new(RING_EVENTS));
        let hub = Hub::start(ring.clone())?;
        Ok(Arc::new(Self { ring, hub, metrics: Metrics::default(), capture }))
    }

    /// What subscribers are told about the router when they come; the first word counts.
    pub fn introduce(&self, hello: Hello) {
        self.hub.introduce(hello);
    }

    /// The events from `since` on (a sequence number that was seen; `None`: from now on), as far as the ring still has them, then all
    /// that follow.
    pub fn subscribe(&self, since: Option<u64>) -> Subscription {
        self.hub.subscribe(since)
    }

    /// The same for a WebSocket whose handshake is done; `read_ahead` are bytes that came behind its head.
    pub fn join(&self, socket: TcpStream, read_ahead: Vec<u8>, since: Option<u64>) {
        self.hub.join(socket, read_ahead, since);
    }

    /// The figures.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Puts events of an earlier run into the ring, the oldest first.
    pub fn replay(&self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.ring.push(event);
        }
    }

    /// Sends what is left, closes every subscription and ends the thread.
    pub fn stop(&self) {
        self.hub.stop();
    }
}

impl Audience for Live {
    fn tell(&self, event: Event) {
        self.metrics.see(&event);
        self.ring.push(event);
        self.hub.wake();
    }

    fn wants_details(&self) -> bool {
        self.capture || self.hub.has_subscribers()
    }
}
