//! Bills of calls that end in unusual ways, and requests that try to pass the meter by: what is held is never passed and never left behind,
//! and nothing that a provider would bill goes through as free.

use super::client::Request;
use super::framing::chunked;
use super::rig::{self, Router};
use super::upstream::{Conn, Upstream, sse_head};
use iron_runtime::Config;
use iron_runtime::config::Spending;
use iron_runtime::money::NanoUsd;

const CENT: u64 = 10_000_000;

fn limited(mut config: Config, nano_usd: u64) -> Config {
    config.spending = Spending { budget: Some(NanoUsd(nano_usd)), ..Spending::default() };
    config
}

fn chat(model: &str, rest: &str) -> Request {
    Request::post("/v1/chat/completions", &format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]{rest}}}"#))
}

/// What is spent of a budget after one call to a provider that does this.
fn spent_of(budget: u64, provider: impl Fn(&mut Conn) + Send + Sync + 'static, request: &Request) -> u64 {
    let upstream = Upstream::start(provider);
    let router = Router::start(limited(rig::openai(&upstream), budget));
    let mut client = router.client();
    client.send(&request.bytes());
    if let Some(head) = client.head() {
        client.body(&head, "POST", |_| true);
    }
    router.wait_stats(|totals| totals.requests == 1 && totals.in_flight == 0);
    let stats = router.inner().stats();
    assert_eq!((stats.held, upstream.requests().len()), (NanoUsd::ZERO, 1), "{stats:?}");
    stats.spent.0
}

#[test]
fn an_estimate_is_never_more_than_what_was_held() {
    // A clamp takes all that is free; what it and the wish for the usage put into the body must not count as input afterwards.
    for rest in [r#","max_tokens":16000"#, "", r#","stream":true"#, r#","stream":true,"max_tokens":16000"#] {
        for model in ["gpt-4o", "gpt-5"] {
            let spent = spent_of(CENT, |conn| drop(conn.request()), &chat(model, rest));
            assert!(spent > 0 && spent <= CENT, "{model} {rest}: {spent}");
        }
    }
}

#[test]
fn the_usage_at_the_end_of_a_very_long_event_is_found() {
    // What ends a stream of responses repeats the whole response, and tells the usage behind it.
    let last = format!(
        "event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{{\"output\":\"{}\",\"usage\":\
         {{\"input_tokens\":7,\"output_tokens\":3}}}}}}\n\n",
        "x".repeat(700 << 10)
    );
    let sent = last.clone();
    let upstream = Upstream::answering(move |_| [sse_head(), chunked(&sent.as_bytes().chunks(9000).collect::<Vec<_>>())].concat());
    let router = Router::openai(&upstream);
    let reply = router.call(&Request::post("/v1/responses", r#"{"model":"gpt-4o","input":"hi","stream":true}"#));
    assert_eq!(reply.text(), last);
    assert_eq!(router.inner().total_spent(), NanoUsd(7 * 2_500 + 3 * 10_000));
}
