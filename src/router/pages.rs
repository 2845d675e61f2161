//! The pages that show what happens: who may see them, and what they are.

use super::history::Ask;
use super::keeping::Keeping;
use super::visitors::Visitors;
use crate::call::{BodyLength, Inbound, Protocol, Reason, Refusal, Version};
use crate::http::{Body, Responder};
use crate::live::dashboard::Asked;
use crate::live::metrics::{CONTENT_TYPE, Money};
use crate::live::{Live, dashboard};
use crate::policy::Stats;
use crate::proxy::pages::{Page, Pages, Visit};
use crate::proxy::purse::Purse;
use crate::secret::Secret;
use crate::wire::{refusal, route};
use std::sync::{Arc, OnceLock};
use tungstenite::handshake::derive_accept_key;

/// Bytes of a form.
const MAX_FORM: u64 = 4 << 10;

const HTML: (&str, &[u8]) = ("content-type", b"text/html; charset=utf-8");
const NO_STORE: (&str, &[u8]) = ("cache-control", b"no-store");

/// What every page of the dashboard is sent with.
const GUARDS: [(&str, &[u8]); 3] = [("x-content-type-options", b"nosniff"), ("x-frame-options", b"DENY"), NO_STORE];
const NO_REFERRER: (&str, &[u8]) = ("referrer-policy", b"no-referrer");
/// For the form: with `no-referrer` browsers post it with `Origin: null`, which is refused. An origin holds no token either.
const ORIGIN_ONLY: (&str, &[u8]) = ("referrer-policy", b"strict-origin");

/// Makes the pages.
pub(super) struct LivePages {
    live: Arc<Live>,
    purse: Arc<Purse>,
    keeping: Arc<Keeping>,
    /// The client token: what the form of the dashboard asks for.
    token: Secret,
    visitors: Visitors,
    /// `http://HOST:PORT`, once that is known.
    address: OnceLock<String>,
}

impl LivePages {
    pub(super) fn new(live: Arc<Live>, purse: Arc<Purse>, keeping: Arc<Keeping>, token: Secret) -> Self {
        Self { live, purse, keeping, token, visitors: Visitors::default(), address: OnceLock::new() }
    }

    /// The router listens at this address.
    pub(super) fn listens_at(&self, address: String, port: u16) {
        self.visitors.come_to(port);
        let _ = self.address.set(address);
    }

    /// The dashboard's address with a token that opens it once; without random numbers the bare address, where the page asks.
    pub(super) fn one_time_address(&self) -> String {
        let address = self.address.get().map(String::as_str).unwrap_or_default();
        match self.visitors.invite() {
            Ok(token) => format!("{address}/dashboard?token={}", token.expose()),
            Err(_) => format!("{address}/dashboard"),
        }
    }

    /// The page, the form that asks for the token, or a cookie and the way to the page.
    fn dashboard(&self, visit: Visit<'_, '_>, reply: Responder<'_>) -> std::io::Result<()> {
        let Inbound { method, target, .. } = *visit.request;
        // By HEAD come those who only look whether there is something: the token is not theirs to use up.
        let query = target.split_once('?').filter(|_| method == "GET");
        let invited = query.and_then(|(_, query)| route::form_field(query, "token"));
        if let Some(token) = invited {
            return match self.visitors.enter(&token) {
                Some(cookie) => to_the_page(reply, Some(&cookie)),
                // The address is no secret any more, and none to keep.
                None if self.visitors.knows(visit.request) => to_the_page(reply, None),
                None => self.form(reply, Asked::SpentAddress),
            };
        }
        if method == "POST" {
            // The token first: a cookie is made, and may take the place of another, for those only who have it.
            let given = form_token(visit.body).filter(|given| self.token.matches(given.as_bytes()));
            return match given.and_then(|_| self.visitors.welcome().ok()) {
                Some(cookie) => to_the_page(reply, Some(&cookie)),
                None => self.form(reply, Asked::WrongToken),
            };
        }
        if visit.has_token || self.visitors.knows(visit.request) {
            let csp: (&str, &[u8]) = ("content-security-policy", dashboard::csp().as_bytes());
            return reply.send(200, GUARDS.into_iter().chain([NO_REFERRER, HTML, csp]), dashboard::page().as_bytes());
        }
        self.form(reply, Asked::Nothing)
    }

    /// The form; `asked`: what was tried before.
    fn form(&self, reply: Responder<'_>, asked: Asked) -> std::io::Result<()> {
        let csp: (&str, &[u8]) = ("content-security-policy", dashboard::csp().as_bytes());
        reply.send(401, GUARDS.into_iter().chain([ORIGIN_ONLY, HTML, csp]), dashboard::login(asked).as_bytes())
    }

