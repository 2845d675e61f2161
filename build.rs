//! Compiles the price table: `data/*.tsv` into static tables of integers, which `src/policy/price/bundled.rs` reads.
//!
//! The build fails where a price is no whole number of pico-USD a token, a line is malformed, or a name stands for two models.

// The router's own reader of prices, so that a file of the user's and the table are read alike.
#[path = "src/policy/price/decimal.rs"]
mod decimal;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

/// Columns of rates in `prices.tsv`, in the order in which the router knows them.
const CLASSES: usize = 9;

/// Stands for "the source gives none".
const NONE: u32 = u32::MAX;

/// One model's figures.
#[derive(Default)]
struct Model {
    /// Tier, more input tokens than this, index of the rates.
    cards: Vec<(u8, u32, usize)>,
    max_output_tokens: u32,
    context_window: u32,
    /// Whether the second source gives its usual price.
    second: bool,
}

/// Everything the data files say.
#[derive(Default)]
struct Table {
    version: String,
    second: String,
    models: BTreeMap<(String, String), Model>,
    rates: Vec<[u32; CLASSES]>,
    /// Every name a provider's models go by, with the model.
    names: BTreeMap<(String, String), String>,
}

fn main() -> Result<(), String> {
    let mut table = Table::default();
    read("data/prices.tsv", |line| table.price(line))?;
    read("data/limits.tsv", |line| table.limit(line))?;
    read("data/names.tsv", |line| table.name(line))?;
    let head = fs::read_to_string("data/prices.tsv").map_err(|error| format!("data/prices.tsv: {error}"))?;
    table.version = said(&head, "version")?;
    table.second = said(&head, "second")?;
    let out = env::var("OUT_DIR").map_err(|error| format!("OUT_DIR: {error}"))?;
    let source = table.source().map_err(|error| error.to_string())?;
    fs::write(Path::new(&out).join("prices.rs"), source).map_err(|error| format!("prices.rs: {error}"))
}

/// Reads a table, line by line: comments and the line of column names are passed over.
fn read(path: &str, mut line: impl FnMut(&[&str]) -> Result<(), String>) -> Result<(), String> {
    println!("cargo:rerun-if-changed={path}");
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let rows = text.lines().enumerate().filter(|(_, row)| !row.starts_with('#')).skip(1);
    for (number, row) in rows {
        line(&row.split('\t').collect::<Vec<_>>()).map_err(|error| format!("{path}, line {}: {error}", number + 1))?;
    }
    Ok(())
}

/// The value of a `# key: value` line.
fn said(text: &str, key: &str) -> Result<String, String> {
    let prefix = format!("# {key}: ");
    text.lines().find_map(|line| line.strip_prefix(&prefix)).map(String::from).ok_or(format!("data/prices.tsv does not say its {key}"))
}

/// A count of tokens; empty is [`NONE`].
fn tokens(text: &str) -> Result<u32, String> {
    if text.is_empty() { Ok(NONE) } else { text.parse().map_err(|error| format!("{text}: {error}")) }
}

impl Table {
    fn price(&mut self, line: &[&str]) -> Result<(), String> {
        let [provider, model, tier, over, rates @ .., source] = line else { return Err("too few columns".into()) };
        let tier = match *tier {
            "standard" => 0,
            "flex" => 1,
            "priority" => 2,
            "batch" => 3,
            other => return Err(format!("{other} is no tier")),
        };
        let mut row = [NONE; CLASSES];
        if rates.len() != CLASSES {
            return Err(format!("{} columns of rates", rates.len()));
        }
        for (rate, text) in row.iter_mut().zip(rates).filter(|(_, text)| !text.is_empty()) {
            let pico_usd = decimal::pico_usd(text).map_err(|why| format!("{text} {why}"))?;
            *rate = u32::try_from(pico_usd).ok().filter(|rate| *rate != NONE).ok_or(format!("{text} is too much for the table"))?;
        }
        let index = self.rates.iter().position(|known| *known == row).unwrap_or(self.rates.len());
        if index == self.rates.len() {
            self.rates.push(row);
        }
        let key = ((*provider).to_owned(), (*model).to_owned());
        self.names.insert(key.clone(), key.1.clone());
        let model = self.models.entry(key).or_insert_with(|| Model { max_output_tokens: NONE, context_window: NONE, ..Model::default() });
        let card = (tier, over.parse().map_err(|error| format!("{over}: {error}"))?, index);
        if model.cards.is_empty() != (card.0 == 0 && card.1 == 0) || model.cards.iter().any(|other| (other.0, other.1) >= (card.0, card.1))
        {
            return Err("the cards of a model begin with the usual one, and ascend".into());
        }
        if model.cards.is_empty() {
            model.second = source.starts_with("litellm");
        }
        model.cards.push(card);
        Ok(())
    }

