//! Whom a request is for: its target, its protocol, its upstream. Addresses are never built from text a client sent; the client's path is
//! checked here and later put behind the configured host.

use crate::call::{Endpoint, Inbound, Protocol, Reason, Refusal, UpstreamId};
use crate::config::Upstream;
use crate::provider::provider_of_model;

/// A checked request target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The path without the provider prefix; starts with `/`.
    pub path: &'a str,
    /// The query without its `?`.
    pub query: Option<&'a str>,
    /// The provider that a path prefix forces.
    pub forced: Option<Protocol>,
}

/// Checks a request target (RFC 9112 3.2, RFC 3986) and takes off the provider prefix. An absolute-form target is accepted for `host`
/// itself only: this is no forward proxy.
///
/// # Errors
/// 400 `invalid_target`, 400 `unroutable`.
pub fn parse_target<'a>(target: &'a str, host: &str) -> Result<Target<'a>, Refusal> {
    let invalid = |why: &str| Refusal::new(Reason::Invalid("invalid_target"), format!("the request target is refused: {why}"));
    let origin_form = match target.split_once("://") {
        _ if target.starts_with('/') => target,
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
            let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
            if !authority.eq_ignore_ascii_case(host) {
                return Err(invalid("it names another host; this is not a forward proxy: set base_url instead of a proxy"));
            }
            if path.is_empty() { "/" } else { path }
        }
        _ => target,
    };
    let (path, query) = match memchr::memchr(b'?', origin_form.as_bytes()) {
        Some(at) => (&origin_form[..at], Some(&origin_form[at + 1..])),
        None => (origin_form, None),
    };
    if !path.starts_with('/') || path.starts_with("//") {
        return Err(invalid("it must begin with a single '/'"));
    }
    if !is_uri_text(path, false) || !query.is_none_or(|query| is_uri_text(query, true)) {
        return Err(invalid("it has a character outside RFC 3986; percent-encode it"));
    }
    // Most paths have neither dots nor percent-encoding: one search settles it.
    if memchr::memchr2(b'.', b'%', path.as_bytes()).is_some() && path.split('/').any(is_dot_segment) {
        return Err(invalid("it has dot segments"));
    }
    let (path, forced) = split_provider_prefix(path);
    if forced.is_none() && looks_like_prefix(path) {
        return Err(Refusal::new(
            Reason::Invalid("unroutable"),
            format!("{path:?} looks like a provider prefix but is none: use /openai/… or /anthropic/…"),
        ));
    }
    Ok(Target { path: collapse_v1(path), query, forced })
}

/// `/openai/…` and `/anthropic/…` without their prefix, on a segment boundary only.
pub fn split_provider_prefix(path: &str) -> (&str, Option<Protocol>) {
    for provider in [Protocol::OpenAi, Protocol::Anthropic] {
        let Some(rest) = path.strip_prefix('/').and_then(|path| path.strip_prefix(provider.as_str())) else { continue };
        if rest.is_empty() {
            return ("/", Some(provider));
        }
        if rest.starts_with('/') && !rest.starts_with("//") {
            return (rest, Some(provider));
        }
    }
    (path, None)
}

/// A first segment such as `openai.evil.com` or `openai@evil` that only looks like a prefix.
fn looks_like_prefix(path: &str) -> bool {
    let segment = path[1..].split('/').next().unwrap_or_default();
    [Protocol::OpenAi, Protocol::Anthropic].iter().any(|provider| segment.starts_with(provider.as_str()))
}

/// A base address that ends in `/v1` given to a client that adds its own.
fn collapse_v1(path: &str) -> &str {
    let mut rest = path;
    while rest == "/v1/v1" || rest.starts_with("/v1/v1/") {
        rest = &rest["/v1".len()..];
    }
    rest
}

/// Unreserved, percent-encoded, sub-delims, `:`, `@`, `/`, and `?` where `query` (RFC 3986 3.3, 3.4).
fn is_uri_text(text: &str, query: bool) -> bool {
    const PLAIN: [bool; 256] = {
        let mut plain = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            plain[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let marks = b"-._~!$&'()*+,;=:@/";
        let mut at = 0;
        while at < marks.len() {
            plain[marks[at] as usize] = true;
            at += 1;
        }
        plain
    };
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
        b'?' => query,
        _ => PLAIN[usize::from(*byte)],
    })
}

