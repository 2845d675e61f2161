//! The books of the budget protocol: what each token may spend, what is lent, what is spent. Integer micro-USD.
//!
//! Plain state and arithmetic. After every call, for every token: allocated = spent + leased + remaining.

use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// The grant of a handshake that names no sum, and the most of any.
const DEFAULT_GRANT: u64 = 10_000_000;
const MAX_GRANT: u64 = 100_000_000;

/// Bounds of the books.
const MAX_ACCOUNTS: usize = 10_000;
const MAX_LEASES: usize = 10_000;
const MAX_REPORTS: usize = 100_000;

/// One token's money.
struct Account {
    allocated: u64,
    spent: u64,
    leased: u64,
}

impl Account {
    fn remaining(&self) -> u64 {
        self.allocated - self.spent - self.leased
    }
}

/// Money lent to a router.
struct Lease {
    token: String,
    granted: u64,
    spent: u64,
    active: bool,
    /// Seconds since 1970.
    expires_at: Option<u64>,
}

/// A grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// The lease.
    pub(super) lease_id: String,
    /// Micro-USD lent.
    pub(super) granted: u64,
    /// Micro-USD left to lend.
    pub(super) remaining: u64,
    /// When it ends, seconds since 1970.
    pub(super) expires_at: Option<u64>,
}

/// What a token asks for.
pub(super) struct Wish<'a> {
    pub(super) token: &'a str,
    /// What a token new to the books starts with, micro-USD.
    pub(super) allocated: u64,
    /// Micro-USD; `None`: the default grant.
    pub(super) sum: Option<u64>,
    /// When the lease ends, seconds since 1970.
    pub(super) expires_at: Option<u64>,
}

/// The books in sums, micro-USD: `allocated = spent + leased + remaining`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BookStats {
    /// What all tokens seen may spend.
    pub allocated: u64,
    /// What is lent and not spent.
    pub leased: u64,
    /// What is spent.
    pub spent: u64,
    /// What is left to lend.
    pub remaining: u64,
    /// Leases that are open.
    pub open_leases: u64,
    /// Reports booked.
    pub reports: u64,
}

/// Why a call on a lease fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// No such lease, or another token's.
    Unknown,
    /// It was returned or replaced, or it has expired.
    Inactive,
    /// More than what was lent.
    OverLease,
    /// Nothing left to lend; holds the micro-USD that are.
    Exhausted(u64),
    /// The books are full.
    Full,
}

/// All accounts and leases.
#[derive(Default)]
pub(super) struct Books {
    accounts: HashMap<String, Account>,
    leases: HashMap<String, Lease>,
    reports: HashSet<(String, String)>,
}

impl Books {
    /// Lends what is wished for, as much as is left of it.
    pub(super) fn grant(&mut self, wish: &Wish<'_>, lease_id: String) -> Result<Grant, Refused> {
        let Wish { token, allocated, sum, expires_at } = *wish;
        if self.leases.len() >= MAX_LEASES || (self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(token)) {
            return Err(Refused::Full);
        }
        let account = self.accounts.entry(token.to_owned()).or_insert(Account { allocated, spent: 0, leased: 0 });
        let granted = sum.unwrap_or(DEFAULT_GRANT).min(MAX_GRANT).min(account.remaining());
        if granted == 0 {
            return Err(Refused::Exhausted(account.remaining()));
        }
        account.leased += granted;
        let remaining = account.remaining();
        self.leases.insert(lease_id.clone(), Lease { token: token.to_owned(), granted, spent: 0, active: true, expires_at });
        Ok(Grant { lease_id, granted, remaining, expires_at })
    }

    /// Puts another lease in the place of one. Where nothing is left to lend but its own rest, that goes on.
    pub(super) fn refresh(&mut self, wish: &Wish<'_>, old: &str, lease_id: String) -> Result<Grant, Refused> {
        let (lease, account) = find(&mut self.leases, &mut self.accounts, wish.token, old)?;
        if !lease.active {
            return Err(Refused::Inactive);
        }
        if account.remaining() == 0 {
            return Err(Refused::Exhausted(0));
        }
        if self.leases.len() >= MAX_LEASES {
            return Err(Refused::Full);
        }
        self.end(wish.token, old, None)?;
        self.grant(wish, lease_id)
    }

