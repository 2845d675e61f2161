//! The books against sequences of calls, refreshes and ends.

use super::*;
use crate::call::Reason;
use proptest::prelude::*;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn grant(id: &str, granted: u64) -> Grant {
    Grant { lease_id: id.into(), granted, remaining: Some(1_000_000_000), expires_at: None }
}

fn begun(granted: u64) -> Book {
    let mut book = Book::default();
    let (given, exhausted) = book.begin(&grant("l0", granted), Protocol::OpenAi, secs(0), 0);
    assert_eq!((given, exhausted), (NanoUsd::from_micro_usd(granted), false));
    book
}

fn down() -> Refusal {
    Refusal::new(Reason::Overloaded("control_server_unreachable"), "down")
}

#[test]
fn decisions() {
    let lease = |expires_at| Grant { expires_at, ..grant("l", 5) };
    // (lease, a handshake is under way, seconds since one failed) → action for an OpenAI call at 100 s, which is 1100 s since 1970
    for (granted, in_flight, failed, expected) in [
        (None, false, None, Action::Shake),
        (None, true, None, Action::Wait),
        (None, true, Some(0), Action::Wait),
        (None, false, Some(0), Action::Fail(down())),
        (None, false, Some(1), Action::Shake),
        (Some(lease(None)), false, Some(0), Action::Go(true)),
        (Some(lease(None)), true, None, Action::Go(true)),
        (Some(lease(Some(1106))), false, None, Action::Go(true)),
        (Some(lease(Some(1105))), false, None, Action::Shake),
        (Some(lease(Some(1105))), true, None, Action::Wait),
    ] {
        let mut book = Book::default();
        if let Some(grant) = &granted {
            book.begin(grant, Protocol::OpenAi, secs(0), 1000);
        }
        book.handshakes.in_flight = in_flight;
        book.handshakes.failed = failed.map(|ago| (secs(100 - ago), down()));
        assert_eq!(book.decide(Protocol::OpenAi, secs(100)), expected, "{granted:?} {in_flight} {failed:?}");
    }
    assert_eq!(begun(5).decide(Protocol::Anthropic, secs(0)), Action::Shake, "another provider's");
    let mut none = Book::default();
    none.keep_none();
    assert_eq!(none.decide(Protocol::OpenAi, secs(0)), Action::Go(false));
}

#[test]
fn reports_carry_remainders_and_returns_round_up() {
    let mut book = begun(1_000_000);
    let micro: Vec<_> = [400, 400, 400, 2_799, 1].map(|nano| book.charge(NanoUsd(nano)).expect("a lease").micro).into();
    assert_eq!(micro, [0, 0, 1, 2, 1]);
    assert!(book.charge(NanoUsd(1)).is_some_and(|charge| charge.micro == 0));
    assert!(book.end(true) && !book.end(true));
    assert_eq!(book.take_closing(), Some(Closing { lease_id: "l0".into(), spent: 5, recovered: false }));
}

#[test]
fn no_more_is_returned_than_was_lent() {
    let mut book = begun(3);
    assert!(book.charge(NanoUsd(9_000)).is_some_and(|charge| charge.micro == 9));
    book.end(true);
    assert_eq!(book.take_closing().map(|closing| closing.spent), Some(3));
}

#[test]
fn what_is_settled_without_a_lease_is_the_next_ones() {
    let mut book = begun(10);
    book.end(false);
    assert_eq!((book.take_closing(), book.charge(NanoUsd(2_500))), (None, None));
    assert_eq!(book.begin(&grant("l1", 10), Protocol::OpenAi, secs(0), 0).0, NanoUsd(7_500));
    assert_eq!(book.charge(NanoUsd(600)).map(|charge| charge.micro), Some(3));
    assert_eq!(book.spent(), Some(("l1", Protocol::OpenAi, 10, 3)));
}

#[test]
fn when_a_refresh_is_due() {
    let status = |spent, held| Some((NanoUsd::from_micro_usd(100), NanoUsd::from_micro_usd(spent), NanoUsd::from_micro_usd(held)));
    // (spent, held, asked, denied at 0 s, tried at 0 s, now) → due, or when
    for (spent, held, asked, denied, now, expected) in [
        (79, 0, false, false, 0, Err(None)),
        (80, 0, false, false, 0, Ok(())),
        (10, 70, false, false, 0, Ok(())),
        (200, 0, false, false, 0, Ok(())),
        (0, 0, true, false, 0, Ok(())),
        (80, 0, false, true, 10, Err(Some(secs(30)))),
        (80, 0, false, true, 30, Ok(())),
        (80, 0, true, true, 4, Err(Some(secs(5)))),
        (80, 0, true, true, 5, Ok(())),
        (10, 0, false, true, 99, Err(None)),
    ] {
        let mut book = begun(100);
        if denied {
            book.freeze(secs(0));
            assert_eq!(book.refresh_due(status(spent, held), secs(99)), Err(None), "one is under way");
            book.deny(secs(0));
        }
        if asked {
            book.ask_more();
        }
        assert_eq!(book.refresh_due(status(spent, held), secs(now)), expected, "{spent} {held} {asked} {denied} {now}");
    }
    assert_eq!(Book::default().refresh_due(None, secs(0)), Err(None));
}

#[test]
fn a_lease_in_use_is_renewed_before_it_ends() {
    // (life in seconds) → looked after from
    for (life, from) in [(600, 540), (40, 30)] {
        let mut book = Book::default();
        book.begin(&Grant { expires_at: Some(1000 + life), ..grant("l", 100) }, Protocol::OpenAi, secs(0), 1000);
        assert_eq!(book.refresh_due(None, secs(life)), Err(None), "not in use");
        book.charge(NanoUsd(1));
        assert_eq!(book.refresh_due(None, secs(0)), Err(Some(secs(from))));
        assert_eq!(book.refresh_due(None, secs(from)), Ok(()));
    }
}