/// The text without its percent-encoding; `None`: it is no UTF-8, or a `%` without its two digits.
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2).filter(|(hex, _)| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// The value of a field in a query or in a form (`application/x-www-form-urlencoded`).
pub fn form_field(form: &str, name: &str) -> Option<String> {
    let mut pairs = form.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    percent_decoded(&value.replace('+', " "))
}

/// `.` or `..`, each dot plain or percent-encoded.
fn is_dot_segment(segment: &str) -> bool {
    if segment.len() > 6 || !segment.starts_with(['.', '%']) {
        return false;
    }
    let plain = segment.replace("%2e", ".").replace("%2E", ".");
    plain == "." || plain == ".."
}

/// What a path means.
pub fn endpoint(path: &str) -> Endpoint {
    match path {
        "/v1/chat/completions" => Endpoint::ChatCompletions,
        "/v1/completions" => Endpoint::Completions,
        "/v1/responses" => Endpoint::Responses,
        "/v1/embeddings" => Endpoint::Embeddings,
        "/v1/messages" => Endpoint::Messages,
        "/v1/messages/count_tokens" => Endpoint::CountTokens,
        _ => Endpoint::Other,
    }
}

/// The protocol a path belongs to, where the path tells: `/v1/messages…` and `/v1/complete` are Anthropic's, the endpoints with a model OpenAI's.
pub fn protocol_of_path(path: &str) -> Option<Protocol> {
    let is_messages = path.strip_prefix("/v1/messages").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_messages || path == "/v1/complete" {
        Some(Protocol::Anthropic)
    } else if endpoint(path).takes_model() {
        Some(Protocol::OpenAi)
    } else {
        None
    }
}

/// The shape an error for this request must have: by path, else by `anthropic-version` or `x-api-key`, else OpenAI's. Takes any target,
/// also one that [`parse_target`] refuses.
pub fn error_protocol(request: &Inbound<'_>) -> Protocol {
    let path = request.target.split('?').next().unwrap_or_default();
    let (path, forced) = split_provider_prefix(path);
    let by_header = || {
        let anthropic = request.headers.get("anthropic-version").is_some() || request.headers.get("x-api-key").is_some();
        if anthropic { Protocol::Anthropic } else { Protocol::OpenAi }
    };
    protocol_of_path(collapse_v1(path)).or(forced).unwrap_or_else(by_header)
}

/// As [`error_protocol`], of a head that could not be parsed: by what stands in its first line.
pub fn protocol_of_partial_head(head: &[u8]) -> Protocol {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1).and_then(|target| std::str::from_utf8(target).ok()).unwrap_or_default();
    let (path, forced) = split_provider_prefix(target.split('?').next().unwrap_or_default());
    protocol_of_path(collapse_v1(path)).or(forced).unwrap_or(Protocol::OpenAi)
}

/// The upstreams that routing may choose from.
#[derive(Clone, Copy)]
pub struct Table<'t> {
    /// All of them, in the order of the settings.
    pub upstreams: &'t [Upstream],
    /// Which of them can be used now; same order.
    pub usable: &'t [bool],
    /// The one that takes what nothing else says, if there is one above the others (server mode: the assigned provider).
    pub primary: Option<UpstreamId>,
}

impl Table<'_> {
    fn ids(&self) -> impl Iterator<Item = UpstreamId> {
        (0..self.upstreams.len()).filter(|at| self.usable[*at]).map(UpstreamId)
    }

    fn named(&self, provider: Protocol) -> Option<UpstreamId> {
        self.ids().find(|id| self.upstreams[id.0].name == provider.as_str())
    }

    fn serving(&self, model: &str) -> Option<UpstreamId> {
        self.ids().find(|id| {
            let upstream = &self.upstreams[id.0];
            upstream.models.iter().any(|pattern| matches(pattern, model)) || upstream.aliases.iter().any(|(alias, _)| alias == model)
        })
    }

    fn only(&self) -> Option<UpstreamId> {
        let mut ids = self.ids();
        ids.next().filter(|_| ids.next().is_none())
    }
}

/// A name, or a beginning followed by `*`.
fn matches(pattern: &str, model: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => model.starts_with(beginning),
        None => pattern == model,
    }
}

