//! One exchange with an upstream, from the client's head to the settled outcome. [`exchange`] is the whole of it on one screen.

pub(crate) mod exchange;
mod idle;
pub(crate) mod keys;
#[cfg(feature = "cli")]
pub(crate) mod probe;
mod relay;
pub(crate) mod tell;
pub(crate) mod tls;
mod transport;
pub(crate) mod upstream;
mod watch;
