//! Precedence, complaints and secrecy, as tables.

use super::*;
use crate::call::Protocol;
use crate::config::{Allow, Auth, Config, Key, OnBudget, OnLedgerError, UsageMode, Window};
use crate::money::NanoUsd;
use std::collections::HashMap;
use std::time::Duration;

/// An environment and files, in memory.
#[derive(Default)]
struct World {
    variables: HashMap<&'static str, &'static str>,
    files: HashMap<&'static str, &'static str>,
}

impl World {
    fn new(variables: &[(&'static str, &'static str)], files: &[(&'static str, &'static str)]) -> Self {
        Self { variables: variables.iter().copied().collect(), files: files.iter().copied().collect() }
    }

    fn with<T>(&self, use_it: impl FnOnce(&Outside<'_>) -> T) -> T {
        let variable = |name: &str| self.variables.get(name).map(OsString::from);
        let read = |path: &Path| match path.to_str().and_then(|path| self.files.get(path)) {
            Some(text) => Ok(text.to_string()),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        use_it(&Outside { variable: &variable, read: &read })
    }

    fn check(&self, flags: &[(&str, &str)]) -> Result<Checked, Error> {
        let mut given = Settings::default();
        for (name, value) in flags {
            let setting = Setting::named(name).ok_or_else(|| Error::Config(format!("no setting {name}")))?;
            given.set(setting, value.to_string(), Origin::Flag)?;
        }
        self.with(|outside| given.complete(outside)?.check(outside))
    }

    fn complaint(&self, flags: &[(&str, &str)]) -> String {
        self.check(flags).err().map_or_else(|| "no complaint".into(), |error| error.to_string())
    }
}

/// `name key@address` of each upstream.
fn upstreams(config: &Config) -> Vec<String> {
    let key = |key: &Key| match key {
        Key::Given(key) => key.expose().to_string(),
        Key::Control => "control".into(),
        Key::None => "none".into(),
    };
    config.upstreams.iter().map(|u| format!("{} {}@{}", u.name, key(&u.key), u.base)).collect()
}

const OPENAI: &str = "https://api.openai.com";
const ANTHROPIC: &str = "https://api.anthropic.com";

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_usual_variables() {
    let file = ("/c.toml", "port = 3\nopenai_key = 'of-file'\n");
    let mut world = World::new(&[("OPENAI_API_KEY", "usual"), ("IRON_PORT", "2"), ("IRON_OPENAI_KEY", "of-variable")], &[file]);
    for (flags, drop, port, key) in [
        (vec![("config", "/c.toml"), ("port", "1"), ("openai_key", "of-flag")], None, 1, "of-flag"),
        (vec![("config", "/c.toml")], None, 2, "of-variable"),
        (vec![("config", "/c.toml")], Some(["IRON_PORT", "IRON_OPENAI_KEY"]), 3, "of-file"),
        (vec![], None, 0, "usual"),
    ] {
        for name in drop.into_iter().flatten() {
            world.variables.remove(name);
        }
        let config = world.check(&flags).map(|checked| checked.config).unwrap_or_else(|error| panic!("{flags:?}: {error}"));
        assert_eq!((config.port, upstreams(&config)), (port, vec![format!("openai {key}@{OPENAI}")]), "{flags:?}");
    }
}

#[test]
fn the_config_file_may_be_named_by_its_variable() {
    let world = World::new(&[("IRON_CONFIG", "~/c.toml"), ("HOME", "/home/u")], &[("/home/u/c.toml", "anthropic_key = 'k'\nhost = '::1'")]);
    let config = world.check(&[]).map(|checked| checked.config).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((config.host.as_str(), upstreams(&config)), ("::1", vec![format!("anthropic k@{ANTHROPIC}")]));
}

#[test]
fn which_providers() {
    type Pairs = &'static [(&'static str, &'static str)];
    let control = |base: &str| vec![format!("openai control@{base}"), format!("anthropic control@{ANTHROPIC}")];
    let direct = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let all: Pairs = &[("IC_TOKEN", "ic_t"), ("IC_SERVER", "http://c:1"), ("OPENAI_API_KEY", "o"), ("ANTHROPIC_API_KEY", "a")];
    let keys: Pairs = &[("OPENAI_API_KEY", "o"), ("ANTHROPIC_API_KEY", "a"), ("IC_TOKEN", "alone")];
    let cases: &[(Pairs, Pairs, bool, Vec<String>)] = &[
        (all, &[], true, control(OPENAI)),
        (keys, &[], false, direct(&["openai o@https://api.openai.com", "anthropic a@https://api.anthropic.com"])),
        // What is named is what is used: no other key of the environment, no control server.
        (all, &[("anthropic_key", "x")], false, direct(&["anthropic x@https://api.anthropic.com"])),
        (keys, &[("api_key", "ic_x"), ("server_url", "http://c:2")], true, control(OPENAI)),
        // Half a pair is completed.
        (all, &[("api_key", "ic_x")], true, control(OPENAI)),
        (all, &[("server_url", "http://c:2")], true, control(OPENAI)),
        // An address alone names no provider, and keeps its place in server mode.
        (keys, &[("openai_base_url", "http://h/v1")], false, direct(&["openai o@http://h", "anthropic a@https://api.anthropic.com"])),
        (all, &[("openai_base_url", "http://h/v1")], true, control("http://h")),
        // A key that is given beside a control server wins for its provider.
        (
            all,
            &[("api_key", "ic_x"), ("openai_key", "x")],
            true,
            direct(&["openai x@https://api.openai.com", "anthropic control@https://api.anthropic.com"]),
        ),
        // A local server needs no key.
        (&[], &[("openai_base_url", "http://localhost:11434/v1")], false, direct(&["openai none@http://localhost:11434"])),
        // Empty variables are as good as none; those of the SDKs' addresses are never read.
        (
            &[("OPENAI_API_KEY", ""), ("ANTHROPIC_API_KEY", "a"), ("ANTHROPIC_BASE_URL", "http://x")],
            &[],
            false,
            direct(&["anthropic a@https://api.anthropic.com"]),
        ),
    ];
    for (variables, flags, server, want) in cases {
        let checked = World::new(variables, &[]).check(flags).unwrap_or_else(|error| panic!("{flags:?}: {error}"));
        assert_eq!((upstreams(&checked.config), checked.config.control.is_some()), (want.clone(), *server), "{variables:?} {flags:?}");
    }
}

#[test]
fn keys_by_reference() {
    let world = World::new(
        &[("K", "of-variable"), ("CRLF", "key\r\n"), ("HOME", "/home/u"), ("SPACE", "a b"), ("EMPTY", "")],
        &[("/k", "of-file\n"), ("/home/u/k", "of-home"), ("/nl", "\n\n"), ("/two", "a\nb\n")],
    );
    for (value, key) in [("env:K", "of-variable"), ("env:CRLF", "key"), ("file:/k", "of-file"), ("file:~/k", "of-home"), ("plain", "plain")]
    {
        let config = world.check(&[("openai-key", value)]).map(|checked| checked.config).unwrap_or_else(|error| panic!("{value}: {error}"));
        assert_eq!(upstreams(&config), [format!("openai {key}@{OPENAI}")]);
    }
    for (value, why) in [
        ("", "--openai-key: is empty; it takes a key, env:NAME or file:PATH"),
        ("env:EMPTY", "--openai-key: the variable \"EMPTY\" is not set or empty"),
        ("env:NONE", "--openai-key: the variable \"NONE\" is not set or empty"),
        ("env:SPACE", "--openai-key: the variable \"SPACE\" can't be a key: it has a space, a line break or a character outside ASCII"),
        ("file:/nl", "--openai-key: the file /nl is empty; it takes a key, env:NAME or file:PATH"),
        ("file:/two", "--openai-key: the file /two can't be a key: it has a space, a line break or a character outside ASCII"),
        ("file:/none", "--openai-key: read /none: entity not found"),
    ] {
        assert_eq!(world.complaint(&[("openai_key", value)]), why);
    }
}

#[test]
fn the_client_token() {
    let world = World::new(&[], &[("/token", "of-file\n"), ("/empty", "\n"), ("/bad", "a b")]);
    let direct = [("openai_key", "k")];
    let server = [("api_key", "ic_t"), ("server_url", "http://c")];
    for (mode, flags, source, token) in [
        (&direct[..], vec![("client_token", "mine"), ("token_file", "/bad")], TokenSource::Given, Some("mine")),
        (&direct[..], vec![("token_file", "/token")], TokenSource::File("/token".into()), Some("of-file")),
        (&server[..], vec![("token_file", "/token")], TokenSource::File("/token".into()), Some("of-file")),
        (&direct[..], vec![("token_file", "/none")], TokenSource::ToFile("/none".into()), None),
        (&direct[..], vec![("token_file", "/empty")], TokenSource::ToFile("/empty".into()), None),
        (&server[..], vec![("token_file", "/none")], TokenSource::ToFile("/none".into()), Some("ic_t")),
        (&server[..], vec![], TokenSource::IcToken, Some("ic_t")),
        (&direct[..], vec![], TokenSource::Random, None),
    ] {
        let flags = [mode, flags.as_slice()].concat();
        let checked = world.check(&flags).unwrap_or_else(|error| panic!("{flags:?}: {error}"));
        assert_eq!((checked.config.client_token.as_ref().map(Secret::expose), checked.token), (token, source), "{flags:?}");
    }
    let why = "--token-file: the file /bad can't be a key: it has a space, a line break or a character outside ASCII";
    assert_eq!(world.complaint(&[("openai_key", "k"), ("token_file", "/bad")]), why);
}

#[test]
fn a_token_file_is_written_once_for_its_user_only() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("iron-token-{}", std::process::id()));
    std::fs::write(&path, "")?;
    let name = path.to_str().ok_or("path")?;
    let world_check = || -> Result<Checked, Error> {
        let outside = Outside::process();
        Settings::from_pairs([("openai_key", "k"), ("token_file", name)])?.check(&outside)
    };
    let written = Secret::new(world_check()?.start()?.api_key());
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path)?.permissions()) & 0o777, 0o600);
    let again = world_check()?;
    assert_eq!(again.token, TokenSource::File(path.clone()));
    assert!(again.config.client_token.is_some_and(|token| token.matches(written.expose().as_bytes())));
    std::fs::remove_file(&path)?;
    let nowhere = Settings::from_pairs([("openai_key", "k"), ("token_file", "/nonexistent/dir/token")])?.check(&Outside::process())?;
    let error = nowhere.start().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.starts_with("token_file: write /nonexistent/dir/token: "), "{error}");
    Ok(())
}

