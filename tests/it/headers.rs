//! Header fields: which cross, in what order, and whose key the provider sees.

use super::client::Request;
use super::rig::{ANTHROPIC_KEY, OPENAI_KEY, Router, TOKEN};
use super::upstream::{Recorded, Upstream, json, reply};

fn credentials(request: &Recorded) -> (Option<String>, Option<String>) {
    (request.head.get("authorization"), request.head.get("x-api-key"))
}

#[test]
fn the_key_takes_the_tokens_place() {
    let (openai, anthropic) = (Upstream::saying(json("{}")), Upstream::saying(json("{}")));
    let router = Router::both(&openai, &anthropic);
    let tokens = [("Authorization", format!("Bearer {TOKEN}")), ("authorization", format!("bearer {TOKEN}")), ("X-API-Key", TOKEN.into())];
    for (name, value) in tokens {
        for target in ["/openai/v1/models", "/anthropic/v1/models"] {
            assert_eq!(router.call(&Request::get(target).without_token().field(name, &value)).status, 200, "{name}");
        }
    }
    for request in openai.requests() {
        assert_eq!(credentials(&request), (Some(format!("Bearer {OPENAI_KEY}")), None));
    }
    for request in anthropic.requests() {
        assert_eq!(credentials(&request), (None, Some(ANTHROPIC_KEY.into())));
    }
    for request in [openai.requests(), anthropic.requests()].concat() {
        assert!(!String::from_utf8_lossy(&request.raw).contains(TOKEN), "the token stays here");
    }
}

#[test]
fn all_of_a_clients_credentials_stay_here() {
    let upstream = Upstream::saying(json("{}"));
    let request =
        Request::get("/v1/models").field("x-api-key", "other").field("api-key", "third").field("Proxy-Authorization", "Basic eA==");
    Router::openai(&upstream).call(&request);
    let got = upstream.request();
    assert_eq!(got.head.all("authorization"), [format!("Bearer {OPENAI_KEY}").as_bytes()]);
    for name in ["x-api-key", "api-key", "proxy-authorization"] {
        assert!(got.head.get(name).is_none(), "{name}");
    }
}

#[test]
fn the_other_providers_key_is_never_sent() {
    let (openai, anthropic) = (Upstream::saying(json("{}")), Upstream::saying(json("{}")));
    let router = Router::both(&openai, &anthropic);
    router.call(&Request::chat());
    router.call(&Request::messages_stream());
    assert!(!String::from_utf8_lossy(&openai.request().raw).contains(ANTHROPIC_KEY));
    assert!(!String::from_utf8_lossy(&anthropic.request().raw).contains(OPENAI_KEY));
}

#[test]
fn nothing_is_added_but_host_key_framing_and_a_plain_coding() {
    let upstream = Upstream::saying(json("{}"));
    Router::openai(&upstream).call(&Request::chat());
    assert_eq!(upstream.request().head.names(), ["accept-encoding", "authorization", "content-length", "content-type", "host"]);
    let upstream = Upstream::saying(json("{}"));
    Router::openai(&upstream).call(&Request::get("/v1/models"));
    assert_eq!(upstream.request().head.names(), ["authorization", "host"]);
}

#[test]
fn the_host_is_the_providers() {
    let upstream = Upstream::saying(json("{}"));
    Router::openai(&upstream).call(&Request::get("/v1/models").host("localhost:99"));
    assert_eq!(upstream.request().head.get("host"), Some(upstream.authority()));
}

