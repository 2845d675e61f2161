//! Leases under test, with a budget, an outbox and a store in memory.

use super::super::*;
use super::TOKEN;
use crate::call::{End, Outcome};
use crate::clock::UnixMs;
use crate::money::Usage;
use crate::row::{Bill, RequestInfo};
use crate::secret::Secret;
use std::collections::HashMap;

/// The budget's state machine, as far as the lease sees it.
#[derive(Default)]
pub(super) struct Account(Mutex<AccountState>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AccountState {
    pub(super) lease: Option<(u64, u64)>,
    pub(super) held: u64,
    pub(super) exhausted: bool,
}

impl Account {
    pub(super) fn lock(&self) -> MutexGuard<'_, AccountState> {
        self.0.lock().expect("account")
    }

    /// Holds, if that much is free.
    pub(super) fn hold(&self, nano: u64) -> bool {
        let mut state = self.lock();
        let fits = state.lease.is_some_and(|(granted, spent)| spent + state.held + nano <= granted);
        state.held += if fits { nano } else { 0 };
        fits
    }

    pub(super) fn settle(&self, held: u64, cost: u64) {
        let mut state = self.lock();
        state.held -= held;
        if let Some((_, spent)) = &mut state.lease {
            *spent += cost;
        }
    }
}

impl LeaseAccount for Account {
    fn begin(&self, granted: NanoUsd) {
        self.lock().lease = Some((granted.0, 0));
    }

    fn renew(&self, granted: &mut dyn FnMut(NanoUsd) -> NanoUsd) {
        let mut state = self.lock();
        let spent = state.lease.expect("a lease").1;
        state.lease = Some((granted(NanoUsd(spent)).0, 0));
    }

    fn end(&self) {
        self.lock().lease = None;
    }

    fn exhausted(&self, yes: bool) {
        self.lock().exhausted = yes;
    }

    fn status(&self) -> Option<(NanoUsd, NanoUsd, NanoUsd)> {
        let state = self.lock();
        state.lease.map(|(granted, spent)| (NanoUsd(granted), NanoUsd(spent), NanoUsd(state.held)))
    }
}

/// What a ledger keeps of leases; `found` is what it has of dead runs.
#[derive(Default)]
pub(super) struct Store {
    pub(super) found: Vec<SavedLease>,
    pub(super) open: Mutex<HashMap<String, u64>>,
    pub(super) closed: Mutex<Vec<String>>,
}

impl LeaseStore for Store {
    fn save_lease(&self, lease: &SavedLease) -> Result<(), Error> {
        let mut open = self.open.lock().expect("store");
        let spent = open.entry(lease.lease_id.clone()).or_default();
        *spent = lease.spent_micro.max(*spent);
        Ok(())
    }

    fn close_lease(&self, lease_id: &str) -> Result<(), Error> {
        self.open.lock().expect("store").remove(lease_id);
        self.closed.lock().expect("store").push(lease_id.into());
        Ok(())
    }

    fn open_leases(&self, server: &str) -> Result<Vec<SavedLease>, Error> {
        Ok(self.found.iter().filter(|lease| lease.server == server).cloned().collect())
    }
}

/// An outbox in memory.
#[derive(Default)]
pub(super) struct Waiting(pub(super) Mutex<Vec<Item>>);

impl Outbox for Waiting {
    fn put(&self, item: Item) -> Result<(), Error> {
        self.0.lock().expect("outbox").push(item);
        Ok(())
    }

    fn pending(&self, limit: usize) -> Result<Vec<Item>, Error> {
        Ok(self.0.lock().expect("outbox").iter().take(limit).cloned().collect())
    }

    fn done(&self, key: &str) -> Result<(), Error> {
        self.0.lock().expect("outbox").retain(|item| item.key != key);
        Ok(())
    }
}

pub(super) struct Rig {
    pub(super) leases: Leases,
    pub(super) account: Arc<Account>,
    pub(super) outbox: Arc<Waiting>,
    pub(super) store: Arc<Store>,
}

impl Rig {
    pub(super) fn of(url: &str) -> Self {
        Self::with(url, Store::default(), |_| {})
    }

    pub(super) fn with(url: &str, store: Store, change: impl FnOnce(&mut Shared)) -> Self {
        let control = Control { server_url: url.parse().expect("url"), ic_token: Secret::new(TOKEN), cache_ttl: Duration::ZERO };
        let config = ureq::Agent::config_builder().timeout_connect(Some(Duration::from_secs(5))).proxy(None).build();
        let client = Client::new(control, ureq::Agent::new_with_config(config));
        let (account, outbox, store) = (Arc::<Account>::default(), Arc::<Waiting>::default(), Arc::new(store));
        let mut shared = Shared::new(client, account.clone(), outbox.clone(), Some(store.clone()));
        change(&mut shared);
        Self { leases: Leases::start(shared).expect("thread"), account, outbox, store }
    }

    pub(super) fn ensure(&self) -> Result<bool, Refusal> {
        self.leases.ensure(Protocol::OpenAi)
    }

    /// The refusal of a call; it must name the server, and the token may not be in it.
    pub(super) fn refusal(&self, url: &str) -> Refusal {
        let refusal = self.ensure().expect_err("refused");
        assert!(refusal.message.contains(url) && !refusal.message.contains("CANARY"), "{}", refusal.message);
        refusal
    }

    /// A call that is held, sent, settled and reported.
    pub(super) fn call(&self, nano: u64) {
        assert!(self.account.hold(nano), "{:?}", self.account.lock());
        self.account.settle(nano, nano);
        self.leases.settled(&row(nano), true);
    }

    pub(super) fn waiting(&self) -> usize {
        self.outbox.pending(usize::MAX).expect("memory").len()
    }
}

pub(super) fn row(nano: u64) -> Row {
    let info = RequestInfo {
        serial: 1,
        at: UnixMs(1_700_000_000_000),
        agent: None,
        upstream: "openai".into(),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        model: Some("gpt-4o".into()),
        stream: false,
        request_bytes: None,
        translated: false,
    };
    let usage = Some(Usage { input: 10, output: 2, ..Usage::default() });
    let bill = Bill { usage, cost: Some(NanoUsd(nano)), ..Bill::default() };
    Row::new(info, Outcome::failed(200, End::Complete, Duration::ZERO), bill, None)
}
