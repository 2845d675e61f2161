//! The one broadcast thread.
//!
//! It sleeps until somebody rings: a request's thread that has put an event into the ring, or somebody who wants something of it. Events of
//! two milliseconds leave together, rendered once for all. A subscriber that comes with a number is *behind* until it has been told what
//! the ring still has; from then on it gets what everybody gets. Sockets are looked at in turn, a few times a second and without waiting,
//! and those that take nothing are tried ever more seldom: so they cost the others nothing.

use super::ring::Ring;
use super::seat::{Seat, Seats};
use super::socket::{FRAME_BYTES, Frame, Socket};
use super::subscription::{Feed, Subscription};
use crate::clock::UnixMs;
use crate::error::Error;
use crate::event::Numbered;
use crate::wire::news::{self, Hello};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};
use tungstenite::Utf8Bytes;
use tungstenite::protocol::frame::coding::CloseCode;

/// How long events are gathered.
const GATHER: Duration = Duration::from_millis(2);

/// How often every socket is looked at: pings and closes are answered within that time.
const LOOK: Duration = Duration::from_millis(100);

/// How often a subscriber in this process that is behind is looked at: it can't tell when it has room.
const REFILL: Duration = Duration::from_millis(5);

/// How many events are taken from the ring at once (details may make them large); for those who are behind, also how many in one turn,
/// all together.
const PORTION: usize = 64;
const BEHIND_A_TURN: usize = 1024;

/// How many of those who are turned away may still be reading why.
const TURNED_AWAY: usize = 64;

/// Orders that wait for the thread; beyond that a newcomer is dropped.
const ORDERS: usize = 2048;

/// How long the thread takes for its good-byes, and how long it is waited for.
const GOOD_BYE: Duration = Duration::from_millis(400);
const END: Duration = Duration::from_millis(500);

/// The thread and its door.
pub(super) struct Hub {
    ring: Arc<Ring>,
    seats: Seats,
    hello: Arc<OnceLock<Hello>>,
    desk: Arc<Desk>,
    bell: Sender<()>,
    stopping: Arc<AtomicBool>,
    thread: Mutex<Option<Running>>,
    /// A forked child has this value, and no such thread.
    process: u32,
}

struct Running {
    thread: JoinHandle<()>,
    /// Its other end goes with the thread.
    ended: Receiver<()>,
}

enum Order {
    Subscribe { feed: Feed, behind: u64 },
    Join { socket: TcpStream, read_ahead: Vec<u8>, behind: u64, seat: Option<Seat> },
}

impl Hub {
    /// Starts the thread.
    ///
    /// # Errors
    /// It can't be started.
    pub(super) fn start(ring: Arc<Ring>) -> Result<Self, Error> {
        let desk = Arc::new(Desk(Mutex::new(Some(Vec::new()))));
        let (bell, rung) = bounded(1);
        let (ending, ended) = bounded::<()>(0);
        let (hello, stopping) = (Arc::new(OnceLock::new()), Arc::new(AtomicBool::new(false)));
        let mut round = Round::new(ring.clone(), hello.clone(), Door { desk: desk.clone(), bell: rung, stopping: stopping.clone() });
        let run = move || {
            let _ending = ending;
            round.run();
        };
        let thread = thread::Builder::new().name("iron-live".into()).spawn(run);
        let thread = thread.map_err(|source| Error::Io { what: "start the broadcast thread".into(), source })?;
        let thread = Mutex::new(Some(Running { thread, ended }));
        Ok(Self { ring, seats: Seats::default(), hello, desk, bell, stopping, thread, process: std::process::id() })
    }

    /// What subscribers are told about the router; the first word counts.
    pub(super) fn introduce(&self, hello: Hello) {
        let _ = self.hello.set(hello);
    }

    /// Something new is in the ring. Never waits.
    pub(super) fn wake(&self) {
        if self.has_subscribers() {
            self.ring_bell();
        }
    }

    /// Whether anybody listens.
    pub(super) fn has_subscribers(&self) -> bool {
        !self.seats.are_free()
    }

    /// A subscriber in this process. Where no place is left, the subscription is over at once.
    pub(super) fn subscribe(&self, since: Option<u64>) -> Subscription {
        let (subscription, feed) = Subscription::new(self.seats.take());
        self.order(Order::Subscribe { feed, behind: self.behind(since) });
        subscription
    }

    /// A subscriber at the other end of a socket.
    pub(super) fn join(&self, socket: TcpStream, read_ahead: Vec<u8>, since: Option<u64>) {
        let seat = self.seats.take();
        self.order(Order::Join { socket, read_ahead, behind: self.behind(since), seat });
    }

