//! Who may use the router, what it answers itself, and what never reaches a provider.

use super::client::{End, Request};
use super::rig::{self, Router, TOKEN};
use super::upstream::{Upstream, json};

#[test]
fn without_the_token_nothing_is_forwarded() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    let requests = [
        Request::chat().without_token(),
        Request::chat().without_token().field("authorization", "Bearer wrong"),
        Request::chat().without_token().field("authorization", format!("Basic {TOKEN}")),
        Request::chat().without_token().field("x-api-key", &TOKEN[1..]),
        Request::chat().without_token().field("cookie", TOKEN),
        Request::post(&format!("/v1/chat/completions?api_key={TOKEN}"), r#"{"model":"gpt-4o"}"#).without_token(),
    ];
    for request in &requests {
        let reply = router.call(request);
        assert_eq!(reply.error(), (401, "invalid_api_key".into()));
        assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
        assert!(reply.json()["error"]["param"].is_null());
    }
    assert_eq!(upstream.log(|log| log.connections), 0);
}

#[test]
fn a_refusal_has_the_shape_of_the_clients_protocol() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::both(&upstream, &upstream);
    for request in [
        Request::messages_stream(),
        Request::post("/v1/v1/messages", "{}"),
        Request::get("/anthropic/v1/models"),
        Request::get("/v1/models").field("anthropic-version", "2023-06-01"),
        Request::get("/v1/models").field("x-api-key", "wrong"),
    ] {
        let reply = router.call(&request.without_token());
        assert_eq!(reply.anthropic_error(), (401, "authentication_error".into()));
        assert_eq!(reply.head.get("x-should-retry").as_deref(), Some("false"));
    }
}

#[test]
fn foreign_hosts_and_origins_are_refused() {
    let upstream = Upstream::saying(json("{}"));
    let mut config = rig::openai(&upstream);
    config.allow_hosts = vec!["box.lan".into()];
    let router = Router::start(config);
    for (host, origin, refused) in [
        ("evil.com", None, Some("forbidden_host")),
        ("localhost.evil.com", None, Some("forbidden_host")),
        ("127.0.0.1.evil.com:80", None, Some("forbidden_host")),
        ("127.0.0.1", Some("https://evil.com"), Some("forbidden_origin")),
        ("127.0.0.1", Some("null"), Some("forbidden_origin")),
        ("127.0.0.1:1", Some("http://127.0.0.1:2"), Some("forbidden_origin")),
        ("localhost:7", None, None),
        ("[::1]:7", None, None),
        ("box.lan:7", Some("http://box.lan:7"), None),
        ("127.0.0.1:7", Some("http://127.0.0.1:7"), None),
    ] {
        for target in ["/v1/models", "/", "/stats"] {
            let mut request = Request::get(target).host(host);
            if let Some(origin) = origin {
                request = request.field("Origin", origin);
            }
            let reply = router.call(&request);
            match refused {
                Some(code) => assert_eq!(reply.error(), (403, code.into()), "{host} {origin:?} {target}"),
                None => assert_eq!(reply.status, 200, "{host} {origin:?} {target}"),
            }
        }
    }
}