/// Where a call goes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its upstream.
    pub upstream: UpstreamId,
    /// What the client speaks.
    pub client: Protocol,
    /// What has to be done to it on its way.
    pub way: Way,
}

/// What has to be done to a call on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing.
    Plain,
    /// It is a conversation, and the upstream speaks the other protocol.
    Translate,
    /// It asks how many tokens a conversation has, and the upstream's protocol has no such question.
    Count,
}

/// Chooses the upstream and tells which protocol the client speaks. In order: the path prefix, a configured model pattern or alias, a
/// well-known model name, `anthropic-version`, the only usable upstream, the endpoint's own provider, OpenAI.
///
/// # Errors
/// 400 `provider_not_configured`, `unroutable` or `translation_unavailable`.
pub fn choose(
    target: &Target<'_>,
    method: &str,
    model: Option<&str>,
    anthropic_version: bool,
    table: &Table<'_>,
) -> Result<Route, Refusal> {
    let of_path = protocol_of_path(target.path);
    let by_model = model.and_then(|model| table.serving(model).map(Ok).or_else(|| provider_of_model(model).map(Err)));
    let id = match (target.forced, by_model) {
        (Some(provider), _) | (None, Some(Err(provider))) => {
            table.named(provider).ok_or_else(|| not_configured(provider, model.filter(|_| target.forced.is_none())))?
        }
        (None, Some(Ok(id))) => id,
        (None, None) if model.is_none() && anthropic_version && of_path.is_none() => {
            table.named(Protocol::Anthropic).ok_or_else(|| not_configured(Protocol::Anthropic, None))?
        }
        (None, None) => {
            let own = table.primary.or_else(|| table.only()).or_else(|| of_path.and_then(|provider| table.named(provider)));
            own.or_else(|| table.named(Protocol::OpenAi)).ok_or_else(|| unroutable(model))?
        }
    };
    let upstream = &table.upstreams[id.0];
    let client = of_path.unwrap_or(upstream.protocol);
    let way = match (endpoint(target.path), upstream.protocol) {
        _ if client == upstream.protocol => Way::Plain,
        (Endpoint::ChatCompletions, Protocol::Anthropic) | (Endpoint::Messages, Protocol::OpenAi) if method == "POST" => Way::Translate,
        (Endpoint::CountTokens, Protocol::OpenAi) if method == "POST" => Way::Count,
        _ => return Err(untranslatable(&format!("{method} {}", target.path), client, upstream, model)),
    };
    Ok(Route { upstream: id, client, way })
}

/// The refusal of a call that would have to be translated and can't be: `what` it is.
fn untranslatable(what: &str, client: Protocol, upstream: &Upstream, model: Option<&str>) -> Refusal {
    let asked = model.map_or_else(|| "it would go to".to_string(), |model| format!("model {model:?} is served by"));
    let conversation = match client {
        Protocol::OpenAi => "/v1/chat/completions",
        Protocol::Anthropic => "/v1/messages",
    };
    let message = format!(
        "{what} is of {}'s protocol and is not translated, and {asked} {:?}, which speaks {}'s: POST {conversation} is translated for such \
         models, or use a client of {}'s protocol",
        client.as_str(),
        upstream.name,
        upstream.protocol.as_str(),
        upstream.protocol.as_str(),
    );
    Refusal::new(Reason::Invalid("translation_unavailable"), message)
}

/// The refusal of a call that has to be translated, whose body can't be read.
pub fn unreadable(client: Protocol, upstream: &Upstream) -> Refusal {
    let message = format!(
        "a request of {}'s protocol has to be translated for {:?}, which speaks {}'s, and its body is compressed or is no JSON: send it as \
         application/json without content-encoding",
        client.as_str(),
        upstream.name,
        upstream.protocol.as_str(),
    );
    Refusal::new(Reason::Invalid("translation_unavailable"), message)
}

fn not_configured(provider: Protocol, model: Option<&str>) -> Refusal {
    let name = provider.as_str();
    let what = model.map_or_else(|| "this request".to_string(), |model| format!("model {model:?}"));
    Refusal::new(
        Reason::Invalid("provider_not_configured"),
        format!(
            "{what} belongs to {name}, which has no key here: give --{name}-key, or route the name with models = [\"…\"] in [upstreams.NAME]"
        ),
    )
}