#[test]
fn complaints() {
    let world = World::default();
    for (name, value, why) in [
        ("port", "80a", "--port: must be a port, 0 to 65535, not \"80a\""),
        ("port", "sk-secret", "--port: must be a port, 0 to 65535, not (a value that looks like a key)"),
        ("host", "a:b:c:", "--host: must be a host name or IP address without port, not \"a:b:c:\""),
        ("idle_timeout", "0", "--idle-timeout: must be a time in seconds from 0.001 to 2592000, such as 10 or 0.5, not \"0\""),
        (
            "keepalive_seconds",
            "-1",
            "--keepalive-seconds: must be a time in seconds from 0, or 0.001 to 2592000, such as 10 or 0.5, not \"-1\"",
        ),
        ("max_connections", "0", "--max-connections: must be a whole number from 1 to 100000, not \"0\""),
        (
            "max_body_bytes",
            "5GiB",
            "--max-body-bytes: must be a size such as 1048576 or 32MiB (KiB, MiB, GiB), from 1 to 4294967296 bytes, not \"5GiB\"",
        ),
        ("log_format", "xml", "--log-format: must be text or json, not \"xml\""),
        ("openai_base_url", "api.openai.com", "--openai-base-url: address \"api.openai.com\": must begin with http:// or https://"),
        (
            "openai_base_url",
            "http://u:sk-secret@h",
            "--openai-base-url: must be an address such as https://host/path, without user, password or key",
        ),
        ("openai_base_url", "https://h", "--openai-base-url: needs --openai-key too; only an address of this machine may go without"),
        ("server_url", "http://c", "--server-url: needs the IC token too: give --api-key (or set IC_TOKEN)"),
        ("api_key", "ic_t", "--api-key: is the IC token of a control server: give --server-url too (or set IC_SERVER)"),
        ("config", "/none", "read config file /none: entity not found"),
    ] {
        assert_eq!(world.complaint(&[(name, value)]), why);
    }
    assert!(matches!(world.check(&[]), Err(Error::NoProvider)));
    let circle = world.complaint(&[("port", "8080"), ("openai_base_url", "http://localhost:8080")]);
    assert_eq!(
        circle,
        "upstream openai: http://localhost:8080 is the router's own port 8080: it would call itself; give another port or address"
    );
}

