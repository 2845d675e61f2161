//! The way out: sends an [`Outbound`] with its upstream's own key and returns the reply, or says in the words of the error table why there
//! is none. The only place where a key meets a request.

use super::tls::Tls;
use super::transport;
use super::watch::{Begin, Watch};
use crate::call::{BodyLength, Outbound, Reason, Refusal};
use crate::config::{Auth, BaseUrl, Timeouts};
use crate::error::Error;
use crate::http::{BodyError, Client};
use crate::secret::Secret;
use std::io;
use std::time::{Duration, Instant};
use ureq::http::header::CONTENT_LENGTH;
use ureq::http::uri::{Authority, PathAndQuery, Scheme};
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use ureq::{Agent, SendBody, Timeout};

/// A connection that had died in the pool shows it this fast.
const STALE_WITHIN: Duration = Duration::from_secs(2);

/// Bytes of a reply's head.
const MAX_REPLY_HEAD: usize = 64 << 10;

/// The agents that all exchanges share, so that they share warm connections.
pub(crate) struct Upstreams {
    direct: Agent,
    /// The proxy of the environment, for hosts that are not this machine.
    proxied: Option<Agent>,
    timeouts: Timeouts,
}

/// An upstream as the sender needs it: address, key and the field that carries it, prepared once.
pub(crate) struct Destination {
    scheme: Scheme,
    authority: Authority,
    name: String,
    loopback: bool,
    /// The whole header line that carries the key.
    credential: Option<Secret>,
}

