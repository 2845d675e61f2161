//! The running ledger from inside: the desk at which requests' threads append, and the one thread that folds what lies there into SQLite.

use super::db::{FOLD_WAIT, Session};
use super::entry;
use super::figures::{self, Digest};
use super::fold::{self, Folded, GROUP};
use super::journal::{Ending, Id, Journal, MAX_WAITING, TURN_AT};
use super::memory::guard;
use super::record::Frame;
use crate::error::Error;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long rows are gathered for one transaction.
const GATHER: Duration = Duration::from_millis(250);

/// How long SQLite stays open without rows: a process that forks while it is closed has nothing to fear.
const IDLE: Duration = Duration::from_secs(2);

/// The longest pause after a failure.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// What is tried when the disk was full: two blocks.
const PROBE: usize = 8 << 10;

/// What the threads share.
pub(super) struct Keeper {
    pub(super) path: PathBuf,
    pub(super) run: String,
    process: u32,
    digest: Option<Digest>,
    desk: Mutex<Desk>,
    /// Something lies on the desk.
    wake: Condvar,
    /// Something was folded, or could not be.
    told: Condvar,
}

/// Guarded by one short lock.
struct Desk {
    journal: Journal,
    /// How far `journal` is folded.
    done: Backlog,
    /// What waits in earlier journals.
    older: Backlog,
    /// Frames appended by this run.
    appended: u64,
    /// What the last append failed with.
    failing: Option<String>,
    /// What the last fold failed with, and how many have failed in a row.
    stuck: Option<String>,
    failures: u64,
    /// Somebody waits for a fold.
    wanted: bool,
    /// No more appends; fold until this time at most.
    closed: Option<Instant>,
    /// The fold thread has ended.
    over: bool,
}

/// An amount of journal.
#[derive(Clone, Copy, Default)]
struct Backlog {
    bytes: u64,
    frames: u64,
}

impl Desk {
    /// Frames that are not folded.
    fn waiting(&self) -> u64 {
        self.older.frames + self.journal.frames().saturating_sub(self.done.frames)
    }

    fn waiting_bytes(&self) -> u64 {
        self.older.bytes + self.journal.len().saturating_sub(self.done.bytes)
    }
}

impl Keeper {
    /// Makes the run's first journal.
    pub(super) fn new(path: &Path, digest: Option<Digest>) -> Result<Self, Error> {
        let (run, journal) = first_journal(path).map_err(|source| Error::Io { what: format!("journal of {}", path.display()), source })?;
        let desk = Desk {
            journal,
            done: Backlog::default(),
            older: Backlog::default(),
            appended: 0,
            failing: None,
            stuck: None,
            failures: 0,
            wanted: false,
            closed: None,
            over: false,
        };
        let (wake, told) = (Condvar::new(), Condvar::new());
        Ok(Self { path: path.into(), run, process: std::process::id(), digest, desk: Mutex::new(desk), wake, told })
    }

    /// Whether this is the process that opened it.
    pub(super) fn is_here(&self) -> bool {
        std::process::id() == self.process
    }

    /// # Errors
    /// This is a forked child.
    pub(super) fn here(&self) -> Result<(), Error> {
        let why = "open in the parent process, not usable in this fork of it";
        if self.is_here() { Ok(()) } else { Err(self.error(ErrorKind::Unsupported, why.into())) }
    }