#[test]
fn complaints_about_variables_and_arguments_use_their_names() {
    let world = World::new(&[("IRON_PORT", "x")], &[]);
    assert_eq!(world.complaint(&[]), "IRON_PORT: must be a port, 0 to 65535, not \"x\"");
    let world = World::new(&[("IRON_OPENAI_BASE_URL", "https://h")], &[]);
    assert_eq!(world.complaint(&[]), "IRON_OPENAI_BASE_URL: needs openai_key too; only an address of this machine may go without");
    for (name, why) in [
        ("prot", "unknown setting \"prot\"; did you mean port?"),
        ("openai-keys", "unknown setting \"openai-keys\"; did you mean openai_key?"),
        ("pii", "unknown setting \"pii\""),
    ] {
        assert_eq!(Settings::from_pairs([(name, "1")]).err().map(|error| error.to_string()).as_deref(), Some(why));
    }
}

#[test]
fn the_config_file_in_full() {
    let text = r#"
        port = 8_080
        connect_timeout = 2.5
        max_body_bytes = "8MiB"
        max_connections = 7
        allow_host = ["router.lan", "box"]
        openai_key = "env:K"
        openai_base_url = "http://127.0.0.1:1/v1"

        [upstreams.local]
        protocol = "openai"
        base_url = "http://10.0.0.1:11434/v1"
        models = ["llama*", "qwen"]
        aliases = { fast = "llama-3.1-8b" }

        [upstreams.azure]
        protocol = "openai"
        base_url = "https://x.openai.azure.com/openai/v1"
        key = "file:/k"
        auth = "api-key"

        [upstreams.openai]
        aliases.smart = "gpt-4.1"
    "#;
    let text: &'static str = Box::leak(text.to_string().into_boxed_str());
    let world = World::new(&[("K", "k1")], &[("/c", text), ("/k", "k2\n")]);
    let config = world.check(&[("config", "/c")]).map(|checked| checked.config).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((config.port, config.limits.max_body_bytes, config.limits.max_connections), (8080, 8 << 20, 7));
    assert_eq!(
        (config.timeouts.connect, config.allow_hosts.as_slice()),
        (Duration::from_millis(2500), &["router.lan".into(), "box".into()][..])
    );
    assert_eq!(
        upstreams(&config),
        ["openai k1@http://127.0.0.1:1", "local none@http://10.0.0.1:11434", "azure k2@https://x.openai.azure.com/openai"]
    );
    let [openai, local, azure] = &config.upstreams[..] else { panic!("three upstreams") };
    assert_eq!(openai.aliases, [("smart".to_string(), "gpt-4.1".to_string())]);
    assert_eq!((local.models.as_slice(), local.protocol), (&["llama*".to_string(), "qwen".into()][..], Protocol::OpenAi));
    assert_eq!((local.aliases[0].0.as_str(), azure.auth), ("fast", Auth::ApiKey));
}

