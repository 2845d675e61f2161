//! The listener: accepts, counts, stops.

use super::{ServerLimits, Service};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// A running server. Dropped, it stops with no time to drain.
pub struct Server {
    _gap: (),
}

/// What [`Server::stop`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopReport {
    /// Requests under way that ended by themselves within the time to drain.
    pub drained: usize,
    /// Requests that were cut.
    pub cut: usize,
}

impl Server {
    /// Binds `host:port` (0 = any) with a backlog of 1024 and listens; when it returns, clients can connect.
    ///
    /// # Errors
    /// The address can't be resolved or bound.
    pub fn listen(_host: &str, _port: u16) -> io::Result<TcpListener> {
        todo!()
    }

    /// Serves connections of `listener`, a thread each.
    ///
    /// # Errors
    /// The accepting thread can't be started.
    pub fn start(_listener: TcpListener, _limits: ServerLimits, _service: Arc<dyn Service>) -> io::Result<Self> {
        todo!()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        todo!()
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        todo!()
    }

    /// Stops: accepts no more, closes idle connections at once, waits up to `drain` for requests under way, then cuts them; joins every
    /// thread before it returns. A second call does nothing.
    pub fn stop(&self, _drain: Duration) -> StopReport {
        todo!()
    }
}
