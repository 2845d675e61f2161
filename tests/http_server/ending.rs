//! How connections end: slow clients, full house, panics, replies that break off, upgrades, stop.

use super::*;

/// Waits for something another thread brings about, and does nothing else meanwhile.
fn wait_until(what: impl Fn() -> bool) {
    let since = std::time::Instant::now();
    while !what() {
        assert!(since.elapsed() < PATIENCE, "waited in vain");
        std::thread::yield_now();
    }
}

/// The threads of the server on `port` are gone (it names them by it). The kernel lists a thread a moment longer than it can be joined.
fn assert_no_threads(port: u16) {
    if cfg!(target_os = "linux") {
        wait_until(|| threads(port) == 0);
    }
}

fn threads(port: u16) -> usize {
    let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    names.filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == format!("http:{port}"))).count()
}

/// A house whose service says on one channel that it is in, and waits on another before it answers.
fn gated(limits: ServerLimits) -> (House, Receiver<()>, Sender<()>) {
    let ((entered, inside), (open, gate)) = (channel(), channel());
    let (entered, gate) = (Mutex::new(entered), Mutex::new(gate));
    let house = House::new(limits, move |request, body, reply| {
        if request.target == "/gated" {
            entered.lock().unwrap().send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
        }
        echo(request, body, reply);
    });
    (house, inside, open)
}

#[test]
fn a_head_that_trickles_in_ends_in_408() {
    let house = House::new(ServerLimits { header_timeout: Duration::from_millis(80), ..limits() }, echo);
    for beginning in ["G", "GET / HTTP/1.1\r\nHost: h\r\nX: "] {
        let mut client = connect(house.address());
        client.write_all(beginning.as_bytes()).unwrap();
        assert!(trickle(&mut client, b"x").starts_with("HTTP/1.1 408 "));
    }
    assert_eq!(house.calls(), 0);
    assert!(house.alive());
}

#[test]
fn a_silent_connection_is_closed_without_a_word() {
    let house = House::new(ServerLimits { keep_alive: Duration::from_millis(50), ..limits() }, echo);
    assert_eq!(read_to_close(&mut connect(house.address())), "");
    let mut client = connect(house.address());
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert!(read_to_close(&mut client).ends_with("GET / "));
}

