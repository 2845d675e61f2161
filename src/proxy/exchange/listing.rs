//! Requests about models that the router answers itself, out of what several upstreams say: see [`models`].

use super::{Proxy, Routed, send_rendered, usable};
use crate::call::{Call, End, Endpoint, Inbound, Protocol, UpstreamId};
use crate::http::{Client, Responder};
use crate::money::Reported;
use crate::proxy::keys::Assigned;
use crate::proxy::models::{self, Wanted};
use crate::proxy::open::{Open, Progress};
use crate::wire::route::{self, Table, Target};
use std::sync::Arc;

/// What the router answers itself.
pub(super) enum Listing<'a> {
    /// The list of these upstreams' models.
    All(Vec<UpstreamId>),
    /// The description of the model at this path segment.
    One(&'a str),
}

impl Proxy {
    /// A call about models, and what the router has to answer itself, if that is not its upstream's. `None`: a call like any other.
    pub(super) fn about_models<'a>(
        &'a self,
        request: &Inbound<'a>,
        target: &Target<'a>,
        assigned: Option<&Arc<Assigned>>,
    ) -> Option<(Call<'a>, Option<Listing<'a>>)> {
        let wanted = models::wanted(request.method, target)?;
        let upstreams = &self.config.upstreams;
        let assigned = assigned.map(|assigned| usable(upstreams, Some(assigned)));
        let usable = assigned.as_deref().unwrap_or(&self.usable);
        let asker = route::error_protocol(request);
        let call = |upstream, protocol| Call {
            protocol,
            upstream,
            method: request.method,
            path: target.path,
            query: target.query,
            endpoint: Endpoint::Other,
            model: None,
            stream: false,
        };
        match wanted {
            Wanted::List => {
                let ids = models::listed(upstreams, usable, asker)?;
                Some((call(*ids.first()?, asker), Some(Listing::All(ids))))
            }
            Wanted::One { segment, id } => {
                let table = Table { upstreams, usable, primary: None };
                let upstream = route::choose(target, request.method, Some(&id), asker == Protocol::Anthropic, &table).ok()?.upstream;
                let translated = upstreams[upstream.0].protocol != asker;
                Some((call(upstream, asker), translated.then_some(Listing::One(segment))))
            }
        }
    }

    /// Asks, answers, settles.
    pub(super) fn answer_listing(
        &self,
        listing: &Listing<'_>,
        routed: &Routed<'_>,
        client: &Client,
        mut reply: Responder<'_>,
        open: &mut Open<'_>,
    ) {
        open.leaves();
        let asking = self.asking(routed.assigned.as_ref(), client);
        let asker = routed.call.protocol;
        let rendered = match listing {
            Listing::All(ids) => asking.list(ids, asker),
            Listing::One(segment) => asking.one(routed.call.upstream, segment, asker),
        };
        open.progress.sent = true;
        open.progress.stages.head = open.elapsed();
        let Some(rendered) = rendered else {
            reply.close_after();
            return open.settle(End::ClientGone, &Reported::default());
        };
        let passed = rendered.body.len() as u64;
        open.progress = Progress { status: rendered.status, received: passed, passed, ..open.progress };
        open.note_own(&rendered);
        open.settle(End::Complete, &Reported::default());
        send_rendered(reply, &rendered, open.id_field());
    }
}