    /// The desk; not in a forked child, where nobody would ever give the lock back.
    fn desk(&self) -> Result<MutexGuard<'_, Desk>, Error> {
        self.here()?;
        Ok(guard(&self.desk))
    }

    fn error(&self, kind: ErrorKind, why: String) -> Error {
        Error::Io { what: format!("ledger {}", self.path.display()), source: io::Error::new(kind, why) }
    }

    /// Appends a frame. When it returns, the frame survives the end of this process.
    pub(super) fn append(&self, frame: &mut Frame) -> Result<(), Error> {
        let frame = frame.end().ok_or_else(|| self.error(ErrorKind::InvalidInput, "larger than a record may be".into()))?;
        let mut desk = self.desk()?;
        if desk.closed.is_some() {
            return Err(Error::Stopped);
        }
        self.room(&desk, frame.len() as u64)?;
        if let Err(source) = desk.journal.append(frame) {
            desk.failing = Some(source.to_string());
            return Err(Error::Io { what: format!("write {}", desk.journal.path.display()), source });
        }
        desk.failing = None;
        desk.appended += 1;
        if matches!(desk.waiting(), 1 | GROUP) {
            self.wake.notify_one();
        }
        Ok(())
    }

    fn room(&self, desk: &Desk, bytes: u64) -> Result<(), Error> {
        if desk.waiting_bytes() + bytes <= MAX_WAITING {
            return Ok(());
        }
        let why = desk.stuck.as_deref().unwrap_or("they come faster than they are taken in");
        Err(self.error(ErrorKind::StorageFull, format!("{} MiB of rows wait to be taken in ({why})", MAX_WAITING >> 20)))
    }

    /// Whether a frame could be appended now; where the last one could not, it is tried.
    pub(super) fn ready(&self) -> Result<(), Error> {
        let mut desk = self.desk()?;
        if desk.closed.is_some() {
            return Err(Error::Stopped);
        }
        self.room(&desk, PROBE as u64)?;
        if desk.failing.is_none() {
            return Ok(());
        }
        let mut probe = Frame::begin();
        probe.filler(PROBE);
        let tried = desk.journal.probe(probe.end().unwrap_or_default());
        tried.map_err(|source| Error::Io { what: format!("write {}", desk.journal.path.display()), source })?;
        desk.failing = None;
        Ok(())
    }

    /// Waits until everything appended so far is folded.
    pub(super) fn flush(&self, patience: Duration) -> Result<(), Error> {
        let mut desk = self.desk()?;
        let (target, failures, until) = (desk.appended, desk.failures, Instant::now() + patience);
        desk.wanted = true;
        self.wake.notify_one();
        loop {
            if desk.appended - desk.waiting() >= target {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || desk.over || desk.failures > failures + 1 {
                let why = desk.stuck.clone().unwrap_or_else(|| "rows still wait to be taken in".into());
                return Err(self.error(ErrorKind::TimedOut, why));
            }
            desk = self.told.wait_timeout(desk, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// No more appends; waits until the rest is folded, or until the deadline. What is not, is taken in when the ledger is opened again.
    pub(super) fn stop(&self, patience: Duration) {
        let Ok(mut desk) = self.desk() else { return };
        let until = *desk.closed.get_or_insert(Instant::now() + patience);
        self.wake.notify_one();
        while !desk.over {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                log::warn!(
                    "ledger {}: {} records wait in a journal and are taken in at the next start",
                    self.path.display(),
                    desk.waiting()
                );
                return;
            }
            desk = self.told.wait_timeout(desk, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Says that no thread folds, now or any more.
    pub(super) fn over(&self) {
        guard(&self.desk).over = true;
        self.told.notify_all();
    }

    /// The fold thread's life.
    pub(super) fn keep(&self, session: Session) {
        let mut folder = Folder { keeper: self, session: Some(session), older: VecDeque::new(), reader: None };
        folder.catch_up_idly();
        while let Some(to) = folder.wait() {
            let outcome = folder.round(to);
            if folder.account(outcome) {
                break;
            }
        }
        drop(folder);
        self.over();
    }
}

/// A run's name and its first journal; another name where somebody took the first one's file away.
fn first_journal(ledger: &Path) -> io::Result<(String, Journal)> {
    let mut tries = 0;
    loop {
        let run = entry::run_id().map_err(io::Error::other)?;
        match Journal::create(ledger, Id { run: run.clone(), number: 1 }) {
            Err(error) if error.kind() == ErrorKind::Interrupted && tries < 10 => tries += 1,
            created => return Ok((run, created?)),
        }
    }
}

/// The fold thread.
struct Folder<'k> {
    keeper: &'k Keeper,
    session: Option<Session>,
    /// Journals that the run has turned from.
    older: VecDeque<Older>,
    /// Into the current journal.
    reader: Option<File>,
}

struct Older {
    journal: Journal,
    reader: File,
    waiting: Backlog,
}

/// What a round did with the current journal.
struct Round {
    folded: Folded,
    number: u64,
    to: Backlog,
}

impl Folder<'_> {
    /// Waits for a group of rows; up to where the current journal is to be folded, or `None`: time is up.
    fn wait(&mut self) -> Option<Backlog> {
        let keeper = self.keeper;
        let mut desk = guard(&keeper.desk);
        while desk.waiting() == 0 && desk.closed.is_none() {
            desk.wanted = false;
            let idle = if self.session.is_some() { IDLE } else { Duration::MAX };
            let idly = |desk: &mut Desk| desk.waiting() == 0 && desk.closed.is_none();
            let (left, timeout) = keeper.wake.wait_timeout_while(desk, idle, idly).unwrap_or_else(PoisonError::into_inner);
            desk = left;
            if timeout.timed_out() {
                drop(desk);
                self.session = None;
                desk = guard(&keeper.desk);
            }
        }
        let failing = desk.stuck.is_some();
        let pause = if failing { (GATHER * desk.failures.min(8) as u32).min(MAX_PAUSE) } else { GATHER };
        let gather = |desk: &mut Desk| desk.closed.is_none() && !desk.wanted && (failing || desk.waiting() < GROUP);
        if self.older.is_empty() || failing {
            desk = keeper.wake.wait_timeout_while(desk, pause, gather).unwrap_or_else(PoisonError::into_inner).0;
        }
        desk.wanted = false;
        let late = desk.closed.is_some_and(|until| desk.stuck.is_some() && Instant::now() >= until);
        (!late).then(|| Backlog { bytes: desk.journal.len(), frames: desk.journal.frames() })
    }

    /// Folds the older journals whole, then the current one up to an offset.
    fn round(&mut self, to: Backlog) -> Result<Round, Error> {
        let keeper = self.keeper;
        if self.session.is_none() {
            self.session = Some(Session::writer(&keeper.path, FOLD_WAIT)?);
        }
        self.catch_up(figures::MANY);
        let Some(session) = &mut self.session else { return Err(Error::Stopped) };
        session.wait(&keeper.path, FOLD_WAIT)?;
        while let Some(older) = self.older.front() {
            let folded = fold::fold(session, &keeper.path, &older.journal.id, &older.reader, older.journal.len(), None)?;
            fold::remove(&older.journal.path, &folded);
            let mut desk = guard(&keeper.desk);
            desk.older.bytes -= older.waiting.bytes;
            desk.older.frames -= older.waiting.frames;
            drop(desk);
            self.older.pop_front();
        }
        let id = guard(&keeper.desk).journal.id.clone();
        let unreadable = |source| fold::unreadable(&keeper.path, &id, source);
        if self.reader.is_none() {
            self.reader = Some(guard(&keeper.desk).journal.reader().map_err(unreadable)?);
        }
        let Some(reader) = &self.reader else { return Err(Error::Stopped) };
        let folded = fold::fold(session, &keeper.path, &id, reader, to.bytes, None)?;
        Ok(Round { folded, number: id.number, to })
    }

    /// Writes down what a round did, turns to a new journal where this one is large; whether it was the last round.
    fn account(&mut self, outcome: Result<Round, Error>) -> bool {
        let mut desk = guard(&self.keeper.desk);
        let last = match outcome {
            Ok(round) => {
                if desk.stuck.take().is_some() {
                    log::info!("ledger {}: rows are taken in again", self.keeper.path.display());
                }
                desk.failures = 0;
                // Not counted, but compared: a commit that said it failed may have been one.
                let whole = round.folded.offset >= round.to.bytes;
                let frames = if whole { round.to.frames } else { desk.done.frames + round.folded.frames };
                desk.done = Backlog { bytes: round.folded.offset, frames };
                let (len, bad) = (desk.journal.len(), round.folded.ending != Ending::Clean);
                let last = desk.closed.is_some() && (desk.waiting() == 0 || bad);
                drop(desk);
                if last {
                    self.finish(&round.folded);
                } else if len >= TURN_AT || bad {
                    self.turn(round.number + 1);
                }
                last
            }
            Err(error) => {
                // Begun anew: what is wrong may be wrong with the session.
                self.session = None;
                desk.failures += 1;
                if desk.stuck.replace(error.to_string()).is_none() {
                    log::warn!("{error}; rows wait in {} until that is over", desk.journal.path.display());
                }
                desk.closed.is_some_and(|until| Instant::now() >= until)
            }
        };
        self.keeper.told.notify_all();
        last
    }

    /// Everything is in: the journal is not needed any more.
    fn finish(&mut self, folded: &Folded) {
        let path = guard(&self.keeper.desk).journal.path.clone();
        while self.catch_up(1) {}
        self.session = None;
        fold::remove(&path, folded);
    }

    /// Counts a piece of the rows that the figures miss into them, if those are at least so many; whether there is more. What fails is done
    /// in a later round: the rows are in.
    fn catch_up(&mut self, least: i64) -> bool {
        let (Some(session), Some(digest)) = (&mut self.session, self.keeper.digest) else { return false };
        figures::catch_up(session, digest, least).unwrap_or_else(|error| {
            log::debug!("ledger {}: figures wait: {error}", self.keeper.path.display());
            false
        })
    }

    /// All of it, as long as nothing else is to be done.
    fn catch_up_idly(&mut self) {
        while self.catch_up(1) {
            let desk = guard(&self.keeper.desk);
            if desk.closed.is_some() || desk.wanted || desk.waiting() > 0 {
                return;
            }
        }
    }

    /// Lets appends go to a new journal. Where none can be made, the old one grows on.
    fn turn(&mut self, number: u64) {
        let keeper = self.keeper;
        let id = Id { run: keeper.run.clone(), number };
        let Some(reader) = self.reader.take() else { return };
        match Journal::create(&keeper.path, id) {
            Ok(fresh) => {
                let mut desk = guard(&keeper.desk);
                let journal = std::mem::replace(&mut desk.journal, fresh);
                let done = std::mem::take(&mut desk.done);
                let waiting =
                    Backlog { bytes: journal.len().saturating_sub(done.bytes), frames: journal.frames().saturating_sub(done.frames) };
                desk.older.bytes += waiting.bytes;
                desk.older.frames += waiting.frames;
                drop(desk);
                self.older.push_back(Older { journal, reader, waiting });
            }
            Err(error) => {
                log::warn!("no new journal for {}: {error}", keeper.path.display());
                self.reader = Some(reader);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn frame(serial: u64) -> Frame {
        let mut frame = Frame::begin();
        frame.row(&sample::row(serial), None);
        frame
    }

    #[test]
    fn in_a_forked_child_every_call_is_an_error_and_no_lock_is_taken() {
        let dir = sample::dir();
        let mut keeper = Keeper::new(&dir.path().join("l.db"), None).expect("a journal");
        keeper.process += 1;
        // Somebody had it when the process was forked, and is not there any more.
        let held = guard(&keeper.desk);
        let errors = [keeper.append(&mut frame(1)), keeper.ready(), keeper.flush(IDLE), keeper.here()];
        for error in errors {
            assert!(error.expect_err("forked").to_string().contains("fork"));
        }
        keeper.stop(IDLE);
        drop(held);
        assert_eq!(guard(&keeper.desk).journal.frames(), 0);
    }

    #[test]
    fn a_full_disk_is_told_until_there_is_room_again() {
        let dir = sample::dir();
        let keeper = Keeper::new(&dir.path().join("l.db"), None).expect("a journal");
        guard(&keeper.desk).journal.room = Some(100);
        keeper.ready().expect("not known yet");
        let error = (1..10).find_map(|serial| keeper.append(&mut frame(serial)).err()).expect("100 bytes are few").to_string();
        assert!(error.contains(".rows"), "{error}");
        assert!(keeper.ready().is_err() && keeper.append(&mut frame(9)).is_err());
        guard(&keeper.desk).journal.room = None;
        keeper.ready().expect("room again");
        keeper.append(&mut frame(9)).expect("room again");
    }

    #[test]
    fn rows_are_refused_when_too_many_wait() {
        let dir = sample::dir();
        let keeper = Keeper::new(&dir.path().join("l.db"), None).expect("a journal");
        guard(&keeper.desk).older.bytes = MAX_WAITING - 200;
        keeper.append(&mut frame(1)).expect("the last one");
        guard(&keeper.desk).stuck = Some("locked by another program".into());
        for error in [keeper.append(&mut frame(2)), keeper.ready()] {
            assert!(error.expect_err("full").to_string().contains("64 MiB of rows wait to be taken in (locked by another program)"));
        }
        guard(&keeper.desk).older.bytes = 0;
        keeper.ready().expect("taken in");
    }
}
