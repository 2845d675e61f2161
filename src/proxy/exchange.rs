//! ONE request, from the client's head to the settled outcome: [`Proxy::serve`], read from top to bottom.

mod body;
mod listing;
mod money;
mod telling;
mod translation;

use super::details::{Contents, Notes};
use super::ids::RequestIds;
use super::keys::{Assigned, KeyCache};
use super::lease::Leases;
use super::models::Asking;
use super::open::{Money, Open};
use super::pages::{Page, Pages, Visit};
use super::purse::{Denied, Purse};
use super::relay::{self, Context, Relayed};
use super::upstream::{Destination, NoReply, SendFault, UpstreamReply, Upstreams};
use super::watch::{EndOnDrop, Watch};
use crate::call::{AgentId, BodyLength, Call, End, Hold, Inbound, Outbound, Protocol, Reason, Refusal, UpstreamId};
use crate::clock::UnixMs;
use crate::config::{Config, Control, Key, Upstream, UsageMode};
use crate::error::Error;
use crate::event::Audience;
use crate::http::{Body, Responder, Service, Violation};
use crate::money::Reported;
use crate::outbox::{Leases as LeaseStore, Outbox};
use crate::policy::{self, AccessRules, Prices, Quote, State, Stats};
use crate::row::Books;
use crate::wire::route::{self, Route, Table, Target, Way};
use crate::wire::terms;
use crate::wire::translate::Thoughts;
use crate::wire::{headers, refusal, scan};
use body::{Buffered, Upload, sending};
use listing::Listing;
use std::borrow::Cow;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Instant;

pub(super) use translation::Translation;

/// The most bytes of thinking that are kept for later turns.
const MAX_THOUGHTS: usize = 16 << 20;

/// The service behind the router's port.
pub(crate) struct Proxy {
    config: Config,
    rules: AccessRules,
    upstreams: Upstreams,
    /// One an upstream, prepared; `None` where the control server gives the key.
    destinations: Vec<Option<Destination>>,
    keys: Option<KeyCache>,
    purse: Arc<Purse>,
    prices: Prices,
    books: Arc<dyn Books>,
    /// The control server's lease and whatever else it is told, in server mode.
    leases: Option<Leases>,
    /// The upstreams' names, in the same order, to be shared by rows.
    names: Vec<Arc<str>>,
    /// Which upstreams have a key without asking the control server; same order.
    usable: Vec<bool>,
    /// Bytes of request bodies held in memory now.
    buffered: AtomicU64,
    /// Thinking that clients can't carry from one turn to the next.
    thoughts: Mutex<Thoughts>,
    /// Who hears of events.
    audience: Arc<dyn Audience>,
    /// Who makes the pages that show them.
    pages: Arc<dyn Pages>,
    /// The ids of requests that no provider gave one.
    ids: RequestIds,
    /// Whose content is kept.
    contents: Contents,
}

/// Where a router keeps what must not be lost.
pub(crate) struct Store {
    /// Settled calls.
    pub(crate) books: Arc<dyn Books>,
    /// What waits for the control server.
    pub(crate) outbox: Arc<dyn Outbox>,
    /// Its leases.
    pub(crate) leases: Option<Arc<dyn LeaseStore>>,
}

/// Who shows what happens.
pub(crate) struct Stage {
    /// Who hears of events.
    pub(crate) audience: Arc<dyn Audience>,
    /// Who makes the pages that show them.
    pub(crate) pages: Arc<dyn Pages>,
}

/// How an admitted call will be billed, what it holds, and its worst case where a limit bears on it.
type Admitted = (Money, Hold, Option<Quote>);

/// Where a call goes and how, its body, and the model as the upstream knows it where that is another name.
type Chosen<'a> = (Way, Call<'a>, Option<Buffered<'a>>, Option<&'a str>);

/// What a request turned out to be.
enum Request<'a> {
    /// For the router itself.
    Own(OwnPage),
    /// For an upstream.
    Call(Box<Routed<'a>>),
    /// How many tokens a conversation has, as far as can be said without its provider.
    Count(u64),
}

