//! A chat completion request, written.

use crate::call::Protocol;
use crate::wire::json::Json;
use crate::wire::translate::form::Request;
use crate::wire::translate::{Far, Loss};

/// Writes a request.
pub(in super::super) fn write_request(request: &Request<'_>, far: &Far, client: Protocol, loss: &mut Loss, out: &mut Vec<u8>) {
    let _ = (far, client, loss);
    Json::new(out).object(|body| body.text("model", &request.model));
}
