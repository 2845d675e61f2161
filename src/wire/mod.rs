//! Bytes to values and values to bytes: what a request is for ([`route`], [`scan`]), which header fields go on ([`headers`]), what a
//! refusal looks like ([`refusal`]), where a stream's events end ([`sse`]), what a request may cost
//! ([`terms`]), what a reply says it cost ([`usage`]), what is told of a finished call (`event`). Pure: no socket, no clock, no decision about a caller.

mod bom;
#[cfg(feature = "analytics")]
pub mod event;
pub mod headers;
mod json;
pub mod news;
pub mod refusal;
pub mod route;
pub mod scan;
pub mod sse;
pub mod terms;
pub mod translate;
pub mod usage;