#[test]
fn complaints_about_the_config_file() {
    for (text, why) in [
        ("port = 'x'", "/c line 1: port: must be a port, 0 to 65535, not \"x\""),
        ("\n\nprot = 1", "/c line 3: unknown key \"prot\"; did you mean port?"),
        ("pii = 1", "/c line 1: unknown key \"pii\""),
        ("openai-key = 'k'", "/c line 1: unknown key \"openai-key\"; did you mean openai_key?"),
        ("port = true", "/c line 1: port: must be a text or a number"),
        ("port = 0x10", "/c line 1: port: must be a text or a number"),
        (
            "connect_timeout = nan",
            "/c line 1: connect_timeout: must be a time in seconds from 0.001 to 2592000, such as 10 or 0.5, not \"nan\"",
        ),
        ("allow_host = [1]", "/c line 1: allow_host: must be a list of texts such as [\"a\", \"b\"]"),
        ("config = '/d'", "/c line 1: config: a config file can't name another one"),
        ("upstreams = 1", "/c line 1: upstreams: must be tables such as [upstreams.local]"),
        ("[upstreams]\nx = 1", "/c line 2: upstreams.x: must be a table: [upstreams.x]"),
        ("[upstreams.x]\nprotocl = 1", "/c line 2: upstreams.x: unknown key \"protocl\"; did you mean protocol?"),
        ("[upstreams.x]\nprotocol = 'grpc'", "/c line 2: upstreams.x.protocol: must be one of \"openai\", \"anthropic\", not \"grpc\""),
        ("[upstreams.x]\nprotocol = 'openai'", "/c line 1: upstreams.x: needs base_url, its address"),
        ("[upstreams.x]\nbase_url = 'http://h'", "/c line 1: upstreams.x: needs protocol = \"openai\" or \"anthropic\": what it speaks"),
        (
            "[upstreams.x]\nprotocol = 'openai'\nbase_url = 'http://h'\nauth = 'bearer'",
            "/c line 1: upstreams.x: needs key too: auth says how it is sent",
        ),
        (
            "[upstreams.x]\nmodels = ['a*b']",
            "/c line 2: upstreams.x.models: \"a*b\" is not a model's name, or its beginning and a * at the end",
        ),
        ("[upstreams.x]\naliases = ['a']", "/c line 2: upstreams.x.aliases: must be a table of names such as { fast = \"llama-3.1-8b\" }"),
        (
            "[upstreams.openai]\nkey = 'k'",
            "/c line 1: upstreams.openai: takes models, aliases, auth and usage only; its key and address are openai_key and openai_base_url",
        ),
        ("[upstreams.openai]\nmodels = ['x']", "/c line 1: upstreams.openai: adds to a provider that has no key: give openai_key"),
        (
            "[upstreams.x]\nprotocol = 'openai'\nbase_url = 'http://h'\nkey = 'env:NONE'",
            "/c line 1: upstreams.x.key: the variable \"NONE\" is not set or empty",
        ),
    ] {
        let text: &'static str = Box::leak(text.to_string().into_boxed_str());
        assert_eq!(World::new(&[], &[("/c", text)]).complaint(&[("config", "/c")]), why, "{text}");
    }
}

