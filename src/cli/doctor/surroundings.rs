//! What else on this machine decides whether calls get through: proxies, what clients are pointed at, misspelt variables, the clock.

use super::Report;
use super::network::is_router;
use crate::clock::UnixMs;
use crate::config::BaseUrl;
use crate::settings::{Outside, SETTINGS, nearest};
use std::ffi::OsString;
use std::time::SystemTime;

/// Certificates are not valid to a clock before this: 2025-01-01.
const EARLIEST_S: u64 = 1_735_689_600;
/// Nor, very likely, to one after this: 2100-01-01.
const LATEST_S: u64 = 4_102_444_800;

pub(super) fn check(outside: &Outside<'_>, report: &mut Report) {
    check_proxy(outside, report);
    for variable in ["OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"] {
        check_client_address(variable, outside, report);
    }
    check_clock(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()), report);
}

/// The first of these variables that is set, in the order in which the router's client looks.
fn first_set(names: &[&'static str], outside: &Outside<'_>) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| outside.text(name).ok().flatten().map(|value| (*name, value)))
}

fn check_proxy(outside: &Outside<'_>, report: &mut Report) {
    let names = ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
    let Some((name, value)) = first_set(&names, outside) else {
        report.ok("proxy", "none set");
        return;
    };
    let shown = without_password(&value);
    if value.to_ascii_lowercase().starts_with("socks") {
        report.warning(
            "proxy",
            format!("{name}={shown} is a SOCKS proxy, which is not used"),
            "set HTTPS_PROXY to an HTTP proxy, if one is needed",
        );
    } else {
        report.ok("proxy", format!("calls to providers go through {name}={shown}; those to this machine do not"));
    }
    let clients = first_set(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"], outside);
    let exempt = first_set(&["no_proxy", "NO_PROXY"], outside).map(|(_, value)| value).unwrap_or_default();
    if let Some((name, _)) = clients
        && !exempts_loopback(&exempt)
    {
        report.warning(
            "proxy",
            format!("{name} is set without 127.0.0.1 in NO_PROXY: clients may send their calls to the proxy instead of the router"),
            "export NO_PROXY=127.0.0.1,localhost",
        );
    }
}

fn exempts_loopback(no_proxy: &str) -> bool {
    no_proxy.split(',').map(str::trim).any(|name| ["127.0.0.1", "*", "127.0.0.0/8"].contains(&name))
}

/// `scheme://host:port`, without user and password.
fn without_password(proxy: &str) -> String {
    let (scheme, rest) = proxy.split_once("://").unwrap_or(("http", proxy));
    let host = rest.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{}", host.split('/').next().unwrap_or_default())
}

/// Clients of this shell are pointed at an address: a router that has gone leaves them with nothing.
fn check_client_address(variable: &'static str, outside: &Outside<'_>, report: &mut Report) {
    let Ok(Some(value)) = outside.text(variable) else { return };
    match value.parse::<BaseUrl>() {
        Err(_) => report.warning(
            variable,
            "is no address: clients will not get anywhere",
            &format!("unset {variable}, or set it to a router's address"),
        ),
        Ok(base) if base.is_loopback() && !base.is_https() && is_router(base.port()) => {
            report.ok(variable, format!("points clients at the router at {base}"));
        }
        Ok(base) if base.is_loopback() => report.warning(
            variable,
            format!("points clients at {base}, where no router answers"),
            &format!("unset {variable}, or set it to the address that `iron-runtime serve` prints"),
        ),
        Ok(base) => {
            report.ok(variable, format!("points clients at {base}, past any router of this machine; the router itself does not read it"))
        }
    }
}

/// Variables that look like ours and are none.
pub(super) fn check_variable_names(names: impl Iterator<Item = OsString>, report: &mut Report) {
    let known = || SETTINGS.iter().map(|setting| setting.variable).chain(["IRON_LOG"]);
    let mut unknown: Vec<String> = names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("IRON_")).collect();
    unknown.retain(|name| !known().any(|known| known == name));
    unknown.sort();
    for name in unknown {
        let mend = match nearest(&name, known()) {
            Some(near) => format!("did you mean {near}?"),
            None => "see the variables in `iron-runtime serve --help`".into(),
        };
        report.warning("environment", format!("{name} is set, but there is no such setting"), &mend);
    }
}