/// What became of a request before it was sent.
#[derive(Default)]
struct Edited {
    /// The output limit set: `FIELD=N`.
    clamped: Option<String>,
    /// The usage of the stream was asked for, which the client had not done.
    usage_asked: bool,
}

/// A page of the router's own.
enum OwnPage {
    Home,
    Health,
    Stats,
    Live(Page),
}

/// A call that can be sent, and what it is sent with.
pub(super) struct Routed<'a> {
    pub(super) call: Call<'a>,
    body: Option<Buffered<'a>>,
    assigned: Option<Arc<Assigned>>,
    /// Whose token it came with.
    agent: Option<AgentId>,
    /// When it had been read.
    at: UnixMs,
    /// The name it gives itself.
    label: Option<&'a str>,
    /// The model as the upstream knows it, where that is another name.
    real_model: Option<&'a str>,
    /// Bytes that our own edits have put into the body: they are no input, and were not there when the worst case was held.
    added: usize,
    /// The path that the client asked for.
    pub(super) asked_path: &'a str,
    /// How the reply is translated, where the request was.
    pub(super) translation: Option<Translation>,
    /// What the router answers itself, after asking upstreams on its own behalf.
    listing: Option<Listing<'a>>,
    /// What is noted for those who look.
    notes: Option<Box<Notes>>,
}

impl Routed<'_> {
    /// The body, where it is in memory.
    pub(super) fn body_bytes(&self) -> Option<&[u8]> {
        self.body.as_ref().map(Buffered::bytes)
    }

    /// Whose token the call came with.
    pub(super) fn agent(&self) -> Option<AgentId> {
        self.agent
    }

    /// Bytes of it that are ours, not the client's.
    pub(super) fn added_bytes(&self) -> u64 {
        self.added as u64
    }

    /// It has been read.
    fn begin(&mut self, at: UnixMs) {
        self.at = at;
        if let Some(translation) = &mut self.translation {
            translation.plan.created = at.0 / 1000;
        }
    }

    /// Puts another body in the place of the one that came.
    fn replace_body(&mut self, bytes: &[u8], max_buffered_bytes: u64) -> Result<(), Refusal> {
        let Some(body) = &mut self.body else { return Ok(()) };
        let before = body.bytes().len();
        body.count(bytes.len().saturating_sub(before) as u64, max_buffered_bytes)?;
        body.body.set(bytes);
        Ok(())
    }

    /// Makes changes, given from the last to the first.
    fn edit(&mut self, edits: impl IntoIterator<Item = terms::Edit>) {
        let Some(body) = &mut self.body else { return };
        let before = body.bytes().len();
        for edit in edits {
            body.body.replace(edit.at, edit.text.as_bytes());
        }
        self.added += body.bytes().len().saturating_sub(before);
    }
}

