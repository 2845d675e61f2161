//! `GET /v1/models` where one provider's answer would not do: the list of all usable upstreams in the asker's protocol, and the description
//! of a model whose upstream speaks another. Here the router asks on its own behalf: nothing of the client's request goes out with it.
//!
//! Where the only usable upstream, or that of the model, speaks the asker's protocol, nothing of this is needed: the request passes through.

use super::keys::{Assigned, KeyCache};
use super::upstream::{Destination, NoReply, SendFault, Sending, UpstreamReply, Upstreams};
use super::watch::{EndOnDrop, TICK, Watch};
use crate::call::{Outbound, Protocol, Reason, Refusal, UpstreamId};
use crate::config::{Config, Upstream};
use crate::http::Client;
use crate::wire::refusal::{self, Rendered};
use crate::wire::route::{Target, percent_decoded};
use crate::wire::translate::{self, Garbled, ModelList, Plan};
use std::fmt::Write;
use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;

/// The most bytes of one page.
const MAX_PAGE: usize = 4 << 20;

/// The most pages of one upstream.
const MAX_PAGES: usize = 20;

/// How long an upstream may be silent that is asked about models: nothing has to be worked out for the answer, and one that hangs must not
/// keep the models of all others from who asks.
const MAX_SILENCE: Duration = Duration::from_secs(15);

/// How much of a page is read at once.
const PIECE: usize = 16 << 10;

/// The header field that names the upstreams whose models are missing.
const UNAVAILABLE: &str = "x-iron-unavailable";

/// What a request about models wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// The list.
    List,
    /// The description of one.
    One {
        /// Its id as it stands in the path.
        segment: &'a str,
        /// Its id without percent-encoding: what it is routed by.
        id: String,
    },
}

/// Reads a request for the list, or for one of it; `None`: it is another, or the path forces a provider, who then answers himself.
pub(super) fn wanted<'a>(method: &str, target: &Target<'a>) -> Option<Wanted<'a>> {
    let rest = target.path.strip_prefix("/v1/models").filter(|_| method == "GET" && target.forced.is_none())?;
    if matches!(rest, "" | "/") {
        return Some(Wanted::List);
    }
    let segment = rest.strip_prefix('/')?;
    Some(Wanted::One { segment, id: percent_decoded(segment)? })
}

/// The upstreams whose lists make the answer; `None`: there is one at most, and it speaks the asker's protocol.
pub(super) fn listed(upstreams: &[Upstream], usable: &[bool], asker: Protocol) -> Option<Vec<UpstreamId>> {
    let ids: Vec<_> = (0..upstreams.len()).filter(|at| usable.get(*at) == Some(&true)).map(UpstreamId).collect();
    match ids[..] {
        [] => None,
        [UpstreamId(only)] if upstreams[only].protocol == asker => None,
        _ => Some(ids),
    }
}

/// What it takes to ask upstreams.
#[derive(Clone, Copy)]
pub(super) struct Asking<'p> {
    /// The settings.
    pub(super) config: &'p Config,
    /// The way out.
    pub(super) upstreams: &'p Upstreams,
    /// One an upstream, prepared; `None` where the control server gives the key.
    pub(super) destinations: &'p [Option<Destination>],
    /// Where a rejected key is replaced, in server mode.
    pub(super) keys: Option<&'p KeyCache>,
    /// The key of server mode.
    pub(super) assigned: Option<&'p Arc<Assigned>>,
    /// Who asks: looked after while upstreams are silent.
    pub(super) client: Option<&'p Client>,
}

/// Why an upstream gave no models.
enum Fault {
    /// It answered, but not with success.
    Status(u16, Option<String>, Vec<u8>),
    /// It did not answer, or with something else.
    Refused(Refusal),
    /// Nobody waits for the answer any more.
    ClientGone,
}

impl From<SendFault> for Fault {
    fn from(fault: SendFault) -> Self {
        match fault.why {
            NoReply::Refused(refused) => Self::Refused(refused),
            NoReply::ClientGone => Self::ClientGone,
        }
    }
}

