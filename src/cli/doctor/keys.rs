//! Keys: present, of the shape their place asks for, not readable by others.

use super::Report;
use crate::router::{ANTHROPIC_BASE_URL, OPENAI_BASE_URL};
use crate::settings::{Checked, Origin, Outside, Setting, Settings, TokenSource, masked};
use std::path::Path;

/// Client tokens shorter than this can be guessed.
const SHORT_TOKEN: usize = 16;
/// No provider's key is shorter than this.
const SHORT_KEY: usize = 20;

/// The keys that are given, by the settings that hold them.
pub(super) fn check(settings: &Settings, outside: &Outside<'_>, report: &mut Report) {
    for name in ["openai_key", "anthropic_key", "api_key", "client_token"] {
        let (Some(origin), Some(setting)) = (settings.origin(name), Setting::named(name)) else { continue };
        let key = match settings.key(name, outside) {
            Ok(Some(key)) => key,
            Ok(None) => continue,
            Err(error) => {
                report.error(name, &error);
                continue;
            }
        };
        let usual_address = uses_usual_address(settings, name);
        match complaint(name, key.expose(), usual_address) {
            None => report.ok(name, format!("{} from {}", masked(key.expose()), origin.label(setting))),
            Some((true, what, mend)) => report.problem(name, what, mend),
            Some((false, what, mend)) => report.warning(name, what, mend),
        }
        match settings.key_file(name, outside) {
            Some(path) => check_file(name, &path, report),
            None => check_origin(settings, name, origin, report),
        }
    }
}

/// Whether the key goes to the provider itself, so that its shape is known.
fn uses_usual_address(settings: &Settings, name: &str) -> bool {
    let is = |setting: &str, usual: &str| settings.url(setting).is_none_or(|base| base.to_string() == usual);
    match name {
        "openai_key" => is("openai_base_url", OPENAI_BASE_URL),
        "anthropic_key" => is("anthropic_base_url", ANTHROPIC_BASE_URL),
        _ => true,
    }
}

/// What is odd about a key in its place: whether it will fail, what, and how to mend it.
fn complaint(name: &str, key: &str, usual_address: bool) -> Option<(bool, String, &'static str)> {
    let shown = masked(key);
    match name {
        "openai_key" if key.starts_with("sk-ant-") => {
            Some((usual_address, format!("{shown} is a key of Anthropic's"), "give it as --anthropic-key (ANTHROPIC_API_KEY)"))
        }
        "anthropic_key" if usual_address && key.starts_with("sk-") && !key.starts_with("sk-ant-") => {
            Some((true, format!("{shown} is no key of Anthropic's; it looks like OpenAI's"), "give it as --openai-key (OPENAI_API_KEY)"))
        }
        "api_key" if key.starts_with("sk-") => {
            Some((true, format!("{shown} is a provider's key; here belongs the IC token"), "give it as --openai-key or --anthropic-key"))
        }
        "openai_key" if usual_address && !key.starts_with("sk-") => {
            Some((false, format!("{shown} does not begin with sk-, as OpenAI's keys do"), "check that the right key was copied"))
        }
        "anthropic_key" if usual_address && !key.starts_with("sk-ant-") => {
            Some((false, format!("{shown} does not begin with sk-ant-, as Anthropic's keys do"), "check that the right key was copied"))
        }
        "openai_key" | "anthropic_key" if usual_address && key.len() < SHORT_KEY => {
            Some((false, format!("{shown} is shorter than any key of this provider"), "check that the whole key was copied"))
        }
        "client_token" if key.len() < SHORT_TOKEN => {
            Some((false, "is short enough to be guessed".into(), "use 16 random characters or more, or --token-file, which makes one"))
        }
        _ => None,
    }
}

/// A key that is written out where others may see it.
fn check_origin(settings: &Settings, name: &str, origin: &Origin, report: &mut Report) {
    match origin {
        Origin::Flag if !settings.is_reference(name) => {
            report.warning(name, "on the command line every user of this machine can read it", "give env:NAME or file:PATH instead");
        }
        Origin::File(path) if !settings.is_reference(name) => check_file(name, path, report),
        _ => {}
    }
}

/// The client token, when it is in a file.
pub(super) fn check_token(checked: &Checked, report: &mut Report) {
    match &checked.token {
        TokenSource::File(path) => {
            report.ok("token_file", format!("holds the client token: {}", path.display()));
            check_file("token_file", path, report);
        }
        TokenSource::ToFile(path) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if folder.is_dir() {
                report.ok("token_file", format!("the client token will be written to {}", path.display()));
            } else {
                report.problem("token_file", format!("{} is no folder", folder.display()), "make it, or name another file");
            }
        }
        TokenSource::Given | TokenSource::IcToken | TokenSource::Random => {}
    }
}

/// Warns of a file with a key that others can read.
fn check_file(name: &str, path: &Path, report: &mut Report) {
    if readable_by_others(path) {
        let mend = format!("chmod 600 {}", path.display());
        report.warning(name, format!("{} holds a key and other users can read it", path.display()), &mend);
    }
}

#[cfg(unix)]
fn readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o044 != 0)
}

/// Other systems' permissions can't be told by the standard library.
#[cfg(not(unix))]
fn readable_by_others(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let long = "0123456789abcdefWXYZ";
        for (name, key, usual, fails) in [
            ("openai_key", format!("sk-proj-{long}"), true, None),
            ("openai_key", format!("sk-ant-{long}"), true, Some(true)),
            ("openai_key", format!("sk-ant-{long}"), false, Some(false)),
            ("openai_key", long.to_string(), true, Some(false)),
            ("openai_key", long.to_string(), false, None),
            ("openai_key", "sk-short".into(), true, Some(false)),
            ("anthropic_key", format!("sk-ant-{long}"), true, None),
            ("anthropic_key", format!("sk-{long}"), true, Some(true)),
            ("anthropic_key", format!("sk-{long}"), false, None),
            ("anthropic_key", "x".into(), true, Some(false)),
            ("api_key", format!("ic_{long}"), true, None),
            ("api_key", format!("sk-{long}"), true, Some(true)),
            ("client_token", "secret".into(), true, Some(false)),
            ("client_token", long.to_string(), true, None),
        ] {
            let found = complaint(name, &key, usual);
            assert_eq!(found.as_ref().map(|(fails, ..)| *fails), fails, "{name} {key}");
            assert!(found.is_none_or(|(_, what, _)| !what.contains(&key)), "{name} {key}");
        }
    }
}