impl Service for Proxy {
    /// The order is the product's: may the client talk to us, is the request well-formed, where does it go, may it go, send, relay, settle.
    fn serve(&self, request: &Inbound<'_>, body: &mut Body<'_>, mut reply: Responder<'_>) {
        let mut routed = match self.understand(request, body) {
            Ok(Request::Own(page)) => return self.own_page(&page, request, body, reply),
            Ok(Request::Count(tokens)) => return translation::answer_count(reply, tokens, &self.ids.next()),
            Ok(Request::Call(routed)) => routed,
            Err(refused) => return self.refuse(request, &refused, reply),
        };
        let started = Instant::now();
        routed.begin(super::tell::now());
        let (client, notes) = (reply.client(), routed.notes.take());
        let (money, hold, quote) = match self.admit(&routed, request, &client) {
            Ok(admitted) => admitted,
            Err(Denied::Refused(refused) | Denied::LeaseShort(refused) | Denied::NoLease(refused)) => {
                return self.refuse_call(&routed, notes, &refused, started, reply);
            }
            Err(Denied::ClientGone) => return reply.close_after(),
        };
        let edited = self.edit(&mut routed, hold.clamp(), quote.as_ref());
        let added = routed.added_fields(edited.clamped);
        let mut open = Open::new(self, hold, &routed, &money, started);
        open.notes = notes;
        let context = Context {
            protocol: routed.call.protocol,
            endpoint: open.is_metered().then_some(routed.call.endpoint),
            is_head: request.method == "HEAD",
            strip_usage: edited.usage_asked,
            translation: routed.translation.as_ref(),
            added: &added,
            max_whole_bytes: self.config.limits.max_body_bytes,
            buffered: &self.buffered,
            max_buffered_bytes: self.config.limits.max_buffered_bytes,
            timeouts: &self.config.timeouts,
            client: &client,
            started,
        };
        if let Some(listing) = &routed.listing {
            return self.answer_listing(listing, &routed, &client, reply, &mut open);
        }
        let watching = EndOnDrop;
        open.leaves();
        let relayed = match self.send(&routed, request, body, &client) {
            Ok(upstream_reply) => {
                open.answered(&upstream_reply);
                relay::relay(upstream_reply, reply, &context, &mut open)
            }
            Err(SendFault { why, sent }) => {
                open.unanswered(sent);
                match why {
                    NoReply::Refused(refused) => Relayed::Unstarted(reply, refused),
                    NoReply::ClientGone => {
                        reply.close_after();
                        open.settle(End::ClientGone, &Reported::default());
                        Relayed::Done
                    }
                }
            }
        };
        drop(watching);
        if let Relayed::Unstarted(reply, refused) = relayed {
            let rendered = open.settle_refused(&refused);
            send_rendered(reply, &rendered, open.id_field());
        }
    }

    fn violation_body(&self, violation: Violation, partial_head: &[u8]) -> Vec<u8> {
        refusal::violation_body(violation.status, violation.code, violation.message, route::protocol_of_partial_head(partial_head))
    }
}

impl Proxy {
    /// Prepares everything that does not change between requests.
    ///
    /// # Errors
    /// A key or address that can't be used, certificates that can't be read.
    pub(crate) fn new(
        config: Config,
        rules: AccessRules,
        prices: Prices,
        purse: Arc<Purse>,
        store: Store,
        stage: Stage,
    ) -> Result<Self, Error> {
        let upstreams = Upstreams::new(config.timeouts, config.ca_file.as_deref())?;
        let prepare = |upstream: &Upstream| match &upstream.key {
            Key::Given(key) => Destination::new(&upstream.name, &upstream.base, upstream.auth, Some(key)).map(Some),
            Key::None => Destination::new(&upstream.name, &upstream.base, upstream.auth, None).map(Some),
            Key::Control => Ok(None),
        };
        let destinations = config.upstreams.iter().map(prepare).collect::<Result<_, _>>()?;
        let agent = |control: &Control| Upstreams::control_agent(&control.server_url, config.ca_file.as_deref());
        let Store { books, outbox, leases: saved } = store;
        let leases = match &config.control {
            Some(control) => Some(Leases::new(control.clone(), agent(control)?, purse.clone(), outbox, saved)?),
            None => None,
        };
        let keys = match &config.control {
            Some(control) => {
                Some(KeyCache::new(control.clone(), Upstreams::control_agent(&control.server_url, config.ca_file.as_deref())?))
            }
            None => None,
        };
        let usable = usable(&config.upstreams, None);
        let names = config.upstreams.iter().map(|upstream| Arc::from(upstream.name.as_str())).collect();
        Ok(Self {
            config,
            rules,
            upstreams,
            destinations,
            keys,
            purse,
            prices,
            books,
            leases,
            names,
            usable,
            buffered: AtomicU64::new(0),
            thoughts: Mutex::new(Thoughts::new(MAX_THOUGHTS)),
            audience: stage.audience,
            pages: stage.pages,
            ids: RequestIds::new(),
            contents: Contents::default(),
        })
    }

    /// Takes no more calls.
    pub(crate) fn close(&self) {
        self.purse.change(State::close);
    }