#[test]
fn malformed_toml_is_not_repeated() {
    for text in [
        "openai_key = sk-canary-1\n",
        "openai_key = \"sk-canary-1\n",
        "openai_key \"sk-canary-1\"",
        "sk-canary-1",
        "[sk-canary-1",
        "openai_key = ['sk-canary-1']",
        "openai_key = { a = 'sk-canary-1' }",
        "port = 'sk-canary-1'",
        "sk-canary-1 = 1",
        "[upstreams.x]\nkey = ['sk-canary-1']",
        "[upstreams.x]\nprotocol = 'sk-canary-1'",
        "[upstreams.x]\nsk-canary-1 = 1",
        "openai_key = 'sk-canary-1'\nopenai_key = 'sk-canary-1'",
    ] {
        let leaked: &'static str = Box::leak(text.to_string().into_boxed_str());
        let why = World::new(&[], &[("/c", leaked)]).complaint(&[("config", "/c")]);
        assert!(why.starts_with("/c line ") && !why.contains("canary") && !why.contains('\n'), "{text}: {why}");
    }
}

#[test]
fn the_defaults_of_the_table_are_those_of_config() -> Result<(), Error> {
    let plain = Settings::from_pairs([("openai_key", "k")])?.check(&Outside::process())?.config;
    let words = |kind| matches!(kind, Kind::Port | Kind::Host | Kind::Word(_) | Kind::Switch | Kind::Percents);
    let written =
        SETTINGS.iter().filter(|s| words(s.kind) || matches!(s.kind, Kind::Seconds { .. } | Kind::Bytes { .. } | Kind::Count { .. }));
    let pairs: Vec<_> = written.map(|setting| (setting.name, setting.default)).chain([("openai_key", "k")]).collect();
    let stated = Settings::from_pairs(pairs)?.check(&Outside::process())?.config;
    let figures = |config: &Config| {
        let ledger = (&config.state, config.on_ledger_error, config.strict_translation, config.capture);
        format!("{} {} {:?} {:?} {:?} {ledger:?}", config.host, config.port, config.limits, config.timeouts, config.spending)
    };
    assert_eq!(figures(&plain), figures(&stated));
    assert_eq!(figures(&plain), figures(&Config::default()));
    Ok(())
}

