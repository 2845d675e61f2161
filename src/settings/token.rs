//! The client token and its file. The file is readable by its user only, from the moment it exists.

use super::{Outside, key};
use crate::error::Error;
use crate::secret::Secret;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The token a file holds; `None` when the file is missing or empty.
pub(super) fn read(path: &Path, outside: &Outside<'_>) -> Result<Option<Secret>, Error> {
    let text = match (outside.read)(path) {
        Ok(text) => Secret::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Io { what: format!("read {}", path.display()), source }),
    };
    if text.expose().trim().is_empty() {
        return Ok(None);
    }
    key::checked(text, &format!("the file {}", path.display())).map(Some).map_err(Error::Config)
}

/// Writes the token beside the file and renames it there: readers see all of it or nothing.
pub(super) fn write(path: &Path, token: &str) -> Result<(), Error> {
    let failed = |source| Error::Io { what: format!("token_file: write {}", path.display()), source };
    let beside = beside(path);
    // Left over from a process of the same number that died right here.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let written = create_private(&beside).and_then(|mut file| file.write_all(format!("{token}\n").as_bytes()));
    written.and_then(|()| fs::rename(&beside, path)).map_err(|error| {
        // The error to tell is the first one.
        let _ = fs::remove_file(&beside);
        failed(error)
    })
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

fn create_private(path: &Path) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
