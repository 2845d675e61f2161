//! One request after the other: lengths, bodies, `100 Continue`, what is kept alive.

use super::*;

#[test]
fn requests_follow_each_other_on_one_connection() {
    let house = House::new(limits(), echo);
    let mut client = connect(house.address());
    for (request, reply) in [
        ("GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a "),
        ("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", "POST /b hello"),
        ("POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "POST /c abc"),
        ("\r\nGET /d HTTP/1.1\r\nHost: h\r\n\r\n", "GET /d "),
    ] {
        client.write_all(request.as_bytes()).unwrap();
        assert!(read_until(&mut client, reply).contains(&format!("Content-Length: {}\r\n", reply.len())), "{request}");
    }
    assert_eq!((house.calls(), house.server.connections()), (4, 1));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let house = House::new(limits(), echo);
    let mut requests: String = (0..200).map(|n| format!("POST /{n} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n{n:03}")).collect();
    requests.push_str("GET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let replies = talk(house.address(), requests.as_bytes());
    let bodies: Vec<&str> = replies.split("\r\n\r\n").skip(1).map(|part| part.split("HTTP/1.1").next().unwrap()).collect();
    let expected: Vec<String> = (0..200).map(|n| format!("POST /{n} {n:03}")).chain(["GET /end ".into()]).collect();
    assert_eq!(bodies, expected);
}

/// Whatever packets the bytes come in, the replies are the same.
#[test]
fn every_cut_of_the_bytes_gives_the_same_replies() {
    let house = House::new(limits(), echo);
    let bytes = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n\
        POST /b HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 4\r\n\r\nwxyz";
    let whole = talk(house.address(), bytes);
    assert!(whole.contains("POST /a abcde") && whole.ends_with("POST /b wxyz"), "{whole}");
    for cut in 1..bytes.len() {
        let mut client = connect(house.address());
        client.set_nodelay(true).unwrap();
        client.write_all(&bytes[..cut]).unwrap();
        client.write_all(&bytes[cut..]).unwrap();
        assert_eq!(read_to_close(&mut client), whole, "cut at {cut}");
    }
}

#[test]
fn a_large_head_is_taken_up_to_its_limit() {
    let house = House::new(ServerLimits { max_header_bytes: 64 << 10, ..limits() }, |request, _, reply| {
        let length = request.headers.get("x").map_or(0, <[u8]>::len).to_string();
        reply.send(200, NO_FIELDS, length.as_bytes()).unwrap();
    });
    for length in [100, 15_000, 16_384, 40_000, 65_000] {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\nGET /2 HTTP/1.0\r\n\r\n", "x".repeat(length));
        let replies = talk(house.address(), request.as_bytes());
        assert!(replies.contains(&format!("\r\n\r\n{length}HTTP/1.1 200")), "{replies}");
    }
}

#[test]
fn more_fields_than_usual_are_taken_where_the_limit_allows() {
    let house = House::new(ServerLimits { max_headers: 300, ..limits() }, |request, _, reply| {
        reply.send(200, NO_FIELDS, request.headers.iter().count().to_string().as_bytes()).unwrap();
    });
    let reply = talk(house.address(), format!("GET / HTTP/1.0\r\n{}\r\n", "A: b\r\n".repeat(299)).as_bytes());
    assert!(reply.ends_with("\r\n\r\n299"), "{reply}");
}

#[test]
fn large_bodies_arrive_whole() {
    let house = House::new(limits(), |_, body, reply| {
        let mut bytes = Vec::new();
        body.read_all(8 << 20, &mut bytes).unwrap();
        let sum: u64 = bytes.iter().map(|&b| u64::from(b)).sum();
        reply.send(200, NO_FIELDS, format!("{} {sum}", bytes.len()).as_bytes()).unwrap();
    });
    let bytes: Vec<u8> = (0..3_000_001u32).map(|n| (n % 251) as u8).collect();
    let expected = format!("{} {}", bytes.len(), bytes.iter().map(|&b| u64::from(b)).sum::<u64>());
    let mut fixed = format!("POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", bytes.len()).into_bytes();
    fixed.extend_from_slice(&bytes);
    let mut chunked = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in bytes.chunks(70_000) {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    for request in [fixed, chunked] {
        assert!(talk(house.address(), &request).ends_with(&expected));
    }
}

#[test]
fn a_body_can_be_read_piece_by_piece() {
    let house = House::new(limits(), |_, body, reply| {
        let mut text = String::new();
        std::io::Read::read_to_string(body, &mut text).unwrap();
        assert_eq!(body.read_some(&mut [0; 4]).unwrap(), 0);
        reply.send(200, NO_FIELDS, text.as_bytes()).unwrap();
    });
    for request in [
        "POST / HTTP/1.0\r\nContent-Length: 10\r\n\r\n0123456789",
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n",
    ] {
        assert!(talk(house.address(), request.as_bytes()).ends_with("\r\n\r\n0123456789"));
    }
}

#[test]
fn continue_is_sent_when_the_body_is_first_read() {
    let house = House::new(limits(), echo);
    let mut client = connect(house.address());
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n").unwrap();
    assert_eq!(read_until(&mut client, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"abc").unwrap();
    assert!(!read_until(&mut client, "POST / abc").contains("Connection"));
    // And the connection goes on.
    client.write_all(b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    read_until(&mut client, "GET /next ");
}

#[test]
fn continue_is_not_sent_to_a_client_that_is_refused_or_does_not_know_it() {
    let house = House::new(limits(), |request, body, reply| {
        if request.target == "/refused" {
            return reply.send(403, NO_FIELDS, b"no").unwrap();
        }
        echo(request, body, reply);
    });
    let refused = talk(house.address(), b"POST /refused HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 403 ") && refused.contains("Connection: close\r\n"), "{refused}");
    let old = talk(house.address(), b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc");
    assert!(old.starts_with("HTTP/1.1 200 "), "{old}");
    // Nor to one that has not waited for it.
    let eager = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc";
    assert!(talk(house.address(), eager).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_reply_to_head_has_no_body() {
    let house = House::new(limits(), |request, _, reply| match request.target {
        "/stream" => {
            let mut stream = reply.start(200, NO_FIELDS, Framing::Chunked);
            stream.write(b"unseen").unwrap();
            stream.finish().unwrap();
        }
        _ => reply.send(200, NO_FIELDS, b"unseen").unwrap(),
    });
    let replies = talk(
        house.address(),
        b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\nHEAD /stream HTTP/1.1\r\nHost: h\r\n\r\nHEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    );
    let expected = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nHTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n";
    assert_eq!(replies, expected);
}

#[test]
fn an_old_client_is_kept_alive_if_it_asks() {
    let house = House::new(limits(), echo);
    let replies = talk(house.address(), b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\nGET /c HTTP/1.0\r\n\r\n");
    assert!(replies.contains("Connection: keep-alive\r\n\r\nGET /a ") && replies.ends_with("GET /b "), "{replies}");
}

#[test]
fn a_small_unread_body_is_skipped_and_never_taken_for_a_request() {
    let house = House::new(limits(), |request, _, reply| reply.send(200, NO_FIELDS, request.target.as_bytes()).unwrap());
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let fixed = format!("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len());
    let chunked =
        format!("POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    let replies = talk(house.address(), format!("{fixed}{chunked}GET /c HTTP/1.0\r\n\r\n").as_bytes());
    let targets: Vec<&str> = replies.split("\r\n\r\n").skip(1).map(|part| &part[..2]).collect();
    assert_eq!((targets, house.calls()), (vec!["/a", "/b", "/c"], 3));
}

#[test]
fn a_large_unread_body_costs_the_connection_but_not_the_reply() {
    let house = House::new(limits(), |_, _, reply| reply.send(413, NO_FIELDS, b"too large").unwrap());
    let mut client = connect(house.address());
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n").unwrap();
    client.write_all(&vec![b'x'; 9_000_000]).unwrap();
    let reply = read_to_close(&mut client);
    assert!(reply.contains("Connection: close\r\n") && reply.ends_with("too large"), "{reply}");
}

#[test]
fn what_follows_a_malformed_unread_body_is_not_answered() {
    let house = House::new(limits(), |request, _, reply| reply.send(200, NO_FIELDS, request.target.as_bytes()).unwrap());
    let replies = talk(
        house.address(),
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    assert!(replies.ends_with("/a") && house.calls() == 1, "{replies}");
}

#[test]
fn a_service_that_gives_up_on_the_body_leaves_the_right_status() {
    let short = ServerLimits { body_timeout: Duration::from_millis(50), ..limits() };
    let house = House::new(short, |_, body, _| {
        let _ = body.read_all(10, &mut Vec::new());
    });
    for (status, rest) in [
        (413, "Content-Length: 11\r\n\r\n01234567890"),
        (413, "Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n"),
        (400, "Transfer-Encoding: chunked\r\n\r\nx\r\n"),
        (408, "Content-Length: 5\r\n\r\n0123"),
        (408, "Transfer-Encoding: chunked\r\n\r\n5\r\n0123"),
        (500, "\r\n"),
    ] {
        let reply = talk(house.address(), format!("POST / HTTP/1.1\r\nHost: h\r\n{rest}").as_bytes());
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{rest:?}: {reply}");
    }
}

/// A client that sends a byte now and then, each in time, does not hold a buffered body for ever.
#[test]
fn a_trickled_body_ends_by_its_total_time() {
    let house = House::new(ServerLimits { body_timeout: Duration::from_millis(40), ..limits() }, echo);
    let mut client = connect(house.address());
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n").unwrap();
    assert!(trickle(&mut client, b"x").starts_with("HTTP/1.1 400 "));
}

#[test]
fn a_service_can_close_after_its_reply() {
    let house = House::new(limits(), |_, _, mut reply| {
        reply.close_after();
        reply.send(200, [("X-A", &b"b"[..])], b"bye").unwrap();
    });
    let reply = talk(house.address(), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(reply, "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbye");
}

#[test]
fn streams_are_chunked_and_leave_piece_by_piece() {
    let (seen, go) = channel::<()>();
    let go = Mutex::new(go);
    let house = House::new(limits(), move |_, _, reply| {
        let mut stream = reply.start(200, [("A", &b"b"[..])], Framing::Chunked);
        assert!(!stream.started());
        stream.flush().unwrap();
        assert!(stream.started());
        for piece in ["one", "two"] {
            go.lock().unwrap().recv().unwrap();
            stream.write(piece.as_bytes()).unwrap();
        }
        stream.finish_with(b"three").unwrap();
    });
    let mut client = connect(house.address());
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(read_until(&mut client, "\r\n\r\n"), "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n");
    seen.send(()).unwrap();
    assert_eq!(read_until(&mut client, "one\r\n"), "3\r\none\r\n");
    seen.send(()).unwrap();
    assert_eq!(read_until(&mut client, "0\r\n\r\n"), "3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n");
}
