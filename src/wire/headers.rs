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

/// Whether a request field goes on to the provider. `connection` are the values of the request's `Connection` fields.
pub fn forwards_to_provider<'c>(name: &str, connection: impl Iterator<Item = &'c [u8]>) -> bool {
    !is_one_of(name, &HOP_BY_HOP) && !is_one_of(name, &OURS) && !nominated(name, connection)
}

/// Whether a reply field goes on to the client. Framing fields are set anew.
pub fn forwards_to_client<'c>(name: &str, connection: impl Iterator<Item = &'c [u8]>) -> bool {
    !is_one_of(name, &HOP_BY_HOP) && !name.eq_ignore_ascii_case("content-length") && !nominated(name, connection)
}

/// Whether a `Connection` field names `name`.
fn nominated<'c>(name: &str, connection: impl Iterator<Item = &'c [u8]>) -> bool {
    connection.flat_map(|value| value.split(|b| *b == b',')).any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
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
            assert_eq!(forwards_to_provider(name, connection.iter().copied()), to_provider, "{name}");
            assert_eq!(forwards_to_client(name, connection.iter().copied()), to_client, "{name}");
        }
    }
}