#[test]
fn tricks_with_the_target_never_reach_a_provider() {
    let (openai, anthropic) = (Upstream::saying(json("{}")), Upstream::saying(json("{}")));
    let router = Router::both(&openai, &anthropic);
    for target in [
        "/openai.evil.com/x",
        "/openai@evil/x",
        "/openai:99/x",
        "/openai%40evil.com/x",
        "/openai//evil.com/x",
        "/anthropic.evil.com/v1/messages",
        "/anthropic@evil.com/v1/messages",
        "//evil.com/x",
        "//evil.com:80/v1/models",
        "/../x",
        "/v1/../../x",
        "/v1/./x",
        "/v1/..",
        "/%2e%2e/x",
        "/%2E%2e/x",
        "/v1/.%2e/x",
        "/%2e/x",
        "/openai/../anthropic/v1/models",
        "/openai/%2e%2e/x",
        "http://evil.com/v1/models",
        "http://evil.com",
        "http://127.0.0.1@evil.com/v1/models",
        "https://evil.com/v1/models",
        "ftp://evil.com/x",
        "file:///etc/passwd",
        "evil.com:443",
        "evil.com",
        "*",
        "@evil.com/x",
        ":80/x",
        "?x",
        "/{x}",
        "/v1/models?x={y}",
        "/\"",
        "/v1/<x>",
        "/v1/\\..\\x",
        "/v1/x|y",
        "/v1/x^y",
        "/v1/x`y",
        "/v1/%",
        "/v1/%2",
        "/v1/%zz",
        "/v1/models#x",
    ] {
        let reply = router.call(&Request::get(target));
        assert!((400..500).contains(&reply.status), "{target}: {}", reply.status);
        assert_eq!(reply.end, End::Whole, "{target}");
        let reply = router.call(&Request::post(target, r#"{"model":"gpt-4o"}"#));
        assert!((400..500).contains(&reply.status), "POST {target}: {}", reply.status);
    }
    for target in [&b"/v1/\x01"[..], b"/v1/\x7f", b"/v1/caf\xe9", b"/v1/a b", b"/v1/\0"] {
        let mut client = router.client();
        client.send(&[b"GET ", target, b" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ", TOKEN.as_bytes(), b"\r\n\r\n"].concat());
        // A space ends the target, so that what follows it is no version: 505 is as good an answer.
        let status = client.reply("GET").status;
        assert!(status == 400 || status == 505, "{target:?}: {status}");
    }
    assert_eq!(openai.log(|log| log.connections) + anthropic.log(|log| log.connections), 0);
    assert_eq!(router.call(&Request::chat()).status, 200, "alive");
}

#[test]
fn connect_trace_and_upgrades_are_refused() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    for (method, target) in [("CONNECT", "evil.com:443"), ("TRACE", "/v1/models")] {
        let reply = router.call(&Request::new(method, target));
        assert!(matches!(reply.status, 400..=501), "{method}: {}", reply.status);
    }
    let upgrade = Request::get("/v1/realtime").field("Connection", "Upgrade").field("Upgrade", "websocket");
    let upgrade = upgrade.field("Sec-WebSocket-Version", "13").field("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==");
    assert_eq!(router.call(&upgrade).error(), (501, "upgrade_unsupported".into()));
    assert_eq!(upstream.log(|log| log.connections), 0);
}

#[test]
fn its_own_addresses() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    let root = router.call(&Request::get("/").without_token());
    assert_eq!((root.status, root.text().trim_end()), (200, "LlmRouter OK"));
    assert_eq!(router.call(&Request::get("/healthz").without_token()).status, 200);
    assert_eq!(router.call(&Request::get("/stats").without_token()).error(), (401, "invalid_api_key".into()));
    router.call(&Request::chat());
    router.call(&Request::post("/v1/chat/completions", "broken"));
    router.settled(2);
    let stats = router.call(&Request::get("/stats"));
    assert_eq!((stats.status, stats.head.get("content-type").as_deref()), (200, Some("application/json")));
    for name in ["requests", "failed", "refused"] {
        assert!(stats.json()[name].is_u64(), "{name}: {}", stats.text());
    }
    assert_eq!(upstream.request().head.first, "POST /v1/chat/completions HTTP/1.1");
}

#[test]
fn addresses_and_names_of_the_router() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    let inner = router.inner();
    assert_eq!(inner.base_url(), format!("http://127.0.0.1:{}/v1", inner.port()));
    assert_eq!((inner.api_key(), inner.provider(), inner.is_running()), (TOKEN, "openai", true));
}

#[test]
fn a_token_that_was_not_given_is_random() {
    let upstream = Upstream::saying(json("{}"));
    let mut config = rig::openai(&upstream);
    config.client_token = None;
    let (one, other) = (Router::start(config.clone()), Router::start(config));
    assert_ne!(one.inner().api_key(), other.inner().api_key());
    assert!(one.inner().api_key().len() >= 32, "too short to be random enough");
    assert_eq!(one.call(&Request::chat()).status, 401);
    let with_own = Request::chat().without_token().field("authorization", format!("Bearer {}", one.inner().api_key()));
    assert_eq!(one.call(&with_own).status, 200);
    assert_eq!(other.call(&with_own).status, 401);
}
