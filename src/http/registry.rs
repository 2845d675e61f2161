//! Who is connected: every live socket with its thread, so that stopping can find them all and leaves none behind.

use super::link::Link;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Connections that were turned away and are kept open until their clients have read why: how many, and for how long.
const MAX_PARTING: usize = 32;
const PARTING_TIME: Duration = Duration::from_secs(2);

/// The connections of a server.
#[derive(Default)]
pub(super) struct Registry {
    table: Mutex<Table>,
    left: Condvar,
}

#[derive(Default)]
struct Table {
    open: HashMap<u64, Open>,
    /// Threads that have nothing left to do but end.
    ended: Vec<JoinHandle<()>>,
    parting: VecDeque<(Instant, Arc<Link>)>,
    next: u64,
}

struct Open {
    link: Arc<Link>,
    thread: JoinHandle<()>,
}

impl Registry {
    pub(super) fn connections(&self) -> usize {
        self.table().open.len()
    }

    /// Enters a connection and starts its thread, which gets the number to [`Registry::leave`] with.
    pub(super) fn enter(&self, link: Arc<Link>, start: impl FnOnce(u64) -> io::Result<JoinHandle<()>>) -> io::Result<()> {
        let mut table = self.table();
        table.forget_parted();
        let number = table.next;
        // Started under the lock: a thread that ends at once finds itself entered.
        let thread = start(number)?;
        table.next += 1;
        table.open.insert(number, Open { link, thread });
        Ok(())
    }

    /// The last thing a connection's thread does. It joins those that ended before it, so that at most one is ever unjoined for long.
    pub(super) fn leave(&self, number: u64) {
        let mut table = self.table();
        table.forget_parted();
        let before = std::mem::take(&mut table.ended);
        if let Some(open) = table.open.remove(&number) {
            table.ended.push(open.thread);
        }
        drop(table);
        self.left.notify_all();
        join(before);
    }

    /// Keeps a connection that was turned away open for a moment.
    pub(super) fn part(&self, link: Arc<Link>) {
        let mut table = self.table();
        table.forget_parted();
        if table.parting.len() == MAX_PARTING {
            table.parting.pop_front();
        }
        table.parting.push_back((Instant::now(), link));
    }

    /// Closes connections that wait for a request; how many have one under way.
    pub(super) fn close_idle(&self) -> usize {
        let mut table = self.table();
        table.parting.clear();
        table.open.values().filter(|open| open.link.close_if_idle()).count()
    }

    /// Ends all connections; how many had a request under way.
    pub(super) fn cut(&self) -> usize {
        self.table().open.values().filter(|open| open.link.cut()).count()
    }

    /// Waits until every connection but the caller's own has left, at most until `deadline`; whether they have.
    pub(super) fn wait_until_left(&self, deadline: Option<Instant>) -> bool {
        let mut table = self.table();
        while table.others_open() {
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            table = match deadline {
                Some(_) => self.left.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.left.wait(table).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }

    /// Joins the threads of connections that have left.
    pub(super) fn join_ended(&self) {
        let ended = std::mem::take(&mut self.table().ended);
        join(ended);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn others_open(&self) -> bool {
        let me = thread::current().id();
        self.open.values().any(|open| open.thread.thread().id() != me)
    }

    fn forget_parted(&mut self) {
        while self.parting.front().is_some_and(|(since, _)| since.elapsed() > PARTING_TIME) {
            self.parting.pop_front();
        }
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        let _ = thread.join();
    }
}
