//! What the router would listen on and reach: its port, its providers, its control server.

use super::Report;
use crate::cli::client::Connection;
use crate::config::{BaseUrl, Config, Control, Key, Upstream, is_loopback_host};
use crate::proxy::keys::{Assigned, KeyCache};
use crate::proxy::probe::probe;
use crate::proxy::tls::Tls;
use crate::proxy::upstream::Upstreams;
use crate::settings::{Checked, masked};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A look at a provider waits no longer than this, whatever calls may take.
const LONGEST: Duration = Duration::from_secs(10);

pub(super) fn check(checked: &Checked, report: &mut Report) {
    let config = &checked.config;
    check_listening(config, report);
    let ca_file = ca_file(config, report);
    let assigned = config.control.as_ref().and_then(|control| check_control(control, ca_file.as_ref(), report));
    for upstream in &config.upstreams {
        let base = match (&upstream.key, &assigned) {
            (Key::Control, Some(assigned)) if assigned.provider == upstream.protocol => {
                assigned.base_url.as_ref().unwrap_or(&upstream.base)
            }
            (Key::Control, _) => continue,
            _ => &upstream.base,
        };
        check_upstream(upstream, base, config.timeouts.connect.min(LONGEST), ca_file.as_ref(), report);
    }
}

fn check_listening(config: &Config, report: &mut Report) {
    let (host, port) = (config.host.as_str(), config.port);
    if !is_loopback_host(host) {
        report.warning("host", format!("{host} lets other machines reach the router"), "leave --host away, unless that is wanted");
    }
    match TcpListener::bind((host, port)) {
        Ok(_) if port == 0 => report.ok("port", "any free one"),
        Ok(_) => report.ok("port", format!("{port} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let holder = if is_router(port) { ": another router answers there" } else { "" };
            report.problem("port", format!("{port} is in use{holder}"), "stop what holds it, or give another --port (0 picks a free one)");
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            report.problem("port", format!("{port} may not be listened on by this user"), "give a --port of 1024 or above");
        }
        Err(error) => report.problem("host", format!("{host} can't be listened on: {error}"), "give an address of this machine as --host"),
    }
}

/// Whether one of ours answers on a port of this machine.
pub(super) fn is_router(port: u16) -> bool {
    let short = Duration::from_secs(2);
    let ask = || {
        let mut connection = Connection::open(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), short, short)?;
        let (_, body) = connection.send("GET", "/", &[], b"")?;
        body.all()
    };
    ask().is_ok_and(|body| body.starts_with(b"LlmRouter OK"))
}

/// The file of root certificates, if one is set and can be used.
fn ca_file(config: &Config, report: &mut Report) -> Option<PathBuf> {
    let path = config.ca_file.clone().or_else(|| std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from));
    let Some(path) = path else {
        report.ok("certificates", "bundled roots");
        return None;
    };
    match Tls::new(Some(&path)) {
        Ok(_) => {
            report.ok("certificates", format!("roots from SSL_CERT_FILE, {}", path.display()));
            Some(path)
        }
        Err(error) => {
            report.problem("certificates", format!("SSL_CERT_FILE: {error}"), "name a file of PEM certificates, or unset SSL_CERT_FILE");
            None
        }
    }
}

/// Asks the control server for the key, and gives what it assigned.
fn check_control(control: &Control, ca_file: Option<&PathBuf>, report: &mut Report) -> Option<Arc<Assigned>> {
    let name = "control server";
    warn_of_clear_text(name, &control.server_url, report);
    let agent = match Upstreams::control_agent(&control.server_url, ca_file.map(PathBuf::as_path)) {
        Ok(agent) => agent,
        Err(error) => {
            report.error(name, &error);
            return None;
        }
    };
    match KeyCache::new(control.clone(), agent).get() {
        Ok(assigned) => {
            let provider = assigned.provider.as_str();
            report.ok(name, format!("{} assigned {provider}'s key {}", control.server_url, masked(assigned.key.expose())));
            Some(assigned)
        }
        Err(refusal) => {
            report.problem(name, refusal.message, "");
            None
        }
    }
}

fn check_upstream(upstream: &Upstream, base: &BaseUrl, limit: Duration, ca_file: Option<&PathBuf>, report: &mut Report) {
    let name = &upstream.name;
    if !matches!(upstream.key, Key::None) {
        warn_of_clear_text(name, base, report);
    }
    match probe(base, limit, ca_file.map(PathBuf::as_path)) {
        Ok(found) if found.status >= 500 => {
            report.warning(name, format!("{base} answers with status {}", found.status), "try again later, or ask who runs it");
        }
        Ok(found) => report.ok(name, format!("{base} answers in {} ms", found.took.as_millis())),
        Err(why) => report.problem(name, why, ""),
    }
}

fn warn_of_clear_text(name: &str, base: &BaseUrl, report: &mut Report) {
    if !base.is_https() && !base.is_loopback() {
        report.warning(name, format!("the key goes to {base} unencrypted"), "use an https:// address");
    }
}
