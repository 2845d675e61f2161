//! Server mode: the key comes from a control server.

use super::WAIT;
use super::client::{End, Request};
use super::rig::{ANTHROPIC_KEY, OPENAI_KEY, Router, TOKEN};
use super::upstream::{Recorded, Upstream, json, reply};
use iron_runtime::config::{Control, Key};
use iron_runtime::{Config, Protocol};
use std::time::{Duration, Instant};

/// A control server that gives the keys in turn, the last one for ever.
fn giving(keys: &'static [&'static str], provider: &'static str) -> Upstream {
    keys_only(move |nth| json(&format!(r#"{{"provider_key":"{}","provider":"{provider}"}}"#, keys[nth.min(keys.len() - 1)])))
}

/// A control server that knows of keys only; `answer` makes the nth answer to who asks for one.
fn keys_only(answer: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> Upstream {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Upstream::answering(move |request| {
        if asks_for_a_key(request) {
            answer(count.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
        } else {
            reply(404, "", "nothing here")
        }
    })
}

fn asks_for_a_key(request: &Recorded) -> bool {
    request.head.first == "POST /api/v1/agents/provider-key HTTP/1.1"
}

/// How often a key was asked for.
fn key_requests(control: &Upstream) -> usize {
    control.requests().iter().filter(|request| asks_for_a_key(request)).count()
}

/// Server mode with both places taken by `provider`.
pub(crate) fn config(control: &Upstream, provider: &Upstream) -> Config {
    let mut config = Config::default();
    let server_url = control.url().parse().expect("url");
    config.control = Some(Control { server_url, ic_token: TOKEN.into(), cache_ttl: Duration::from_secs(300) });
    for (name, protocol) in [("openai", Protocol::OpenAi), ("anthropic", Protocol::Anthropic)] {
        config.upstreams.push(iron_runtime::Upstream::new(name, protocol, provider.url().parse().expect("url"), Key::Control));
    }
    config
}

/// A provider that knows one key.
fn knowing(key: &'static str) -> Upstream {
    Upstream::answering(move |request| if bearer(request) == key { json("{}") } else { reply(401, "", r#"{"error":"whose key?"}"#) })
}

fn bearer(request: &Recorded) -> String {
    request.head.get("authorization").unwrap_or_default().replace("Bearer ", "")
}

#[test]
fn the_assigned_key_is_fetched_once_and_used() {
    let (control, provider) = (giving(&[OPENAI_KEY], "openai"), knowing(OPENAI_KEY));
    let router = Router::start(config(&control, &provider));
    assert_eq!((router.inner().provider(), router.inner().api_key()), ("openai", TOKEN));
    for _ in 0..10 {
        assert_eq!(router.call(&Request::chat()).status, 200);
    }
    let asked = control.requests().remove(0);
    assert_eq!((key_requests(&control), asks_for_a_key(&asked)), (1, true));
    assert_eq!(String::from_utf8_lossy(&asked.body), format!(r#"{{"ic_token":"{TOKEN}"}}"#));
    assert_eq!(provider.requests().len(), 10);
}

#[test]
fn an_assigned_address_takes_the_providers_place() {
    let (elsewhere, provider) = (Upstream::saying(json("{}")), knowing(ANTHROPIC_KEY));
    let base = format!("{}/gateway/v1", elsewhere.url());
    let control = keys_only(move |_| json(&format!(r#"{{"provider_key":"{ANTHROPIC_KEY}","provider":"anthropic","base_url":"{base}"}}"#)));
    let router = Router::start(config(&control, &provider));
    assert_eq!(router.inner().provider(), "anthropic");
    assert_eq!(router.call(&Request::messages_stream()).status, 200);
    let got = elsewhere.request();
    assert_eq!(
        (got.head.first.as_str(), got.head.get("x-api-key").as_deref()),
        ("POST /gateway/v1/messages HTTP/1.1", Some(ANTHROPIC_KEY))
    );
    assert_eq!(provider.log(|log| log.connections), 0);
}

#[test]
fn the_key_goes_to_its_own_provider_only() {
    let (control, provider) = (giving(&[ANTHROPIC_KEY], "anthropic"), knowing(OPENAI_KEY));
    let router = Router::start(config(&control, &provider));
    assert_eq!(router.call(&Request::chat()).error().0, 400);
    assert_eq!(router.call(&Request::get("/openai/v1/models")).error().0, 400);
    assert_eq!(provider.log(|log| log.connections), 0);
}

#[test]
fn a_key_that_was_replaced_is_fetched_again_unnoticed() {
    let (control, provider) = (giving(&["sk-KEYCANARY-old", OPENAI_KEY], "openai"), knowing(OPENAI_KEY));
    let router = Router::start(config(&control, &provider));
    for _ in 0..3 {
        assert_eq!(router.call(&Request::chat()).status, 200);
    }
    assert_eq!((key_requests(&control), provider.requests().len()), (2, 4));
    assert_eq!(router.settled(3), (3, 0, 0));
}

#[test]
fn a_key_the_provider_does_not_know_is_told() {
    let (control, provider) = (giving(&["sk-KEYCANARY-old"], "openai"), knowing(OPENAI_KEY));
    let router = Router::start(config(&control, &provider));
    for _ in 0..5 {
        let reply = router.call(&Request::chat());
        assert_eq!((reply.status, reply.text().as_str()), (401, r#"{"error":"whose key?"}"#));
    }
    assert!(key_requests(&control) <= 2, "not asked again each time: {}", key_requests(&control));
}

#[test]
fn an_upload_is_not_sent_again_with_another_key() {
    let (control, provider) = (giving(&["sk-KEYCANARY-old", OPENAI_KEY], "openai"), knowing(OPENAI_KEY));
    let router = Router::start(config(&control, &provider));
    let request = Request::new("POST", "/v1/files").field("content-type", "audio/wav").body("sound");
    assert_eq!(router.call(&request).status, 401);
    assert_eq!(provider.requests().len(), 1);
}

#[test]
fn a_control_server_that_is_down_is_named_and_comes_back() {
    let control = keys_only(move |nth| match nth {
        0 => reply(503, "", r#"{"error":"x","code":"CRYPTO_UNAVAILABLE"}"#),
        _ => json(&format!(r#"{{"provider_key":"{OPENAI_KEY}","provider":"openai"}}"#)),
    });
    let provider = knowing(OPENAI_KEY);
    let router = Router::start(config(&control, &provider));
    assert_eq!(router.inner().provider(), "unknown");
    let start = Instant::now();
    let mut reply = router.call(&Request::chat());
    while reply.status != 200 {
        assert_eq!(reply.error(), (503, "control_server_unreachable".into()));
        assert!(reply.text().contains(&control.url()) && reply.text().contains("CRYPTO_UNAVAILABLE"), "{}", reply.text());
        assert!(reply.head.get("retry-after").is_some() && start.elapsed() < WAIT, "comes back");
        reply = router.call(&Request::chat());
    }
    assert_eq!((key_requests(&control), router.inner().provider()), (2, "openai"));
}

#[test]
fn a_control_server_that_says_no_is_quoted() {
    let control = Upstream::saying(reply(403, "", r#"{"error":"none","code":"NO_PROVIDER_ASSIGNED"}"#));
    let provider = knowing(OPENAI_KEY);
    let router = Router::start(config(&control, &provider));
    let reply = router.call(&Request::chat());
    assert_eq!(reply.error(), (503, "control_server_refused".into()));
    assert!(reply.text().contains("NO_PROVIDER_ASSIGNED"), "{}", reply.text());
    assert_eq!(router.call(&Request::messages_stream()).anthropic_error(), (503, "overloaded_error".into()));
    assert_eq!(router.call(&Request::get("/healthz")).status, 200);
    assert_eq!(provider.log(|log| log.connections), 0);
}

#[test]
fn its_own_refusals_need_no_control_server() {
    let control = Upstream::saying(reply(500, "", "{}"));
    let router = Router::start(config(&control, &knowing(OPENAI_KEY)));
    let asked = control.requests().len();
    assert_eq!(router.call(&Request::chat().without_token()).status, 401);
    assert_eq!(router.call(&Request::get("/../x")).status, 400);
    assert_eq!(router.call(&Request::get("/").without_token()).status, 200);
    assert_eq!(control.requests().len(), asked);
}

#[test]
fn addresses_and_defaults_of_create() {
    let control = giving(&[OPENAI_KEY], "openai");
    let mut router = iron_runtime::LlmRouter::create(TOKEN, format!("{}/", control.url()), 300).expect("router");
    assert_eq!((router.provider(), router.api_key(), router.is_running()), ("openai", TOKEN, true));
    router.shutdown();
    assert!(iron_runtime::LlmRouter::create("", control.url(), 300).is_err());
    assert!(iron_runtime::LlmRouter::create(TOKEN, "nonsense", 300).is_err());
}

#[test]
fn the_control_server_sees_nothing_of_a_call() {
    let (control, provider) = (giving(&["sk-KEYCANARY-old", OPENAI_KEY], "openai"), knowing(OPENAI_KEY));
    let router = Router::start(config(&control, &provider));
    assert_eq!(router.call(&Request::chat().field("x-private", "for the provider only")).status, 200);
    assert_eq!(key_requests(&control), 2);
    for request in control.requests() {
        let raw = String::from_utf8_lossy(&request.raw).into_owned();
        assert!(!raw.contains("KEYCANARY") && !raw.contains("x-private"), "{raw}");
    }
}

#[test]
fn a_rejected_call_keeps_its_limits_after_a_question_in_its_midst() {
    let control = keys_only(move |nth| match nth {
        0 => json(r#"{"provider_key":"sk-KEYCANARY-old","provider":"openai"}"#),
        _ => reply(500, "", "{}"),
    });
    let provider = Upstream::start(|conn| {
        conn.request();
        conn.send(b"HTTP/1.1 401 No\r\ncontent-length: 9\r\n\r\nwhose");
        conn.eof();
    });
    let mut config = config(&control, &provider);
    config.timeouts.idle = Duration::from_millis(300);
    let got = Router::start(config).call(&Request::chat());
    assert_eq!((got.status, got.end, got.text().as_str()), (401, End::Broken, "whose"));
}

#[test]
fn a_second_key_without_the_gateway_goes_to_its_own_provider_only() {
    let (gateway, provider) = (Upstream::saying(reply(401, "", "{}")), knowing(OPENAI_KEY));
    let base = gateway.url();
    let control = keys_only(move |nth| match nth {
        0 => json(&format!(r#"{{"provider_key":"sk-KEYCANARY-old","provider":"openai","base_url":"{base}"}}"#)),
        _ => json(&format!(r#"{{"provider_key":"{OPENAI_KEY}","provider":"openai"}}"#)),
    });
    let router = Router::start(config(&control, &provider));
    assert_eq!(router.call(&Request::messages_stream()).status, 401);
    assert_eq!((gateway.requests().len(), provider.log(|log| log.connections)), (1, 0), "an OpenAI key in Anthropic's place");
}
