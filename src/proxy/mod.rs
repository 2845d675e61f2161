//! One exchange with an upstream, from the client's head to the settled outcome. [`exchange`] is the whole of it on one screen.

pub(crate) mod exchange;
pub mod keys;
mod relay;
mod transport;
pub(crate) mod upstream;
