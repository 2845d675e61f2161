//! The line of calls that wait for the holds of others: first come, first served.

use super::Payers;
use crate::call::Ticket;
use crate::money::NanoUsd;
use std::collections::VecDeque;

/// Calls that may wait at once; one more is refused. As many as there may be connections by default.
pub(super) const MAX_WAITING: usize = 1024;

/// A call in the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    number: u64,
    /// Who pays for it.
    pub(super) payers: Payers,
    /// The least it can be admitted with.
    pub(super) least: NanoUsd,
}

/// The calls that wait, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    waiting: VecDeque<Waiting>,
    /// The number of the last ticket.
    last: u64,
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter()
    }

    /// Those before the holder of a ticket; all for a newcomer.
    pub(super) fn before(&self, ticket: Option<&Ticket>) -> impl Iterator<Item = &Waiting> {
        let number = ticket.map_or(u64::MAX, |ticket| ticket.number);
        self.waiting.iter().take_while(move |waiting| waiting.number < number)
    }

    /// Keeps the place of a ticket's holder, or gives a newcomer the last one; `None`: the line is full.
    pub(super) fn stay(&mut self, ticket: Option<Ticket>, payers: Payers, least: NanoUsd) -> Option<Ticket> {
        if let Some(ticket) = ticket
            && let Some(own) = self.waiting.iter_mut().find(|waiting| waiting.number == ticket.number)
        {
            (own.payers, own.least) = (payers, least);
            return Some(ticket);
        }
        if self.len() >= MAX_WAITING {
            return None;
        }
        self.last += 1;
        self.waiting.push_back(Waiting { number: self.last, payers, least });
        Some(Ticket { number: self.last })
    }

    /// Gives a place up.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.waiting.retain(|waiting| waiting.number != ticket.number);
    }
}
