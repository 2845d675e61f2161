//! The books of the budget protocol: what each token may spend, what is lent, what is spent. Integer micro-USD.
//!
//! Plain state and arithmetic. After every call, for every token: allocated = spent + leased + remaining.

use std::collections::{HashMap, HashSet};

/// What a token is allocated.
pub(super) const ALLOCATED: u64 = 100_000_000;

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
}

/// Why a call on a lease fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// No such lease, or another token's.
    Unknown,
    /// It was returned or replaced.
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
    /// Lends `asked` (or the default) to `token`, as much as is left of it. A token new to the books starts with `allocated`.
    pub(super) fn grant(&mut self, token: &str, allocated: u64, asked: Option<u64>, lease_id: String) -> Result<Grant, Refused> {
        if self.leases.len() >= MAX_LEASES || (self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(token)) {
            return Err(Refused::Full);
        }
        let account = self.accounts.entry(token.to_owned()).or_insert(Account { allocated, spent: 0, leased: 0 });
        let granted = asked.unwrap_or(DEFAULT_GRANT).min(MAX_GRANT).min(account.remaining());
        if granted == 0 {
            return Err(Refused::Exhausted(account.remaining()));
        }
        account.leased += granted;
        let remaining = account.remaining();
        self.leases.insert(lease_id.clone(), Lease { token: token.to_owned(), granted, spent: 0, active: true });
        Ok(Grant { lease_id, granted, remaining })
    }

    /// Books the cost of a request on its lease, once for each request id; gives what is left to lend.
    pub(super) fn report(&mut self, token: &str, lease_id: &str, request_id: &str, cost: u64) -> Result<u64, Refused> {
        let (lease, account) = find(&mut self.leases, &mut self.accounts, token, lease_id)?;
        let key = (lease_id.to_owned(), request_id.to_owned());
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

    /// What could be lent to the holder of this lease in its place: its rest, and what is left beside it.
    pub(super) fn lendable(&mut self, token: &str, lease_id: &str) -> Result<u64, Refused> {
        let (lease, account) = find(&mut self.leases, &mut self.accounts, token, lease_id)?;
        if lease.active { Ok(account.remaining() + (lease.granted - lease.spent)) } else { Err(Refused::Inactive) }
    }

    /// Micro-USD spent and lent now, of all tokens; reports booked.
    pub(super) fn sums(&self) -> (u64, u64, u64) {
        let of = |pick: fn(&Account) -> u64| self.accounts.values().map(pick).sum();
        (of(|account| account.spent), of(|account| account.leased), self.reports.len() as u64)
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
        let grant = books.grant("t", ALLOCATED, None, "l1".into());
        assert_eq!(grant, Ok(Grant { lease_id: "l1".into(), granted: 10_000_000, remaining: 90_000_000 }));
        books
    }

    fn balanced(books: &Books) -> bool {
        books.accounts.iter().all(|(token, account)| {
            let leased: u64 =
                books.leases.values().filter(|lease| lease.active && lease.token == *token).map(|lease| lease.granted - lease.spent).sum();
            leased == account.leased && account.allocated == account.spent + account.leased + account.remaining()
        })
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
        let rest = books.grant("t", ALLOCATED, Some(u64::MAX), "l2".into());
        assert_eq!(rest.map(|grant| grant.granted), Ok(99_999_000));
        assert_eq!(books.grant("t", ALLOCATED, None, "l3".into()), Err(Refused::Exhausted(0)));
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
        let granted = (0..MAX_LEASES + 3).filter(|nth| books.grant("t", ALLOCATED, Some(1), nth.to_string()).is_ok()).count();
        assert_eq!(granted, MAX_LEASES);
        assert_eq!(books.grant("t", ALLOCATED, Some(1), "x".into()), Err(Refused::Full));
    }
}
