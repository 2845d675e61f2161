//! Where a command writes: results to stdout, everything about them to stderr. Knows whether people are looking.

use crate::settings::Outside;
use std::io::{self, IsTerminal, Write};

/// A command's two outputs. A reader that has gone away is no error: nobody would see the complaint. A full disk
/// is: what was asked for is not there.
pub(super) struct Console {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    /// Whether stdout is a terminal.
    pub out_is_terminal: bool,
    /// Whether stderr is a terminal.
    pub err_is_terminal: bool,
    /// Whether stdout may be coloured.
    colored: bool,
    /// Why part of the result was not written.
    lost: Option<io::Error>,
}

/// Emphasis that a terminal can show.
#[derive(Clone, Copy)]
pub(super) enum Paint {
    Bold,
    Good,
    Warning,
    Bad,
}

impl Console {
    /// The outputs of this process. `NO_COLOR`, not empty, turns colour off (no-color.org).
    pub(super) fn of_process(outside: &Outside<'_>) -> Self {
        let set = |name| (outside.variable)(name).is_some_and(|value| !value.is_empty());
        let dumb = (outside.variable)("TERM").is_some_and(|value| value == "dumb");
        let out_is_terminal = io::stdout().is_terminal();
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            out_is_terminal,
            err_is_terminal: io::stderr().is_terminal(),
            colored: out_is_terminal && !set("NO_COLOR") && !dumb,
            lost: None,
        }
    }

    /// Two writers that are no terminals.
    #[cfg(test)]
    pub(super) fn of_writers(out: impl Write + 'static, err: impl Write + 'static) -> Self {
        Self { out: Box::new(out), err: Box::new(err), out_is_terminal: false, err_is_terminal: false, colored: false, lost: None }
    }

    /// Lines of the result.
    pub(super) fn line(&mut self, text: &str) {
        self.piece(&format!("{text}\n"));
    }

    /// A piece of the result, shown at once.
    pub(super) fn piece(&mut self, text: &str) {
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.lost.get_or_insert(error);
            }
            _ => {}
        }
    }

    /// Why part of the result was not written, once.
    pub(super) fn lost(&mut self) -> Option<io::Error> {
        self.lost.take()
    }

    /// A remark.
    pub(super) fn note(&mut self, text: &str) {
        let _ = writeln!(self.err, "{text}");
    }

    /// Why the command fails.
    pub(super) fn problem(&mut self, why: &str) {
        self.note(&format!("iron-runtime: {why}"));
    }

    /// The text with emphasis, where stdout can show it.
    pub(super) fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Bold => 1,
            Paint::Good => 32,
            Paint::Warning => 33,
            Paint::Bad => 31,
        };
        if self.colored { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }
}
