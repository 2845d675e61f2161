//! Errors of providers, from one protocol into the other: whole bodies, and events in mid-stream.

use super::form::{Failure, FailureKind};
use crate::call::Protocol;
use crate::wire::json::{Json, Raw};

/// Reads the body of an error reply. `raw` is the body as JSON, if it is any; `status` says the kind where the body does not.
pub(super) fn read<'a>(upstream: Protocol, status: u16, raw: Option<Raw<'a>>, body: &'a [u8]) -> Failure<'a> {
    let _ = (upstream, status, raw);
    Failure { kind: FailureKind::Server, message: String::from_utf8_lossy(body), code: None, param: None }
}

/// Reads the value of `error`, in a body or in an event of a stream, where no status tells the kind.
pub(super) fn read_error(upstream: Protocol, error: Raw<'_>) -> Failure<'_> {
    read(upstream, 500, Some(error), b"")
}

/// The body of an error reply.
pub(super) fn write(client: Protocol, failure: &Failure<'_>, out: &mut Vec<u8>) {
    let _ = client;
    Json::new(out).object(|body| body.text("message", &failure.message));
}

/// The event that ends a stream with an error, event lines and all.
pub(super) fn write_event(client: Protocol, failure: &Failure<'_>, out: &mut Vec<u8>) {
    write(client, failure, out);
}
