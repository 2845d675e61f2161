//! The journal of a run: the file to which a request's thread appends, and which the fold thread takes into SQLite.
//!
//! A journal belongs to one [`Run`] of one process, which keeps it locked (`flock`) as long as it lives: whoever gets the lock of another's
//! journal knows that its run is over, and may take over its rows. Names: `LEDGER.RUN.NUMBER.rows`; when a journal has grown past
//! [`TURN_AT`] the run turns to the next number.
//!
//! An append is one `write`, handed to the kernel before it returns: it survives `kill -9`. Nothing is synced here.

use super::record::{self, HEAD, MAGIC, Next};
use fs4::TryLockError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes from which on a run turns to a new journal.
pub(super) const TURN_AT: u64 = 1 << 20;

/// The most bytes that may wait for SQLite; from there on rows are refused.
pub(super) const MAX_WAITING: u64 = 64 << 20;

/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// Which journal: whose, and the how many-eth.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    /// The name of the run.
    pub(super) run: String,
    /// Counts the run's journals from 1.
    pub(super) number: u64,
}

impl Id {
    /// The file of this journal.
    pub(super) fn path(&self, ledger: &Path) -> PathBuf {
        let mut name = ledger.as_os_str().to_owned();
        name.push(format!(".{}.{}.rows", self.run, self.number));
        name.into()
    }

    /// What a file's name says, if it is a journal of this ledger.
    fn of(name: &str, ledger: &str) -> Option<Self> {
        let (run, number) = name.strip_prefix(ledger)?.strip_prefix('.')?.strip_suffix(".rows")?.split_once('.')?;
        let number = number.parse().ok().filter(|_| run.len() == 16 && run.bytes().all(|b| b.is_ascii_hexdigit()))?;
        Some(Self { run: run.into(), number })
    }
}

/// The journals there are of a ledger, in the order of their rows.
pub(super) fn list(ledger: &Path) -> io::Result<Vec<Id>> {
    let name = ledger.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut ids = Vec::new();
    for file in fs::read_dir(ledger.parent().unwrap_or(Path::new(".")))? {
        ids.extend(Id::of(&file?.file_name().to_string_lossy(), &name));
    }
    ids.sort();
    Ok(ids)
}

/// Gets the lock of a journal whose run is over; `None`: the run lives, or the journal is gone.
pub(super) fn take_over(path: &Path) -> io::Result<Option<File>> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(try_lock(&file)?.then_some(file))
}

/// Whether the file's lock was to be had.
fn try_lock(file: &File) -> io::Result<bool> {
    // By its trait: newer standard libraries have a method of the same name.
    match fs4::FileExt::try_lock(file) {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A journal that rows are appended to.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) id: Id,
    pub(super) path: PathBuf,
    file: File,
    /// Where the last whole frame ends.
    len: u64,
    /// How many there are.
    frames: u64,
    /// Whether bytes of a failed append may stand behind that.
    torn: bool,
    #[cfg(test)]
    pub(super) room: Option<u64>,
}

impl Journal {
    /// A new file, locked.
    pub(super) fn create(ledger: &Path, id: Id) -> io::Result<Self> {
        let path = id.path(ledger);
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path)?;
        // Whoever looks for dead runs may have seen the file before it was locked, and taken it away: then it is no more.
        if !try_lock(&file)? || !path.exists() {
            return Err(io::Error::new(ErrorKind::Interrupted, "taken away by another process"));
        }
        if let Err(error) = file.write_all(MAGIC) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Self {
            id,
            path,
            file,
            len: MAGIC.len() as u64,
            frames: 0,
            torn: false,
            #[cfg(test)]
            room: None,
        })
    }

    /// Where the last whole frame ends.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// How many frames there are.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// A second way into the file, for reading.
    pub(super) fn reader(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Appends a frame: all of it, or, as far as anybody will read, nothing.
    pub(super) fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        self.mend()?;
        if let Err(error) = self.write(frame) {
            self.torn = true;
            let _ = self.mend();
            return Err(error);
        }
        self.len += frame.len() as u64;
        self.frames += 1;
        Ok(())
    }

    /// Whether such a frame could be appended: appends it and takes it back.
    pub(super) fn probe(&mut self, frame: &[u8]) -> io::Result<()> {
        self.mend()?;
        self.torn = true;
        let written = self.write(frame);
        self.mend().and(written)
    }

    /// Cuts off what a failed append left.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.len)?;
            self.torn = false;
        }
        Ok(())
    }

    #[cfg(not(test))]
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// As without tests, on a disk that has no more room than the test says.
    #[cfg(test)]
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fits = self.room.map_or(bytes.len(), |room| bytes.len().min(room as usize));
        self.file.write_all(&bytes[..fits])?;
        self.room = self.room.map(|room| room - fits as u64);
        if fits < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

/// How the reading of a journal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With a whole frame, or where it was to end.
    Clean,
    /// With a frame that was cut, or is being written.
    Cut,
    /// With bytes that were never written so.
    Bad,
    /// At once: it is of another version.
    Foreign,
}

/// Reads the frames of a journal, a piece at a time.
pub(super) struct Frames<'f> {
    file: io::Take<&'f File>,
    bytes: Vec<u8>,
    at: usize,
    offset: u64,
    ended: Option<Ending>,
}