#[test]
fn a_switch_is_on_or_off() {
    let strict = |text| {
        World::default().check(&[("openai_key", "k"), ("strict_translation", text)]).map(|checked| checked.config.strict_translation)
    };
    for (text, on) in [("true", true), ("1", true), ("false", false), ("0", false)] {
        assert_eq!(strict(text).ok(), Some(on), "{text}");
    }
    let why = strict("yes").map_err(|error| error.to_string());
    assert_eq!(why, Err("--strict-translation: must be true or false, not \"yes\"".into()));
}

#[test]
fn lists_grow_within_one_place_only() -> Result<(), Error> {
    let world = World::new(&[("IRON_ALLOW_HOST", "c")], &[]);
    let config = world.check(&[("allow_host", "a"), ("allow_host", "b,d"), ("openai_key", "k")])?.config;
    assert_eq!(config.allow_hosts, ["a", "b", "d"]);
    Ok(())
}

#[test]
fn what_calls_may_cost() {
    let world = World::new(&[("IRON_BUDGET", "7"), ("HOME", "/home/u")], &[]);
    let direct = [("openai_key", "k")];
    let plain = world.check(&direct).unwrap_or_else(|error| panic!("{error}")).config;
    assert_eq!((plain.spending.budget, plain.state.as_ref()), (Some(NanoUsd(7_000_000_000)), None));
    let flags = [
        ("budget", "0"),
        ("on-budget", "refuse"),
        ("budget-wait", "0"),
        ("budget-window", "month"),
        ("unknown-model", "allow"),
        ("unmetered", "allow"),
        ("usage", "observe"),
        ("thresholds", "90,10,90"),
        ("prices", "~/prices.json"),
        ("state", "~/ledger.db"),
        ("on-ledger-error", "stop"),
    ];
    let config = world.check(&[&direct[..], &flags].concat()).unwrap_or_else(|error| panic!("{error}")).config;
    let spending = &config.spending;
    assert_eq!((spending.budget, spending.on_budget, spending.wait), (Some(NanoUsd::ZERO), OnBudget::Refuse, Duration::ZERO));
    assert_eq!((spending.window, spending.unknown_model, spending.unmetered), (Window::Month, Allow::Allow, Allow::Allow));
    assert_eq!((spending.thresholds.as_slice(), spending.prices.as_deref()), (&[10, 90][..], Some(Path::new("/home/u/prices.json"))));
    assert_eq!((config.state.as_deref(), config.on_ledger_error), (Some(Path::new("/home/u/ledger.db")), OnLedgerError::Stop));
    assert_eq!(config.upstreams[0].usage, UsageMode::Observe);
}

