//! The pages of the live view: who is let in, by what, and what never leaves.

use super::client::{Reply, Request};
use super::rig::{self, Router, TOKEN};
use super::upstream::{Upstream, json};
use iron_runtime::config::Agent;
use iron_runtime::{Config, Secret};

/// The fields of a WebSocket's opening handshake, one of them left out or put differently.
const HANDSHAKE: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "keep-alive, Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

fn config() -> Config {
    rig::openai(&Upstream::saying(json("{}")))
}

fn handshake(method: &str, instead: (&str, &str)) -> Request {
    let fields = HANDSHAKE.map(|(name, value)| (name, if name == instead.0 { instead.1 } else { value }));
    let there = fields.iter().filter(|(_, value)| !value.is_empty());
    there.fold(Request::new(method, "/events"), |request, (name, value)| request.field(name, value))
}

fn form(token: &str) -> Request {
    Request::new("POST", "/dashboard").without_token().body(format!("token={token}"))
}

/// The cookie that a reply sets, as a browser sends it.
fn cookie(reply: &Reply) -> String {
    assert_eq!((reply.status, reply.head.get("location").as_deref()), (303, Some("/dashboard")));
    let cookie = reply.head.get("set-cookie").expect("a cookie");
    cookie.split(';').next().unwrap_or_default().to_string()
}

fn with_cookie(target: &str, cookie: &str) -> Request {
    Request::get(target).without_token().field("cookie", cookie)
}

#[test]
fn wrong_tokens_cost_nobody_his_cookie() {
    let router = Router::start(config());
    let cookie = cookie(&router.call(&form(TOKEN)));
    for _ in 0..70 {
        let reply = router.call(&form("wrong"));
        assert_eq!((reply.status, reply.head.get("set-cookie")), (401, None));
    }
    assert_eq!(router.call(&with_cookie("/dashboard", &cookie)).status, 200);
}

#[test]
fn a_browser_sends_the_form_with_its_origin_only_where_the_page_lets_it() {
    let router = Router::start(config());
    // Under `no-referrer` a form is sent with `Origin: null`, which is refused.
    for (page, policy) in [(Request::get("/dashboard").without_token(), "strict-origin"), (Request::get("/dashboard"), "no-referrer")] {
        assert_eq!(router.call(&page).head.get("referrer-policy").as_deref(), Some(policy));
    }
    for (origin, status) in [("http://127.0.0.1", 303), ("null", 403), ("http://evil.example", 403), ("http://127.0.0.1:1", 403)] {
        assert_eq!(router.call(&form(TOKEN).field("origin", origin)).status, status, "{origin}");
    }
}

#[test]
fn a_look_does_not_use_up_an_invitation() {
    let router = Router::start(config());
    let address = router.inner().dashboard_url();
    let target = &address[address.find("/dashboard").expect("a path")..];
    for method in ["HEAD", "HEAD"] {
        let reply = router.call(&Request::new(method, target).without_token());
        assert_eq!((reply.status, reply.head.get("set-cookie")), (401, None));
    }
    let cookie = cookie(&router.call(&Request::get(target).without_token()));
    assert_eq!(router.call(&Request::get(target).without_token()).status, 401, "used up");
    // The way to the page, for whoever was let in.
    assert_eq!(router.call(&with_cookie(target, &cookie)).status, 303);
}

#[test]
fn a_cookie_is_one_routers_and_stays_beside_anothers() {
    let (one, other) = (Router::start(config()), Router::start(config()));
    let cookies = [&one, &other].map(|router| cookie(&router.call(&form(TOKEN))));
    let names = cookies.each_ref().map(|cookie| cookie.split('=').next().unwrap_or_default());
    assert_ne!(names[0], names[1], "a browser keeps one cookie a name for all ports");
    for page in ["/dashboard", "/history", "/metrics", "/stats"] {
        assert_eq!(one.call(&with_cookie(page, &cookies[1])).status, 401, "{page}");
        assert_eq!(one.call(&with_cookie(page, &cookies.join("; "))).status, 200, "{page}");
    }
    for call in ["/v1/models", "/openai/events", "//events", "/events/", "/%65vents"] {
        assert_eq!(one.call(&with_cookie(call, &cookies[0])).status, 401, "{call}");
    }
}

#[test]
fn the_first_word_says_what_this_router_is() {
    let mut config = config();
    config.capture = true;
    config.listener = iron_runtime::config::Listener::Own;
    let router = Router::start(config);
    let mut client = router.client();
    client.send(&handshake("GET", ("", "")).bytes());
    let hello = client.until(b"\"capture\":true}");
    assert!(hello.contains("\"type\":\"hello\"") && hello.contains("\"ledger\":false"), "{hello}");
}

#[test]
fn the_dashboards_cookie_goes_to_no_provider() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    let cookie = cookie(&router.call(&form(TOKEN)));
    assert_eq!(router.call(&Request::chat().field("cookie", format!("a=b; {cookie}")).field("cookie", "c=d")).status, 200);
    let cookies = upstream.log(|log| log.requests[0].head.all("cookie").concat());
    assert_eq!(cookies, b"c=d");
}

#[test]
fn an_agents_token_opens_no_page() {
    let mut config = config();
    config.agents.push(Agent { name: "planner".into(), token: Secret::new("token-of-an-agent"), budget: None });
    let router = Router::start(config);
    for page in ["/history", "/metrics", "/events", "/dashboard"] {
        let request = Request::get(page).without_token().field("authorization", "Bearer token-of-an-agent");
        assert_eq!(router.call(&request).status, 401, "{page}");
    }
    assert_eq!(router.call(&form("token-of-an-agent")).status, 401);
}

#[test]
fn what_is_no_opening_handshake_is_told_so() {
    let router = Router::start(config());
    for (method, name, value) in [
        ("HEAD", "", ""),
        ("GET", "Upgrade", ""),
        ("GET", "Upgrade", "h2c"),
        ("GET", "Connection", "keep-alive"),
        ("GET", "Sec-WebSocket-Version", "8"),
        ("GET", "Sec-WebSocket-Key", ""),
        ("GET", "Sec-WebSocket-Key", "short"),
        ("GET", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ!!"),
    ] {
        let reply = router.call(&handshake(method, (name, value)));
        assert_eq!((reply.status, reply.head.get("sec-websocket-version").as_deref()), (426, Some("13")), "{method} {name}: {value}");
    }
    let reply = router.call(&handshake("GET", ("", "")).body("abc"));
    assert_eq!(reply.error(), (400, "invalid_upgrade".into()));
    for origins in [&["http://evil.example"][..], &["http://127.0.0.1", "http://evil.example"]] {
        let request = origins.iter().fold(handshake("GET", ("", "")), |request, origin| request.field("origin", origin));
        assert_eq!(router.call(&request).error(), (403, "forbidden_origin".into()), "{origins:?}");
    }
}

#[cfg(feature = "tiny_http")]
#[test]
fn a_listener_that_keeps_its_sockets_says_so() {
    let mut config = config();
    config.listener = iron_runtime::config::Listener::TinyHttp;
    let router = Router::start(config);
    assert_eq!(router.call(&handshake("GET", ("", ""))).error(), (501, "upgrade_unsupported".into()));
}
