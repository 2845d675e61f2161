//! A look at an upstream without a key: can its name be resolved, can it be connected to, does TLS work, does HTTP come back. It takes the
//! same way as a call does, so that what `doctor` says is what a call would meet.

use super::upstream::{Destination, NoReply, Sending, Upstreams};
use super::watch::Watch;
use crate::call::{Outbound, UpstreamId};
use crate::config::{Auth, BaseUrl, Timeouts};
use std::path::Path;
use std::time::{Duration, Instant};

/// What [`probe`] found.
#[derive(Clone, Copy, Debug)]
pub struct ProbeReport {
    /// The status of an unauthenticated `GET …/v1/models`; 401 is what a provider should say.
    pub status: u16,
    /// Name look-up, connection, TLS and answer together.
    pub took: Duration,
}

/// Asks an address for `/v1/models` without a key.
///
/// # Errors
/// What stands in the way, in one line.
pub fn probe(base: &BaseUrl, limit: Duration, ca_file: Option<&Path>) -> Result<ProbeReport, String> {
    let timeouts = Timeouts { connect: limit, first_byte: limit, ..Timeouts::default() };
    let upstreams = Upstreams::new(timeouts, ca_file).map_err(|fault| fault.to_string())?;
    let destination = Destination::new("the upstream", base, Auth::Bearer, None).map_err(|fault| fault.to_string())?;
    let outbound = Outbound { upstream: UpstreamId(0), method: "GET", target: format!("{}/v1/models", base.path()), headers: Vec::new() };
    let started = Instant::now();
    let sent = upstreams.send(&destination, &outbound, Sending::Nothing, None);
    Watch::end();
    match sent {
        Ok(reply) => Ok(ProbeReport { status: reply.status, took: started.elapsed() }),
        Err(fault) => match fault.why {
            NoReply::Refused(refusal) => Err(refusal.message),
            NoReply::ClientGone => Err("interrupted".into()),
        },
    }
}