    /// What is spent and held.
    pub(crate) fn purse(&self) -> &Purse {
        &self.purse
    }

    /// The key cache of server mode.
    pub(crate) fn keys(&self) -> Option<&KeyCache> {
        self.keys.as_ref()
    }

    /// From a head to a routed call: access, target, own pages, body, route.
    fn understand<'a>(&'a self, request: &Inbound<'a>, body: &mut Body<'_>) -> Result<Request<'a>, Refusal> {
        let bare_path = request.target.split('?').next().unwrap_or_default();
        let page = Page::of(bare_path);
        // The dashboard's own visitors have a cookie instead of the token; who has neither is asked for it by the page itself.
        let open_page = matches!(bare_path, "/" | "/healthz") || page == Some(Page::Dashboard);
        let visits = || (page.is_some() || bare_path == "/stats") && self.pages.admits(request);
        let agent = policy::access(&self.rules, request, !open_page && !visits())?;
        if request.headers.get("upgrade").is_some() && page != Some(Page::Events) {
            let message = "this address does not offer an upgrade (no HTTP/2, no WebSocket); send the request without it";
            return Err(Refusal::new(Reason::UpgradeUnsupported, message));
        }
        let target = route::parse_target(request.target, request.headers.text("host").unwrap_or_default())?;
        if target.forced.is_none()
            && let Some(page) = own_page_of(request.method, target.path)?
        {
            return Ok(Request::Own(page));
        }
        let buffered = self.buffer(request, &target, body)?;
        let assigned = self.keys.as_ref().map(KeyCache::get).transpose()?;
        let (asked_path, notes) = (target.path, self.notes(request, buffered.as_ref().map(Buffered::bytes), assigned.as_deref()));
        let (way, call, body, real_model, listing) = match self.about_models(request, &target, assigned.as_ref()) {
            Some((call, listing)) => (Way::Plain, call, buffered, None, listing),
            None => {
                let (way, call, body, real_model) = self.route(request, target, buffered, assigned.as_deref())?;
                (way, call, body, real_model, None)
            }
        };
        let (at, label) = (UnixMs(0), headers::agent_label(&request.headers));
        let mut routed =
            Routed { call, body, assigned, agent, at, label, real_model, added: 0, asked_path, translation: None, listing, notes };
        match way {
            Way::Plain => {}
            Way::Translate => self.translate(&mut routed)?,
            Way::Count => return Ok(Request::Count(translation::count(&routed, &self.config.upstreams[routed.call.upstream.0])?)),
        }
        Ok(Request::Call(Box::new(routed)))
    }

    fn route<'a>(
        &'a self,
        request: &Inbound<'a>,
        target: Target<'a>,
        mut body: Option<Buffered<'a>>,
        assigned: Option<&Assigned>,
    ) -> Result<Chosen<'a>, Refusal> {
        let endpoint = route::endpoint(target.path);
        let mut facts = None;
        if let Some(body) = &body {
            match scan::scan(body.bytes()) {
                Ok(found) => facts = Some(found),
                Err(fault) if endpoint.takes_model() => return Err(fault.into()),
                Err(_) => {}
            }
        }
        let facts = facts.unwrap_or_default();
        let assigned_now = assigned.map(|assigned| usable(&self.config.upstreams, Some(assigned)));
        let usable = assigned_now.as_deref().unwrap_or(&self.usable);
        let primary = assigned.and_then(|assigned| self.upstream_named(assigned.provider));
        let table = Table { upstreams: &self.config.upstreams, usable, primary };
        let anthropic_version = request.headers.get("anthropic-version").is_some();
        let route = route::choose(&target, request.method, facts.model.as_deref(), anthropic_version, &table)?;
        let Route { upstream, client: protocol, way } = route;
        let alias = facts.model.as_deref().and_then(|model| self.alias(upstream, model));
        let (model, model_at, stream) = (facts.model.map(Cow::into_owned), facts.model_at, facts.stream);
        if let (Some(real), Some(at), Some(body)) = (alias, model_at, &mut body) {
            body.body.replace(at, serde_json::Value::from(real).to_string().as_bytes());
        }
        let model = model.map(Cow::Owned);
        let call = Call { protocol, upstream, method: request.method, path: target.path, query: target.query, endpoint, model, stream };
        Ok((way, call, body, alias))
    }

    fn upstream_named(&self, provider: Protocol) -> Option<UpstreamId> {
        self.config.upstreams.iter().position(|upstream| upstream.name == provider.as_str()).map(UpstreamId)
    }

    fn alias(&self, upstream: UpstreamId, model: &str) -> Option<&str> {
        self.config.upstreams[upstream.0].aliases.iter().find(|(alias, _)| alias == model).map(|(_, real)| real.as_str())
    }

    /// Sends a routed call, in server mode once more with a fresh key when the provider does not know the cached one.
    fn send(
        &self,
        routed: &Routed<'_>,
        request: &Inbound<'_>,
        body: &mut Body<'_>,
        client: &crate::http::Client,
    ) -> Result<UpstreamReply, SendFault> {
        let upstream = &self.config.upstreams[routed.call.upstream.0];
        let assigned = routed.assigned.as_ref().filter(|_| matches!(upstream.key, Key::Control));
        let first_base = assigned.and_then(|assigned| assigned.base_url.as_ref()).unwrap_or(&upstream.base);
        let outbound = self.outbound(routed, request, first_base.path());
        let mut upload = Upload { body, left: self.config.limits.max_upload_bytes };
        let again = routed.body.is_some() || request.length == BodyLength::None;
        let reply = match (&self.destinations[routed.call.upstream.0], assigned) {
            (Some(destination), _) => {
                return self.upstreams.send(destination, &outbound, sending(routed, request, &mut upload), Some(client));
            }
            (None, Some(assigned)) => {
                self.upstreams.send(&self.assigned(upstream, assigned)?, &outbound, sending(routed, request, &mut upload), Some(client))?
            }
            (None, None) => return Err(SendFault::unsent(Refusal::new(Reason::Internal, "no key was fetched for this call"))),
        };
        let (401, true, Some(keys), Some(rejected)) = (reply.status, again, &self.keys, assigned) else { return Ok(reply) };
        match Watch::aside(|| keys.refetch(rejected)) {
            Ok(fresh) if !fresh.key.matches(rejected.key.expose().as_bytes()) && fresh.is_for(upstream) => {
                let base = fresh.base_url.as_ref().unwrap_or(&upstream.base);
                let outbound = self.outbound(routed, request, base.path());
                self.upstreams.send(&self.assigned(upstream, &fresh)?, &outbound, sending(routed, request, &mut upload), Some(client))
            }
            _ => Ok(reply),
        }
    }

    /// The destination that the control server's answer makes of an upstream.
    fn assigned(&self, upstream: &Upstream, assigned: &Assigned) -> Result<Destination, SendFault> {
        let base = assigned.base_url.as_ref().unwrap_or(&upstream.base);
        Destination::new(&upstream.name, base, upstream.auth, Some(&assigned.key)).map_err(|fault| {
            SendFault::unsent(Refusal::new(
                Reason::Overloaded("control_server_refused"),
                format!("the control server's answer can't be used: {fault}"),
            ))
        })
    }

    fn outbound<'a>(&self, routed: &Routed<'a>, request: &Inbound<'a>, base_path: &str) -> Outbound<'a> {
        let call = &routed.call;
        let mut target = String::with_capacity(base_path.len() + call.path.len() + call.query.map_or(0, |query| query.len() + 1));
        target.push_str(base_path);
        target.push_str(call.path);
        if let Some(query) = call.query {
            target.push('?');
            target.push_str(query);
        }
        let nominated = headers::Nominated::by(request.headers.all("connection"));
        let mut fields = Vec::with_capacity(request.headers.0.len() + 1);
        fields.extend(request.headers.iter().filter(|(name, value)| nominated.lets_field_to_provider(name, value)));
        if routed.translation.is_some() {
            translation::set_fields(&mut fields, call.protocol);
        } else if call.endpoint.takes_model() && self.config.upstreams[call.upstream.0].usage == UsageMode::Inject {
            fields.retain(|(name, _)| !name.eq_ignore_ascii_case("accept-encoding"));
            fields.push(("accept-encoding", b"identity"));
        }
        Outbound { upstream: call.upstream, method: call.method, target, headers: fields }
    }

    /// What it takes to ask upstreams for their models.
    fn asking<'p>(&'p self, assigned: Option<&'p Arc<Assigned>>, client: &'p crate::http::Client) -> Asking<'p> {
        let Self { config, upstreams, destinations, keys, .. } = self;
        Asking { config, upstreams, destinations, keys: keys.as_ref(), assigned, client: Some(client) }
    }

    fn own_page(&self, page: &OwnPage, request: &Inbound<'_>, body: &mut Body<'_>, reply: Responder<'_>) {
        const TEXT: (&str, &[u8]) = ("content-type", b"text/plain; charset=utf-8");
        const JSON: (&str, &[u8]) = ("content-type", b"application/json");
        // Without the query: people put keys there.
        log::debug!("{} {}", request.method, request.target.split('?').next().unwrap_or_default());
        let sent = match page {
            OwnPage::Home => reply.send(200, [TEXT], b"LlmRouter OK"),
            OwnPage::Health => reply.send(200, [JSON], br#"{"status":"ok"}"#),
            OwnPage::Stats => {
                let stats = self.purse.figures(Stats::of).to_json();
                reply.send(200, [JSON], stats.to_string().as_bytes())
            }
            OwnPage::Live(page) => {
                let has_token = matches!(policy::access(&self.rules, request, true), Ok(None));
                self.pages.serve(*page, Visit { request, has_token, body }, reply);
                Ok(())
            }
        };
        if let Err(fault) = sent {
            log::debug!("client gone: {fault}");
        }
    }
}

