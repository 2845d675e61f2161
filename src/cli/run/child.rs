//! A program from its start to its end, with the signals that are sent to us passed on to it. We end only after it has.

use std::io;
use std::process::{Command, ExitStatus};

/// The exit code a shell would tell: the program's own, or 128 and the number of the signal that ended it.
pub(super) fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| ended_by(status).map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code & 0xff).ok()).unwrap_or(super::super::FAILED)
}

#[cfg(not(unix))]
fn ended_by(_status: ExitStatus) -> Option<i32> {
    None
}

/// Without signals to pass on: Ctrl-C reaches every program of the console, and must not end this one first.
#[cfg(not(unix))]
pub(super) fn run_to_end(command: &mut Command) -> io::Result<ExitStatus> {
    super::super::signals::ignore();
    command.status()
}

#[cfg(unix)]
fn ended_by(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(unix)]
pub(super) use unix::run_to_end;

#[cfg(unix)]
mod unix {
    use super::{Command, ExitStatus, io};
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
    use signal_hook::iterator::SignalsInfo;
    use signal_hook::iterator::exfiltrator::origin::WithOrigin;
    use signal_hook::low_level::siginfo::{Cause, Origin};
    use std::process::Child;

    /// Starts the program and waits for its end. One thread does both the waiting and the passing on, so that no signal can be sent to a
    /// process number that is not the program's any more.
    pub(in super::super) fn run_to_end(command: &mut Command) -> io::Result<ExitStatus> {
        let ignored = ignored();
        let passed_on = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2].into_iter().filter(|signal| ignored & mask(*signal) == 0);
        // Before the start: the program may end, and somebody may want it to, at once.
        let mut signals = SignalsInfo::<WithOrigin>::new(passed_on.chain([SIGCHLD]))?;
        let mut child = command.spawn()?;
        loop {
            for origin in signals.wait() {
                if origin.signal == SIGCHLD {
                    if let Some(status) = child.try_wait()? {
                        return Ok(status);
                    }
                } else if !reached_it_too(&origin) {
                    pass_on(origin.signal, &child);
                }
            }
        }
    }

    /// Whether the program got this signal already: a terminal sends Ctrl-C and Ctrl-\ to all that run on it.
    fn reached_it_too(origin: &Origin) -> bool {
        matches!(origin.signal, SIGINT | SIGQUIT) && !matches!(origin.cause, Cause::Sent(_))
    }

    fn pass_on(signal: i32, child: &Child) {
        if let (Ok(signal), Ok(id)) = (Signal::try_from(signal), i32::try_from(child.id())) {
            // It fails only for a program that is ending anyway, or has become another user's.
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    /// The signals this process was started to ignore (`nohup`, a shell's background jobs): the program is to ignore them too, so they must
    /// not be caught. Only Linux tells; elsewhere none is taken to be ignored.
    fn ignored() -> u64 {
        std::fs::read_to_string("/proc/self/status").map_or(0, |status| mask_in(&status))
    }

    fn mask_in(status: &str) -> u64 {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    }

    fn mask(signal: i32) -> u64 {
        1 << (signal - 1)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn ignored_signals() {
            let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
            assert_eq!(mask_in(status) & mask(SIGHUP), 1);
            assert_eq!(mask_in(status) & mask(SIGINT), 0);
            assert_eq!(mask_in("SigIgn: x"), 0);
            assert_eq!(mask_in(""), 0);
        }
    }
}
