//! The bounds of the server.

use std::time::Duration;

/// Every bound the server keeps. See [`Limits`](crate::config::Limits) and [`Timeouts`](crate::config::Timeouts) for the defaults.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Connections at once.
    pub max_connections: usize,
    /// Bytes of a request head.
    pub max_header_bytes: usize,
    /// Fields of a request head.
    pub max_headers: usize,
    /// Bytes of a request target.
    pub max_target_bytes: usize,
    /// From a head's first byte to its last.
    pub header_timeout: Duration,
    /// The longest silence inside a request body.
    pub body_timeout: Duration,
    /// How long a kept-alive connection may be idle.
    pub keep_alive: Duration,
    /// How long a client may take no bytes of its reply.
    pub write_timeout: Duration,
}

/// Longer times are cut to it, so that no sum of times overflows.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl ServerLimits {
    /// The same with no time over [`LONGEST`].
    pub(super) fn summable(self) -> Self {
        Self {
            header_timeout: self.header_timeout.min(LONGEST),
            body_timeout: self.body_timeout.min(LONGEST),
            keep_alive: self.keep_alive.min(LONGEST),
            write_timeout: self.write_timeout.min(LONGEST),
            ..self
        }
    }
}

#[cfg(test)]
impl ServerLimits {
    pub(super) fn for_tests() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            max_connections: 64,
            max_header_bytes: 64 << 10,
            max_headers: 100,
            max_target_bytes: 16 << 10,
            header_timeout: minute,
            body_timeout: minute,
            keep_alive: minute,
            write_timeout: minute,
        }
    }
}
