//! What is next, and when: tables of books and times.

use super::*;
use crate::call::Protocol;
use crate::proxy::lease::talk::Grant;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn pauses_double_and_retry_after_is_kept_to() {
    let mut lane = Lane::default();
    // (share, retry after) → the wait in ms
    for (share, retry_after, ms) in [(1.0, 0, 500), (1.0, 0, 1000), (0.0, 0, 1000), (1.0, 200, 200_000), (1.0, 1, 8000), (0.5, 0, 12_000)] {
        let first = lane.pause.is_zero();
        assert_eq!(lane.fail(secs(9), Some(secs(retry_after)), false, share), first);
        assert_eq!(lane.until, secs(9) + Duration::from_millis(ms));
        assert!(!lane.is_ready(lane.until - Duration::from_millis(1)) && lane.is_ready(lane.until));
    }
    (0..20).for_each(|_| assert!(!lane.fail(secs(0), None, false, 1.0)));
    assert_eq!(lane.until, LONGEST_PAUSE);
    lane.fail(secs(0), Some(secs(200)), true, 1.0);
    assert_eq!(lane.until, STOP_PAUSE, "a router that stops can't wait");
    lane.succeed();
    assert!(lane.is_ready(secs(0)) && lane.fail(secs(0), None, false, 0.0));
}

/// What a row of the table is about: (a lease and 20 % left, something unsent, a lease to return).
fn book(low: bool, unsent: bool, closing: bool) -> (Book, Option<Status>) {
    let mut book = Book::default();
    let grant = Grant { lease_id: "l".into(), granted: 10, remaining: None, expires_at: None };
    if low {
        book.begin(&grant, Protocol::OpenAi, secs(0), 0);
    }
    book.unsent = unsent;
    if closing {
        book.give_back(Closing { lease_id: "old".into(), spent: 0, recovered: true });
    }
    (book, low.then_some((NanoUsd(10_000), NanoUsd(8_000), NanoUsd::ZERO)))
}

fn pace(reports: Option<u64>, events: Option<u64>) -> Pace {
    let lane = |until: Option<u64>| Lane { until: secs(until.unwrap_or(0)), pause: Duration::ZERO, held_up: until.is_some() };
    Pace { reports: lane(reports), events: lane(events), last_tried: false }
}

#[test]
fn money_first_then_messages_then_returns() {
    // (low, unsent, closing; reports and events held up until) → at 10 s
    for (low, unsent, closing, reports, events, expected) in [
        (false, false, false, None, None, Step::Sleep(None)),
        (true, true, true, None, None, Step::Do(Job::Refresh)),
        (true, false, false, Some(20), None, Step::Sleep(Some(secs(20)))),
        (false, true, true, None, None, Step::Do(Job::Send)),
        (false, false, true, None, None, Step::Do(Job::Return)),
        (false, false, true, None, Some(30), Step::Do(Job::Return)),
        (false, false, true, Some(20), Some(15), Step::Sleep(Some(secs(15)))),
        (false, false, false, Some(10), Some(15), Step::Do(Job::Send)),
        (false, false, false, None, Some(9), Step::Do(Job::Send)),
    ] {
        let (book, status) = book(low, unsent, closing);
        assert_eq!(pace(reports, events).plan(&book, status, secs(10)), expected, "{low} {unsent} {closing} {reports:?} {events:?}");
    }
}

#[test]
fn a_router_that_stops_sends_then_returns_then_ends() {
    // (a lease, unsent, closing; reports held up until; now) with a deadline at 10 s
    for (lease, unsent, closing, reports, now, expected) in [
        (true, true, true, None, 5, Step::Do(Job::Send)),
        (true, false, false, Some(7), 5, Step::Sleep(Some(secs(7)))),
        (true, false, false, Some(70), 5, Step::Sleep(Some(secs(10)))),
        (true, false, true, None, 5, Step::Do(Job::Retire)),
        (false, false, true, None, 5, Step::Do(Job::Return)),
        (false, false, false, None, 5, Step::End),
        (true, true, false, Some(7), 10, Step::Do(Job::Retire)),
        (false, true, true, Some(70), 10, Step::Do(Job::LastReturn)),
        (false, true, false, None, 10, Step::End),
    ] {
        let (mut book, status) = book(lease, unsent, closing);
        book.stopping = Some(secs(10));
        assert_eq!(pace(reports, None).plan(&book, status, secs(now)), expected, "{lease} {unsent} {closing} {reports:?} {now}");
    }
    let (mut book, status) = book(true, true, true);
    book.stopping = Some(secs(10));
    assert_eq!(Pace { last_tried: true, ..pace(None, None) }.plan(&book, status, secs(10)), Step::Do(Job::Retire));
    book.end(true);
    assert_eq!(Pace { last_tried: true, ..pace(None, None) }.plan(&book, None, secs(10)), Step::End);
    (book.stopping, book.abandoned) = (None, true);
    assert_eq!(pace(None, None).plan(&book, status, secs(0)), Step::End, "nobody is there any more");
}