/// A request body on its way out.
pub(crate) enum Sending<'a> {
    /// None at all.
    Nothing,
    /// In memory: may be sent again on another connection.
    Buffered(&'a [u8]),
    /// As it comes from the client: sent once.
    Streamed(&'a mut dyn std::io::Read, BodyLength),
}

/// The head of an upstream's reply, and its body to be read.
pub(crate) struct UpstreamReply {
    /// The status.
    pub(crate) status: u16,
    /// The header fields.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: ureq::BodyReader<'static>,
    /// Its length, if the upstream told.
    pub(crate) length: Option<u64>,
}

impl UpstreamReply {
    /// Whether its status says that it is what was asked for.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// There is no reply.
pub(crate) struct SendFault {
    /// Why.
    pub(crate) why: NoReply,
    /// Whether the whole request had left: then the provider may have done its work, and bill it.
    pub(crate) sent: bool,
}

/// Why there is no reply.
pub(crate) enum NoReply {
    /// To be answered to the client.
    Refused(Refusal),
    /// The client has gone: nobody to answer.
    ClientGone,
}

impl SendFault {
    /// Nothing was sent.
    pub(crate) fn unsent(refused: Refusal) -> Self {
        Self { why: NoReply::Refused(refused), sent: false }
    }
}

impl Destination {
    /// Prepares an upstream's address and key.
    ///
    /// # Errors
    /// The key can't stand in a header field.
    pub(crate) fn new(name: &str, base: &BaseUrl, auth: Auth, key: Option<&Secret>) -> Result<Self, Error> {
        let malformed = |what: &str| Error::Config(format!("{name}: {what}"));
        let unfit = || malformed("the key has characters that a header can't carry");
        let credential = key.map(|key| credential(auth, key).ok_or_else(unfit)).transpose()?;
        Ok(Self {
            scheme: if base.is_https() { Scheme::HTTPS } else { Scheme::HTTP },
            authority: base.authority().parse().map_err(|_| malformed("the address's host is malformed"))?,
            name: name.into(),
            loopback: base.is_loopback(),
            credential,
        })
    }
}

/// The header line that carries a key; `None` where the key has a control character or none of it is ASCII.
fn credential(auth: Auth, key: &Secret) -> Option<Secret> {
    let text = key.expose();
    let fit = !text.is_empty() && text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    let line = match auth {
        Auth::Bearer => format!("authorization: Bearer {text}\r\n"),
        Auth::XApiKey => format!("x-api-key: {text}\r\n"),
        Auth::ApiKey => format!("api-key: {text}\r\n"),
    };
    // Wrapped before it is judged, so that it is wiped either way.
    Some(Secret::new(line)).filter(|_| fit)
}

impl Upstreams {
    /// Agents with our limits. `ca_file` is a PEM file of roots that replace the bundled ones; the proxy is the environment's.
    ///
    /// # Errors
    /// The roots can't be read.
    pub(crate) fn new(timeouts: Timeouts, ca_file: Option<&std::path::Path>) -> Result<Self, Error> {
        let tls = Tls::new(ca_file)?;
        let agent = |proxy| transport::agent(agent_config(&timeouts, proxy), tls.clone(), timeouts.write);
        let proxied = environment_proxy().map(|proxy| agent(Some(proxy)));
        Ok(Self { direct: agent(None), proxied, timeouts })
    }

    /// A client for the control server: few calls, never redirected, no proxy to a server on this machine.
    ///
    /// # Errors
    /// The roots can't be read.
    pub(crate) fn control_agent(server: &BaseUrl, ca_file: Option<&std::path::Path>) -> Result<Agent, Error> {
        let timeouts = Timeouts { connect: Duration::from_secs(5), write: Duration::from_secs(10), ..Timeouts::default() };
        let proxy = environment_proxy().filter(|_| !server.is_loopback());
        Ok(transport::agent(agent_config(&timeouts, proxy), Tls::new(ca_file)?, timeouts.write))
    }

    fn agent(&self, loopback: bool) -> &Agent {
        self.proxied.as_ref().filter(|_| !loopback).unwrap_or(&self.direct)
    }

    /// Sends the request and reads the reply's head. Where a pooled connection turns out to have died meanwhile, the request is sent once
    /// more on another: only if that showed at once, nothing of a reply had come, and the body can be sent again.
    ///
    /// # Errors
    /// [`SendFault`].
    pub(crate) fn send(
        &self,
        to: &Destination,
        outbound: &Outbound<'_>,
        body: Sending<'_>,
        client: Option<&Client>,
    ) -> Result<UpstreamReply, SendFault> {
        self.send_within(self.timeouts.first_byte, to, outbound, body, client)
    }

    /// The same with a limit of its own, `first_byte`, on the time from the request's end to the reply head's end.
    ///
    /// # Errors
    /// [`SendFault`].
    pub(crate) fn send_within(
        &self,
        first_byte: Duration,
        to: &Destination,
        outbound: &Outbound<'_>,
        mut body: Sending<'_>,
        client: Option<&Client>,
    ) -> Result<UpstreamReply, SendFault> {
        let mut retried = false;
        loop {
            let body_len = if let Sending::Buffered(bytes) = &body { bytes.len() } else { 0 };
            let begin =
                Begin { client: client.cloned(), connect: self.timeouts.connect, first_byte, room: outbound.target.len() + body_len };
            Watch::begin(begin, |fields| write_fields(to, outbound, fields));
            let begun = Instant::now();
            let fault = match self.attempt(to, outbound, &mut body) {
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            };
            let seen = Watch::seen();
            Watch::end();
            if seen.client_gone {
                return Err(SendFault { why: NoReply::ClientGone, sent: seen.sent });
            }
            // A provider that has worked on a request for a while and then hangs up may have done (and billed) it: that is no stale connection.
            let stale = seen.reused && !seen.reply_bytes && begun.elapsed() < STALE_WITHIN && is_connection_fault(&fault);
            if stale && !retried && !matches!(body, Sending::Streamed(..)) {
                retried = true;
                continue;
            }
            return Err(SendFault { why: self.explain(to, &fault, first_byte), sent: seen.sent });
        }
    }

    fn attempt(&self, to: &Destination, outbound: &Outbound<'_>, body: &mut Sending<'_>) -> Result<UpstreamReply, ureq::Error> {
        let mut head = Request::new(());
        *head.method_mut() = Method::from_bytes(outbound.method.as_bytes()).map_err(ureq::http::Error::from)?;
        *head.uri_mut() = uri(to, &outbound.target)?;
        let agent = self.agent(to.loopback);
        let response = match body {
            Sending::Nothing => agent.run(head),
            Sending::Buffered(bytes) => agent.run(head.map(|()| *bytes)),
            Sending::Streamed(reader, length) => {
                if let BodyLength::Fixed(length) = length {
                    head.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(*length));
                }
                agent.run(head.map(|()| SendBody::from_reader(*reader)))
            }
        }?;
        if response.status().is_informational() {
            // An upgrade nobody asked for; what follows is no HTTP.
            return Err(ureq::Error::Other("an interim status in the place of a reply".into()));
        }
        Ok(reply(response, outbound.method == "HEAD"))
    }

    /// A failure in the words of the error table.
    fn explain(&self, to: &Destination, fault: &ureq::Error, first_byte: Duration) -> NoReply {
        let (name, authority) = (&to.name, &to.authority);
        let refusal = match fault {
            ureq::Error::Timeout(Timeout::RecvResponse) => Refusal::new(
                Reason::UpstreamTimeout,
                format!(
                    "{name} ({authority}) sent no reply within {} s{}",
                    first_byte.as_secs_f64(),
                    if first_byte < self.timeouts.first_byte { "" } else { "; raise --first-byte-timeout if that is normal" }
                ),
            ),
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => Refusal::new(
                Reason::Upstream("upstream_connect_timeout"),
                format!(
                    "{name} ({authority}) could not be connected to within {} s (--connect-timeout)",
                    self.timeouts.connect.as_secs_f64()
                ),
            ),
            ureq::Error::Timeout(_) => Refusal::new(
                Reason::UpstreamTimeout,
                format!("{name} ({authority}) took no more of the request within {} s", self.timeouts.write.as_secs_f64()),
            ),
            ureq::Error::ConnectProxyFailed(cause) => Refusal::new(
                Reason::Upstream("upstream_proxy"),
                format!(
                    "the proxy of the environment (HTTPS_PROXY, ALL_PROXY) did not connect to {name} ({authority}): {cause}; NO_PROXY leaves a host out"
                ),
            ),
            ureq::Error::Io(cause) => match cause.get_ref().and_then(|inner| inner.downcast_ref::<BodyError>()) {
                Some(body) => return body_fault(body),
                None => connection_refusal(name, authority, cause),
            },
            ureq::Error::HostNotFound => Refusal::new(
                Reason::Upstream("upstream_dns"),
                format!("{name}: the name {authority} can't be resolved; check the base URL and the network"),
            ),
            ureq::Error::Tls(cause) => tls_refusal(name, authority, cause),
            other => Refusal::new(
                Reason::Upstream("upstream_garbage"),
                format!("{name} ({authority}) sent a reply that is not valid HTTP: {other}"),
            ),
        };
        NoReply::Refused(refusal)
    }
}

fn tls_refusal(name: &str, authority: &Authority, cause: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(
        Reason::Upstream("upstream_tls"),
        format!("{name} ({authority}): TLS failed: {cause}; for a private certificate authority set SSL_CERT_FILE to its PEM file"),
    )
}

/// Refused, reset, or closed without an answer. A TLS failure comes wrapped in an I/O error too.
fn connection_refusal(name: &str, authority: &Authority, cause: &io::Error) -> Refusal {
    if cause.kind() == io::ErrorKind::InvalidData {
        return tls_refusal(name, authority, cause);
    }
    let (code, what) = match cause.kind() {
        io::ErrorKind::ConnectionRefused => ("upstream_refused", "refused the connection; is it running, and is the base URL right?"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ("upstream_unreachable", "can't be reached over the network"),
        _ => ("upstream_reset", "closed the connection before it replied"),
    };
    Refusal::new(Reason::Upstream(code), format!("{name} ({authority}) {what} ({cause})"))
}

/// The client's own body was at fault, not the upstream.
fn body_fault(fault: &BodyError) -> NoReply {
    match fault {
        BodyError::Truncated | BodyError::Io(_) => NoReply::ClientGone,
        other => NoReply::Refused(body_refusal(other, "--max-upload-bytes")),
    }
}

/// The refusal for a request body that can't be read; `option` names its limit.
pub(crate) fn body_refusal(fault: &BodyError, option: &str) -> Refusal {
    match fault {
        BodyError::TooLarge => Refusal::new(Reason::TooLarge, format!("the request body is over the limit; raise it with {option}")),
        BodyError::Timeout => Refusal::new(Reason::RequestTimeout, "the request body came too slowly (--body-timeout)"),
        BodyError::BadChunk => Refusal::new(Reason::Invalid("malformed_chunk"), "the request body's chunked coding is malformed"),
        BodyError::Truncated | BodyError::Io(_) => {
            Refusal::new(Reason::Invalid("truncated_body"), "the request body ended before its length was reached")
        }
    }
}

/// Whether a failure is one of the connection, such as a pooled one shows that the other side has closed.
fn is_connection_fault(fault: &ureq::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(fault, ureq::Error::Io(cause) if matches!(cause.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
}

fn uri(to: &Destination, target: &str) -> Result<Uri, ureq::Error> {
    let mut parts = ureq::http::uri::Parts::default();
    parts.scheme = Some(to.scheme.clone());
    parts.authority = Some(to.authority.clone());
    parts.path_and_query = Some(PathAndQuery::try_from(target).map_err(ureq::http::Error::from)?);
    Ok(Uri::from_parts(parts).map_err(ureq::http::Error::from)?)
}

/// The client's fields as they were sent, then the key. What the HTTP server let through has no line end in it.
fn write_fields(to: &Destination, outbound: &Outbound<'_>, fields: &mut Vec<u8>) {
    for (name, value) in &outbound.headers {
        fields.extend_from_slice(name.as_bytes());
        fields.extend_from_slice(b": ");
        fields.extend_from_slice(value);
        fields.extend_from_slice(b"\r\n");
    }
    if let Some(line) = &to.credential {
        fields.extend_from_slice(line.expose().as_bytes());
    }
}

fn reply(response: Response<ureq::Body>, is_head: bool) -> UpstreamReply {
    let (head, body) = response.into_parts();
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let bodiless = is_head || matches!(head.status.as_u16(), 204 | 304);
    let length = if bodiless { announced } else { body.content_length() };
    let chunked = head.headers.contains_key("transfer-encoding");
    Watch::body(!bodiless && length.is_none() && !chunked);
    UpstreamReply { status: head.status.as_u16(), headers: head.headers, body: body.into_reader(), length }
}

fn agent_config(timeouts: &Timeouts, proxy: Option<ureq::Proxy>) -> ureq::config::Config {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .allow_non_standard_methods(true)
        .accept("")
        .accept_encoding("")
        .user_agent("")
        .proxy(proxy)
        .input_buffer_size(16 << 10)
        .output_buffer_size(16 << 10)
        .max_response_header_size(MAX_REPLY_HEAD)
        .max_idle_connections(0)
        .timeout_connect(Some(timeouts.connect))
        .build()
}

/// The environment's proxy (`HTTPS_PROXY`, `ALL_PROXY`, …, `NO_PROXY` respected), unless it is one we can't speak to.
fn environment_proxy() -> Option<ureq::Proxy> {
    let proxy = ureq::Proxy::try_from_env()?;
    if matches!(proxy.protocol(), ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https) {
        return Some(proxy);
    }
    log::warn!("the environment's proxy is a SOCKS proxy, which is not supported: connecting directly");
    None
}
