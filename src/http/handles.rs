//! Which file descriptors of this process are sockets of ours.
//!
//! A forked child inherits them and has no thread that would ever close them: clients of the parent would wait for an end that never
//! comes, and the port would stay taken. The child must find them without a lock, so the record is a bit a descriptor, in atomics. The
//! bits stand in memory that costs nothing until it is written to.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Descriptors from this number on are not recorded.
const MOST: usize = 1 << 20;

static BITS: [AtomicU64; MOST / 64] = [const { AtomicU64::new(0) }; MOST / 64];

/// A recorded descriptor. Dropped, it is forgotten: drop it before the socket, or a number already used anew would be taken for ours.
#[derive(Debug)]
pub(crate) struct Handle(#[cfg_attr(not(unix), allow(dead_code))] usize);

impl Handle {
    /// Records a socket.
    #[cfg(unix)]
    pub(crate) fn of(socket: &impl std::os::fd::AsRawFd) -> Self {
        let number = usize::try_from(socket.as_raw_fd()).unwrap_or(MOST);
        if let Some(word) = BITS.get(number / 64) {
            word.fetch_or(1 << (number % 64), SeqCst);
        }
        Self(number)
    }

    /// Where processes do not fork there is nothing to record.
    #[cfg(not(unix))]
    pub(crate) fn of<S>(_socket: &S) -> Self {
        Self(MOST)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(word) = BITS.get(self.0 / 64) {
            word.fetch_and(!(1 << (self.0 % 64)), SeqCst);
        }
    }
}

/// The recorded descriptors, which are forgotten.
#[cfg_attr(not(feature = "python"), allow(dead_code))]
pub(crate) fn take() -> Vec<i32> {
    let mut numbers = Vec::new();
    for (at, word) in BITS.iter().enumerate() {
        let mut bits = word.swap(0, SeqCst);
        while bits != 0 {
            numbers.push((at * 64) as i32 + bits.trailing_zeros() as i32);
            bits &= bits - 1;
        }
    }
    numbers
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    /// `take` would forget the sockets of other tests: the bits are looked at instead.
    fn is_recorded(number: i32) -> bool {
        BITS[number as usize / 64].load(SeqCst) >> (number % 64) & 1 == 1
    }

    #[test]
    fn a_socket_is_recorded_while_it_is_open() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let handle = Handle::of(&socket);
        assert!(is_recorded(socket.as_raw_fd()));
        drop(handle);
        assert!(!is_recorded(socket.as_raw_fd()));
    }

    #[test]
    fn a_number_beyond_the_record_is_left_alone() {
        struct Far;
        impl AsRawFd for Far {
            fn as_raw_fd(&self) -> i32 {
                i32::MAX
            }
        }
        drop(Handle::of(&Far));
    }
}
