//! One exchange with the upstream, and what it needs.

pub mod keys;
