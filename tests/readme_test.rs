//! README tells the truth: its table of settings is the product's, its configuration file can be used, its files exist. (Its Rust example
//! is a doc test, its Python and curl examples run in the Python suite.)

use iron_runtime::Protocol;
use iron_runtime::policy::Prices;
use iron_runtime::settings::{Outside, Settings, markdown_table};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md")
}

/// The fenced blocks of a language.
fn blocks<'r>(readme: &'r str, language: &str) -> Vec<&'r str> {
    let fence = format!("\n```{language}\n");
    readme.split(fence.as_str()).skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default()).collect()
}

#[test]
fn the_table_of_settings_is_the_products() {
    assert!(readme().contains(markdown_table().trim_end()), "put this in README.md:\n{}", markdown_table());
}

#[test]
fn the_configuration_file_can_be_used() {
    let readme = readme();
    let [file] = blocks(&readme, "toml")[..] else { panic!("README has one configuration file") };
    let variable = |name: &str| matches!(name, "OPENAI_API_KEY" | "AZURE_KEY").then(|| OsString::from("sk-example"));
    let read = |path: &Path| match path.to_str() {
        Some("router.toml") => Ok(file.to_string()),
        Some("/run/secrets/router-token") => Ok("token\n".to_string()),
        Some("/run/secrets/planner-token") => Ok("token-of-the-planner\n".to_string()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let outside = Outside { variable: &variable, read: &read };
    let settings = Settings::from_pairs([("config", "router.toml")]).expect("known names").complete(&outside).expect("a valid file");
    let checked = settings.check(&outside).expect("usable settings");
    let names: Vec<_> = checked.config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!((checked.config.port, names), (8080, vec!["openai", "ollama", "azure"]));
    assert_eq!(checked.config.agents[0].name, "planner");
}

#[test]
fn the_price_file_can_be_used() {
    let readme = readme();
    let [file] = blocks(&readme, "json")[..] else { panic!("README has one file of prices") };
    let prices = Prices::bundled().with_file(file, "prices.json").expect("a valid file");
    assert!(prices.find("ollama", Protocol::OpenAi, "my-model").is_some());
}

#[test]
fn what_it_points_to_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for word in readme().split(['`', '(', ')', ' ', ',', '\n']) {
        if ["src/", "tests/", "benches/", "python/", ".ci/"].iter().any(|folder| word.starts_with(folder)) {
            assert!(root.join(word).exists(), "README names {word}, which is not there");
        }
    }
}

#[test]
fn the_two_commands_stand_in_it() {
    let readme = readme();
    assert!(readme.contains("cargo run --release -- demo") && readme.contains("bash tests/run"));
}