impl Asking<'_> {
    /// The list of these upstreams' models in the asker's protocol. Those that did not answer, or not to the end, are named in a header
    /// field; where none did, the first one's failure is the answer. `None`: the client has gone.
    pub(super) fn list(&self, upstreams: &[UpstreamId], asker: Protocol) -> Option<Rendered> {
        let mut list = ModelList::default();
        let mut failed: Vec<(UpstreamId, Fault)> = Vec::new();
        for id in upstreams {
            match self.add_pages(*id, &mut list) {
                Ok(()) => {}
                Err(Fault::ClientGone) => return None,
                Err(fault) => {
                    log::warn!("no models of {}: {}", self.upstream(*id).name, fault.in_words());
                    failed.push((*id, fault));
                }
            }
        }
        let names: Vec<_> = failed.iter().map(|(id, _)| header_text(&self.upstream(*id).name)).collect();
        let mut reply = if failed.len() < upstreams.len() {
            answer(list.to_json(asker))
        } else {
            match failed.into_iter().next() {
                Some((id, fault)) => fault.render(self.upstream(id).protocol, asker)?,
                None => refusal::render(&Refusal::new(Reason::Invalid("unroutable"), "no upstream has a key here"), asker),
            }
        };
        if !names.is_empty() {
            reply.headers.push((UNAVAILABLE, names.join(",")));
        }
        Some(reply)
    }

    /// The description of the model at this path segment in the asker's protocol. `None`: the client has gone.
    pub(super) fn one(&self, id: UpstreamId, segment: &str, asker: Protocol) -> Option<Rendered> {
        let upstream = self.upstream(id);
        let described = self.get(id, &format!("/v1/models/{segment}")).and_then(|body| {
            let translated = translate::model(upstream.protocol, &upstream.name, asker, &body);
            translated.map_err(|garbled| garbage(upstream, "description of the model", &garbled))
        });
        match described {
            Ok(body) => Some(answer(body)),
            Err(fault) => fault.render(upstream.protocol, asker),
        }
    }

    fn upstream(&self, id: UpstreamId) -> &Upstream {
        &self.config.upstreams[id.0]
    }

    /// Adds all pages of an upstream's list.
    fn add_pages(&self, id: UpstreamId, list: &mut ModelList) -> Result<(), Fault> {
        let upstream = self.upstream(id);
        let mut after = None;
        for _ in 0..MAX_PAGES {
            let page = self.get(id, &list_path(upstream.protocol, after.as_deref()))?;
            let added = list.add(upstream.protocol, &upstream.name, &page);
            let next = added.map_err(|garbled| garbage(upstream, "list of models", &garbled))?;
            // Whose next page begins where this one did goes round in a circle.
            if next.is_none() || next == after {
                return Ok(());
            }
            after = next;
        }
        log::warn!("{} has more than {MAX_PAGES} pages of models: the rest is left out", upstream.name);
        Ok(())
    }

    /// The body of a 2xx reply.
    fn get(&self, id: UpstreamId, path: &str) -> Result<Vec<u8>, Fault> {
        let _watching = EndOnDrop;
        let upstream = self.upstream(id);
        let UpstreamReply { status, headers, mut body, .. } = self.send(id, path)?;
        let body = self.read_whole(upstream, &mut body)?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let retry_after = headers.get("retry-after").and_then(|value| value.to_str().ok()).map(String::from);
        Err(Fault::Status(status, retry_after, body))
    }

    /// Sends with the upstream's own key, in server mode once more with a fresh one when the provider does not know the cached one.
    fn send(&self, id: UpstreamId, path: &str) -> Result<UpstreamReply, Fault> {
        let upstream = self.upstream(id);
        if let Some(destination) = &self.destinations[id.0] {
            return self.send_to(destination, id, upstream.base.path(), path);
        }
        let assigned = self.assigned.filter(|assigned| assigned.is_for(upstream));
        let Some(assigned) = assigned else {
            return Err(Fault::Refused(Refusal::new(Reason::Internal, "no key was fetched for this call")));
        };
        let reply = self.send_assigned(assigned, id, path)?;
        let (401, Some(keys)) = (reply.status, self.keys) else { return Ok(reply) };
        match Watch::aside(|| keys.refetch(assigned)) {
            Ok(fresh) if !fresh.key.matches(assigned.key.expose().as_bytes()) && fresh.is_for(upstream) => {
                self.send_assigned(&fresh, id, path)
            }
            _ => Ok(reply),
        }
    }

    fn send_assigned(&self, assigned: &Assigned, id: UpstreamId, path: &str) -> Result<UpstreamReply, Fault> {
        let upstream = self.upstream(id);
        let base = assigned.base_url.as_ref().unwrap_or(&upstream.base);
        let destination = Destination::new(&upstream.name, base, upstream.auth, Some(&assigned.key)).map_err(|fault| {
            let message = format!("the control server's answer can't be used: {fault}");
            Fault::Refused(Refusal::new(Reason::Overloaded("control_server_refused"), message))
        })?;
        self.send_to(&destination, id, base.path(), path)
    }

    fn send_to(&self, to: &Destination, id: UpstreamId, base_path: &str, path: &str) -> Result<UpstreamReply, Fault> {
        let mut headers: Vec<(&str, &[u8])> = vec![("accept", b"application/json"), ("accept-encoding", b"identity")];
        if self.upstream(id).protocol == Protocol::Anthropic {
            headers.push(("anthropic-version", b"2023-06-01"));
        }
        let outbound = Outbound { upstream: id, method: "GET", target: format!("{base_path}{path}"), headers };
        let first_byte = self.config.timeouts.first_byte.min(MAX_SILENCE);
        Ok(self.upstreams.send_within(first_byte, to, &outbound, Sending::Nothing, self.client)?)
    }

    /// The whole body, within the limits on size and silence.
    fn read_whole(&self, upstream: &Upstream, body: &mut impl Read) -> Result<Vec<u8>, Fault> {
        let idle = self.config.timeouts.idle.min(MAX_SILENCE);
        let refused = |reason, what: String| Err(Fault::Refused(Refusal::new(reason, format!("{} {what}", upstream.name))));
        let (mut whole, mut piece, mut silent_ticks) = (Vec::new(), [0; PIECE], 0u32);
        loop {
            match body.read(&mut piece) {
                Ok(0) => return Ok(whole),
                Ok(count) if whole.len() + count > MAX_PAGE => {
                    let what = format!("sent more than {} MiB in answer to a question about models", MAX_PAGE >> 20);
                    return refused(Reason::Upstream("upstream_garbage"), what);
                }
                Ok(count) => {
                    silent_ticks = 0;
                    whole.extend_from_slice(&piece[..count]);
                }
                Err(fault) if fault.kind() == ErrorKind::Interrupted => {}
                Err(fault) if fault.kind() == ErrorKind::WouldBlock => {
                    silent_ticks += 1;
                    if self.client.is_some_and(Client::gone) {
                        return Err(Fault::ClientGone);
                    }
                    if TICK * silent_ticks >= idle {
                        let what = format!("was silent for {} s in mid-reply", idle.as_secs_f64());
                        return refused(Reason::UpstreamTimeout, what);
                    }
                }
                Err(fault) => return refused(Reason::Upstream("upstream_reset"), format!("broke off in mid-reply ({fault})")),
            }
        }
    }
}

