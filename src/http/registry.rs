//! Who is connected: every live socket and every thread, so that stopping can find them all and leaves none behind.
//!
//! A thread whose connection has ended waits a moment for another one: clients that connect for each request would otherwise cost a thread
//! a request. A waiting thread is counted off by the one who hands it a connection, under the same lock, so no connection ever waits for a
//! thread that is busy.

use super::link::Link;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

/// Connections that were turned away and are kept open until their clients have read why: how many, and for how long.
const MAX_PARTING: usize = 32;
const PARTING_TIME: Duration = Duration::from_secs(2);

/// How long a thread waits for another connection.
const SPARE_TIME: Duration = Duration::from_secs(2);

/// The connections of a server.
#[derive(Default)]
pub(super) struct Registry {
    table: Mutex<Table>,
    /// Told when a connection or a thread is gone.
    gone: Condvar,
    /// Told when a connection waits for a spare thread.
    handed: Condvar,
}

/// A connection on the list; [`Registry::leave`] takes it off again.
pub(super) struct Entered {
    pub(super) number: u64,
    pub(super) link: Arc<Link>,
}

#[derive(Default)]
struct Table {
    open: HashMap<u64, Open>,
    next: u64,
    /// Connections for spare threads, and the number of these that have none in sight.
    handed: VecDeque<Entered>,
    spare: usize,
    threads: HashMap<ThreadId, JoinHandle<()>>,
    /// Threads that have nothing left to do but end.
    ended: Vec<JoinHandle<()>>,
    parting: VecDeque<(Instant, Arc<Link>)>,
    stopping: bool,
}

struct Open {
    link: Arc<Link>,
    /// Who serves it, once somebody does.
    thread: Option<ThreadId>,
}

impl Registry {
    pub(super) fn connections(&self) -> usize {
        self.table().open.len()
    }

    /// Enters a connection and gives it to a spare thread, else to a new one that `start` makes.
    pub(super) fn enter(&self, link: Arc<Link>, start: impl FnOnce(Entered) -> io::Result<JoinHandle<()>>) -> io::Result<()> {
        let mut table = self.table();
        table.forget_parted();
        let number = table.next;
        table.next += 1;
        let entered = Entered { number, link: Arc::clone(&link) };
        let mut serving = None;
        if table.spare > 0 {
            table.spare -= 1;
            table.handed.push_back(entered);
            self.handed.notify_one();
        } else {
            // Started under the lock: a thread that ends at once finds itself on the list.
            let thread = start(entered)?;
            serving = Some(thread.thread().id());
            table.threads.insert(thread.thread().id(), thread);
        }
        table.open.insert(number, Open { link, thread: serving });
        Ok(())
    }

    /// A connection has ended.
    pub(super) fn leave(&self, number: u64) {
        let mut table = self.table();
        table.forget_parted();
        table.open.remove(&number);
        drop(table);
        self.gone.notify_all();
    }

    /// The calling thread's next connection; `None` when it is to end.
    pub(super) fn next(&self) -> Option<Entered> {
        let deadline = Instant::now() + SPARE_TIME;
        let mut table = self.table();
        table.spare += 1;
        loop {
            if let Some(entered) = table.handed.pop_front() {
                if let Some(open) = table.open.get_mut(&entered.number) {
                    open.thread = Some(thread::current().id());
                }
                return Some(entered);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if table.stopping || left.is_zero() {
                table.spare -= 1;
                return None;
            }
            table = self.handed.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The last thing a thread does. It joins those that ended before it, so that at most one is ever unjoined for long.
    pub(super) fn end_thread(&self) {
        let mut table = self.table();
        let before = std::mem::take(&mut table.ended);
        if let Some(own) = table.threads.remove(&thread::current().id()) {
            table.ended.push(own);
        }
        drop(table);
        self.gone.notify_all();
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

    /// Begins to stop: closes connections that wait for a request, ends threads that wait for a connection. How many requests are under way.
    pub(super) fn close_idle(&self) -> usize {
        let mut table = self.table();
        table.parting.clear();
        table.stopping = true;
        self.handed.notify_all();
        table.open.values().filter(|open| open.link.close_if_idle()).count()
    }

    /// Ends all connections; how many had a request under way.
    pub(super) fn cut(&self) -> usize {
        self.table().open.values().filter(|open| open.link.cut()).count()
    }

    /// Waits until every connection but the caller's own has left, at most until `deadline`; whether they have.
    pub(super) fn wait_until_left(&self, deadline: Instant) -> bool {
        let mut table = self.table();
        while table.others_open() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            table = self.gone.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits for every thread but the caller's own to end, and joins them.
    pub(super) fn join_all(&self) {
        let mut table = self.table();
        let me = thread::current().id();
        while table.threads.keys().any(|&id| id != me) {
            table = self.gone.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
        let ended = std::mem::take(&mut table.ended);
        drop(table);
        join(ended);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn others_open(&self) -> bool {
        let me = Some(thread::current().id());
        self.open.values().any(|open| open.thread != me)
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