/// Which upstreams have a key now. In server mode that is the assigned provider; a server that names an address names a gateway that
/// speaks for both.
fn usable(upstreams: &[Upstream], assigned: Option<&Assigned>) -> Vec<bool> {
    let has_key = |upstream: &Upstream| match &upstream.key {
        Key::Control => assigned.is_some_and(|assigned| assigned.is_for(upstream)),
        Key::Given(_) | Key::None => true,
    };
    upstreams.iter().map(has_key).collect()
}

impl Assigned {
    /// Whether the key may be sent for calls to this upstream.
    pub(super) fn is_for(&self, upstream: &Upstream) -> bool {
        self.provider == upstream.protocol || self.base_url.is_some()
    }
}

/// The router's own addresses, by method and path.
fn own_page_of(method: &str, path: &str) -> Result<Option<OwnPage>, Refusal> {
    let page = match path {
        "/" => OwnPage::Home,
        "/healthz" => OwnPage::Health,
        "/stats" => OwnPage::Stats,
        other => match Page::of(other) {
            Some(page) => OwnPage::Live(page),
            None => return Ok(None),
        },
    };
    // Who has no cookie yet gives the token by a form.
    let takes_a_form = matches!(page, OwnPage::Live(Page::Dashboard)) && method == "POST";
    if matches!(method, "GET" | "HEAD") || takes_a_form {
        return Ok(Some(page));
    }
    Err(Refusal::new(Reason::MethodNotAllowed, format!("{path} is the router's own address and takes GET; API calls go to /v1/…")))
}

/// Sends a whole reply of ours, under the request's id.
fn send_rendered(reply: Responder<'_>, rendered: &refusal::Rendered, id: (&str, &str)) {
    let fields = rendered.headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    if let Err(fault) = reply.send(rendered.status, fields.chain([(id.0, id.1.as_bytes())]), &rendered.body) {
        log::debug!("client gone: {fault} request_id={}", id.1);
    }
}