#[test]
fn complaints_about_money() {
    let world = World::default();
    let amount = "must be an amount of US dollars from 0 to 1000000000, such as 10 or 0.05, not";
    for (name, value, why) in [
        ("budget", "-1", format!("--budget: {amount} \"-1\"")),
        ("budget", "NaN", format!("--budget: {amount} \"NaN\"")),
        ("budget", "inf", format!("--budget: {amount} \"inf\"")),
        ("on_budget", "warn", "--on-budget: must be clamp or refuse, not \"warn\"".into()),
        (
            "thresholds",
            "0",
            "--thresholds: must be whole percentages from 1 to 100 such as 50,80,95,100, or none, not \"0\"".into(),
        ),
        ("state", "", "--state: is empty; it takes the path of a file, or none".into()),
        (
            "budget_window",
            "day",
            "--budget-window: day counts calls of earlier runs, so it needs a ledger: give --state (a file), or leave --budget-window at run"
                .into(),
        ),
    ] {
        assert_eq!(world.complaint(&[("openai_key", "k"), (name, value)]), why);
    }
    assert!(world.complaint(&[("openai_key", "k"), ("state", "none"), ("budget_window", "total")]).starts_with("--budget-window: total"));
}

#[test]
fn files_that_can_not_be_used_are_told_with_their_setting() -> Result<(), Error> {
    let told = |name: &str, value: &str| -> Result<String, Error> {
        let settings = Settings::from_pairs([("openai_key", "k"), (name, value)])?;
        let started = settings.check(&Outside::process())?.start();
        Ok(started.err().map_or_else(|| "no complaint".into(), |error| error.to_string()))
    };
    let why = told("prices", "/no-such-folder/prices.json")?;
    assert!(why.starts_with("prices: ") && why.contains("/no-such-folder/prices.json"), "{why}");
    if cfg!(feature = "ledger") {
        let why = told("state", "/dev/null/ledger.db")?;
        assert!(why.starts_with("state: ") && why.contains("/dev/null/ledger.db"), "{why}");
    }
    Ok(())
}