    fn limit(&mut self, line: &[&str]) -> Result<(), String> {
        let [provider, model, output, _, window, _] = line else { return Err("six columns are due".into()) };
        let model = self.models.get_mut(&((*provider).into(), (*model).into())).ok_or("no such model")?;
        (model.max_output_tokens, model.context_window) = (tokens(output)?, tokens(window)?);
        Ok(())
    }

    fn name(&mut self, line: &[&str]) -> Result<(), String> {
        let [provider, name, model] = line else { return Err("three columns are due".into()) };
        if !self.models.contains_key(&((*provider).into(), (*model).into())) {
            return Err("no such model".into());
        }
        match self.names.insert(((*provider).into(), (*name).into()), (*model).into()) {
            Some(other) => Err(format!("it is a name of {other} too")),
            None => Ok(()),
        }
    }

    /// The tables as Rust source.
    fn source(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        writeln!(out, "pub(super) static VERSION: &str = {:?};", self.version)?;
        writeln!(out, "pub(super) static SECOND: &str = {:?};", self.second)?;
        self.write_names(&mut out)?;
        let rates = self.rates.iter();
        writeln!(out, "static RATES: [[u32; {CLASSES}]; {}] = {:?};", self.rates.len(), rates.collect::<Vec<_>>())?;
        let cards: Vec<_> = self.models.values().flat_map(|model| &model.cards).collect();
        writeln!(out, "static CARDS: [(u8, u32, u16); {}] = {cards:?};", cards.len())?;
        Ok(out)
    }

    /// Names sorted by provider; each provider knows its range, each name its row, each row the name of its model.
    fn write_names(&self, out: &mut String) -> std::fmt::Result {
        let keys: Vec<_> = self.models.keys().collect();
        let row_of = |provider: &str, model: &str| keys.partition_point(|(p, m)| (p.as_str(), m.as_str()) < (provider, model));
        let (mut pool, mut names, mut providers) = (String::new(), Vec::new(), Vec::<(&str, usize, usize)>::new());
        let mut own_names = vec![0; keys.len()];
        for ((provider, name), model) in &self.names {
            let row = row_of(provider, model);
            if name == model {
                own_names[row] = names.len();
            }
            match providers.last_mut() {
                Some(last) if last.0 == provider => last.2 += 1,
                _ => providers.push((provider, names.len(), names.len() + 1)),
            }
            names.push((pool.len(), name.len(), row));
            pool.push_str(name);
        }
        writeln!(out, "static PROVIDERS: [(&str, u16, u16); {}] = {providers:?};", providers.len())?;
        writeln!(out, "static POOL: &str = {pool:?};")?;
        writeln!(out, "static NAMES: [(u32, u8, u16); {}] = {names:?};", names.len())?;
        writeln!(out, "static ROWS: [Row; {}] = [", keys.len())?;
        let mut first = 0;
        for (row, ((provider, _), model)) in self.models.iter().enumerate() {
            let provider = providers.partition_point(|(name, ..)| *name < provider.as_str());
            let cards = first + model.cards.len();
            writeln!(
                out,
                "Row {{ provider: {provider}, name: {}, cards: ({first}, {cards}), max_output_tokens: {}, context_window: {}, second: {} }},",
                own_names[row], model.max_output_tokens, model.context_window, model.second
            )?;
            first = cards;
        }
        writeln!(out, "];")
    }
}
