//! Which header fields go on. Hop-by-hop fields (RFC 9110 7.6.1) and those that `Connection` names stay behind; on the way out also the
//! client's credentials, which were for us.

/// Hop-by-hop fields, by RFC 9110 7.6.1 and the older names still met.
const HOP_BY_HOP: [&str; 8] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "proxy-authenticate"];

/// Fields of a request that are ours to set or were meant for us.
const OURS: [&str; 7] = ["host", "authorization", "x-api-key", "api-key", "proxy-authorization", "expect", "content-length"];

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

    /// Whether a reply field goes on to the client. Framing fields are set anew.
    pub fn lets_to_client(&self, name: &str) -> bool {
        !is_one_of(name, &HOP_BY_HOP) && !name.eq_ignore_ascii_case("content-length") && !self.names(name)
    }
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
            ("retry-after", true, true),
        ] {
            let nominated = Nominated::by(connection.iter().copied());
            assert_eq!(nominated.lets_to_provider(name), to_provider, "{name}");
            assert_eq!(nominated.lets_to_client(name), to_client, "{name}");
        }
    }
}
