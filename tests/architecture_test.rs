//! The dependency rule and the habits that can be read off the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file under `src`, with its path relative to it.
fn sources() -> Vec<(String, String)> {
    fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("src can be listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, files)
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path)
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
    let name = |path: &Path| path.strip_prefix(&root).expect("under src").to_string_lossy().replace('\\', "/");
    files.iter().map(|path| (name(path), fs::read_to_string(path).expect("a source"))).collect()
}

/// The code of a file: no comments, and nothing from its test module on.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The layer of a file: a smaller one must not name a larger one; layers of equal rank must not name each other.
fn layer(file: &str) -> (u8, &'static str) {
    let first = file.split(['/', '.']).next().unwrap_or_default();
    match first {
        "error" | "clock" | "secret" | "call" | "event" | "config" | "provider" | "money" | "outbox" | "row" | "tally" => (0, "vocabulary"),
        "http" => (1, "http"),
        "wire" => (1, "wire"),
        "policy" => (1, "policy"),
        "proxy" => (2, "proxy"),
        "ledger" => (2, "ledger"),
        "live" => (2, "live"),
        "mock" => (2, "mock"),
        "router" | "llm_router" => (3, "router"),
        "settings" => (4, "settings"),
        "cli" | "main" | "python" => (5, "edge"),
        "lib" => (9, "lib"),
        other => panic!("{other} has no layer: give it one here and in lib.rs"),
    }
}

#[test]
fn the_dependency_rule_holds() {
    let modules = ["http", "wire", "policy", "proxy", "ledger", "live", "mock", "router", "llm_router", "settings", "cli", "python"];
    for (file, text) in sources() {
        let (rank, own) = layer(&file);
        if own == "lib" {
            continue;
        }
        let code = code(&text);
        for module in modules {
            let (other_rank, other) = layer(module);
            let names = [format!("crate::{module}"), format!("crate::{{{module}")].iter().any(|path| {
                code.match_indices(path.as_str())
                    .any(|(at, found)| !code[at + found.len()..].starts_with(|next: char| next.is_alphanumeric() || next == '_'))
            });
            assert!(!names || own == other || other_rank < rank, "{file} ({own}) names {module} ({other})");
        }
    }
}

#[test]
fn the_pure_layers_are_pure() {
    let impure = ["std::net::Tcp", "std::thread", "std::env", "Instant::now", "SystemTime", "ureq", "socket2", "std::fs"];
    for (file, text) in sources() {
        let (rank, own) = layer(&file);
        if rank == 0 || own == "wire" || own == "policy" {
            let code = code(&text);
            for word in impure {
                assert!(!code.contains(word), "{file} names {word}");
            }
        }
    }
}

#[test]
fn ureq_stays_where_it_is_known() {
    for (file, text) in sources() {
        let code = code(&text);
        assert!(!code.contains("ureq::") || file.starts_with("proxy/"), "{file} names ureq");
        assert!(!code.contains("ureq::unversioned") || file == "proxy/transport.rs", "{file} names ureq::unversioned");
    }
}

#[test]
fn python_stays_at_its_edge() {
    for (file, text) in sources() {
        assert!(!code(&text).contains("pyo3") || file.starts_with("python/"), "{file} names pyo3");
    }
}

#[test]
fn no_unsafe_code_and_no_async_runtime() {
    for (file, text) in sources() {
        assert!(!code(&text).contains("unsafe "), "{file} has unsafe code");
        assert!(!code(&text).contains("allow(unsafe_code)"), "{file} allows unsafe code");
    }
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).expect("Cargo.lock is committed");
    for runtime in ["tokio", "hyper", "async-std", "smol", "actix-rt", "futures-executor"] {
        assert!(!lock.contains(&format!("name = \"{runtime}\"\n")), "{runtime} is in the tree");
    }
}

#[test]
fn every_module_opens_with_prose() {
    for (file, text) in sources() {
        assert!(text.starts_with("//! "), "{file} does not say what it is");
    }
}