fn check_clock(now_s: u64, report: &mut Report) {
    if (EARLIEST_S..LATEST_S).contains(&now_s) {
        report.ok("clock", UnixMs(now_s * 1000).rfc3339());
    } else {
        let now = UnixMs(now_s.saturating_mul(1000)).rfc3339();
        report.problem("clock", format!("this machine says it is {now}: no certificate will be valid"), "set the clock");
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use std::net::TcpListener;

    fn findings(variables: &[(&str, &str)], check: impl Fn(&Outside<'_>, &mut Report)) -> Vec<(Verdict, String)> {
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        let outside = Outside { variable: &variable, read: &|_| Err(std::io::ErrorKind::NotFound.into()) };
        let mut report = Report::default();
        check(&outside, &mut report);
        report.findings.into_iter().map(|finding| (finding.verdict, finding.what)).collect()
    }

    #[test]
    fn proxies() {
        use Verdict::{Ok, Warning};
        for (variables, verdicts) in [
            (&[][..], &[Ok][..]),
            (&[("HTTPS_PROXY", "http://u:sk-canary@p:3128/")], &[Ok]),
            (&[("HTTP_PROXY", "p:3128")], &[Ok, Warning]),
            (&[("http_proxy", "p:3128"), ("NO_PROXY", "localhost, 127.0.0.1")], &[Ok]),
            (&[("ALL_PROXY", "socks5://p:1080"), ("NO_PROXY", "*")], &[Warning]),
        ] {
            let found = findings(variables, check_proxy);
            assert_eq!(found.iter().map(|(verdict, _)| *verdict).collect::<Vec<_>>(), verdicts, "{variables:?}");
            assert!(found.iter().all(|(_, what)| !what.contains("canary")), "{found:?}");
        }
    }

    #[test]
    fn addresses_of_clients() -> std::io::Result<()> {
        // Bound, then closed: nothing listens there any more.
        let gone = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let stale = format!("http://{gone}/v1");
        for (value, verdict) in [
            ("", None),
            ("https://proxy.example/v1", Some(Verdict::Ok)),
            ("nowhere", Some(Verdict::Warning)),
            (stale.as_str(), Some(Verdict::Warning)),
        ] {
            let found = findings(&[("OPENAI_BASE_URL", value)], |outside, report| check_client_address("OPENAI_BASE_URL", outside, report));
            assert_eq!(found.first().map(|(verdict, _)| *verdict), verdict, "{value}");
        }
        Ok(())
    }

    #[test]
    fn clocks() {
        for (now_s, verdict) in
            [(0, Verdict::Problem), (EARLIEST_S, Verdict::Ok), (LATEST_S, Verdict::Problem), (u64::MAX / 1000, Verdict::Problem)]
        {
            assert_eq!(findings(&[], |_, report| check_clock(now_s, report))[0].0, verdict, "{now_s}");
        }
    }

    #[test]
    fn misspelt_variables() {
        let mut report = Report::default();
        let names = ["IRON_PROT", "IRON_PORT", "IRON_LOG", "IRONING", "IRON_BUDGET", "IRON_PII"];
        check_variable_names(names.iter().map(OsString::from), &mut report);
        let told: Vec<_> = report.findings.iter().map(|finding| format!("{}; {}", finding.what, finding.mend)).collect();
        assert_eq!(
            told,
            [
                "IRON_PII is set, but there is no such setting; see the variables in `iron-runtime serve --help`",
                "IRON_PROT is set, but there is no such setting; did you mean IRON_PORT?"
            ]
        );
    }
}
