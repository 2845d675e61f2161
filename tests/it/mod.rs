//! One test binary: the tools first, then the tests by theme.

use std::time::Duration;

mod bank;
mod client;
mod framing;
mod rig;
mod upstream;

mod access;
mod bills;
mod books;
mod control;
mod cuts;
mod failures;
mod headers;
mod lease;
mod life;
mod live_rows;
mod money;
mod pages;
mod passthrough;
mod proxied;
mod routing;
mod streams;
mod tls;
mod translation;
mod translation_oddities;
mod uploads;

/// How long anything may take before a test gives up; never reached when all is well.
pub(crate) const WAIT: Duration = Duration::from_secs(20);