fn unroutable(model: Option<&str>) -> Refusal {
    let what = model.map_or_else(|| "a request without a known model".to_string(), |model| format!("unknown model {model:?}"));
    Refusal::new(
        Reason::Invalid("unroutable"),
        format!(
            "no upstream for {what}: begin the path with /openai or /anthropic, or list the name under models = [\"…\"] in [upstreams.NAME]"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Key;

    fn target(text: &str) -> Result<Target<'_>, Reason> {
        parse_target(text, "127.0.0.1:80").map_err(|refusal| refusal.reason)
    }

    #[test]
    fn targets() {
        use Protocol::{Anthropic, OpenAi};
        for (text, path, query, forced) in [
            ("/", "/", None, None),
            ("/v1/models", "/v1/models", None, None),
            ("/v1/models?limit=2&after=a%20b", "/v1/models", Some("limit=2&after=a%20b"), None),
            ("/openai/v1/x", "/v1/x", None, Some(OpenAi)),
            ("/anthropic", "/", None, Some(Anthropic)),
            ("/anthropic/", "/", None, Some(Anthropic)),
            ("/v1/v1/messages", "/v1/messages", None, None),
            ("/v1/v1/v1/messages", "/v1/messages", None, None),
            ("/anthropic/v1/v1/messages", "/v1/messages", None, Some(Anthropic)),
            ("/v1/files//x", "/v1/files//x", None, None),
            ("/%6fpenai/x", "/%6fpenai/x", None, None),
            ("/v1/..x/.y/a.b", "/v1/..x/.y/a.b", None, None),
            ("http://127.0.0.1:80/v1/x", "/v1/x", None, None),
            ("http://127.0.0.1:80", "/", None, None),
        ] {
            let got = target(text).unwrap_or_else(|reason| panic!("{text}: {reason:?}"));
            assert_eq!((got.path, got.query, got.forced), (path, query, forced), "{text}");
        }
    }

    #[test]
    fn tricks() {
        for text in [
            "",
            "*",
            "x",
            "//evil.com/x",
            "/../x",
            "/a/./b",
            "/a/..",
            "/%2e%2e/x",
            "/.%2E/x",
            "/%2e",
            "/a b",
            "/{x}",
            "/\"",
            "/a#b",
            "/%",
            "/%zz",
            "/a\\b",
            "/openai.evil.com/x",
            "/openai@evil/x",
            "/openai:99/x",
            "/openai%40evil/x",
            "/openaix",
            "/anthropic.evil/v1/messages",
            "/openai//evil.com/x",
            "http://evil.com/x",
            "http://127.0.0.1:80@evil.com/x",
            "https://127.0.0.1:80/x",
            "http://",
            "ftp://127.0.0.1:80/x",
            "/x?a={b}",
        ] {
            assert!(matches!(target(text), Err(Reason::Invalid("invalid_target" | "unroutable"))), "{text}");
        }
    }

    fn routed(upstreams: &[Upstream], path: &str, model: Option<&str>, anthropic_version: bool) -> Result<String, Reason> {
        let usable = vec![true; upstreams.len()];
        let table = Table { upstreams, usable: &usable, primary: None };
        let target = parse_target(path, "h").expect(path);
        let shown = |route: Route| match route.way {
            Way::Plain => upstreams[route.upstream.0].name.clone(),
            way => format!("{} {way:?}", upstreams[route.upstream.0].name),
        };
        choose(&target, "POST", model, anthropic_version, &table).map(shown).map_err(|refusal| refusal.reason)
    }

    fn upstream(name: &str, protocol: Protocol) -> Upstream {
        Upstream::new(name, protocol, "http://localhost".parse().unwrap(), Key::None)
    }

    #[test]
    fn routing() {
        let both = [upstream("openai", Protocol::OpenAi), upstream("anthropic", Protocol::Anthropic)];
        let (openai, anthropic) = (&both[..1], &both[1..]);
        let mut local = upstream("local", Protocol::OpenAi);
        local.models = vec!["llama*".into(), "gpt-4o-local".into()];
        local.aliases = vec![("fast".into(), "llama-3".into())];
        let three = [both[0].clone(), both[1].clone(), local];
        const CHAT: &str = "/v1/chat/completions";
        let missing = Err(Reason::Invalid("provider_not_configured"));
        let mismatch = Err(Reason::Invalid("translation_unavailable"));
        for (upstreams, path, model, version, to) in [
            (&both[..], CHAT, Some("gpt-4o"), false, Ok("openai")),
            (&both, "/v1/messages", Some("claude-x"), false, Ok("anthropic")),
            (&both, CHAT, Some("claude-x"), false, Ok("anthropic Translate")),
            (&both, "/v1/messages", Some("gpt-4o"), false, Ok("openai Translate")),
            (&both, "/v1/messages/count_tokens", Some("gpt-4o"), false, Ok("openai Count")),
            (&both, "/v1/messages/count_tokens", Some("claude-x"), false, Ok("anthropic")),
            (&both, "/v1/responses", Some("claude-x"), false, mismatch),
            (&both, "/v1/embeddings", Some("claude-x"), false, mismatch),
            (&both, "/v1/messages/batches", Some("gpt-4o"), false, mismatch),
            (&both, CHAT, Some("who"), false, Ok("openai")),
            (&both, "/v1/messages", Some("who"), false, Ok("anthropic")),
            (&both, "/v1/models", None, false, Ok("openai")),
            (&both, "/v1/models", None, true, Ok("anthropic")),
            (&both, "/anthropic/v1/models", None, false, Ok("anthropic")),
            (&both, "/openai/v1/models", None, true, Ok("openai")),
            (&both, "/openai/v1/messages", Some("x"), false, Ok("openai Translate")),
            (&both, "/anthropic/v1/chat/completions", Some("x"), false, Ok("anthropic Translate")),
            (&both, "/anthropic/v1/future", None, false, Ok("anthropic")),
            (openai, CHAT, Some("claude-x"), false, missing),
            (openai, "/v1/models", None, true, missing),
            (openai, "/anthropic/v1/models", None, false, missing),
            (anthropic, "/v1/models", None, false, Ok("anthropic")),
            (anthropic, CHAT, Some("who"), false, Ok("anthropic Translate")),
            (anthropic, "/v1/messages", Some("who"), false, Ok("anthropic")),
            (&three, CHAT, Some("llama-3.1-70b"), false, Ok("local")),
            (&three, CHAT, Some("gpt-4o-local"), false, Ok("local")),
            (&three, CHAT, Some("fast"), false, Ok("local")),
            (&three, CHAT, Some("gpt-4o"), false, Ok("openai")),
            (&three[1..], CHAT, Some("who"), false, Err(Reason::Invalid("unroutable"))),
        ] {
            assert_eq!(routed(upstreams, path, model, version), to.map(String::from), "{path} {model:?}");
        }
    }

    #[test]
    fn fields_of_forms() {
        for (form, value) in [
            ("token=a%2Bb+c", Some("a+b c")),
            ("x=1&token=", Some("")),
            ("token", Some("")),
            ("token=%zz", None),
            ("token=%ff", None),
            ("tokens=1", None),
            ("", None),
        ] {
            assert_eq!(form_field(form, "token").as_deref(), value, "{form}");
        }
    }

    #[test]
    fn error_shapes() {
        use crate::call::{BodyLength, Headers, Version};
        let protocol = |target, fields: &[httparse::Header<'_>]| {
            error_protocol(&Inbound {
                method: "POST",
                target,
                version: Version::Http11,
                headers: Headers(fields),
                length: BodyLength::None,
            })
        };
        let key = [httparse::Header { name: "X-Api-Key", value: b"t" }];
        for (path, fields, shape) in [
            ("/v1/messages", &[][..], Protocol::Anthropic),
            ("/v1/v1/messages?beta=true", &[], Protocol::Anthropic),
            ("/v1/chat/completions", &key, Protocol::OpenAi),
            ("/v1/models", &key, Protocol::Anthropic),
            ("/v1/models", &[], Protocol::OpenAi),
            ("/anthropic/v1/models", &[], Protocol::Anthropic),
            ("", &[], Protocol::OpenAi),
        ] {
            assert_eq!(protocol(path, fields), shape, "{path}");
        }
    }
}