    /// What is left to lend to a token.
    pub(super) fn remaining(&self, token: &str) -> u64 {
        self.accounts.get(token).map_or(0, Account::remaining)
    }

    /// Ends the leases whose time is over.
    pub(super) fn expire(&mut self, now: u64) {
        let is_over = |lease: &Lease| lease.active && lease.expires_at.is_some_and(|at| at <= now);
        let over: Vec<_> =
            self.leases.iter().filter(|(_, lease)| is_over(lease)).map(|(id, lease)| (lease.token.clone(), id.clone())).collect();
        for (token, id) in over {
            // Of an active lease that is in the books there is nothing to refuse.
            let _ = self.end(&token, &id, None);
        }
    }

    /// The sums.
    pub(super) fn stats(&self) -> BookStats {
        let mut stats = BookStats { reports: self.reports.len() as u64, ..BookStats::default() };
        for account in self.accounts.values() {
            stats.allocated += account.allocated;
            stats.leased += account.leased;
            stats.spent += account.spent;
            stats.remaining += account.remaining();
        }
        stats.open_leases = self.leases.values().filter(|lease| lease.active).count() as u64;
        stats
    }

    /// Books the cost of a request on its lease, once for each request id; gives what is left to lend.
    pub(super) fn report(&mut self, token: &str, lease_id: &str, request_id: &str, cost: u64) -> Result<u64, Refused> {
        let (lease, account) = find(&mut self.leases, &mut self.accounts, token, lease_id)?;
        let key = (token.to_owned(), request_id.to_owned());
        if self.reports.contains(&key) {
            return Ok(account.remaining());
        }
        if !lease.active {
            return Err(Refused::Inactive);
        }
        if cost > lease.granted - lease.spent {
            return Err(Refused::OverLease);
        }
        if self.reports.len() >= MAX_REPORTS {
            return Err(Refused::Full);
        }
        self.reports.insert(key);
        lease.spent += cost;
        account.leased -= cost;
        account.spent += cost;
        Ok(account.remaining())
    }

    /// Ends a lease: its rest goes back. `spent` is what the router says the whole lease cost; reports already booked count at least.
    /// Gives what went back.
    pub(super) fn end(&mut self, token: &str, lease_id: &str, spent: Option<u64>) -> Result<u64, Refused> {
        let (lease, account) = find(&mut self.leases, &mut self.accounts, token, lease_id)?;
        if !lease.active {
            return Err(Refused::Inactive);
        }
        let spent = spent.unwrap_or(0).max(lease.spent);
        if spent > lease.granted {
            return Err(Refused::OverLease);
        }
        let returned = lease.granted - spent;
        account.leased -= lease.granted - lease.spent;
        account.spent += spent - lease.spent;
        lease.spent = spent;
        lease.active = false;
        Ok(returned)
    }
}