#[test]
fn a_full_house_turns_away_and_recovers() {
    let (house, inside, open) = gated(ServerLimits { max_connections: 1, ..limits() });
    let mut first = connect(house.address());
    first.write_all(b"GET /gated HTTP/1.0\r\n\r\n").unwrap();
    inside.recv().unwrap();
    for _ in 0..40 {
        let reply = talk(house.address(), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(reply.starts_with("HTTP/1.1 503 ") && reply.contains("Retry-After: 1\r\n"), "{reply}");
        assert!(reply.ends_with("{\"code\":\"too_many_connections\"}"), "{reply}");
    }
    open.send(()).unwrap();
    assert!(read_to_close(&mut first).ends_with("GET /gated "));
    wait_until(|| house.server.connections() == 0);
    assert!(house.alive());
}

#[test]
fn a_panic_ends_one_request_only() {
    let house = House::new(limits(), |request, body, reply| match request.target {
        "/early" => panic!("on purpose"),
        "/decided" => {
            let _stream = reply.start(200, NO_FIELDS, Framing::Chunked);
            panic!("on purpose")
        }
        "/late" => {
            reply.start(200, NO_FIELDS, Framing::Chunked).write(b"part").unwrap();
            panic!("on purpose")
        }
        _ => echo(request, body, reply),
    });
    let mut other = connect(house.address());
    for target in ["/early", "/decided"] {
        let reply = talk(house.address(), format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        assert!(reply.starts_with("HTTP/1.1 500 ") && reply.ends_with("{\"code\":\"internal_error\"}"), "{reply}");
    }
    assert!(talk(house.address(), b"GET /late HTTP/1.1\r\nHost: h\r\n\r\n").ends_with("\r\n\r\n4\r\npart\r\n"));
    other.write_all(b"GET /other HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    read_until(&mut other, "GET /other ");
}

#[test]
fn a_reply_that_broke_off_never_looks_whole() {
    let house = House::new(limits(), |request, _, reply| {
        let framing = if request.target == "/length" { Framing::Length(10) } else { Framing::Chunked };
        let mut stream = reply.start(200, NO_FIELDS, framing);
        stream.write(b"part").unwrap();
    });
    assert!(talk(house.address(), b"GET /length HTTP/1.1\r\nHost: h\r\n\r\n").ends_with("Content-Length: 10\r\n\r\npart"));
    assert!(talk(house.address(), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").ends_with("\r\n\r\n4\r\npart\r\n"));
    // Where only the close marks the end, there must be no orderly close.
    let mut client = connect(house.address());
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let failure = client.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(failure.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_stream_by_close_ends_in_order() {
    let house = House::new(limits(), |_, _, reply| {
        reply.start(200, NO_FIELDS, Framing::Chunked).finish_with(b"whole").unwrap();
    });
    assert!(talk(house.address(), b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").ends_with("Connection: close\r\n\r\nwhole"));
}

#[test]
fn a_client_that_reads_nothing_is_given_up() {
    let (told, end) = channel();
    let told = Mutex::new(told);
    let house = House::new(ServerLimits { write_timeout: Duration::from_millis(50), ..limits() }, move |_, _, reply| {
        let mut stream = reply.start(200, NO_FIELDS, Framing::Chunked);
        while stream.write(&[b'x'; 65536]).is_ok() {}
        assert!(stream.write(b"more").is_err());
        told.lock().unwrap().send(()).unwrap();
    });
    let mut client = connect(house.address());
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    end.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_client_that_leaves_is_noticed() {
    let (told, end) = channel();
    let told = Mutex::new(told);
    let house = House::new(limits(), move |_, _, reply| {
        let client = reply.client();
        told.lock().unwrap().send(client.gone()).unwrap();
        wait_until(|| client.gone());
        told.lock().unwrap().send(true).unwrap();
    });
    for leave in [Shutdown::Write, Shutdown::Both] {
        let mut client = connect(house.address());
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert!(!end.recv_timeout(PATIENCE).unwrap());
        client.shutdown(leave).unwrap();
        assert!(end.recv_timeout(PATIENCE).unwrap());
    }
}

#[test]
fn pipelined_bytes_are_not_a_client_that_left() {
    let (told, end) = channel();
    let (told, (open, gate)) = (Mutex::new(told), channel::<()>());
    let gate = Mutex::new(gate);
    let house = House::new(limits(), move |_, _, reply| {
        gate.lock().unwrap().recv().unwrap();
        told.lock().unwrap().send(reply.client().gone()).unwrap();
        reply.send(200, NO_FIELDS, b"here").unwrap();
    });
    let mut client = connect(house.address());
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    for _ in 0..2 {
        open.send(()).unwrap();
        assert!(!end.recv_timeout(PATIENCE).unwrap());
    }
    assert!(read_to_close(&mut client).ends_with("here"));
}

#[test]
fn an_upgrade_hands_the_connection_over() {
    let (give, take) = channel();
    let give = Mutex::new(give);
    let house = House::new(limits(), move |_, _, reply| {
        give.lock().unwrap().send(reply.upgrade([("Upgrade", &b"echo"[..])])).unwrap();
    });
    let mut client = connect(house.address());
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly").unwrap();
    let (mut socket, ahead) = take.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(read_until(&mut client, "\r\n\r\n"), "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n");
    let mut early = String::from_utf8(ahead).unwrap();
    if early.is_empty() {
        early = read_until(&mut socket, "early");
    }
    assert_eq!(early, "early");
    // It outlives the connection's thread, and the server.
    wait_until(|| house.server.connections() == 0);
    house.server.stop(Duration::ZERO);
    socket.write_all(b"ping").unwrap();
    assert_eq!(read_until(&mut client, "ping"), "ping");
    drop(socket);
    assert_eq!(read_to_close(&mut client), "");
}

#[test]
fn a_request_with_a_body_can_not_be_upgraded() {
    let house = House::new(limits(), |_, _, reply| assert!(reply.upgrade(NO_FIELDS).is_err()));
    let reply = talk(house.address(), b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na");
    assert!(reply.starts_with("HTTP/1.1 500 "), "{reply}");
}

#[test]
fn stop_closes_who_waits_and_lets_who_works_finish() {
    let (house, inside, open) = gated(limits());
    let (mut idle, mut busy, mut slow) = (connect(house.address()), connect(house.address()), connect(house.address()));
    idle.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    read_until(&mut idle, "GET / ");
    busy.write_all(b"GET /gated HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    slow.write_all(b"GET /half").unwrap();
    inside.recv().unwrap();
    wait_until(|| house.server.connections() == 3);
    let server = Arc::clone(&house.server);
    let stopping = std::thread::spawn(move || server.stop(PATIENCE));
    // The idle one is closed while the busy one is still at work; who had sent half a head is too late.
    assert_eq!(read_to_close(&mut idle), "");
    let _ = slow.read_to_end(&mut Vec::new());
    open.send(()).unwrap();
    let reply = read_to_close(&mut busy);
    assert!(reply.contains("Connection: close\r\n") && reply.ends_with("GET /gated "), "{reply}");
    let report = stopping.join().unwrap();
    assert_eq!((report.drained, report.cut), (1, 0));
    assert_eq!(house.server.connections(), 0);
    assert_no_threads(house.address().port());
}

#[test]
fn stop_cuts_who_does_not_finish() {
    let (entered, inside) = channel();
    let entered = Mutex::new(entered);
    let house = House::new(limits(), move |request, body, reply| {
        entered.lock().unwrap().send(()).unwrap();
        match request.target {
            "/watching" => {
                let client = reply.client();
                wait_until(|| client.gone());
            }
            "/writing" => {
                let mut stream = reply.start(200, NO_FIELDS, Framing::Chunked);
                while stream.write(&[b'x'; 65536]).is_ok() {}
            }
            _ => echo(request, body, reply),
        }
    });
    let requests = ["GET /watching HTTP/1.1\r\nHost: h\r\n\r\n", "GET /writing HTTP/1.1\r\nHost: h\r\n\r\n"];
    let reading = "POST /reading HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf";
    let clients: Vec<TcpStream> = requests
        .iter()
        .chain([&reading])
        .map(|request| {
            let mut client = connect(house.address());
            client.write_all(request.as_bytes()).unwrap();
            inside.recv_timeout(PATIENCE).unwrap();
            client
        })
        .collect();
    let report = house.server.stop(Duration::from_millis(20));
    assert_eq!((report.drained, report.cut), (0, 3));
    assert_eq!(house.server.connections(), 0);
    assert_no_threads(house.address().port());
    drop(clients);
}

#[test]
fn stop_twice_and_from_two_threads() {
    let house = House::new(limits(), echo);
    let mut idle = connect(house.address());
    assert!(house.alive());
    let servers = [Arc::clone(&house.server), Arc::clone(&house.server)];
    let stops = servers.map(|server| std::thread::spawn(move || server.stop(PATIENCE)));
    for stop in stops {
        assert_eq!(stop.join().unwrap().cut, 0);
    }
    assert_eq!(house.server.stop(PATIENCE).cut, 0);
    assert_eq!(read_to_close(&mut idle), "");
    assert!(TcpStream::connect(house.address()).is_err());
    assert_no_threads(house.address().port());
}

/// The address is free again: nothing of the old server holds it.
#[test]
fn a_stopped_server_can_be_started_again_on_its_port() {
    let house = House::new(limits(), echo);
    assert!(house.alive());
    let port = house.address().port();
    drop(house);
    let listener = Server::listen("127.0.0.1", port).unwrap();
    assert_eq!(listener.local_addr().unwrap().port(), port);
}

#[test]
fn a_service_may_stop_its_own_server() {
    let slot: Arc<Mutex<Option<Arc<Server>>>> = Arc::default();
    let own = Arc::clone(&slot);
    let house = House::new(limits(), move |_, _, reply| {
        if let Some(server) = own.lock().unwrap().take() {
            server.stop(PATIENCE);
        }
        let _ = reply.send(200, NO_FIELDS, b"stopped");
    });
    *slot.lock().unwrap() = Some(Arc::clone(&house.server));
    let reply = talk(house.address(), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(reply.ends_with("stopped"), "{reply}");
}

#[test]
fn names_and_both_kinds_of_address() {
    for host in ["localhost", "127.0.0.1", "::1", "[::1]"] {
        let listener = match Server::listen(host, 0) {
            Ok(listener) => listener,
            // A machine without IPv6 has nothing to show here.
            Err(_) if host.contains(':') => continue,
            Err(error) => panic!("{host}: {error}"),
        };
        let service = Arc::new(Scripted { answer: Box::new(echo), calls: AtomicUsize::new(0) });
        let server = Server::start(listener, limits(), service).unwrap();
        assert!(server.address().ip().is_loopback() && server.address().port() != 0);
        assert!(talk(server.address(), b"GET /x HTTP/1.0\r\n\r\n").ends_with("GET /x "), "{host}");
        server.stop(PATIENCE);
    }
    assert!(Server::listen("no such host", 0).is_err());
}

/// Bursts come and go; what is left behind is nothing.
#[test]
fn many_short_connections_leave_nothing() {
    let house = House::new(limits(), echo);
    let address = house.address();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..50 {
                    assert!(talk(address, b"GET / HTTP/1.0\r\n\r\n").ends_with("GET / "));
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    house.server.stop(PATIENCE);
    assert_eq!((house.calls(), house.server.connections()), (400, 0));
    assert_no_threads(address.port());
}

/// Threads are used again; a connection never waits for one that is busy with another.
#[test]
fn every_one_of_a_burst_is_answered_while_all_stay() {
    let house = House::new(limits(), echo);
    for _ in 0..20 {
        let mut clients: Vec<TcpStream> = (0..16).map(|_| connect(house.address())).collect();
        for client in &mut clients {
            client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        }
        for client in &mut clients {
            read_until(client, "GET / ");
        }
        drop(clients);
        wait_until(|| house.server.connections() == 0);
    }
}

#[test]
fn times_without_end_are_taken() {
    let limits = ServerLimits {
        header_timeout: Duration::MAX,
        body_timeout: Duration::MAX,
        keep_alive: Duration::MAX,
        write_timeout: Duration::MAX,
        ..limits()
    };
    let house = House::new(limits, echo);
    let mut client = connect(house.address());
    for part in ["POST / HTTP/1.1\r\nHost: h\r\nContent-Le", "ngth: 3\r\n\r\n", "abc"] {
        client.write_all(part.as_bytes()).unwrap();
    }
    read_until(&mut client, "POST / abc");
    assert_eq!(house.server.stop(Duration::MAX).cut, 0);
}
