//! One exchange with an upstream, from the client's head to the settled outcome. [`exchange`] is the whole of it on one screen.

mod control;
mod details;
pub(crate) mod exchange;
mod idle;
mod ids;
pub(crate) mod keys;
pub(crate) mod lease;
mod models;
mod open;
pub(crate) mod pages;
#[cfg(feature = "cli")]
pub(crate) mod probe;
pub(crate) mod purse;
mod relay;
#[cfg(test)]
mod scripted;
mod sync;
pub(crate) mod tell;
pub(crate) mod tls;
mod transport;
pub(crate) mod upstream;
mod watch;
