//! Log lines on their way to Python's `logging`. Threads that answer requests put them into a bounded queue and go on; a thread of
//! Python's own takes them out. When nobody listens, a line costs the reading of one atomic.

use super::process;
use log::{LevelFilter, Log, Metadata, Record};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, SystemTime};

/// Lines that may wait; more are counted and dropped.
const MOST_LINES: usize = 4096;

/// How long those who want to see the log complete wait for it.
const FLUSH: Duration = Duration::from_secs(1);

/// One log line.
pub(super) struct Line {
    /// Python's number of the level.
    pub(super) level: u8,
    pub(super) at: SystemTime,
    pub(super) file: &'static str,
    pub(super) line: u32,
    pub(super) text: String,
}

/// The queue between the router's threads and Python's.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    more: Condvar,
    done: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Line>,
    lost: u64,
    handing_over: bool,
    closed: bool,
    /// Who takes the lines out: whose handlers may stop routers, and must not wait for themselves.
    taker: Option<ThreadId>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Line) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        if state.lines.len() < MOST_LINES {
            state.lines.push_back(line);
        } else {
            state.lost += 1;
        }
        self.more.notify_one();
    }

    /// Waits for lines and takes them all; `None`: there will be no more. Asking again says that those taken before are dealt with.
    pub(super) fn take(&self) -> Option<Vec<Line>> {
        let mut state = self.state();
        state.handing_over = false;
        state.taker = Some(thread::current().id());
        self.done.notify_all();
        while state.lines.is_empty() && !state.closed {
            state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.lines.is_empty() {
            return None;
        }
        state.handing_over = true;
        let lost = std::mem::take(&mut state.lost);
        let mut lines: Vec<Line> = state.lines.drain(..).collect();
        if lost > 0 {
            lines.push(lost_lines(lost));
        }
        Some(lines)
    }

    /// Waits, not for ever, until every line has been dealt with.
    pub(super) fn flush(&self) {
        let me = Some(thread::current().id());
        let waiting = |state: &mut State| state.taker != me && (!state.lines.is_empty() || state.handing_over);
        drop(self.done.wait_timeout_while(self.state(), FLUSH, waiting));
    }

    /// No more lines; who takes gets what is left and then `None`.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.more.notify_all();
    }
}

fn lost_lines(count: u64) -> Line {
    let text = format!("{count} log lines were dropped: they came faster than logging took them");
    Line { level: number(log::Level::Warn), at: SystemTime::now(), file: file!(), line: line!(), text }
}

/// The `log` crate's end of the queue.
struct ToPython;

impl Log for ToPython {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.level() <= log::max_level() && about.target().starts_with("iron_runtime")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if let Some(queue) = process::here().and_then(process::Process::log) {
            queue.push(Line {
                level: number(record.level()),
                at: SystemTime::now(),
                file: record.file_static().unwrap_or_default(),
                line: record.line().unwrap_or_default(),
                text: record.args().to_string(),
            });
        }
    }

    fn flush(&self) {}
}

/// Sends the log lines of this library to Python, if nothing else takes them already.
pub(super) fn install() {
    static TO_PYTHON: ToPython = ToPython;
    let _ = log::set_logger(&TO_PYTHON);
}

/// Waits, not for ever, until every line so far has been handled.
pub(super) fn flush() {
    if let Some(queue) = process::here().and_then(process::Process::log) {
        queue.flush();
    }
}

/// Takes Python's idea of what is worth logging.
pub(super) fn set_level(level: u32) {
    log::set_max_level(match level {
        0..=10 => LevelFilter::Debug,
        11..=20 => LevelFilter::Info,
        21..=30 => LevelFilter::Warn,
        31..=40 => LevelFilter::Error,
        _ => LevelFilter::Off,
    });
}

fn number(level: log::Level) -> u8 {
    match level {
        log::Level::Error => 40,
        log::Level::Warn => 30,
        log::Level::Info => 20,
        log::Level::Debug | log::Level::Trace => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { level: 20, at: SystemTime::now(), file: "", line: 0, text: text.into() }
    }

    #[test]
    fn lines_come_out_in_order_and_then_the_end() {
        let queue = Queue::default();
        queue.push(line("a"));
        queue.push(line("b"));
        queue.close();
        queue.push(line("too late"));
        let texts: Vec<String> = queue.take().into_iter().flatten().map(|line| line.text).collect();
        assert_eq!(texts, ["a", "b"]);
        assert!(queue.take().is_none());
        queue.flush();
    }

    #[test]
    fn a_flood_is_bounded_and_counted() {
        let queue = Queue::default();
        for _ in 0..MOST_LINES + 3 {
            queue.push(line("x"));
        }
        let lines = queue.take().expect("lines");
        assert_eq!(lines.len(), MOST_LINES + 1);
        assert!(lines.last().is_some_and(|line| line.text.starts_with("3 log lines were dropped")));
    }
}
