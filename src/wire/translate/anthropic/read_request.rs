//! A messages request, read.

use crate::call::Refusal;
use crate::wire::translate::Loss;
use crate::wire::translate::field::Field;
use crate::wire::translate::form::Request;

/// Reads a request.
///
/// # Errors
/// 400, naming the field.
pub(in super::super) fn read_request<'a>(root: &Field<'a, '_>, loss: &mut Loss) -> Result<Request<'a>, Refusal> {
    let _ = loss;
    Ok(Request { model: root.required("model")?.text()?, ..Request::default() })
}