/// A lease with its account, if it is this token's.
fn find<'a>(
    leases: &'a mut HashMap<String, Lease>,
    accounts: &'a mut HashMap<String, Account>,
    token: &str,
    lease_id: &str,
) -> Result<(&'a mut Lease, &'a mut Account), Refused> {
    let lease = leases.get_mut(lease_id).filter(|lease| lease.token == token).ok_or(Refused::Unknown)?;
    let account = accounts.get_mut(token).ok_or(Refused::Unknown)?;
    Ok((lease, account))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books() -> Books {
        let mut books = Books::default();
        let grant = books.grant(&wish(None), "l1".into());
        assert_eq!(grant, Ok(Grant { lease_id: "l1".into(), granted: 10_000_000, remaining: 90_000_000, expires_at: None }));
        books
    }

    fn wish(sum: Option<u64>) -> Wish<'static> {
        Wish { token: "t", allocated: 100_000_000, sum, expires_at: None }
    }

    fn balanced(books: &Books) -> bool {
        books.accounts.iter().all(|(token, account)| {
            let leased: u64 =
                books.leases.values().filter(|lease| lease.active && lease.token == *token).map(|lease| lease.granted - lease.spent).sum();
            leased == account.leased && account.allocated == account.spent + account.leased + account.remaining()
        }) && books.stats().allocated == books.stats().spent + books.stats().leased + books.stats().remaining
    }

    #[test]
    fn a_lease_runs_its_course() {
        let mut books = books();
        assert_eq!(books.report("t", "l1", "r1", 250), Ok(90_000_000));
        assert_eq!(books.report("t", "l1", "r1", 250), Ok(90_000_000), "once for each request id");
        assert_eq!(books.report("t", "l1", "r2", 10_000_000), Err(Refused::OverLease));
        assert_eq!(books.end("t", "l1", Some(1_000)), Ok(9_999_000));
        assert_eq!(books.end("t", "l1", Some(1_000)), Err(Refused::Inactive));
        assert_eq!(books.report("t", "l1", "r3", 1), Err(Refused::Inactive));
        let rest = books.grant(&wish(Some(u64::MAX)), "l2".into());
        assert_eq!(rest.map(|grant| grant.granted), Ok(99_999_000));
        assert_eq!(books.grant(&wish(None), "l3".into()), Err(Refused::Exhausted(0)));
        assert!(balanced(&books));
    }

    #[test]
    fn reports_count_even_if_the_return_forgets_them() {
        let mut books = books();
        assert_eq!(books.report("t", "l1", "r1", 400), Ok(90_000_000));
        assert_eq!(books.end("t", "l1", Some(100)), Ok(9_999_600));
        assert!(balanced(&books));
    }

    #[test]
    fn a_lease_belongs_to_its_token() {
        let mut books = books();
        assert_eq!(books.report("other", "l1", "r", 1), Err(Refused::Unknown));
        assert_eq!(books.end("other", "l1", None), Err(Refused::Unknown));
        assert_eq!(books.end("t", "l1", Some(10_000_001)), Err(Refused::OverLease));
        assert!(balanced(&books));
    }

    #[test]
    fn the_books_are_bounded() {
        let mut books = Books::default();
        let granted = (0..MAX_LEASES + 3).filter(|nth| books.grant(&wish(Some(1)), nth.to_string()).is_ok()).count();
        assert_eq!(granted, MAX_LEASES);
        assert_eq!(books.grant(&wish(Some(1)), "x".into()), Err(Refused::Full));
    }

    #[test]
    fn a_refresh_moves_the_rest_or_leaves_it() {
        let mut books = books();
        assert_eq!(books.report("t", "l1", "r1", 400), Ok(90_000_000));
        let grant = books.refresh(&wish(Some(99_999_600)), "l1", "l2".into());
        assert_eq!(grant.map(|grant| (grant.granted, grant.remaining)), Ok((99_999_600, 0)));
        assert_eq!(books.refresh(&wish(None), "l1", "l3".into()), Err(Refused::Inactive));
        assert_eq!(books.refresh(&wish(None), "l2", "l3".into()), Err(Refused::Exhausted(0)), "only its own rest is left");
        assert_eq!(books.report("t", "l2", "r2", 600), Ok(0), "it goes on");
        assert_eq!(books.report("t", "l2", "r1", 400), Ok(0), "booked on the lease before");
        let stats = books.stats();
        assert_eq!((stats.spent, stats.leased, stats.open_leases, stats.reports), (1_000, 99_999_000, 1, 2));
        assert!(balanced(&books));
    }

    #[test]
    fn what_expires_goes_back() {
        let mut books = Books::default();
        let grant = books.grant(&Wish { expires_at: Some(100), ..wish(None) }, "l1".into());
        assert_eq!(grant.map(|grant| grant.expires_at), Ok(Some(100)));
        assert_eq!(books.report("t", "l1", "r1", 400), Ok(90_000_000));
        for (now, open, remaining) in [(99, 1, 90_000_000), (100, 0, 99_999_600)] {
            books.expire(now);
            assert_eq!((books.stats().open_leases, books.stats().remaining), (open, remaining), "at {now}");
            assert!(balanced(&books));
        }
        assert_eq!(books.report("t", "l1", "r2", 1), Err(Refused::Inactive));
    }
}
