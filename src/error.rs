//! What can go wrong while the router is operated. A refusal of a request is not among them: that is data
//! ([`Refusal`](crate::call::Refusal)), answered to the client.

use std::{fmt, io};

/// An operating failure. Messages are one line, `what: cause`, and never hold a key.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A setting can't be used: unknown, of the wrong form, out of range, or contradicting another one.
    Config(String),
    /// Neither a provider key nor a control server was given or found in the environment.
    NoProvider,
    /// The listener could not be bound (port in use, address not of this machine, no permission).
    Bind {
        /// The address as asked for, `host:port`.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file or the network failed at start: `what` names it.
    Io {
        /// The thing that failed, e.g. `read key file`.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The control server could not be asked, or refused.
    Control(String),
    /// The router was asked for something after `shutdown`.
    Stopped,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(why) => f.write_str(why),
            Self::NoProvider => f.write_str(
                "no provider key: give openai_key or anthropic_key (or provider_key, provider_keys), or api_key with server_url, or set \
                 OPENAI_API_KEY, ANTHROPIC_API_KEY, or IC_TOKEN with IC_SERVER; `iron-runtime mock` needs no key",
            ),
            Self::Bind { address, source } => write!(f, "bind {address}: {source}"),
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Control(why) => write!(f, "control server: {why}"),
            Self::Stopped => f.write_str("router is stopped"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } | Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
