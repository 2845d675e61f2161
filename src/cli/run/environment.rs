//! The environment of a program that `run` starts: where the router is, and nothing that would let it go around.

use crate::router::LlmRouter;
use crate::secret::Secret;
use crate::settings::{Kind, SETTINGS};
use std::ffi::{OsStr, OsString};
use std::process::Command;

/// Variables of other tools that hold keys which the router holds now. (`OPENAI_API_KEY` and `ANTHROPIC_API_KEY` get its token.)
const OTHERS_KEYS: [&str; 3] = ["IC_TOKEN", "IC_SERVER", "ANTHROPIC_AUTH_TOKEN"];

/// Sets the four variables, takes out keys, and sees to it that no proxy is asked for this machine's own address.
pub(super) fn prepare(
    command: &mut Command,
    inherited: impl Iterator<Item = (OsString, OsString)>,
    secrets: &[Secret],
    router: &LlmRouter,
) {
    let inherited: Vec<_> = inherited.collect();
    for (name, value) in &inherited {
        if holds_a_key(name, value, secrets) {
            command.env_remove(name);
        }
    }
    let proxied = |(name, value): &(OsString, OsString)| {
        !value.is_empty() && name.to_str().is_some_and(|name| name.to_ascii_lowercase().ends_with("_proxy") && !is_no_proxy(name))
    };
    if inherited.iter().any(proxied) {
        for (name, value) in exempt_loopback(&inherited) {
            command.env(name, value);
        }
    }
    command.envs(addresses(router));
}

/// What points a program's clients at the router.
fn addresses(router: &LlmRouter) -> [(&'static str, String); 4] {
    [
        ("OPENAI_BASE_URL", router.base_url()),
        ("OPENAI_API_KEY", router.api_key().to_string()),
        ("ANTHROPIC_BASE_URL", router.anthropic_base_url()),
        ("ANTHROPIC_API_KEY", router.api_key().to_string()),
    ]
}

/// Whether a variable is one for keys, or has one of the router's keys as its value, whatever its name.
fn holds_a_key(name: &OsStr, value: &OsStr, secrets: &[Secret]) -> bool {
    let for_keys = SETTINGS.iter().any(|setting| setting.kind == Kind::Key && name == setting.variable);
    let value = value.as_encoded_bytes().trim_ascii_end();
    for_keys || OTHERS_KEYS.iter().any(|other| name == *other) || secrets.iter().any(|secret| secret.matches(value))
}

fn is_no_proxy(name: &str) -> bool {
    name.eq_ignore_ascii_case("no_proxy")
}

/// `NO_PROXY` in both spellings with the router's host in it: which of them a client reads differs.
fn exempt_loopback(inherited: &[(OsString, OsString)]) -> [(&'static str, OsString); 2] {
    ["NO_PROXY", "no_proxy"].map(|spelling| {
        let is_it = |(name, value): &&(OsString, OsString)| !value.is_empty() && name.to_str().is_some_and(is_no_proxy);
        let exact = inherited.iter().filter(is_it).find(|(name, _)| name == spelling);
        let mut value = exact.or_else(|| inherited.iter().find(is_it)).map(|(_, value)| value.clone()).unwrap_or_default();
        if !value.to_string_lossy().split(',').any(|host| ["127.0.0.1", "*"].contains(&host.trim())) {
            value.push(if value.is_empty() { "127.0.0.1,localhost" } else { ",127.0.0.1,localhost" });
        }
        (spelling, value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_by_name_and_by_value() {
        let secrets = [Secret::new("sk-real")];
        for (name, value, holds) in [
            ("IRON_OPENAI_KEY", "x", true),
            ("IRON_API_KEY", "x", true),
            ("IRON_CLIENT_TOKEN", "x", true),
            ("IC_TOKEN", "x", true),
            ("ANTHROPIC_AUTH_TOKEN", "x", true),
            ("MY_KEY", "sk-real", true),
            ("MY_KEY", "sk-real\n", true),
            ("MY_KEY", "sk-real-not", false),
            ("IRON_BUDGET", "1", false),
            ("PATH", "/bin", false),
        ] {
            assert_eq!(holds_a_key(OsStr::new(name), OsStr::new(value), &secrets), holds, "{name}={value}");
        }
    }

    #[test]
    fn this_machine_is_not_asked_for_by_proxy() {
        for (inherited, upper, lower) in [
            (&[][..], "127.0.0.1,localhost", "127.0.0.1,localhost"),
            (&[("NO_PROXY", "a.example")], "a.example,127.0.0.1,localhost", "a.example,127.0.0.1,localhost"),
            (&[("NO_PROXY", "*"), ("no_proxy", "b")], "*", "b,127.0.0.1,localhost"),
            (&[("no_proxy", "localhost, 127.0.0.1")], "localhost, 127.0.0.1", "localhost, 127.0.0.1"),
        ] {
            let inherited: Vec<_> = inherited.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
            let [(_, found_upper), (_, found_lower)] = exempt_loopback(&inherited);
            assert_eq!((found_upper, found_lower), (upper.into(), lower.into()), "{inherited:?}");
        }
    }
}