    /// Hands the connection to the broadcast thread.
    fn events(&self, visit: &Visit<'_, '_>, reply: Responder<'_>) -> std::io::Result<()> {
        let Some(key) = handshake_key(visit.request) else {
            let message = "/events is a WebSocket: connect with one (ws://…/events, version 13), and the client token";
            let refused = Refusal::new(Reason::Invalid("upgrade_required"), message);
            return send_refusal(reply, &refused, 426, [("upgrade", &b"websocket"[..]), ("sec-websocket-version", b"13")]);
        };
        if visit.request.length != BodyLength::None {
            let refused = Refusal::new(Reason::Invalid("invalid_upgrade"), "a request for a WebSocket has no body");
            return send_refusal(reply, &refused, 400, []);
        }
        if !reply.can_upgrade() {
            let message = "this listener can't hand connections over, so there are no live events; choose the listener \"own\"";
            return send_refusal(reply, &Refusal::new(Reason::UpgradeUnsupported, message), 501, []);
        }
        let query = visit.request.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let since = route::form_field(query, "since").and_then(|since| since.parse().ok());
        let accept = derive_accept_key(key);
        let (socket, read_ahead) = reply.upgrade([("Upgrade", &b"websocket"[..]), ("Sec-WebSocket-Accept", accept.as_bytes())])?;
        self.live.join(socket, read_ahead, since);
        Ok(())
    }
}

impl Pages for LivePages {
    fn admits(&self, request: &Inbound<'_>) -> bool {
        self.visitors.knows(request)
    }

    fn serve(&self, page: Page, visit: Visit<'_, '_>, reply: Responder<'_>) {
        let sent = match page {
            Page::Dashboard => self.dashboard(visit, reply),
            _ if !visit.has_token && !self.visitors.knows(visit.request) => {
                let message = "the router's own client token sees this page, an agent's does not";
                let refused = Refusal::new(Reason::Unauthorized, message);
                send_refusal(reply, &refused, 401, [])
            }
            Page::Events => self.events(&visit, reply),
            // Figures of earlier runs that are still being counted would look like a counter that went back.
            Page::Metrics if !self.live.metrics().is_whole() => {
                let refused =
                    Refusal::new(Reason::Overloaded("metrics_loading"), "figures of earlier runs are being counted; try again in a moment");
                send_refusal(reply, &refused, 503, [])
            }
            Page::Metrics => {
                let kind = ("content-type", CONTENT_TYPE.as_bytes());
                reply.send(200, [kind, NO_STORE], self.metrics_text().as_bytes())
            }
            Page::History => self.history(visit.request, reply),
        };
        if let Err(fault) = sent {
            log::debug!("client gone: {fault}");
        }
    }
}

impl LivePages {
    /// The figures for Prometheus.
    pub(super) fn metrics_text(&self) -> String {
        let Stats { spent, held, limit, .. } = self.purse.figures(Stats::of);
        self.live.metrics().to_text(&Money { spent, held, limit })
    }

    /// Earlier calls, a page at a time.
    fn history(&self, request: &Inbound<'_>, reply: Responder<'_>) -> std::io::Result<()> {
        let ask = match Ask::of(request.target.split_once('?').map(|(_, query)| query)) {
            Ok(ask) => ask,
            Err(refused) => return send_refusal(reply, &refused, 400, []),
        };
        match ask.page(&self.keeping) {
            Ok(page) => reply.send(200, [("content-type", &b"application/json"[..]), NO_STORE], page.as_bytes()),
            Err(error) => {
                let refused = Refusal::new(Reason::Overloaded("ledger_unavailable"), format!("the ledger can't be read: {error}"));
                send_refusal(reply, &refused, 503, [])
            }
        }
    }
}

/// The key of a WebSocket's opening handshake (RFC 6455, section 4.2.1); `None`: it is none.
fn handshake_key<'r>(request: &Inbound<'r>) -> Option<&'r [u8]> {
    let fields = &request.headers;
    let options = |name, wanted: &str| {
        let values = fields.all(name).filter_map(|value| std::str::from_utf8(value).ok());
        values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case(wanted))
    };
    let is_upgrade = request.method == "GET" && request.version == Version::Http11 && options("connection", "upgrade");
    let is_websocket = options("upgrade", "websocket") && fields.text("sec-websocket-version") == Some("13");
    fields.get("sec-websocket-key").filter(|key| is_upgrade && is_websocket && is_key(key))
}

/// Whether this is sixteen bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|letters| letters.len() == 22 && letters.iter().all(is_letter))
}

/// Sends a browser to the bare address of the page: no token stays in its history or goes to anybody as a referrer.
fn to_the_page(reply: Responder<'_>, cookie: Option<&str>) -> std::io::Result<()> {
    let cookie = cookie.map(|cookie| ("set-cookie", cookie.as_bytes()));
    reply.send(303, GUARDS.into_iter().chain([NO_REFERRER, ("location", &b"/dashboard"[..])]).chain(cookie), b"")
}

/// The field `token` of a form.
fn form_token(body: &mut Body<'_>) -> Option<String> {
    let mut form = Vec::new();
    body.read_all(MAX_FORM, &mut form).ok()?;
    route::form_field(std::str::from_utf8(&form).ok()?, "token")
}

fn send_refusal<const N: usize>(
    reply: Responder<'_>,
    refused: &Refusal,
    status: u16,
    more: [(&'static str, &'static [u8]); N],
) -> std::io::Result<()> {
    let rendered = refusal::render(refused, Protocol::OpenAi);
    let fields = rendered.headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    reply.send(status, fields.chain(more), &rendered.body)
}
