//! Providers behind the proxy of the environment: it is read when the router starts, so these run in processes of their own.

use super::client::{End, Request};
use super::rig::{CANARY, OPENAI_KEY, Router, a_silence, bare, in_child};
use super::tls::where_trusted;
use super::upstream::{Upstream, is_gone, json, sse_head};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A proxy that answers `CONNECT` and tunnels to the port that was asked for on this machine, whatever the host; with the heads it was
/// sent.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let seen = heads.clone();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let seen = seen.clone();
            thread::spawn(move || tunnel(client, &seen));
        }
    });
    (url, heads)
}

fn tunnel(mut client: TcpStream, seen: &Mutex<Vec<String>>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && matches!(client.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let port = head.split([':', ' ']).nth(2).and_then(|port| port.parse().ok());
    seen.lock().expect("heads").push(head);
    let Some(server) = port.and_then(|port: u16| TcpStream::connect(("127.0.0.1", port)).ok()) else { return };
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").expect("client");
    let (from, back) = (client.try_clone().expect("clone"), server.try_clone().expect("clone"));
    thread::spawn(move || pass(from, back));
    pass(server, client);
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    match std::io::copy(&mut from, &mut to) {
        Err(error) if !is_gone(&error) => panic!("{error}"),
        _ => drop(to.shutdown(Shutdown::Write)),
    }
}

/// Runs `test` in a process of its own where this proxy is set.
fn behind(proxy: &str, name: &str, test: impl FnOnce()) {
    if in_child(name, &[("ALL_PROXY", proxy), ("NO_PROXY", "")]) {
        test();
    }
}

/// A router whose provider only the proxy finds.
fn router(upstream: &Upstream) -> Router {
    let mut config = bare();
    config.timeouts.connect = Duration::from_millis(300);
    let url = upstream.url().replace("127.0.0.1", "provider.test").parse().expect("url");
    config.upstreams.push(iron_runtime::Upstream::openai(url, OPENAI_KEY.into()));
    Router::start(config)
}

#[test]
fn a_tunnel_is_used_again_and_the_key_is_inside_it() {
    let (url, heads) = proxy();
    behind(&url, "it::proxied::a_tunnel_is_used_again_and_the_key_is_inside_it", || {
        let upstream = Upstream::saying(json("{}"));
        let router = router(&upstream);
        for served in 1..=4 {
            // Uploads are never sent twice: a tunnel that had to be replaced would show.
            let upload = Request::new("POST", "/v1/files").field("content-type", "audio/wav").body(vec![b'x'; 30_000]);
            let reply = router.call(&if served % 2 == 0 { upload } else { Request::get("/v1/models") });
            assert_eq!((reply.status, reply.text().as_str()), (200, "{}"), "request {served}");
            router.settled(served);
        }
        assert_eq!(upstream.log(|log| (log.connections, log.requests.len())), (1, 4));
        for request in upstream.requests() {
            let raw = String::from_utf8_lossy(&request.raw).into_owned();
            assert_eq!((raw.matches(OPENAI_KEY).count(), raw.matches("host: ").count()), (1, 1), "{raw}");
        }
    });
    let heads = heads.lock().expect("heads");
    assert!(heads.iter().all(|head| head.starts_with("CONNECT provider.test:") && !head.contains(CANARY)), "{heads:?}");
}

#[test]
fn tls_goes_through_a_tunnel_with_one_handshake() {
    let (url, _) = proxy();
    where_trusted("it::proxied::tls_goes_through_a_tunnel_with_one_handshake", &[("ALL_PROXY", &url), ("NO_PROXY", "")], |tls| {
        let upstream = Upstream::start_tls(tls, |conn| while conn.request().is_some_and(|_| conn.send(&json("{}"))) {});
        let router = router(&upstream);
        for served in 1..=3 {
            let upload = Request::new("POST", "/v1/files").field("content-type", "audio/wav").body(vec![b'x'; 30_000]);
            assert_eq!(router.call(&upload).status, 200, "request {served}");
            router.settled(served);
        }
        assert_eq!(upstream.log(|log| (log.handshakes, log.requests.len())), (1, 3));
    });
}

#[test]
fn a_reply_through_a_tunnel_may_take_longer_than_connecting() {
    let (url, _) = proxy();
    behind(&url, "it::proxied::a_reply_through_a_tunnel_may_take_longer_than_connecting", || {
        let upstream = Upstream::start(|conn| {
            while conn.request().is_some() {
                a_silence();
                conn.send(&sse_head());
                a_silence();
                conn.send(b"9\r\ndata: 1\n\n\r\n0\r\n\r\n");
            }
        });
        let router = router(&upstream);
        for _ in 0..2 {
            let reply = router.call(&Request::chat_stream());
            assert_eq!((reply.status, reply.end, reply.text().as_str()), (200, End::Whole, "data: 1\n\n"), "{reply:?}");
        }
        assert_eq!(upstream.log(|log| log.connections), 1);
    });
}

#[test]
fn a_client_that_leaves_is_seen_through_a_tunnel() {
    let (url, _) = proxy();
    behind(&url, "it::proxied::a_client_that_leaves_is_seen_through_a_tunnel", || {
        let upstream = Upstream::start(|conn| {
            conn.request();
            conn.eof();
        });
        let router = router(&upstream);
        let mut client = router.client();
        client.send(&Request::chat().bytes());
        upstream.wait("the request", |log| log.requests.len() == 1);
        client.leave(false);
        upstream.wait("the close", |log| log.closed == 1);
    });
}

#[test]
fn a_silent_proxy_takes_no_longer_than_connecting() {
    let silent = Upstream::start(|conn| conn.eof());
    behind(&silent.url(), "it::proxied::a_silent_proxy_takes_no_longer_than_connecting", || {
        assert_eq!(router(&Upstream::saying(json("{}"))).call(&Request::chat()).error(), (502, "upstream_connect_timeout".into()));
    });
}
