//! Providers behind TLS. What is trusted is decided when the router starts, from `SSL_CERT_FILE`: tests that set it run in a process of
//! their own.

use super::client::Request;
use super::rig::{Router, in_child};
use super::upstream::{Upstream, json};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A self-signed certificate for this machine and a name that only a proxy knows, as files.
struct Files {
    directory: PathBuf,
}

impl Files {
    fn write(name: &str) -> Self {
        let made =
            rcgen::generate_simple_self_signed(vec!["127.0.0.1".into(), "localhost".into(), "provider.test".into()]).expect("certificate");
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("directory");
        std::fs::write(directory.join("cert.pem"), made.cert.pem()).expect("certificate file");
        std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).expect("key file");
        Self { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn server_config(cert: &str, key: &str) -> Arc<rustls::ServerConfig> {
    let cert = CertificateDer::from_pem_file(cert).expect("certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    Arc::new(builder.with_no_client_auth().with_single_cert(vec![cert], key).expect("certificate and key"))
}

/// Runs `test` in a process that trusts the certificate and has these variables too, with that certificate's server side.
pub(crate) fn where_trusted(name: &str, variables: &[(&str, &str)], test: impl FnOnce(Arc<rustls::ServerConfig>)) {
    let files = std::env::var("TEST_KEY").is_err().then(|| Files::write(&name.replace("::", "-")));
    let path = |file| files.as_ref().map(|files| files.path(file)).unwrap_or_default();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    if in_child(name, &[&[("SSL_CERT_FILE", cert.as_str()), ("TEST_KEY", &key)], variables].concat()) {
        let variable = |name| std::env::var(name).expect("variable");
        test(server_config(&variable("SSL_CERT_FILE"), &variable("TEST_KEY")));
    }
}

#[test]
fn a_certificate_nobody_vouches_for_is_refused() {
    let files = Files::write("untrusted");
    let upstream = Upstream::start_tls(server_config(&files.path("cert.pem"), &files.path("key.pem")), |conn| {
        conn.request();
        conn.send(&json("{}"));
    });
    let router = Router::openai(&upstream);
    let reply = router.call(&Request::chat());
    assert_eq!(reply.error(), (502, "upstream_tls".into()));
    assert_eq!(router.settled(1), (1, 1, 0));
    assert!(upstream.requests().is_empty(), "no key was sent");
}

#[test]
fn a_trusted_certificate_works_and_a_hundred_clients_cost_one_handshake() {
    where_trusted("it::tls::a_trusted_certificate_works_and_a_hundred_clients_cost_one_handshake", &[], |tls| {
        let upstream = Upstream::start_tls(tls, |conn| {
            while conn.request().is_some() {
                conn.send(&json("{}"));
            }
        });
        let router = Router::openai(&upstream);
        for served in 1..=100 {
            let reply = router.call(&Request::chat());
            assert_eq!((reply.status, reply.text().as_str()), (200, "{}"));
            router.settled(served);
        }
        assert_eq!(upstream.log(|log| (log.handshakes, log.requests.len())), (1, 100));
    });
}

#[test]
fn the_name_in_the_certificate_counts() {
    where_trusted("it::tls::the_name_in_the_certificate_counts", &[], |tls| {
        let upstream = Upstream::start_tls(tls, |conn| {
            conn.request();
            conn.send(&json("{}"));
        });
        let mut config = super::rig::bare();
        let url = upstream.url().replace("127.0.0.1", "127.0.0.2").parse().expect("url");
        config.upstreams.push(iron_runtime::Upstream::openai(url, super::rig::OPENAI_KEY.into()));
        let (status, code) = Router::start(config).call(&Request::chat()).error();
        // Only 127.0.0.1 listens, so the connection is refused there; where the name reaches it, the certificate is.
        assert!(status == 502 && (code == "upstream_refused" || code == "upstream_tls"), "{status} {code}");
        let mut config = super::rig::bare();
        let url = upstream.url().replace("127.0.0.1", "localhost").parse().expect("url");
        config.upstreams.push(iron_runtime::Upstream::openai(url, super::rig::OPENAI_KEY.into()));
        assert_eq!(Router::start(config).call(&Request::chat()).status, 200);
    });
}

#[test]
fn a_stream_cut_without_close_notify_is_cut() {
    where_trusted("it::tls::a_stream_cut_without_close_notify_is_cut", &[], |tls| {
        let upstream = Upstream::start_tls(tls, |conn| {
            conn.request();
            conn.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nhow much more?");
        });
        let reply = Router::openai(&upstream).call(&Request::chat());
        assert_eq!(reply.end, super::client::End::Broken, "a reply that ends by close needs close_notify: {reply:?}");
    });
}

#[test]
fn bytes_after_a_reply_are_not_the_next_one() {
    where_trusted("it::tls::bytes_after_a_reply_are_not_the_next_one", &[], |tls| {
        // The reply fills the router's read buffer to the last byte; what follows lies decrypted behind it.
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 00000\r\n\r\n";
        let length = (16 << 10) - head.len();
        let first = [head.replace("00000", &length.to_string()).into_bytes(), vec![b'x'; length]].concat();
        let upstream = Upstream::start_tls(tls, move |conn| {
            while conn.request().is_some() {
                conn.send(&[first.as_slice(), b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"].concat());
            }
        });
        let router = Router::openai(&upstream);
        for served in 1..=3 {
            let reply = router.call(&Request::chat());
            assert!(reply.body.len() == length && reply.body.iter().all(|byte| *byte == b'x'), "{:?}", reply.text());
            router.settled(served);
        }
    });
}