#[test]
fn the_usual_place_of_the_ledger() {
    for (variables, given, want) in [
        (&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")][..], None, Some("/s/iron-runtime/ledger.db")),
        (&[("XDG_STATE_HOME", "relative"), ("HOME", "/h")], None, Some("/h/.local/state/iron-runtime/ledger.db")),
        (&[("HOME", "/h")], None, Some("/h/.local/state/iron-runtime/ledger.db")),
        (&[("HOME", "/h")], Some("/own"), Some("/own")),
        (&[("HOME", "/h")], Some("none"), None),
        (&[], None, None),
    ] {
        let mut settings = Settings::from_pairs(given.map(|given| ("state", given))).unwrap_or_default();
        let found = World::new(variables, &[]).with(|outside| {
            settings.keep_usual_ledger(outside);
            settings.ledger(outside)
        });
        let want = if cfg!(feature = "ledger") || given.is_some() { want } else { None };
        assert_eq!(found.as_deref(), want.map(Path::new), "{variables:?} {given:?}");
    }
}

#[test]
fn agents() -> Result<(), Error> {
    let file = "openai_key = 'k'\nbudget = 1\n[agents.'a b']\ntoken = 'env:T'\nbudget = 0.25\n[agents.b]\ntoken = 'file:/t'\n";
    let world = World::new(&[("T", "token-a")], &[("/c", file), ("/t", "token-b\n")]);
    let config = world.check(&[("config", "/c")])?.config;
    let told: Vec<_> = config.agents.iter().map(|a| (a.name.as_str(), a.token.expose(), a.budget)).collect();
    assert_eq!(told, [("a b", "token-a", Some(NanoUsd(250_000_000))), ("b", "token-b", None)]);

    // A caller's agent replaces the file's of the same name; without a token it gets one of its own.
    let mut given = Settings::from_pairs([("config", "/c")])?;
    given.add_agent("b", None, Some("2"))?;
    given.add_agent("c", Some(Secret::new("token-c")), None)?;
    let agents = world.with(|outside| given.complete(outside)?.check(outside))?.config.agents;
    let names: Vec<_> = agents.iter().map(|agent| agent.name.as_str()).collect();
    assert_eq!((names, agents[0].budget, agents[0].token.expose().len()), (vec!["b", "c", "a b"], Some(NanoUsd(2_000_000_000)), 37));
    Ok(())
}

#[test]
fn complaints_about_agents() {
    for (text, why) in [
        ("agents = 1", "/c line 2: agents: must be tables such as [agents.researcher]"),
        ("[agents]\nx = 1", "/c line 3: agents.x: must be a table: [agents.x]"),
        ("[agents.x]\nbudget = 1", "/c line 2: agents.x: needs token, by which its calls are known: env:NAME, file:PATH or the token"),
        ("[agents.x]\ntoken = 't'\nbuget = 1", "/c line 4: agents.x: unknown key \"buget\"; did you mean budget?"),
        (
            "[agents.x]\ntoken = 't'\nbudget = -1",
            "/c line 4: agents.x.budget: must be an amount of US dollars from 0 to 1000000000, such as 10 or 0.05, not \"-1\"",
        ),
        ("[agents.x]\ntoken = 't'\nbudget = true", "/c line 4: agents.x.budget: must be a text or a number"),
        ("[agents.x]\ntoken = 'env:NONE'", "/c line 2: agents.x.token: the variable \"NONE\" is not set or empty"),
        ("[agents.'']\ntoken = 't'", "/c line 2: agents: a name is 1 to 64 characters without control characters, not \"\""),
        ("[agents.\"a\\nb\"]\ntoken = 't'", "/c line 2: agents: a name is 1 to 64 characters without control characters, not \"a\\nb\""),
        (
            "[agents.x]\ntoken = 't'\n[agents.y]\ntoken = 't'",
            "/c line 4: agents.y.token: is the token of agent x too: each needs one of its own",
        ),
        (
            "client_token = 't'\n[agents.x]\ntoken = 't'",
            "/c line 3: agents.x.token: is the token of the router's clients too: each needs one of its own",
        ),
    ] {
        let text: &'static str = Box::leak(format!("openai_key = 'k'\n{text}").into_boxed_str());
        assert_eq!(World::new(&[], &[("/c", text)]).complaint(&[("config", "/c")]), why, "{text}");
    }
}

#[test]
fn usage_of_added_upstreams() -> Result<(), Error> {
    let text = "openai_key = 'k'\nanthropic_key = 'k'\n[upstreams.a]\nprotocol = 'openai'\nbase_url = 'http://h'\n[upstreams.b]\n\
                protocol = 'openai'\nbase_url = 'http://h'\nusage = 'inject'\n[upstreams.anthropic]\nusage = 'observe'\n";
    let config = World::new(&[], &[("/c", text)]).check(&[("config", "/c")])?.config;
    let modes: Vec<_> = config.upstreams.iter().map(|upstream| (upstream.name.as_str(), upstream.usage)).collect();
    use UsageMode::{Inject, Observe};
    assert_eq!(modes, [("openai", Inject), ("anthropic", Observe), ("a", Observe), ("b", Inject)]);
    Ok(())
}

#[test]
fn a_list_of_thresholds_in_the_config_file() -> Result<(), Error> {
    for (text, want) in [("[80, 50]", &[50, 80][..]), ("[]", &[]), ("'10,20'", &[10, 20])] {
        let text: &'static str = Box::leak(format!("openai_key = 'k'\nthresholds = {text}").into_boxed_str());
        assert_eq!(World::new(&[], &[("/c", text)]).check(&[("config", "/c")])?.config.spending.thresholds, want);
    }
    Ok(())
}

#[test]
fn on_a_mock_only_the_mock_counts() -> Result<(), Error> {
    let world = World::new(&[("IRON_OPENAI_KEY", "real"), ("IRON_STATE", "/real"), ("IRON_BUDGET", "3"), ("IC_TOKEN", "t")], &[]);
    let config = world.with(|outside| Settings::default().on_mock("http://127.0.0.1:1", outside)?.check(outside))?.config;
    assert_eq!(upstreams(&config), ["openai sk-mock@http://127.0.0.1:1", "anthropic sk-ant-mock@http://127.0.0.1:1"]);
    assert_eq!((config.state, config.spending.budget), (None, Some(NanoUsd(3_000_000_000))));
    let given = Settings::from_pairs([("openai_key", "k")])?;
    let error = world.with(|outside| given.on_mock("http://127.0.0.1:1", outside)).err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("the mock is a provider of its own: leave out openai_key"));
    Ok(())
}
