//! One exchange with an upstream, from the client's head to the settled outcome. [`exchange`] is the whole of it on one screen.

pub(crate) mod exchange;
mod idle;
pub(crate) mod keys;
mod open;
#[cfg(feature = "cli")]
pub(crate) mod probe;
pub(crate) mod purse;
mod relay;
pub(crate) mod tell;
pub(crate) mod tls;
mod transport;
pub(crate) mod upstream;
mod watch;
