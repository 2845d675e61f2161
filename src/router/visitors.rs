//! Who may see the dashboard without sending the token each time: whoever came by a one-time address, or gave the token to the page's own
//! form. A browser is known again by a cookie that means something to this router only, and only while it runs.

use crate::call::Inbound;
use crate::error::Error;
use crate::router::random_token;
use crate::secret::Secret;
use crate::wire::headers::DASHBOARD_COOKIE;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// One-time addresses that may be outstanding: the oldest goes first.
const MAX_INVITED: usize = 16;

/// Browsers that are known: likewise.
const MAX_KNOWN: usize = 64;

/// Tokens that let somebody in.
#[derive(Default)]
pub(super) struct Visitors {
    lists: Mutex<Lists>,
    port: OnceLock<u16>,
}

#[derive(Default)]
struct Lists {
    invited: VecDeque<Secret>,
    known: VecDeque<Secret>,
}

impl Visitors {
    /// The router's port becomes part of the cookie's name: browsers keep the cookies of all ports of a host together, and one router's would
    /// replace another's.
    pub(super) fn come_to(&self, port: u16) {
        let _ = self.port.set(port);
    }

    /// A token that opens the door once.
    ///
    /// # Errors
    /// No random numbers.
    pub(super) fn invite(&self) -> Result<Secret, Error> {
        let token = random_token()?;
        keep(&mut self.lists().invited, token.clone(), MAX_INVITED);
        Ok(token)
    }

    /// Uses up a one-time token: the cookie of whoever brought it. `None`: it is none, or was used before.
    pub(super) fn enter(&self, token: &str) -> Option<String> {
        let mut lists = self.lists();
        let at = lists.invited.iter().position(|invited| invited.matches(token.as_bytes()))?;
        lists.invited.remove(at)?;
        drop(lists);
        self.welcome().ok()
    }

    /// The cookie of somebody who has shown the client token.
    ///
    /// # Errors
    /// No random numbers.
    pub(super) fn welcome(&self) -> Result<String, Error> {
        let session = random_token()?;
        let cookie = format!("{}={}; HttpOnly; SameSite=Strict; Path=/", self.cookie_name(), session.expose());
        keep(&mut self.lists().known, session, MAX_KNOWN);
        Ok(cookie)
    }

    fn cookie_name(&self) -> String {
        self.port.get().map_or_else(|| DASHBOARD_COOKIE.into(), |port| format!("{DASHBOARD_COOKIE}_{port}"))
    }

    /// Whether the request comes from a browser that is known.
    pub(super) fn knows(&self, request: &Inbound<'_>) -> bool {
        let cookies = request.headers.all("cookie").filter_map(|value| std::str::from_utf8(value).ok());
        let mut sessions = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let lists = self.lists();
        sessions.any(|(name, value)| name.starts_with(DASHBOARD_COOKIE) && lists.known.iter().any(|known| known.matches(value.as_bytes())))
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(list: &mut VecDeque<Secret>, token: Secret, most: usize) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(token);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{BodyLength, Headers, Version};

    fn knows(visitors: &Visitors, cookie: &str) -> bool {
        let fields = [httparse::Header { name: "Cookie", value: cookie.as_bytes() }];
        let length = BodyLength::None;
        visitors.knows(&Inbound { method: "GET", target: "/dashboard", version: Version::Http11, headers: Headers(&fields), length })
    }

    #[test]
    fn an_address_opens_the_door_once() {
        let visitors = Visitors::default();
        let token = visitors.invite().expect("random");
        let cookie = visitors.enter(token.expose()).expect("it was invited");
        assert!(visitors.enter(token.expose()).is_none() && visitors.enter("").is_none());
        let pair = cookie.split(';').next().expect("a pair");
        assert!(knows(&visitors, pair) && knows(&visitors, &format!("a=b; {pair}")));
        assert!(!knows(&visitors, "iron_dashboard=") && !knows(&visitors, token.expose()) && !knows(&visitors, "iron_dashboard=x"));
    }

    #[test]
    fn the_oldest_goes_first() {
        let visitors = Visitors::default();
        let first = visitors.invite().expect("random");
        (0..MAX_INVITED).for_each(|_| drop(visitors.invite()));
        assert!(visitors.enter(first.expose()).is_none());
        let cookie = visitors.welcome().expect("random");
        (1..MAX_KNOWN).for_each(|_| drop(visitors.welcome()));
        assert!(knows(&visitors, &cookie));
        drop(visitors.welcome());
        assert!(!knows(&visitors, &cookie));
    }
}
