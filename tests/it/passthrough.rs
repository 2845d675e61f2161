//! What crosses the router unchanged: bodies byte for byte, fields, methods, paths, statuses.

use super::client::{End, Request};
use super::framing::{chunk, chunked};
use super::rig::Router;
use super::upstream::{Upstream, chunked_head, json, reply, sse_head};

/// Bytes that no text processing survives.
fn binary(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[test]
fn a_json_request_goes_byte_for_byte() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    let bodies = [
        r#"{"model":"gpt-4o"}"#,
        "{ \"model\" :\t\"gpt-4o\",\r\n\"seed\": 1.0e0, \"x\": 12345678901234567890, \"dup\":1, \"dup\":2 }",
        r#"{"messages":[{"content":"caf\u00e9 \ud83d\ude00 é {\"model\":\"claude\"}"}],"model":"gpt-4o","stream":false}"#,
    ];
    for (at, body) in bodies.iter().enumerate() {
        assert_eq!(router.call(&Request::post("/v1/chat/completions", body)).status, 200, "{body}");
        assert_eq!(String::from_utf8_lossy(&upstream.requests()[at].body), *body);
    }
}

#[test]
fn a_chunked_json_request_goes_whole() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    let request = Request::new("POST", "/v1/chat/completions").field("content-type", "application/json");
    let reply = router.call(&request.chunked(&[b"{\"model\":", b"\"gpt-4o\"", b"}"]));
    assert_eq!((reply.status, upstream.request().body), (200, br#"{"model":"gpt-4o"}"#.to_vec()));
}

#[test]
fn replies_come_byte_for_byte() {
    let long = binary(300_000);
    let cases: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (b"{ \"a\": 1.50,\n \"b\":\"\\u00e9\" }\n".to_vec(), Vec::new()),
        (long.clone(), b"content-type: application/octet-stream\r\n".to_vec()),
        (binary(1000), b"content-type: application/json\r\ncontent-encoding: gzip\r\n".to_vec()),
        (binary(1000), b"content-type: text/event-stream\r\ncontent-encoding: br\r\n".to_vec()),
        (Vec::new(), b"content-type: application/json\r\n".to_vec()),
    ];
    for (body, fields) in cases {
        let fields = String::from_utf8(fields).expect("fields");
        let parts: Vec<&[u8]> = body.chunks(4099).collect();
        let fixed = reply(200, &fields, &body);
        let in_chunks = [chunked_head(200, &fields), chunked(&parts)].concat();
        for raw in [fixed, in_chunks] {
            let upstream = Upstream::saying(raw);
            let got = Router::openai(&upstream).call(&Request::chat().field("accept-encoding", "gzip, br"));
            assert_eq!((got.status, got.end), (200, End::Whole), "{fields}");
            assert!(got.body == body, "{fields}: {} bytes of {}", got.body.len(), body.len());
            for line in fields.lines() {
                let (name, value) = line.split_once(": ").expect("field");
                assert_eq!(got.head.get(name).as_deref(), Some(value));
            }
        }
    }
}

#[test]
fn a_known_length_stays_known() {
    let upstream = Upstream::saying(json(r#"{"id":"x"}"#));
    let reply = Router::openai(&upstream).call(&Request::chat());
    assert_eq!(reply.head.get("content-length").as_deref(), Some("10"));
}

#[test]
fn a_reply_that_ends_by_close_comes_whole() {
    let upstream = Upstream::start(|conn| {
        conn.request();
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nuntil the end");
    });
    let reply = Router::openai(&upstream).call(&Request::chat());
    assert_eq!((reply.text().as_str(), reply.end), ("until the end", End::Whole));
}

#[test]
fn multipart_and_binary_uploads_go_byte_for_byte() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    let body = binary(400_000);
    for content_type in ["multipart/form-data; boundary=\"x y\"", "application/octet-stream", "audio/mpeg"] {
        let request = Request::new("POST", "/v1/audio/transcriptions").field("content-type", content_type);
        for request in [request.clone().body(&body), request.chunked(&body.chunks(70_001).collect::<Vec<_>>())] {
            assert_eq!(router.call(&request).status, 200);
            let got = upstream.requests().pop().expect("request");
            assert!(got.body == body, "{content_type}");
            assert_eq!(got.head.get("content-type").as_deref(), Some(content_type));
        }
    }
}

#[test]
fn a_length_is_announced_to_the_provider_where_it_is_known() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    router.call(&Request::chat());
    router.call(&Request::new("POST", "/v1/files").field("content-type", "multipart/form-data; boundary=x").body("--x--"));
    for request in upstream.requests() {
        assert_eq!(request.head.get("content-length"), Some(request.body.len().to_string()));
        assert!(request.head.get("transfer-encoding").is_none());
    }
}

