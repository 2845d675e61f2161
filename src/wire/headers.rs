//! Which header fields go on. Hop-by-hop fields (RFC 9110 7.6.1) and those that `Connection` names stay behind; on the way out also the
//! client's credentials, which were for us.

use crate::call::{Headers, Protocol};

/// Hop-by-hop fields, by RFC 9110 7.6.1 and the older names still met.
const HOP_BY_HOP: [&str; 8] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "proxy-authenticate"];

/// Fields of a request that are ours to set or were meant for us.
const OURS: [&str; 9] =
    ["host", "authorization", "x-api-key", "api-key", "proxy-authorization", "expect", "content-length", "x-iron-agent", "x-agent-name"];

/// The beginning of the name of the cookie by which the router knows the dashboard's visitors.
pub const DASHBOARD_COOKIE: &str = "iron_dashboard";

/// The most characters of an agent's name.
pub const MAX_LABEL: usize = 64;

/// The name that a client gives itself in `x-iron-agent` or `X-Agent-Name`: a label and nothing more. Cut at [`MAX_LABEL`] characters;
/// `None` where it is empty, no text, or has control characters.
pub fn agent_label<'a>(headers: &Headers<'a>) -> Option<&'a str> {
    let label = headers.text("x-iron-agent").or_else(|| headers.text("x-agent-name"))?.trim();
    let end = label.char_indices().nth(MAX_LABEL).map_or(label.len(), |(at, _)| at);
    Some(&label[..end]).filter(|label| !label.is_empty() && !label.chars().any(char::is_control))
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|candidate| candidate.eq_ignore_ascii_case(name))
}

/// What the `Connection` fields of a message name: fields that stay behind with them.
pub struct Nominated<'a>(Vec<&'a [u8]>);

impl<'a> Nominated<'a> {
    /// Reads the values of a message's `Connection` fields.
    pub fn by(connection: impl Iterator<Item = &'a [u8]>) -> Self {
        let options = connection.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        Self(options.filter(|option| !option.eq_ignore_ascii_case(b"keep-alive") && !option.eq_ignore_ascii_case(b"close")).collect())
    }

    fn names(&self, name: &str) -> bool {
        self.0.iter().any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Whether a request field goes on to the provider.
    pub fn lets_to_provider(&self, name: &str) -> bool {
        !is_one_of(name, &HOP_BY_HOP) && !is_one_of(name, &OURS) && !self.names(name)
    }

    /// The same by name and value: a `Cookie` field with the dashboard's cookie in it was meant for us, and is a credential. It stays behind
    /// whole: what a browser has beside it belongs to other servers of this machine.
    pub fn lets_field_to_provider(&self, name: &str, value: &[u8]) -> bool {
        let is_ours = || memchr::memmem::find(value, DASHBOARD_COOKIE.as_bytes()).is_some();
        self.lets_to_provider(name) && !(name.eq_ignore_ascii_case("cookie") && is_ours())
    }

    /// Whether a reply field goes on to the client. Framing fields are set anew.
    pub fn lets_to_client(&self, name: &str) -> bool {
        !is_one_of(name, &HOP_BY_HOP) && !name.eq_ignore_ascii_case("content-length") && !self.names(name)
    }
}

/// Whether a request field goes on when the request is translated from this protocol: not those that mean something in it alone, nor
/// those that describe the body as it was.
pub fn survives_translation(name: &str, client: Protocol) -> bool {
    let own = match client {
        Protocol::OpenAi => "openai-",
        Protocol::Anthropic => "anthropic-",
    };
    let is_own = name.get(..own.len()).is_some_and(|start| start.eq_ignore_ascii_case(own));
    !is_own && !is_one_of(name, &["content-type", "accept-encoding"])
}

/// The field under which a provider tells a request's id, and the same of the other protocol.
pub fn request_id_names(upstream: Protocol) -> (&'static str, &'static str) {
    match upstream {
        Protocol::OpenAi => ("x-request-id", "request-id"),
        Protocol::Anthropic => ("request-id", "x-request-id"),
    }
}

/// Whether a header asks servers that know it to take the request for one of another method: then its own says nothing about what it costs.
pub fn overrides_method(headers: &Headers<'_>) -> bool {
    ["x-http-method-override", "x-http-method", "x-method-override"].iter().any(|name| headers.get(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on() {
        let connection = [&b"close, X-Private"[..], b"other"];
        for (name, to_provider, to_client) in [
            ("content-type", true, true),
            ("X-Stainless-Lang", true, true),
            ("Connection", false, false),
            ("Keep-Alive", false, false),
            ("TE", false, false),
            ("Transfer-Encoding", false, false),
            ("Upgrade", false, false),
            ("x-private", false, false),
            ("Other", false, false),
            ("Host", false, true),
            ("Authorization", false, true),
            ("X-Api-Key", false, true),
            ("Content-Length", false, false),
            ("X-Agent-Name", false, true),
            ("x-iron-agent", false, true),
            ("retry-after", true, true),
        ] {
            let nominated = Nominated::by(connection.iter().copied());
            assert_eq!(nominated.lets_to_provider(name), to_provider, "{name}");
            assert_eq!(nominated.lets_to_client(name), to_client, "{name}");
        }
    }

    #[test]
    fn the_dashboards_cookie_stays_here() {
        let nominated = Nominated::by([].into_iter());
        for (name, value, goes_on) in [
            ("Cookie", "a=b", true),
            ("Cookie", "iron_dashboard=x", false),
            ("cookie", "a=b; iron_dashboard_8080=x", false),
            ("x-note", "iron_dashboard=x", true),
            ("authorization", "a=b", false),
        ] {
            assert_eq!(nominated.lets_field_to_provider(name, value.as_bytes()), goes_on, "{name}: {value}");
        }
    }

    #[test]
    fn what_survives_translation() {
        use Protocol::{Anthropic, OpenAi};
        for (name, client, survives) in [
            ("OpenAI-Organization", OpenAi, false),
            ("anthropic-beta", OpenAi, true),
            ("Anthropic-Version", Anthropic, false),
            ("anthropic-beta", Anthropic, false),
            ("Content-Type", OpenAi, false),
            ("user-agent", Anthropic, true),
            ("é", Anthropic, true),
        ] {
            assert_eq!(survives_translation(name, client), survives, "{name}");
        }
    }

    #[test]
    fn labels() {
        let long = "ä".repeat(70);
        for (name, value, label) in [
            ("x-iron-agent", "planner", Some("planner")),
            ("X-Agent-Name", " a b ", Some("a b")),
            ("x-iron-agent", "", None),
            ("x-iron-agent", "a\tb", None),
            ("x-iron-agent", &long, Some(&long[..128])),
            ("x-other", "x", None),
        ] {
            let fields = [httparse::Header { name, value: value.as_bytes() }];
            assert_eq!(agent_label(&Headers(&fields)), label, "{name}: {value:?}");
        }
    }
}
