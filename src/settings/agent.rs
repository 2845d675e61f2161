//! Agents: clients with a name, a token and perhaps a budget of their own, from the config file or from a caller.

use super::value::usd;
use super::{Outside, Settings, key, quoted};
use crate::config::{Agent, Config};
use crate::error::Error;
use crate::money::NanoUsd;
use crate::router::random_token;
use crate::secret::Secret;

/// The longest name of an agent, in characters.
const LONGEST_NAME: usize = 64;

/// One agent as given; its token not yet fetched from where it is.
#[derive(Clone)]
pub(super) struct AgentTable {
    pub name: String,
    /// What messages call it: `FILE line N: agents.NAME`.
    pub label: String,
    /// `None`: a random one.
    pub token: Option<Secret>,
    pub budget: Option<NanoUsd>,
}

impl Settings {
    /// Adds an agent, as a caller gives it. Without a token it gets a random one; the budget is an amount as a user would write it.
    ///
    /// ```
    /// use iron_runtime::settings::{Outside, Settings};
    /// let mut settings = Settings::from_pairs([("openai_key", "sk-x")])?;
    /// settings.add_agent("researcher", None, Some("0.50"))?;
    /// let config = settings.check(&Outside::process())?.config;
    /// assert_eq!(config.agents[0].budget.map(|limit| limit.to_string()).as_deref(), Some("$0.50"));
    /// # Ok::<(), iron_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`]: a malformed name or amount.
    pub fn add_agent(&mut self, name: &str, token: Option<Secret>, budget: Option<&str>) -> Result<(), Error> {
        let name = checked_name(name).map_err(|why| Error::Config(format!("agents: {why}")))?;
        let label = format!("agents.{name}");
        let budget = budget.map(usd).transpose().map_err(|why| Error::Config(format!("{label}.budget: {why}")))?;
        self.agents.push(AgentTable { name, label, token, budget });
        Ok(())
    }

    /// Agents that `lower` has and `self` has not.
    pub(super) fn add_agents_below(&mut self, lower: Vec<AgentTable>) {
        let new = lower.into_iter().filter(|agent| !self.agents.iter().any(|known| known.name == agent.name)).collect::<Vec<_>>();
        self.agents.extend(new);
    }

    /// Every agent with its token, no two of them alike and none the client token.
    pub(super) fn all_agents(&self, config: &Config, outside: &Outside<'_>) -> Result<Vec<Agent>, Error> {
        let mut agents: Vec<Agent> = Vec::new();
        for table in &self.agents {
            let token = match &table.token {
                Some(raw) => key::resolve(&format!("{}.token", table.label), raw, outside)?,
                None => random_token()?,
            };
            let same = |other: &Secret| other.matches(token.expose().as_bytes());
            let taken = agents.iter().find(|other| same(&other.token)).map(|other| format!("agent {}", other.name));
            let taken = taken.or_else(|| config.client_token.as_ref().filter(|client| same(client)).map(|_| "the router's clients".into()));
            if let Some(whose) = taken {
                return Err(Error::Config(format!("{}.token: is the token of {whose} too: each needs one of its own", table.label)));
            }
            agents.push(Agent { name: table.name.clone(), token, budget: table.budget });
        }
        Ok(agents)
    }
}

/// A name that can stand in a log, a header and a report.
pub(super) fn checked_name(name: &str) -> Result<String, String> {
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(format!("a name is 1 to {LONGEST_NAME} characters without control characters, not {}", quoted(name)));
    }
    Ok(name.into())
}