#[test]
fn any_method_and_path_goes_through() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    let cases = [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/gpt-4o?x=1&y=%20&z="),
        ("DELETE", "/v1/files/file-1"),
        ("PATCH", "/v1/future"),
        ("PUT", "/v1/future/thing?"),
        ("OPTIONS", "/v1/models"),
        ("QUERY", "/v1/search"),
        ("POST", "/v1/batches/b_1/cancel"),
        ("GET", "/v1/files/a%2Fb/content?path=/a/../b&q=a+b"),
        ("GET", "/v1/files//double"),
        ("GET", "/other/api/(a);b=1,2/@me:x"),
    ];
    for (method, target) in cases {
        assert_eq!(router.call(&Request::new(method, target)).status, 200, "{method} {target}");
        let got = upstream.requests().pop().expect("request");
        assert_eq!(got.head.first, format!("{method} {target} HTTP/1.1"));
        assert!(got.body.is_empty());
    }
}

#[test]
fn a_body_goes_with_any_method() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    for method in ["PATCH", "PUT", "DELETE", "GET"] {
        let request = Request::new(method, "/v1/future").field("content-type", "application/json").body(r#"{"a":1}"#);
        assert_eq!(router.call(&request).status, 200, "{method}");
        assert_eq!(upstream.requests().pop().expect("request").body, br#"{"a":1}"#, "{method}");
    }
}

#[test]
fn a_base_path_stands_in_front() {
    let upstream = Upstream::saying(json("{}"));
    let mut config = super::rig::bare();
    for base in ["/api", "/deep/er/v1"] {
        let url = format!("{}{base}", upstream.url()).parse().expect("url");
        config.upstreams = vec![iron_runtime::Upstream::openai(url, "sk-KEYCANARY".into())];
        Router::start(config.clone()).call(&Request::get("/v1/models?a=b"));
    }
    let lines: Vec<_> = upstream.requests().into_iter().map(|request| request.head.first).collect();
    assert_eq!(lines, ["GET /api/v1/models?a=b HTTP/1.1", "GET /deep/er/v1/models?a=b HTTP/1.1"]);
}

#[test]
fn every_status_comes_through_with_its_fields() {
    for status in [200, 201, 202, 206, 301, 302, 307, 308, 400, 401, 403, 404, 409, 418, 422, 429, 500, 502, 503, 529, 599] {
        let fields = "content-type: application/json\r\nretry-after: 7\r\nx-request-id: req_1\r\nlocation: http://127.0.0.1:1/\r\n";
        let upstream = Upstream::saying(reply(status, fields, r#"{"error":{"message":"m"}}"#));
        let got = Router::openai(&upstream).call(&Request::chat());
        assert_eq!((got.status, got.text().as_str()), (status, r#"{"error":{"message":"m"}}"#));
        assert_eq!((got.head.get("retry-after").as_deref(), got.head.get("x-request-id").as_deref()), (Some("7"), Some("req_1")));
        assert_eq!(upstream.request().connection, 0, "{status}: asked once");
    }
}

#[test]
fn replies_without_a_body_keep_the_connection_in_step() {
    let upstream = Upstream::answering(|request| match request.head.first.split(' ').next() {
        Some("HEAD") => b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\netag: \"e\"\r\n\r\n".to_vec(),
        Some("DELETE") => b"HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n".to_vec(),
        Some("GET") => b"HTTP/1.1 304 Not Modified\r\netag: \"e\"\r\n\r\n".to_vec(),
        _ => json("{}"),
    });
    let router = Router::openai(&upstream);
    let mut client = router.client();
    let head = client.call(&Request::new("HEAD", "/v1/models"));
    assert_eq!((head.status, head.head.get("content-length").as_deref(), head.end), (200, Some("1234"), End::Whole));
    let deleted = client.call(&Request::new("DELETE", "/v1/files/x"));
    assert_eq!((deleted.status, deleted.head.get("x-a").as_deref(), deleted.head.get("content-length")), (204, Some("b"), None));
    let unchanged = client.call(&Request::get("/v1/models"));
    assert_eq!((unchanged.status, unchanged.head.get("etag").as_deref()), (304, Some("\"e\"")));
    assert_eq!(client.call(&Request::chat()).text(), "{}");
    assert_eq!(router.settled(4), (4, 1, 0), "a 304 is no 2xx");
}

#[test]
fn interim_replies_are_not_the_reply() {
    for interim in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"] {
        let upstream = Upstream::saying([interim.as_bytes(), &json(r#"{"a":1}"#)].concat());
        let router = Router::openai(&upstream);
        let mut client = router.client();
        for _ in 0..2 {
            let reply = client.call(&Request::chat());
            assert_eq!((reply.status, reply.text().as_str()), (200, r#"{"a":1}"#), "{interim}");
        }
    }
}

#[test]
fn both_connections_are_kept_alive() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    let mut client = router.client();
    for _ in 0..5 {
        assert_eq!(client.call(&Request::chat()).status, 200);
    }
    assert_eq!(upstream.log(|log| (log.connections, log.requests.len())), (1, 5));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::answering(|request| json(&format!("{:?}", request.head.first)));
    let router = Router::openai(&upstream);
    let mut client = router.client();
    let requests: Vec<_> = (0..5).map(|n| Request::get(&format!("/v1/models/{n}"))).collect();
    client.send(&requests.iter().flat_map(Request::bytes).collect::<Vec<_>>());
    for n in 0..5 {
        assert_eq!(client.reply("GET").text(), format!("\"GET /v1/models/{n} HTTP/1.1\""));
    }
}

#[test]
fn a_stream_comes_byte_for_byte() {
    let events: Vec<Vec<u8>> = (0..50).map(|n| format!("data: {{\"n\":{n},\"t\":\"\u{e9}\\n\"}}\n\n").into_bytes()).collect();
    let mut raw = sse_head();
    events.iter().for_each(|event| raw.extend(chunk(event)));
    raw.extend_from_slice(b"0\r\n\r\n");
    let upstream = Upstream::saying(raw);
    let reply = Router::openai(&upstream).call(&Request::chat_stream());
    assert_eq!((reply.end, reply.text()), (End::Whole, String::from_utf8(events.concat()).expect("text")));
    assert_eq!(reply.head.get("content-type").as_deref(), Some("text/event-stream; charset=utf-8"));
}

#[test]
fn an_old_client_gets_its_reply_until_close() {
    let upstream = Upstream::saying([sse_head(), chunked(&[b"data: 1\n\n", b"data: 2\n\n"])].concat());
    let router = Router::openai(&upstream);
    let mut client = router.client();
    let request = String::from_utf8(Request::chat_stream().bytes()).expect("text");
    client.send(request.replace("HTTP/1.1", "HTTP/1.0").as_bytes());
    let reply = client.reply("POST");
    assert_eq!((reply.text().as_str(), reply.head.get("transfer-encoding")), ("data: 1\n\ndata: 2\n\n", None));
}

#[test]
fn a_reply_that_comes_in_single_bytes_is_the_same() {
    let fixed = json(r#"{"id":"x"}"#);
    let in_chunks = [chunked_head(200, "content-type: text/plain\r\n"), chunked(&[b"one", b"two"])].concat();
    for (raw, body) in [(fixed, r#"{"id":"x"}"#), (in_chunks, "onetwo")] {
        let upstream = Upstream::start(move |conn| while conn.request().is_some() && raw.iter().all(|byte| conn.send(&[*byte])) {});
        let router = Router::openai(&upstream);
        let mut client = router.client();
        for _ in 0..2 {
            let reply = client.call(&Request::chat());
            assert_eq!((reply.status, reply.end, reply.text().as_str()), (200, End::Whole, body));
        }
        assert_eq!(upstream.log(|log| log.connections), 1);
    }
}

#[test]
fn chunk_extensions_and_trailers_of_a_reply_stay_on_their_hop() {
    let upstream = Upstream::saying(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n3;a=b\r\none\r\n0003;x\r\ntwo\r\n0\r\nx-t: 1\r\n\r\n",
    );
    let router = Router::openai(&upstream);
    let mut client = router.client();
    for _ in 0..2 {
        let reply = client.call(&Request::chat());
        assert_eq!((reply.end, reply.text().as_str()), (End::Whole, "onetwo"));
    }
}

#[test]
fn a_reply_with_many_fields_comes_through() {
    let fields: String = (0..90).map(|n| format!("x-field-{n}: {}\r\n", "v".repeat(300))).collect();
    let upstream = Upstream::saying(reply(200, &fields, "{}"));
    let got = Router::openai(&upstream).call(&Request::chat());
    assert_eq!(got.status, 200, "{}", got.text());
    assert!((0..90).all(|n| got.head.get(&format!("x-field-{n}")).is_some()));
}

#[test]
fn a_content_type_of_any_letters_goes_through() {
    // Its fifth byte from the end lies inside a letter.
    const KIND: &str = "a\u{e9}json";
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    let reply = router.call(&Request::new("POST", "/v1/anything").field("content-type", KIND).body("x"));
    assert_eq!((reply.status, upstream.request().head.get("content-type").as_deref()), (200, Some(KIND)));
}
