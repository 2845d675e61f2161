//! Who may talk to the router at all: `Host` (DNS rebinding), `Origin` (web pages), the client token.

use crate::call::{AgentId, Inbound, Reason, Refusal};
use crate::config::is_loopback_host;
use crate::secret::Secret;

/// What [`access`] checks against.
pub struct AccessRules {
    /// Host names beside the loopback ones, without port.
    pub allow_hosts: Vec<String>,
    /// What clients must send.
    pub token: Secret,
    /// What agents send instead, by [`AgentId`].
    pub agents: Vec<Secret>,
}

/// Checks `Host`, then `Origin`, then (where `needs_token`) the token. Returns the agent whose token it is; `None` for the router's own.
///
/// # Errors
/// The refusal to answer: 403 or 401.
pub fn access(rules: &AccessRules, request: &Inbound<'_>, needs_token: bool) -> Result<Option<AgentId>, Refusal> {
    let host = request.headers.text("host").unwrap_or_default();
    if !rules.allows_host(host) {
        return Err(Refusal::new(
            Reason::ForbiddenHost,
            format!("the Host header {host:?} is not a loopback name; allow it with --allow-host {}", bare_host(host)),
        ));
    }
    for origin in request.headers.all("origin") {
        let origin = std::str::from_utf8(origin).unwrap_or_default();
        if !rules.allows_origin(origin, host) {
            return Err(Refusal::new(
                Reason::ForbiddenOrigin,
                format!("a page from {origin:?} may not use this router; if it is yours, allow its host with --allow-host"),
            ));
        }
    }
    if !needs_token {
        return Ok(None);
    }
    rules.holder(request).ok_or_else(|| {
        Refusal::new(
            Reason::Unauthorized,
            "Incorrect API key provided: send the router's own client token (router.api_key, or what --client-token or --token-file holds), not a \
             provider's key, as 'Authorization: Bearer TOKEN' or 'x-api-key: TOKEN'",
        )
    })
}

impl AccessRules {
    fn allows_host(&self, host: &str) -> bool {
        let bare = bare_host(host);
        is_loopback_host(bare) || self.allow_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(bare))
    }

    /// Whose token the request holds: the router's own (`Some(None)`), an agent's, nobody's (`None`). Each token that came is compared with
    /// every one that there is, so that the time says nothing about which it was. An agent's counts before the router's own where a request
    /// holds both: it is the one with a limit.
    fn holder(&self, request: &Inbound<'_>) -> Option<Option<AgentId>> {
        let (mut is_own, mut holder) = (false, None);
        for token in presented(request) {
            is_own |= self.token.matches(token);
            for (index, agent) in self.agents.iter().enumerate() {
                if agent.matches(token) & !agent.is_empty() {
                    holder = Some(AgentId(index));
                }
            }
        }
        holder.map(Some).or_else(|| is_own.then_some(None))
    }

    /// An origin is the request's own, or of an allowed host.
    fn allows_origin(&self, origin: &str, host: &str) -> bool {
        let Some(authority) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else { return false };
        authority.eq_ignore_ascii_case(host) || self.allow_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(bare_host(authority)))
    }
}

/// The host without its port; an IPv6 literal without its brackets.
fn bare_host(host: &str) -> &str {
    let (rest, end) = host.strip_prefix('[').map_or((host, b':'), |rest| (rest, b']'));
    memchr::memchr(end, rest.as_bytes()).map_or(rest, |at| &rest[..at])
}

/// Every token the request holds.
fn presented<'a>(request: &Inbound<'a>) -> impl Iterator<Item = &'a [u8]> {
    let bearer = request.headers.all("authorization").filter_map(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
    });
    bearer.chain(request.headers.all("x-api-key"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{BodyLength, Headers, Version};

    fn check(headers: &[(&'static str, &'static str)], needs_token: bool) -> Result<(), Reason> {
        holder(headers, needs_token).map(|_| ())
    }

    fn holder(headers: &[(&'static str, &'static str)], needs_token: bool) -> Result<Option<usize>, Reason> {
        let agents = ["blue", "", "green"].map(Secret::new).into();
        let rules = AccessRules { allow_hosts: vec!["box.lan".into()], token: Secret::new("tok"), agents };
        let fields: Vec<_> = headers.iter().map(|(name, value)| httparse::Header { name, value: value.as_bytes() }).collect();
        let request =
            Inbound { method: "GET", target: "/x", version: Version::Http11, headers: Headers(&fields), length: BodyLength::None };
        access(&rules, &request, needs_token).map(|agent| agent.map(|AgentId(index)| index)).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn hosts() {
        for (host, ok) in [
            ("127.0.0.1:80", true),
            ("localhost", true),
            ("LOCALHOST:1", true),
            ("[::1]:9", true),
            ("box.lan:8080", true),
            ("BOX.LAN", true),
            ("evil.com", false),
            ("localhost.evil.com", false),
            ("127.0.0.1.evil.com", false),
            ("0.0.0.0", false),
            ("", false),
        ] {
            assert_eq!(check(&[("Host", host)], false), if ok { Ok(()) } else { Err(Reason::ForbiddenHost) }, "{host}");
        }
    }

    #[test]
    fn origins() {
        for (origin, ok) in [
            ("http://127.0.0.1:80", true),
            ("https://box.lan", true),
            ("http://127.0.0.1:81", false),
            ("https://evil.com", false),
            ("null", false),
            ("", false),
        ] {
            let got = check(&[("host", "127.0.0.1:80"), ("origin", "http://127.0.0.1:80"), ("origin", origin)], false);
            assert_eq!(got, if ok { Ok(()) } else { Err(Reason::ForbiddenOrigin) }, "{origin}");
        }
    }

    #[test]
    fn tokens() {
        for (name, value, ok) in [
            ("authorization", "Bearer tok", true),
            ("authorization", "bearer tok", true),
            ("X-Api-Key", "tok", true),
            ("authorization", "tok", false),
            ("authorization", "Bearer toks", false),
            ("authorization", "Bearer ", false),
            ("authorization", "Basic tok", false),
            ("x-api-key", "", false),
            ("x-other", "tok", false),
        ] {
            let got = check(&[("host", "localhost"), (name, value)], true);
            assert_eq!(got, if ok { Ok(()) } else { Err(Reason::Unauthorized) }, "{name}: {value}");
        }
        assert_eq!(check(&[("host", "localhost")], false), Ok(()));
    }

    #[test]
    fn agents() {
        let host = ("host", "localhost");
        for (fields, holds) in [
            (vec![host, ("x-api-key", "tok")], Ok(None)),
            (vec![host, ("x-api-key", "blue")], Ok(Some(0))),
            (vec![host, ("authorization", "Bearer green")], Ok(Some(2))),
            (vec![host, ("authorization", "Bearer tok"), ("x-api-key", "blue")], Ok(Some(0))),
            (vec![host, ("x-api-key", "nobody"), ("authorization", "Bearer green")], Ok(Some(2))),
            (vec![host, ("x-api-key", "")], Err(Reason::Unauthorized)),
            (vec![host, ("x-api-key", "gree")], Err(Reason::Unauthorized)),
            (vec![host], Err(Reason::Unauthorized)),
        ] {
            assert_eq!(holder(&fields, true), holds, "{fields:?}");
        }
        assert_eq!(holder(&[host, ("x-api-key", "blue")], false), Ok(None));
    }
}