#[test]
fn end_to_end_fields_cross_with_raw_values_and_in_order() {
    let values: [&[u8]; 6] = [b"caf\xe9", b"\xff\xfe\x80", b"a\tb  c", b"", b"\"q\", w; x=\"y\"", b"1"];
    let mut fields = Vec::new();
    for value in values {
        fields.extend_from_slice(&[b"x-multi: ", value, b"\r\nx-other: 0\r\n"].concat());
    }
    let head = [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n".as_slice(), &fields, b"\r\n"].concat();
    let upstream = Upstream::saying(head);
    let mut request = Request::get("/v1/models").field("User-Agent", "OpenAI/Python 1.0").field("X-Stainless-Lang", "python");
    for value in values {
        request = request.field("X-Multi", value);
    }
    let reply = Router::openai(&upstream).call(&request);
    assert_eq!(upstream.request().head.all("x-multi"), values);
    assert_eq!(reply.head.all("x-multi"), values);
    assert_eq!(reply.head.all("x-other").len(), values.len());
    assert_eq!(upstream.request().head.get("user-agent").as_deref(), Some("OpenAI/Python 1.0"));
    assert_eq!(upstream.request().head.get("x-stainless-lang").as_deref(), Some("python"));
}

#[test]
fn what_a_client_asks_for_is_what_is_asked() {
    let upstream = Upstream::saying(json("{}"));
    let asked = [
        ("accept", "text/event-stream"),
        ("accept-encoding", "gzip, zstd;q=0.5"),
        ("anthropic-beta", "a,b"),
        ("openai-organization", "org"),
        ("idempotency-key", "k"),
        ("if-none-match", "\"e\""),
        ("range", "bytes=0-1"),
        ("cookie", "a=b; c=d"),
        ("content-type", "application/json; charset=utf-8"),
    ];
    let request = asked.iter().fold(Request::new("POST", "/v1/moderations"), |request, (name, value)| request.field(name, value));
    Router::openai(&upstream).call(&request.body(r#"{"input":"x"}"#));
    for (name, value) in asked {
        assert_eq!(upstream.request().head.get(name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let fields = "connection: X-Private, keep-alive\r\nx-private: p\r\nkeep-alive: timeout=5\r\nproxy-connection: x\r\ntrailer: t\r\n\
                  proxy-authenticate: Basic\r\nx-public: q\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-ratelimit-remaining-tokens: 9\r\n";
    let upstream = Upstream::saying(reply(200, fields, "{}"));
    let router = Router::openai(&upstream);
    let request = Request::chat()
        .field("Connection", "keep-alive, X-Secret")
        .field("connection", "x-more")
        .field("X-Secret", "s")
        .field("X-More", "m")
        .field("Keep-Alive", "timeout=9")
        .field("TE", "trailers")
        .field("Trailer", "x-t")
        .field("Proxy-Connection", "keep-alive")
        .field("X-Kept", "k");
    let reply = router.call(&request);
    assert_eq!(upstream.request().head.names(), ["accept-encoding", "authorization", "content-length", "content-type", "host", "x-kept"]);
    for gone in ["x-private", "proxy-connection", "trailer", "proxy-authenticate"] {
        assert!(reply.head.get(gone).is_none(), "{gone}");
    }
    assert!(reply.head.get("keep-alive").is_none_or(|value| value != "timeout=5"));
    assert_eq!(reply.head.all("set-cookie"), [b"a=1", b"b=2"]);
    assert_eq!((reply.head.get("x-public").as_deref(), reply.head.get("x-ratelimit-remaining-tokens").as_deref()), (Some("q"), Some("9")));
}

#[test]
fn a_nominated_credential_or_framing_field_changes_nothing() {
    let upstream = Upstream::saying(json("{}"));
    let request = Request::chat().field("Connection", "authorization, host, content-length, content-type");
    let reply = Router::openai(&upstream).call(&request);
    let got = upstream.request();
    assert_eq!((reply.status, got.head.get("authorization")), (200, Some(format!("Bearer {OPENAI_KEY}"))));
    assert_eq!((got.head.get("host"), got.body.is_empty()), (Some(upstream.authority()), false));
}

#[test]
fn a_provider_that_wants_no_key_gets_none() {
    let upstream = Upstream::saying(json("{}"));
    let mut config = super::rig::bare();
    let url = upstream.url().parse().expect("url");
    let local = iron_runtime::Upstream::new("local", iron_runtime::Protocol::OpenAi, url, iron_runtime::config::Key::None);
    config.upstreams.push(local);
    assert_eq!(Router::start(config).call(&Request::chat()).status, 400, "gpt-4o is OpenAI's, which is not configured");
    let mut config = super::rig::openai(&upstream);
    config.upstreams[0].key = iron_runtime::config::Key::None;
    assert_eq!(Router::start(config).call(&Request::chat()).status, 200);
    assert_eq!(credentials(&upstream.request()), (None, None));
}