impl Fault {
    /// For the log. What a provider says stays out of it.
    fn in_words(&self) -> String {
        match self {
            Self::Status(status, ..) => format!("it answered with status {status}"),
            Self::Refused(refused) => refused.message.clone(),
            Self::ClientGone => "the client has gone".into(),
        }
    }

    /// As the client's error.
    fn render(self, upstream: Protocol, asker: Protocol) -> Option<Rendered> {
        match self {
            Self::Status(status @ 400..600, retry_after, body) => {
                let plan = Plan { client: asker, upstream, include_usage: false, answer_tool: None, names: Vec::new(), created: 0 };
                let mut reply = answer(plan.error(status, &body));
                reply.status = status;
                reply.headers.extend(retry_after.map(|value| ("retry-after", value)));
                Some(reply)
            }
            Self::Status(status, ..) => {
                let message = format!("the upstream answered a question about models with status {status}; is its base URL right?");
                Some(refusal::render(&Refusal::new(Reason::Upstream("upstream_garbage"), message), asker))
            }
            Self::Refused(refused) => Some(refusal::render(&refused, asker)),
            Self::ClientGone => None,
        }
    }
}

fn answer(body: Vec<u8>) -> Rendered {
    Rendered { status: 200, headers: vec![("content-type", "application/json".into())], body }
}

fn garbage(upstream: &Upstream, what: &str, garbled: &Garbled) -> Fault {
    let message = format!("{} sent a {what} that can't be read: {}", upstream.name, garbled.0);
    Fault::Refused(Refusal::new(Reason::Upstream("upstream_garbage"), message))
}

/// Path and query of a page. OpenAI's lists have one page.
fn list_path(protocol: Protocol, after: Option<&str>) -> String {
    let mut path = String::from("/v1/models");
    if protocol == Protocol::Anthropic {
        path.push_str("?limit=1000");
        if let Some(after) = after {
            path.push_str("&after_id=");
            encode(after, &mut path);
        }
    }
    path
}