    /// Ends the thread: what is left is sent, and every subscriber told that we go. Waits half a second at most; twice is fine.
    pub(super) fn stop(&self) {
        if std::process::id() != self.process {
            return;
        }
        let running = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return };
        self.stopping.store(true, Ordering::Release);
        self.ring_bell();
        // Nothing is ever sent: this returns when the other end is gone, or in time.
        let _ = running.ended.recv_timeout(END);
        if running.ended.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected) && running.thread.join().is_err() {
            log::error!("the broadcast thread panicked");
        }
    }

    /// Where a subscriber begins. A number that was not reached yet is one of an earlier run: everything is new then.
    fn behind(&self, since: Option<u64>) -> u64 {
        let last = self.ring.last();
        since.map_or(last, |since| if since > last { 0 } else { since })
    }

    /// An order that finds no room is dropped, and with it the subscriber's end of the line.
    fn order(&self, order: Order) {
        self.desk.put(order);
        self.ring_bell();
    }

    fn ring_bell(&self) {
        let _ = self.bell.try_send(());
    }
}

/// Where orders wait for the thread. (A bounded channel would keep what comes just before its receiver goes: with it a socket that nobody
/// closes, and a subscription that is never over.)
struct Desk(Mutex<Option<Vec<Order>>>);

impl Desk {
    fn put(&self, order: Order) {
        let mut orders = self.lock();
        let refused = match orders.as_mut() {
            Some(orders) if orders.len() < ORDERS => {
                orders.push(order);
                None
            }
            _ => Some(order),
        };
        // Dropped outside the lock: a socket is closed with it.
        drop(orders);
        drop(refused);
    }

    fn take(&self) -> Vec<Order> {
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.lock().as_ref().is_none_or(Vec::is_empty)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Order>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Somebody who is told.
struct Subscriber {
    outlet: Outlet,
    /// Has been told everything up to this number, and less than the others; `None`: as much as they.
    behind: Option<u64>,
    seat: Option<Seat>,
}

enum Outlet {
    Socket(Box<Socket>),
    Feed(Feed),
}

impl Outlet {
    /// Whether older events may be fetched for it.
    fn has_room(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.has_room(),
            Self::Feed(feed) => feed.has_room(),
        }
    }

    fn miss(&mut self, events: u64) {
        match self {
            Self::Socket(socket) => socket.miss(events),
            Self::Feed(feed) => feed.miss(events),
        }
    }

    fn tell(&mut self, news: &News) {
        match self {
            Self::Socket(socket) => news.frames().iter().for_each(|frame| socket.tell(frame)),
            Self::Feed(feed) => news.events.iter().for_each(|event| feed.tell(event)),
        }
    }

    /// Tells it no more than it has room for; how many of the events that were.
    fn tell_some(&mut self, news: &News) -> u64 {
        let Self::Socket(socket) = self else {
            self.tell(news);
            return news.events.len() as u64;
        };
        let mut told = 0;
        for frame in news.frames() {
            if !socket.has_room() {
                break;
            }
            socket.tell(frame);
            told += frame.events;
        }
        told
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.is_over(),
            Self::Feed(feed) => feed.is_over(),
        }
    }

    /// Passes on what waits.
    fn write(&mut self, now: Instant) {
        match self {
            Self::Socket(socket) => socket.write(now),
            Self::Feed(feed) => feed.admit_loss(),
        }
    }
}

/// Events on their way to subscribers.
struct News {
    events: Vec<Arc<Numbered>>,
    /// Rendered when the first one asks.
    frames: OnceLock<Vec<Frame>>,
}

impl News {
    fn new(events: Vec<Numbered>) -> Self {
        Self { events: events.into_iter().map(Arc::new).collect(), frames: OnceLock::new() }
    }

    fn frames(&self) -> &[Frame] {
        self.frames.get_or_init(|| frames(&self.events))
    }
}

/// The events as JSON lines, in frames that are as full as may be. One that is larger than a frame should be has one of its own.
fn frames(events: &[Arc<Numbered>]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let (mut text, mut count) = (Vec::new(), 0);
    for event in events {
        let mut line = text.len();
        if count > 0 {
            text.push(b'\n');
            line += 1;
        }
        news::append(&mut text, event.seq, &event.event);
        if count > 0 && text.len() > FRAME_BYTES {
            let next = text.split_off(line);
            text.pop();
            frames.extend(frame(std::mem::replace(&mut text, next), count));
            count = 0;
        }
        count += 1;
    }
    frames.extend(frame(text, count));
    frames
}