#[test]
fn the_rest_lent_again_is_no_more_money() {
    for (remaining, granted, exhausted) in
        [(Some(7), 41, false), (Some(7), 40, true), (Some(7), 5, true), (Some(0), 90, true), (None, 41, false)]
    {
        let mut book = begun(100);
        book.charge(NanoUsd(60_000));
        let cut = book.freeze(secs(0)).expect("a lease");
        let given = book.renew(&cut, &Grant { remaining, ..grant("l1", granted) }, NanoUsd(60_000), secs(0), 0);
        assert_eq!(given, (NanoUsd::from_micro_usd(granted), exhausted), "{remaining:?} {granted}");
        book.trouble("down".into());
        assert_eq!(book.unanswered().is_none(), exhausted, "what the server said counts");
    }
}

#[test]
fn all_that_was_asked_for_is_no_sign_of_an_empty_purse() {
    let mut book = begun(10_000_000);
    book.charge(NanoUsd(0));
    let cut = book.freeze(secs(0)).expect("a lease");
    assert_eq!(book.sum_to_ask(None, NanoUsd(5)), 10_000_001, "what is waited for is asked for");
    let asked = book.sum_to_ask(None, NanoUsd::ZERO);
    let (_, exhausted) = book.renew(&cut, &Grant { remaining: None, ..grant("l1", asked) }, NanoUsd::ZERO, secs(0), 0);
    assert_eq!((asked, exhausted), (10_000_000, false));
}

#[test]
fn charges_find_their_lease() {
    let mut book = begun(100);
    let before = book.charge(NanoUsd(1_000)).expect("a lease");
    let cut = book.freeze(secs(0)).expect("a lease");
    let after = book.charge(NanoUsd(2_000)).expect("a lease");
    assert!(!book.is_still(&cut));
    book.put(before.serial);
    assert!(book.is_still(&cut), "{}", after.serial);
    assert_eq!(book.renew(&cut, &grant("l1", 50), NanoUsd(3_000), secs(0), 0).0, NanoUsd(48_000));
    assert_eq!((after.lease_id.as_str(), book.reported_on(after.serial, "l0")), ("l0", "l1"));
    assert_eq!(book.reported_on(before.serial, "l0"), "l0");
    assert_eq!(book.reported_on(after.serial, "other"), "other");
    assert_eq!(book.spent(), Some(("l1", Protocol::OpenAi, 50, 2)));
    let cut = book.freeze(secs(0)).expect("a lease");
    assert_eq!(book.renew(&cut, &grant("l2", 50), NanoUsd::ZERO, secs(0), 0).0, NanoUsd(50_000));
    assert_eq!((book.reported_on(after.serial, "l0"), book.reported_on(9, "l1")), ("l1", "l2"));
}

/// A step of the life of a router.
#[derive(Clone, Debug)]
enum Step {
    Charge(u64),
    Freeze,
    Renew(u64),
    Deny,
    End,
    Begin(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..5_000u64).prop_map(Step::Charge),
        2 => Just(Step::Freeze),
        2 => (1..100u64).prop_map(Step::Renew),
        1 => Just(Step::Deny),
        1 => Just(Step::End),
        1 => (1..100u64).prop_map(Step::Begin),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// Whatever happens: the reports come to the floor of the costs (what an ended lease had not reported is in its return),
    /// and what the account may spend is what the leases are good for.
    #[test]
    fn not_a_nano_dollar_is_lost(steps in steps()) {
        let mut book = Book::default();
        let (mut cost, mut reported, mut ended) = (0u64, 0u64, 0u64);
        // The account: what may be spent, and what is.
        let (mut may, mut spent) = (0u64, 0u64);
        let mut cut = None;
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Charge(nano) => {
                    cost += nano;
                    if let Some(charge) = book.charge(NanoUsd(nano)) {
                        spent += nano;
                        reported += charge.micro;
                        book.put(charge.serial);
                    }
                }
                Step::Freeze if cut.is_none() => cut = book.freeze(secs(0)),
                Step::Renew(granted) => if let Some(cut) = cut.take() {
                    let (given, _) = book.renew(&cut, &grant(&format!("l{at}"), granted), NanoUsd(spent), secs(0), 0);
                    (may, spent) = (given.0, 0);
                    let (_, _, granted, charged) = book.spent().expect("a lease");
// What the account may spend is the grant, less what is or will be reported on it already.
                    let charged = book.nano - (book.micro - charged) * 1000;
                    prop_assert_eq!(may, (granted * 1000).saturating_sub(charged));
                }
                Step::Deny if cut.is_some() => {
                    cut = None;
                    book.deny(secs(0));
                }
                Step::End if book.end(true) => {
                    cut = None;
                    ended += book.nano - book.micro * 1000;
                    may = 0;
                }
                Step::Begin(granted) if !book.is_open() => {
                    may = book.begin(&grant(&format!("l{at}"), granted), Protocol::OpenAi, secs(0), 0).0.0;
                    spent = 0;
                }
                _ => {}
            }
            let carried = if book.is_open() { book.nano % 1000 } else { 0 };
            prop_assert_eq!(cost, reported * 1000 + unreported(&book) + carried + ended);
        }
        prop_assert!(may <= 100_000);
    }
}

/// Of a lease that is carried over: what waits to go into its first report.
fn unreported(book: &Book) -> u64 {
    if book.is_open() { book.nano - book.nano % 1000 - book.micro * 1000 } else { book.orphan_nano }
}
