//! Whom a request goes to.

use super::client::Request;
use super::rig::{self, Router, TOKEN};
use super::upstream::{Upstream, json};
use iron_runtime::Protocol;

const CHAT: &str = "/v1/chat/completions";

fn with_model(path: &str, model: &str) -> Request {
    Request::post(path, &format!(r#"{{"messages":[],"model":"{model}"}}"#))
}

fn named(name: &'static str) -> Upstream {
    Upstream::answering(move |request| json(&format!(r#"{{"at":"{name}","line":"{}"}}"#, request.head.first)))
}

#[test]
fn by_prefix_by_model_and_by_header() {
    let (openai, anthropic) = (named("openai"), named("anthropic"));
    let router = Router::both(&openai, &anthropic);
    let version = |request: Request| request.field("anthropic-version", "2023-06-01");
    for (request, at, line) in [
        (with_model(CHAT, "gpt-4o"), "openai", "POST /v1/chat/completions"),
        (with_model(CHAT, "o3-mini"), "openai", "POST /v1/chat/completions"),
        (with_model("/v1/v1/chat/completions", "gpt-4o"), "openai", "POST /v1/chat/completions"),
        (with_model("/openai/v1/chat/completions", "gpt-4o"), "openai", "POST /v1/chat/completions"),
        (with_model("/v1/embeddings", "text-embedding-3-small"), "openai", "POST /v1/embeddings"),
        (with_model("/v1/responses", "gpt-5-nano"), "openai", "POST /v1/responses"),
        (version(with_model("/v1/messages", "claude-3-5-haiku-latest")), "anthropic", "POST /v1/messages"),
        (with_model("/v1/v1/messages", "claude-x"), "anthropic", "POST /v1/messages"),
        (with_model("/v1/v1/v1/messages?beta=true", "claude-x"), "anthropic", "POST /v1/messages?beta=true"),
        (with_model("/anthropic/v1/messages", "claude-x"), "anthropic", "POST /v1/messages"),
        (with_model("/anthropic/v1/v1/messages", "some-new-name"), "anthropic", "POST /v1/messages"),
        (with_model("/v1/messages/count_tokens", "claude-x"), "anthropic", "POST /v1/messages/count_tokens"),
        (Request::get("/v1/models/gpt-4o"), "openai", "GET /v1/models/gpt-4o"),
        (version(Request::get("/v1/models/claude-x")), "anthropic", "GET /v1/models/claude-x"),
        (Request::get("/v1/files"), "openai", "GET /v1/files"),
        (version(Request::get("/v1/files")), "anthropic", "GET /v1/files"),
        (version(Request::get("/openai/v1/models")), "openai", "GET /v1/models"),
        (Request::get("/anthropic/v1/models?limit=5"), "anthropic", "GET /v1/models?limit=5"),
        (Request::get("/v1/messages/batches/b1"), "anthropic", "GET /v1/messages/batches/b1"),
        (with_model(CHAT, "who-knows"), "openai", "POST /v1/chat/completions"),
    ] {
        let reply = router.call(&request).json();
        assert_eq!(reply["at"], at, "{line}");
        assert_eq!(reply["line"], format!("{line} HTTP/1.1"));
    }
}

#[test]
fn the_only_provider_takes_what_nothing_else_says() {
    let upstream = named("only");
    let router = Router::start(rig::anthropic(&upstream));
    let version = Request::get("/v1/models").field("anthropic-version", "2023-06-01");
    for request in [version, with_model("/v1/messages", "who-knows"), Request::new("DELETE", "/v1/files/x")] {
        assert_eq!(router.call(&request).json()["at"], "only");
    }
    assert_eq!(router.call(&with_model("/v1/embeddings", "who-knows")).error(), (400, "translation_unavailable".into()));
}

#[test]
fn a_mismatch_is_refused_and_nothing_is_sent() {
    let (openai, anthropic) = (named("openai"), named("anthropic"));
    let router = Router::both(&openai, &anthropic);
    assert_eq!(router.call(&with_model("/v1/responses", "claude-x")).error(), (400, "translation_unavailable".into()));
    let compressed = with_model("/anthropic/v1/chat/completions", "claude-x").field("Content-Encoding", "gzip");
    assert_eq!(router.call(&compressed).error(), (400, "translation_unavailable".into()));
    let reply = router.call(&with_model("/v1/messages/batches", "gpt-4o"));
    assert_eq!(reply.anthropic_error(), (400, "invalid_request_error".into()));
    assert_eq!(reply.head.get("x-should-retry").as_deref(), Some("false"));
    assert_eq!(openai.log(|log| log.connections) + anthropic.log(|log| log.connections), 0);
    assert_eq!(router.settled(3), (3, 0, 3));
}

#[test]
fn what_has_no_place_is_told_how_to_get_one() {
    let upstream = named("openai");
    let router = Router::openai(&upstream);
    let reply = router.call(&with_model(CHAT, "claude-x"));
    assert_eq!(reply.error(), (400, "provider_not_configured".into()));
    assert!(reply.text().contains("anthropic-key") && reply.text().contains("claude-x"), "{}", reply.text());
    for target in ["/anthropic/v1/models", "/anthropic/v1/messages"] {
        assert_eq!(router.call(&Request::get(target)).anthropic_error(), (400, "invalid_request_error".into()));
    }
    let mut config = rig::anthropic(&upstream);
    let url: iron_runtime::BaseUrl = upstream.url().parse().expect("url");
    config.upstreams.push(iron_runtime::Upstream::new("local", Protocol::OpenAi, url, iron_runtime::config::Key::None));
    let reply = Router::start(config).call(&with_model(CHAT, "who-knows"));
    assert_eq!(reply.error(), (400, "unroutable".into()));
    assert!(reply.text().contains("who-knows") && reply.text().contains("/openai"), "{}", reply.text());
    assert_eq!(upstream.log(|log| log.connections), 0);
}

#[test]
fn further_upstreams_take_their_models_and_aliases() {
    let (openai, local) = (named("openai"), named("local"));
    let mut config = rig::openai(&openai);
    let url = local.url().parse().expect("url");
    let mut third = iron_runtime::Upstream::new("local", Protocol::OpenAi, url, iron_runtime::config::Key::None);
    third.models = vec!["llama*".into()];
    third.aliases = vec![("fast".into(), "llama-3".into())];
    config.upstreams.push(third);
    let router = Router::start(config);
    assert_eq!(router.call(&with_model(CHAT, "llama-3.1-70b")).json()["at"], "local");
    assert_eq!(router.call(&with_model(CHAT, "gpt-4o")).json()["at"], "openai");
    assert_eq!(router.call(&with_model(CHAT, "fast")).json()["at"], "local");
    let body = local.requests().pop().expect("request").body;
    assert_eq!(String::from_utf8_lossy(&body), r#"{"messages":[],"model":"llama-3"}"#, "nothing but the name changes");
}

#[test]
fn broken_json_is_refused() {
    let upstream = named("openai");
    let router = Router::openai(&upstream);
    for body in ["", "nonsense", "[]", "{\"model\":", "\"gpt-4o\""] {
        let reply = router.call(&Request::post(CHAT, body));
        assert_eq!(reply.error(), (400, "invalid_json".into()), "{body:?}");
    }
    assert_eq!(upstream.log(|log| log.connections), 0);
}

#[test]
fn the_routers_own_pages_by_their_whole_address() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    // The query is a canary for the log.
    let target = format!("http://127.0.0.1/stats?token={TOKEN}");
    assert!(router.call(&Request::get(&target)).json()["in_flight"].is_u64());
    assert_eq!(router.call(&Request::post("http://127.0.0.1/stats", "{}")).error().0, 405);
    assert_eq!(upstream.log(|log| log.connections), 0);
}