/// `None`: there is nothing in it. (Text is all that is ever rendered.)
fn frame(text: Vec<u8>, events: u64) -> Option<Frame> {
    let text = Utf8Bytes::try_from(text).ok()?;
    (events > 0).then_some(Frame { text, events })
}

/// How the thread is reached.
struct Door {
    desk: Arc<Desk>,
    bell: Receiver<()>,
    stopping: Arc<AtomicBool>,
}

impl Drop for Door {
    /// Whoever comes now is turned away by whom he asks.
    fn drop(&mut self) {
        let closed = self.desk.lock().take();
        drop(closed);
    }
}

/// What the thread works on, round after round.
struct Round {
    ring: Arc<Ring>,
    hello: Arc<OnceLock<Hello>>,
    door: Door,
    subscribers: Vec<Subscriber>,
    /// Everybody who is not behind has been told of the events up to this one.
    position: u64,
    told_at: Instant,
    look_at: Instant,
    started_at: UnixMs,
}

impl Round {
    fn new(ring: Arc<Ring>, hello: Arc<OnceLock<Hello>>, door: Door) -> Self {
        let now = Instant::now();
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let started_at = UnixMs(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX));
        Self { ring, hello, door, subscribers: Vec::new(), position: 0, told_at: now, look_at: now, started_at }
    }

    fn run(&mut self) {
        loop {
            self.sleep();
            // Looked at first: whoever came before the end is let in.
            let stopping = self.door.stopping.load(Ordering::Acquire);
            self.take_orders();
            if stopping {
                return self.say_good_bye();
            }
            let now = Instant::now();
            self.broadcast(now);
            self.catch_up(now);
            self.retry(now);
            if now >= self.look_at {
                self.look(now);
            }
            self.subscribers.retain(|subscriber| !subscriber.outlet.is_over());
        }
    }

    /// Until somebody rings, or something is due. No lock is held.
    fn sleep(&self) {
        if self.subscribers.is_empty() {
            let _ = self.door.bell.recv();
            return;
        }
        let now = Instant::now();
        let rung = self.door.bell.recv_timeout(self.due(now).saturating_duration_since(now)).is_ok();
        // The bell has rung for the first event; while it is not listened to, those who bring more find it rung already.
        let gather = (self.told_at + GATHER).saturating_duration_since(Instant::now());
        if rung && !gather.is_zero() && self.door.desk.is_empty() {
            thread::sleep(gather);
        }
    }

    fn due(&self, now: Instant) -> Instant {
        self.subscribers.iter().filter_map(|subscriber| subscriber.due(now)).fold(self.look_at, Instant::min)
    }

    /// Lets in who has come.
    fn take_orders(&mut self) {
        let orders = self.door.desk.take();
        if self.subscribers.is_empty() {
            // Nobody has waited for what came meanwhile, but those who come now say where they begin.
            (self.position, self.look_at) = (self.ring.last(), Instant::now());
        } else if !orders.is_empty() {
            // Newcomers may begin at the last event: so far the others have to be.
            self.broadcast(Instant::now());
        }
        for order in orders {
            match order {
                Order::Subscribe { feed, behind } => self.add(Outlet::Feed(feed), Some(behind), None),
                Order::Join { socket, read_ahead, behind, seat } => self.join(socket, read_ahead, behind, seat),
            }
        }
    }

    fn add(&mut self, outlet: Outlet, behind: Option<u64>, seat: Option<Seat>) {
        self.subscribers.push(Subscriber { outlet, behind, seat });
    }

    fn join(&mut self, socket: TcpStream, read_ahead: Vec<u8>, behind: u64, seat: Option<Seat>) {
        let now = Instant::now();
        let Ok(mut socket) = Socket::new(socket, read_ahead, now) else { return };
        if seat.is_some() {
            let unknown = Hello { started_at: self.started_at, ledger: false, capture: false };
            socket.tell(&Frame::notice(news::hello(self.position, self.hello.get().unwrap_or(&unknown))));
            socket.write(now);
            return self.add(Outlet::Socket(Box::new(socket)), Some(behind), seat);
        }
        if self.subscribers.iter().filter(|subscriber| subscriber.is_turned_away()).count() < TURNED_AWAY {
            socket.close(CloseCode::Again, "too many subscribers", now);
            self.add(Outlet::Socket(Box::new(socket)), None, None);
        }
    }

    /// Tells everybody of the new events: those that are there now, not those that come meanwhile.
    fn broadcast(&mut self, now: Instant) {
        let end = self.ring.last();
        while self.position < end {
            let (missed, events) = self.ring.after(self.position, PORTION);
            let Some(last) = events.last() else { return };
            (self.position, self.told_at) = (last.seq, now);
            let news = News::new(events);
            for subscriber in self.subscribers.iter_mut().filter(|subscriber| subscriber.behind.is_none()) {
                subscriber.outlet.miss(missed);
                subscriber.outlet.tell(&news);
                subscriber.outlet.write(now);
            }
        }
    }

    /// Tells those who are behind of what the others have been told, as far as the ring has it and there is room.
    fn catch_up(&mut self, now: Instant) {
        let mut left = BEHIND_A_TURN;
        for subscriber in self.subscribers.iter_mut() {
            while left > 0
                && let Some(behind) = subscriber.behind
                && subscriber.outlet.has_room()
            {
                left = left.saturating_sub(subscriber.catch_up(&self.ring, behind, self.position));
                subscriber.outlet.write(now);
            }
        }
    }

    /// Tries sockets again that took nothing.
    fn retry(&mut self, now: Instant) {
        for subscriber in &mut self.subscribers {
            if let Outlet::Socket(socket) = &mut subscriber.outlet
                && socket.retry_at().is_some_and(|retry| now >= retry)
            {
                socket.write(now);
            }
        }
    }

    /// Looks at every subscriber.
    fn look(&mut self, now: Instant) {
        self.look_at = now + LOOK;
        for subscriber in &mut self.subscribers {
            if let Outlet::Socket(socket) = &mut subscriber.outlet {
                socket.read(now, drop);
                socket.tend(now);
            }
            subscriber.outlet.write(now);
        }
    }

    /// Sends what is left, then a close frame each. Those in this process are told what they miss, and that nothing follows.
    fn say_good_bye(&mut self) {
        let start = Instant::now();
        self.broadcast(start);
        loop {
            let now = Instant::now();
            self.catch_up(now);
            for subscriber in &mut self.subscribers {
                subscriber.part(now, now >= start + GOOD_BYE / 2, self.position);
            }
            self.subscribers.retain(|subscriber| matches!(subscriber.outlet, Outlet::Socket(_)) && !subscriber.outlet.is_over());
            if self.subscribers.is_empty() || now >= start + GOOD_BYE {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Subscriber {
    /// Whether it is only being told that there is no place.
    fn is_turned_away(&self) -> bool {
        self.seat.is_none() && matches!(self.outlet, Outlet::Socket(_))
    }

    /// When it has to be looked at out of turn.
    fn due(&self, now: Instant) -> Option<Instant> {
        let behind = self.behind.is_some();
        match &self.outlet {
            // Each of them at its own time, a thousand would keep the thread awake.
            Outlet::Socket(socket) if socket.is_stuck() => None,
            Outlet::Socket(socket) => socket.retry_at().or_else(|| (behind && socket.has_room()).then_some(now)),
            Outlet::Feed(feed) => behind.then(|| if feed.has_room() { now } else { now + REFILL }),
        }
    }

    /// Tells it of a portion of what it has not been told yet; how many events that were.
    fn catch_up(&mut self, ring: &Ring, behind: u64, position: u64) -> usize {
        let most = usize::try_from(position.saturating_sub(behind)).unwrap_or(PORTION).min(PORTION);
        let (missed, mut events) = ring.after(behind, most);
        // The ring goes on meanwhile; what is behind the others' position comes to it with them.
        let missed = missed.min(position.saturating_sub(behind));
        events.retain(|event| event.seq <= position);
        self.outlet.miss(missed);
        let reached = behind + missed + self.outlet.tell_some(&News::new(events));
        self.behind = (reached < position).then_some(reached);
        most
    }

    /// One step towards the end: a socket that has sent everything, or must hurry, says that we go away.
    fn part(&mut self, now: Instant, hurry: bool, position: u64) {
        match &mut self.outlet {
            Outlet::Socket(socket) => {
                socket.write(now);
                if hurry || (self.behind.is_none() && socket.is_drained()) {
                    socket.close(CloseCode::Away, "router stopped", now);
                }
                socket.write(now);
                socket.read(now, drop);
            }
            Outlet::Feed(feed) => feed.miss(self.behind.map_or(0, |behind| position.saturating_sub(behind))),
        }
    }
}

#[cfg(test)]
mod tests;