impl<'f> Frames<'f> {
    /// From an offset (0: the first frame) to another, or to the end.
    pub(super) fn new(file: &'f File, from: u64, to: u64) -> io::Result<Self> {
        let mut input = file;
        input.seek(SeekFrom::Start(0))?;
        let mut magic = Vec::new();
        input.take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        let ended = match MAGIC.starts_with(&magic) {
            true if magic.len() < MAGIC.len() => Some(Ending::Clean),
            true => None,
            false => Some(Ending::Foreign),
        };
        let offset = from.max(MAGIC.len() as u64);
        input.seek(SeekFrom::Start(offset))?;
        Ok(Self { file: file.take(to.saturating_sub(offset)), bytes: Vec::new(), at: 0, offset, ended })
    }

    /// Where the next frame begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame's payload, or how it ended.
    pub(super) fn next(&mut self) -> io::Result<Result<&[u8], Ending>> {
        if let Some(ending) = self.ended {
            return Ok(Err(ending));
        }
        let length = loop {
            match record::next(&self.bytes[self.at..]) {
                Next::Whole(payload) => break payload.len(),
                Next::Bad => return Ok(Err(*self.ended.insert(Ending::Bad))),
                Next::Cut => {}
            }
            if !self.fill()? {
                let ending = if self.at == self.bytes.len() { Ending::Clean } else { Ending::Cut };
                return Ok(Err(*self.ended.insert(ending)));
            }
        };
        let payload = self.at + HEAD..self.at + HEAD + length;
        self.at = payload.end;
        self.offset += (HEAD + length) as u64;
        Ok(Ok(&self.bytes[payload]))
    }

    /// Reads a piece; false: there is no more.
    fn fill(&mut self) -> io::Result<bool> {
        self.bytes.drain(..self.at);
        self.at = 0;
        Ok(self.file.by_ref().take(PIECE as u64).read_to_end(&mut self.bytes)? > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{entry, sample};
    use super::*;
    use crate::ledger::record::Frame;

    fn journal(ledger: &Path) -> Journal {
        Journal::create(ledger, Id { run: entry::run_id().expect("random"), number: 1 }).expect("a journal")
    }

    fn frame(serial: u64) -> Vec<u8> {
        let mut frame = Frame::begin();
        frame.row(&sample::row(serial), None);
        frame.end().expect("small").to_vec()
    }

    fn serials(path: &Path) -> (Vec<u64>, Ending) {
        let file = File::open(path).expect("the journal");
        let mut frames = Frames::new(&file, 0, u64::MAX).expect("seek");
        let mut serials = Vec::new();
        loop {
            match frames.next().expect("read") {
                Err(ending) => return (serials, ending),
                Ok(payload) => match record::parts(payload, "r").expect("parts").as_slice() {
                    [record::Part::Row(row)] => serials.push(row.serial),
                    other => panic!("{other:?}"),
                },
            }
        }
    }

    #[test]
    fn what_a_full_disk_cut_is_taken_back_and_later_rows_are_readable() {
        let dir = sample::dir();
        let mut journal = journal(&dir.path().join("l.db"));
        journal.append(&frame(1)).expect("room");
        for room in 0..frame(2).len() as u64 {
            journal.room = Some(room);
            assert_eq!(journal.append(&frame(2)).expect_err("no room").kind(), ErrorKind::StorageFull);
            assert!(journal.probe(&frame(2)).is_err(), "still none");
            assert_eq!(serials(&journal.path), (vec![1], Ending::Clean), "{room}");
        }
        journal.room = None;
        journal.probe(&frame(9)).expect("room again");
        journal.append(&frame(3)).expect("room again");
        assert_eq!(serials(&journal.path), (vec![1, 3], Ending::Clean));
    }

    #[test]
    fn a_journal_cut_anywhere_gives_its_whole_frames() {
        let dir = sample::dir();
        let mut journal = journal(&dir.path().join("l.db"));
        let (mut ends, mut all) = (vec![MAGIC.len()], Vec::new());
        for serial in 1..=3 {
            journal.append(&frame(serial)).expect("room");
            ends.push(journal.len() as usize);
            all.push(serial);
        }
        let bytes = fs::read(&journal.path).expect("the journal");
        let copy = dir.path().join("copy");
        for end in 0..bytes.len() {
            fs::write(&copy, &bytes[..end]).expect("a copy");
            let whole = ends.iter().rposition(|frame_end| *frame_end <= end).unwrap_or(0);
            let ending = if end <= MAGIC.len() || ends.contains(&end) { Ending::Clean } else { Ending::Cut };
            assert_eq!(serials(&copy), (all[..whole].to_vec(), ending), "{end}");
        }
    }

    #[test]
    fn frames_larger_than_a_piece_are_read_whole() {
        let dir = sample::dir();
        let mut journal = journal(&dir.path().join("l.db"));
        let mut large = Frame::begin();
        large.filler(3 * PIECE + 1);
        large.row(&sample::row(1), None);
        journal.append(large.end().expect("under the limit")).expect("room");
        journal.append(&frame(2)).expect("room");
        assert_eq!(serials(&journal.path), (vec![1, 2], Ending::Clean));
    }

    #[test]
    fn a_live_journal_is_not_taken_over_and_a_dead_one_is() {
        let dir = sample::dir();
        let ledger = dir.path().join("l.db");
        let journal = journal(&ledger);
        let path = journal.path.clone();
        assert_eq!(list(&ledger).expect("a directory"), std::slice::from_ref(&journal.id));
        assert!(take_over(&path).expect("readable").is_none());
        drop(journal);
        assert!(take_over(&path).expect("readable").is_some());
        assert!(list(&dir.path().join("other.db")).expect("a directory").is_empty());
    }
}
