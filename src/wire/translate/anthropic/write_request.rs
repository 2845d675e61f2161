//! A messages request, written.

use crate::call::Protocol;
use crate::wire::json::Json;
use crate::wire::translate::form::Request;
use crate::wire::translate::{Far, Loss};

/// Writes a request. Returns the name of the tool that stands for the form of the answer, where the model has no other way to hold to it.
pub(in super::super) fn write_request(
    request: &Request<'_>,
    far: &Far,
    client: Protocol,
    loss: &mut Loss,
    out: &mut Vec<u8>,
) -> Option<String> {
    let _ = (far, client, loss);
    Json::new(out).object(|body| body.text("model", &request.model));
    None
}
