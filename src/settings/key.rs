//! Keys by reference: `env:NAME`, `file:PATH`, or the key itself. A reference is followed only when the settings are checked, so that the
//! key is in no value that is passed around before.

use super::{Outside, quoted};
use crate::error::Error;
use crate::secret::Secret;
use std::path::{Path, PathBuf};

/// The key that `raw` holds or points to, less line ends at its end. `label` names the option in messages.
pub(super) fn resolve(label: &str, raw: &Secret, outside: &Outside<'_>) -> Result<Secret, Error> {
    let wrong = |why: String| Error::Config(format!("{label}: {why}"));
    let (key, place) = if let Some(name) = raw.expose().strip_prefix("env:") {
        let place = format!("the variable {}", quoted(name));
        let text = outside.text(name)?.ok_or_else(|| wrong(format!("{place} is not set or empty")))?;
        (Secret::new(text), place)
    } else if let Some(path) = file_of(raw, outside) {
        let place = format!("the file {}", path.display());
        let text = (outside.read)(&path).map_err(|source| Error::Io { what: format!("{label}: read {}", path.display()), source })?;
        (Secret::new(text), place)
    } else {
        (raw.clone(), "the value".to_string())
    };
    checked(key, &place).map_err(wrong)
}

/// The key without line ends at its end, if it can be sent in a header. `place` says where it stood.
pub(super) fn checked(key: Secret, place: &str) -> Result<Secret, String> {
    let key = trimmed(key);
    if key.is_empty() {
        return Err(format!("{place} is empty; it takes a key, env:NAME or file:PATH"));
    }
    if !key.expose().bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("{place} can't be a key: it has a space, a line break or a character outside ASCII"));
    }
    Ok(key)
}

/// The path of a `file:PATH` reference.
pub(super) fn file_of(raw: &Secret, outside: &Outside<'_>) -> Option<PathBuf> {
    raw.expose().strip_prefix("file:").map(|path| outside.expand(Path::new(path)))
}

/// Without line ends at the end, as editors, `echo` and container tools leave them.
fn trimmed(key: Secret) -> Secret {
    let text = key.expose().trim_end_matches(['\r', '\n']);
    if text.len() == key.expose().len() { key } else { Secret::new(text) }
}