/// Percent-encodes all but what RFC 3986 calls unreserved.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// A name as it may stand in a header field.
fn header_text(name: &str) -> String {
    name.chars().filter(|char| char.is_ascii_graphic() && *char != ',').collect()
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{Request, Server, answer, answer_with};
    use super::*;
    use crate::config::{Control, Key, Timeouts};
    use crate::secret::Secret;
    use Protocol::{Anthropic, OpenAi};
    use serde_json::{Value, json};
    use std::io::Write as _;

    const OPENAI: &str = r#"{"object":"list","data":[{"id":"gpt-a","object":"model","created":1740355200,"owned_by":"system"}]}"#;
    const ANTHROPIC: &str =
        r#"{"data":[{"type":"model","id":"claude-a","display_name":"A","created_at":"2025-02-24T00:00:00Z"}],"has_more":false}"#;

    /// Upstreams as a router has them.
    struct Setting {
        config: Config,
        upstreams: Upstreams,
        destinations: Vec<Option<Destination>>,
    }

    impl Setting {
        fn new(upstreams: Vec<Upstream>) -> Self {
            let timeouts = Timeouts { idle: Duration::from_millis(500), ..Timeouts::default() };
            let destinations = upstreams.iter().map(|upstream| match &upstream.key {
                Key::Given(key) => Some(Destination::new(&upstream.name, &upstream.base, upstream.auth, Some(key)).expect("a destination")),
                _ => None,
            });
            let destinations = destinations.collect();
            let config = Config { upstreams, timeouts, ..Config::default() };
            Self { config, upstreams: Upstreams::new(timeouts, None).expect("agents"), destinations }
        }

        fn asking(&self) -> Asking<'_> {
            let Self { config, upstreams, destinations } = self;
            Asking { config, upstreams, destinations, keys: None, assigned: None, client: None }
        }

        fn list(&self, asker: Protocol) -> (u16, Value, Option<String>) {
            let ids: Vec<_> = (0..self.config.upstreams.len()).map(UpstreamId).collect();
            taken_apart(self.asking().list(&ids, asker))
        }
    }

    /// Status, body, and who is unavailable.
    fn taken_apart(reply: Option<Rendered>) -> (u16, Value, Option<String>) {
        let reply = reply.expect("the client is there");
        let unavailable = reply.headers.iter().find(|(name, _)| *name == UNAVAILABLE).map(|(_, value)| value.clone());
        (reply.status, serde_json::from_slice(&reply.body).expect("JSON"), unavailable)
    }

    fn upstream(name: &str, protocol: Protocol, address: &str) -> Upstream {
        Upstream::new(name, protocol, address.parse().expect("an address"), Key::Given(Secret::new(format!("key-of-{name}"))))
    }

    fn serving(status: u16, body: &'static str) -> Server {
        Server::start(move |_, stream| answer(stream, status, body))
    }

    fn ids(list: &Value) -> Vec<&str> {
        list["data"].as_array().expect("data").iter().filter_map(|model| model["id"].as_str()).collect()
    }

    fn target(path: &str) -> Target<'_> {
        Target { path, query: Some("limit=2"), forced: None }
    }

    #[test]
    fn what_is_wanted() {
        let one = |segment, id: &str| Some(Wanted::One { segment, id: id.into() });
        for (path, expected) in [
            ("/v1/models", Some(Wanted::List)),
            ("/v1/models/", Some(Wanted::List)),
            ("/v1/models/gpt-a", one("gpt-a", "gpt-a")),
            ("/v1/models/a%2Fb/c", one("a%2Fb/c", "a/b/c")),
            ("/v1/models/%ff", None),
            ("/v1/models/%+f", None),
            ("/v1/models/%4", None),
            ("/v1/modelsx", None),
            ("/v1/model", None),
        ] {
            assert_eq!(wanted("GET", &target(path)), expected, "{path}");
            assert_eq!(wanted("DELETE", &target(path)), None, "{path}");
        }
        assert_eq!(wanted("GET", &Target { forced: Some(OpenAi), ..target("/v1/models") }), None);
    }

    #[test]
    fn whose_lists_make_the_answer() {
        let upstreams = [upstream("a", OpenAi, "http://localhost"), upstream("b", Anthropic, "http://localhost")];
        for (usable, asker, expected) in [
            ([true, true], OpenAi, Some(vec![0, 1])),
            ([true, false], OpenAi, None),
            ([false, true], OpenAi, Some(vec![1])),
            ([false, true], Anthropic, None),
            ([false, false], Anthropic, None),
        ] {
            let found = listed(&upstreams, &usable, asker).map(|ids| ids.into_iter().map(|id| id.0).collect());
            assert_eq!(found, expected, "{usable:?} {asker:?}");
        }
    }

    #[test]
    fn one_list_of_all_asked_with_nothing_but_their_own_keys() {
        let (openai, anthropic) = (serving(200, OPENAI), serving(200, ANTHROPIC));
        let upstreams =
            vec![upstream("openai", OpenAi, &format!("{}/base/v1", openai.url)), upstream("anthropic", Anthropic, &anthropic.url)];
        let setting = Setting::new(upstreams);
        let (status, list, unavailable) = setting.list(OpenAi);
        assert_eq!((status, ids(&list), unavailable), (200, vec!["gpt-a", "claude-a"], None));
        assert_eq!(list["data"][1], json!({"id": "claude-a", "object": "model", "created": 1_740_355_200, "owned_by": "anthropic"}));
        let (_, list, _) = setting.list(Anthropic);
        assert_eq!((list["first_id"].as_str(), list["has_more"].as_bool()), (Some("gpt-a"), Some(false)));
        let sent = |server: &Server| server.requests()[0].text.to_ascii_lowercase();
        let fields = |text: &str| {
            text.lines().skip(1).filter(|line| !line.is_empty() && !line.starts_with("host")).map(String::from).collect::<Vec<_>>()
        };
        let (to_openai, to_anthropic) = (sent(&openai), sent(&anthropic));
        assert!(to_openai.starts_with("get /base/v1/models http/1.1\r\n"), "{to_openai}");
        assert_eq!(fields(&to_openai), ["accept: application/json", "accept-encoding: identity", "authorization: bearer key-of-openai"]);
        assert!(to_anthropic.starts_with("get /v1/models?limit=1000 http/1.1\r\n"), "{to_anthropic}");
        let expected =
            ["accept: application/json", "accept-encoding: identity", "anthropic-version: 2023-06-01", "x-api-key: key-of-anthropic"];
        assert_eq!(fields(&to_anthropic), expected);
    }

    #[test]
    fn pages_are_asked_for_until_there_are_no_more() {
        let server = Server::start(|nth, stream| {
            let more = nth < 2;
            answer(stream, 200, &format!(r#"{{"data":[{{"id":"m {nth}"}}],"has_more":{more},"last_id":"m {nth}"}}"#));
        });
        let (_, list, _) = Setting::new(vec![upstream("a", Anthropic, &server.url)]).list(OpenAi);
        assert_eq!(ids(&list), ["m 0", "m 1", "m 2"]);
        let paths: Vec<_> = server.requests().iter().map(Request::path).map(String::from).collect();
        assert_eq!(paths, ["/v1/models?limit=1000", "/v1/models?limit=1000&after_id=m%200", "/v1/models?limit=1000&after_id=m%201"]);
    }

    #[test]
    fn endless_pages_end() {
        let circle = serving(200, r#"{"data":[{"id":"m"}],"has_more":true,"last_id":"m"}"#);
        assert_eq!(Setting::new(vec![upstream("a", Anthropic, &circle.url)]).list(OpenAi).0, 200);
        assert_eq!(circle.count(), 2);
        let endless = Server::start(|nth, stream| answer(stream, 200, &format!(r#"{{"data":[{{"id":"{nth}"}}],"has_more":true}}"#)));
        let (status, list, unavailable) = Setting::new(vec![upstream("a", Anthropic, &endless.url)]).list(OpenAi);
        assert_eq!((status, ids(&list).len(), endless.count(), unavailable), (200, MAX_PAGES, MAX_PAGES, None));
    }

    #[test]
    fn who_fails_is_left_out_and_named() {
        let (good, down) = (serving(200, ANTHROPIC), serving(200, ""));
        let gone = down.url.clone();
        drop(down);
        let failing = [
            serving(500, r#"{"error":{"message":"no"}}"#),
            serving(200, "<html>"),
            serving(302, ""),
            Server::start(|_, stream| drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"))),
            Server::start(|_, stream| answer(stream, 200, &format!(r#"{{"data":[],"x":"{}"}}"#, "x".repeat(MAX_PAGE)))),
        ];
        let mut upstreams: Vec<_> =
            failing.iter().enumerate().map(|(nth, server)| upstream(&format!("u{nth}"), OpenAi, &server.url)).collect();
        upstreams.insert(2, upstream("good", Anthropic, &good.url));
        upstreams.push(upstream("gone", OpenAi, &gone));
        let (status, list, unavailable) = Setting::new(upstreams).list(Anthropic);
        assert_eq!((status, ids(&list), unavailable.as_deref()), (200, vec!["claude-a"], Some("u0,u1,u2,u3,u4,gone")));
    }

    #[test]
    fn where_all_fail_the_first_failure_is_the_answer() {
        let limited = Server::start(|_, stream| {
            answer_with(stream, 429, "retry-after: 7\r\n", r#"{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"}}"#);
        });
        let broken = serving(500, "");
        let setting = Setting::new(vec![upstream("a", Anthropic, &limited.url), upstream("b", OpenAi, &broken.url)]);
        let reply = setting.asking().list(&[UpstreamId(0), UpstreamId(1)], OpenAi);
        assert!(reply.as_ref().is_some_and(|reply| reply.headers.contains(&("retry-after", "7".into()))));
        let error = json!({"message": "Slow down", "type": "rate_limit_error", "param": null, "code": "rate_limit_exceeded"});
        assert_eq!(taken_apart(reply), (429, json!({"error": error}), Some("a,b".into())));
        for (server, status) in [(serving(200, "<html>"), 502), (serving(301, ""), 502), (serving(529, ""), 529)] {
            let (found, error, _) = Setting::new(vec![upstream("a", OpenAi, &server.url)]).list(Anthropic);
            assert_eq!((found, error["type"].as_str()), (status, Some("error")));
        }
    }

    #[test]
    fn a_silent_upstream_is_not_waited_for_without_end() {
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let hold = std::sync::Mutex::new(hold);
        let server = Server::start(move |_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{");
            let _ = hold.lock().expect("one connection").recv();
        });
        let (status, error, _) = Setting::new(vec![upstream("a", OpenAi, &server.url)]).list(Anthropic);
        drop(release);
        assert_eq!((status, error["error"]["type"].as_str()), (504, Some("api_error")));
    }

    #[test]
    fn one_model_of_the_other_protocol() {
        let server = Server::hearing(|_, request, stream| match request.path() {
            "/v1/models/a%2Fb" => answer(stream, 200, r#"{"id":"a/b","object":"model","created":0,"owned_by":"x"}"#),
            "/v1/models/odd" => answer(stream, 200, "[]"),
            _ => answer(stream, 404, r#"{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}"#),
        });
        let setting = Setting::new(vec![upstream("a", OpenAi, &server.url)]);
        let one = |segment| taken_apart(setting.asking().one(UpstreamId(0), segment, Anthropic));
        let described = json!({"type": "model", "id": "a/b", "display_name": "a/b", "created_at": "1970-01-01T00:00:00Z"});
        assert_eq!(one("a%2Fb"), (200, described, None));
        let error = json!({"type": "error", "error": {"type": "not_found_error", "message": "no such model"}});
        assert_eq!(one("z"), (404, error, None));
        assert_eq!(one("odd").0, 502);
    }

    #[test]
    fn a_rejected_key_of_the_control_server_is_asked_for_again() {
        let control = Server::start(|nth, stream| answer(stream, 200, &format!(r#"{{"provider_key":"key-{nth}","provider":"openai"}}"#)));
        let server =
            Server::hearing(
                |_, request, stream| {
                    if request.text.contains("Bearer key-1") { answer(stream, 200, OPENAI) } else { answer(stream, 401, "{}") }
                },
            );
        let settings =
            Control { server_url: control.url.parse().expect("url"), ic_token: Secret::new("ic_x"), cache_ttl: Duration::from_secs(9) };
        let agent = Upstreams::control_agent(&settings.server_url, None).expect("agent");
        let keys = KeyCache::new(settings, agent);
        let assigned = keys.get().expect("a key");
        let ours = Upstream { key: Key::Control, ..upstream("openai", OpenAi, &server.url) };
        let foreign = Upstream { key: Key::Control, ..upstream("anthropic", Anthropic, &server.url) };
        let setting = Setting::new(vec![ours, foreign]);
        let asking = Asking { keys: Some(&keys), assigned: Some(&assigned), ..setting.asking() };
        let (status, list, unavailable) = taken_apart(asking.list(&[UpstreamId(0), UpstreamId(1)], Anthropic));
        // The other protocol's upstream gets no key that is not its own.
        assert_eq!((status, ids(&list), unavailable.as_deref(), server.count()), (200, vec!["gpt-a"], Some("anthropic"), 2));
    }
}
