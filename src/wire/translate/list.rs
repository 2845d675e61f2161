//! Lists of models (`GET /v1/models`) of several providers as one, in the words of who asks.

use super::Garbled;
use crate::call::Protocol;

/// The models of several providers.
#[derive(Debug, Default)]
pub struct ModelList(Vec<Model>);

/// A model, as both protocols describe one.
#[derive(Clone, Debug)]
struct Model {
    id: String,
    /// Unix seconds; 0: not told.
    created: u64,
    owned_by: String,
    display_name: String,
}

impl ModelList {
    /// Adds a page of an upstream's list. Returns the id after which the next page begins, if there is one.
    ///
    /// # Errors
    /// [`Garbled`]: no list of models.
    pub fn add(&mut self, upstream: Protocol, owner: &str, page: &[u8]) -> Result<Option<String>, Garbled> {
        let _ = (upstream, owner, page, &self.0);
        Ok(None)
    }

    /// The list for a client.
    pub fn to_json(&self, client: Protocol) -> Vec<u8> {
        let _ = (client, self.0.iter().map(|model| (&model.id, model.created, &model.owned_by, &model.display_name)).count());
        Vec::new()
    }
}

/// Translates the description of one model (`GET /v1/models/ID`).
///
/// # Errors
/// [`Garbled`]: no model.
pub fn model(upstream: Protocol, owner: &str, client: Protocol, body: &[u8]) -> Result<Vec<u8>, Garbled> {
    let mut list = ModelList::default();
    list.add(upstream, owner, body)?;
    Ok(list.to_json(client))
}
