//! The sources of settings, their order, and the file that documents every setting.

mod descriptors;
mod grants;
mod limits;

use std::{collections::BTreeSet, iter};

use super::{Config, Error, settings::SETTINGS};
use toml::{Table, Value};

const DOCUMENTED: &str = include_str!("../../../config/taffrail.toml");

fn load(file: &str) -> Result<Config, Error> {
    Config::default()
        .load(Some(("test.toml", file)), iter::empty(), &[])
        .map(|loaded| loaded.config)
}

fn names(table: &Table) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (key, value) in table {
        match value {
            Value::Table(section) => {
                names.extend(section.keys().map(|inner| format!("{key}.{inner}")));
            }
            _ => drop(names.insert(key.clone())),
        }
    }
    names
}

#[test]
fn the_documented_file_has_every_setting_with_its_default() {
    let documented = names(&DOCUMENTED.parse().unwrap());
    let settings: BTreeSet<String> = SETTINGS
        .iter()
        .map(|setting| setting.name.to_owned())
        .collect();
    assert_eq!(documented, settings);
    assert_eq!(load(DOCUMENTED).unwrap(), Config::default());
}

#[test]
fn every_documented_value_is_read_and_not_just_accepted() {
    // If a setting were stored in another one's field, two settings would change the same field.
    let mut seen = Vec::new();
    for setting in &SETTINGS {
        let other = match setting.name {
            "data_dir" => "/elsewhere",
            "tls.certificate" | "tls.key" | "tls.client_ca" => "a.pem",
            "tls.client_required" => "false",
            "audit.topic" => "audit",
            "telemetry.otlp_endpoint" => "http://localhost:4317",
            "telemetry.sample_ratio" => "0.5",
            "jwt.keys" => "keys.json",
            "jwt.algorithms" => "ES256",
            "jwt.issuer" | "jwt.audience" | "jwt.claim" | "jwt.roles_claim" => "other",
            "tls.principal" => "email, subject",
            "tls.client_any_usage" => "true",
            "listen" | "http.listen" => "[::1]:1",
            "http.origins" => "https://shop.example",
            "http.hosts" => "broker.example",
            "insecure" => "true",
            "log.format" => "json",
            "log.level" => "debug",
            "server.handshake_timeout" => "3s",
            "server.drain" | "reads.stalled" | "groups.stalled" => "33s",
            "server.request_timeout" => "44s",
            "producers.idle" | "erasure.deadline" | "clock.jump" | "clock.settle" => "33h",
            "memory.bytes" => "999MiB",
            name if name.ends_with("bytes") => "99MiB",
            _ => "33",
        };
        let mut config = Config::default();
        config.set(setting.name, other).unwrap();
        assert_ne!(config, Config::default(), "{} has no effect", setting.name);
        assert!(
            !seen.contains(&config),
            "{} changes what another setting changes",
            setting.name
        );
        seen.push(config);
    }
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let file = "listen = '127.0.0.1:1'\ninsecure = true\n[journal]\nfiles = 3\n";
    let environment = [
        ("TAFFRAIL_LISTEN", "127.0.0.1:2"),
        ("TAFFRAIL_JOURNAL_FILES", "4"),
        ("PATH", "x"),
        ("TAFFRAIL_SERVER", "y"),
        ("TAFFRAIL_TLS_CERT_KEY", "z"),
    ];
    let environment = environment
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter();
    let flags = [("listen", "127.0.0.1:3".to_owned())];
    let loaded = Config::default()
        .load(Some(("test.toml", file)), environment, &flags)
        .unwrap();
    assert_eq!(loaded.config.listen, "127.0.0.1:3");
    assert_eq!(loaded.config.journal_files, 4);
    assert!(loaded.config.insecure);
    assert!(loaded.unknown_variables.is_empty());
}

#[test]
fn a_variable_that_is_no_setting_is_reported_and_not_refused() {
    let environment = iter::once((
        "TAFFRAIL_PORT_9640_TCP".to_owned(),
        "tcp://10.0.0.1:9640".to_owned(),
    ));
    let loaded = Config::default().load(None, environment, &[]).unwrap();
    assert_eq!(loaded.unknown_variables, ["TAFFRAIL_PORT_9640_TCP"]);
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_one() {
    for (file, expected) in [
        (
            "data-dir = 'x'",
            r#"test.toml, line 1: there is no setting "data-dir"; did you mean "data_dir"?"#,
        ),
        (
            "[journal]\nfile_byte = 1",
            r#"test.toml, line 2: there is no setting "journal.file_byte"; did you mean "journal.file_bytes"?"#,
        ),
        (
            "open_segments = 5",
            r#"test.toml, line 1: there is no setting "open_segments"; did you mean "memory.open_segments"?"#,
        ),
        (
            "[servr]\ndrain = 5",
            r#"test.toml, line 1: there is no setting "servr""#,
        ),
        (
            "colour = 5",
            r#"test.toml, line 1: there is no setting "colour""#,
        ),
    ] {
        assert_eq!(load(file).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_value_that_a_setting_cannot_have_is_refused_with_its_bounds() {
    for (file, expected) in [
        (
            "insecure = 'yes'",
            r#"test.toml, line 1: insecure cannot be "yes": it is true or false"#,
        ),
        (
            "[journal]\nfiles = 1",
            r#"test.toml, line 2: journal.files cannot be "1": it is a number from 2 to 64"#,
        ),
        (
            "[journal]\nfile_bytes = '1MiB'",
            r#"test.toml, line 2: journal.file_bytes cannot be "1MiB": it is from 67108864 to 1073741824 bytes"#,
        ),
        (
            "[backup]\njournal = '2TiB'",
            r#"test.toml, line 2: backup.journal cannot be "2TiB": it is from 0 to 1099511627776 bytes"#,
        ),
        (
            "[server]\ndrain = 'soon'",
            "test.toml, line 2: server.drain cannot be \"soon\": \"soon\" is not a duration such \
            as 500ms, 30s, \
             10m, 12h or 7d",
        ),
        (
            "[journal]\nfile_bytes = 70000001",
            r#"test.toml, line 2: journal.file_bytes cannot be "70000001": it is a multiple of 4096 bytes"#,
        ),
        (
            "listen = ['x']",
            "test.toml, line 1: listen is a table or a list; it takes one value",
        ),
    ] {
        assert_eq!(load(file).unwrap_err().to_string(), expected);
    }
}

#[test]
fn where_a_setting_was_given_is_known() {
    let file = "\ninsecure = true\n[journal]\n# Some.\nfiles = 0x1_0\n[log]\nlevel = 'warn'\n";
    let environment = [("TAFFRAIL_LOG_LEVEL".to_owned(), "info".to_owned())];
    let flags = [("listen", "127.0.0.1:3".to_owned())];
    let loaded = Config::default()
        .load(Some(("a.toml", file)), environment.into_iter(), &flags)
        .unwrap();
    assert_eq!(loaded.config.journal_files, 16);
    for (setting, source) in [
        ("insecure", Some("a.toml, line 2")),
        ("journal.files", Some("a.toml, line 5")),
        ("log.level", Some("environment variable TAFFRAIL_LOG_LEVEL")),
        ("listen", Some("command line")),
        ("data_dir", None),
    ] {
        assert_eq!(loaded.sources.of(setting), source, "{setting}");
    }
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_the_place() {
    let error = load("listen = ").unwrap_err().to_string();
    assert!(
        error.starts_with("test.toml is not TOML: TOML parse error at line 1"),
        "{error}"
    );
}

#[test]
fn only_loopback_is_listened_on_unless_insecure_is_given() {
    let config = |listen: &str, insecure| Config {
        listen: listen.to_owned(),
        insecure,
        ..Config::default()
    };
    for loopback in [
        "127.0.0.1:9640",
        "[::1]:0",
        "127.3.2.1:1",
        "[::ffff:127.0.0.1]:1",
    ] {
        assert_eq!(
            config(loopback, false).listen_address().unwrap(),
            loopback.parse().unwrap()
        );
    }
    for exposed in ["0.0.0.0:9640", "[::]:9640", "192.168.1.1:1"] {
        let error = config(exposed, false).listen_address().unwrap_err();
        assert!(error.to_string().contains("--insecure"), "{error}");
        assert_eq!(
            config(exposed, true).listen_address().unwrap(),
            exposed.parse().unwrap()
        );
    }
    let error = config("9640", false)
        .listen_address()
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot listen on \"9640\""), "{error}");
}

#[test]
fn with_tls_other_machines_may_be_listened_to() {
    let config = load("listen = '0.0.0.0:1'\n[tls]\ncertificate = 'a'\nkey = 'b'").unwrap();
    assert_eq!(config.listen_address().unwrap().port(), 1);
}

#[test]
fn a_setting_of_tls_that_lacks_another_is_refused_with_its_line() {
    for (file, expected) in [
        (
            "[tls]\nkey = 'a'",
            "test.toml, line 2: tls.key has no effect without tls.certificate: set it as well",
        ),
        (
            "\n[tls]\nclient_ca = 'a'",
            "test.toml, line 3: tls.client_ca has no effect without tls.certificate: set it as \
            well",
        ),
        (
            "[tls]\ncertificate = 'a'",
            "test.toml, line 2: tls.certificate has no effect without tls.key: set it as well",
        ),
        (
            "[tls]\ncertificate = 'a'\nkey = 'b'\nclient_any_usage = true",
            "test.toml, line 4: tls.client_any_usage has no effect without tls.client_ca: set it \
            as well",
        ),
    ] {
        let loaded = Config::default()
            .load(Some(("test.toml", file)), iter::empty(), &[])
            .unwrap();
        let error = loaded.config.tls(&loaded.sources).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let loaded = Config::default().load(None, iter::empty(), &[]).unwrap();
    assert_eq!(loaded.config.tls(&loaded.sources), Ok(None));
}

#[test]
fn a_log_level_is_one_that_there_is_everywhere_in_it() {
    let level = |text: &str| {
        let mut config = Config::default();
        config.set("log.level", text).map(|()| config.log_level)
    };
    for right in [
        "off",
        "error",
        "WARN",
        "info",
        "debug",
        "trace",
        "info,taffrail::server=debug",
        "warn, h2=off",
        "taffrail::broker",
        "taffrail=trace,",
        "info,[append]=debug",
        "info,taffrail[append{topic=t,partition=1}]=trace",
        "[append{topic=\"t\"}]",
    ] {
        assert_eq!(level(right).as_deref(), Ok(right));
    }
    for wrong in [
        "warning",
        "err",
        "loud",
        "none",
        "",
        " ",
        ",",
        "3",
        "info,warning",
        "taffrail=verbose",
        "info,taffrail::server=",
        "=info",
        "h2",
        "infotaffrail::server",
        "info;taffrail::server=debug",
        "info taffrail::server=debug",
    ] {
        let problem = level(wrong).unwrap_err().to_string();
        let words = "off, error, warn, info, debug, trace";
        assert!(
            problem.contains(words) && problem.contains("log.level"),
            "{wrong}: {problem}"
        );
    }
    let in_file = load("[log]\nlevel = \"warning\"\n")
        .unwrap_err()
        .to_string();
    assert!(
        in_file.contains("test.toml") && in_file.contains("warn, info"),
        "{in_file}"
    );
}

#[test]
fn a_memory_that_may_be_meant_otherwise_is_remarked_on() {
    let remarks = |file: &str, machine| {
        let mut config = load(file).expect("it is right");
        config.divide_memory(Some(machine)).expect("it is enough");
        config.remarks_on_memory(Some(machine)).join("\n")
    };
    let gib = 1 << 30;
    let once = "[memory]\nbytes = '512MiB'\nkey_index_bytes = '128MiB'";
    assert!(remarks(once, 8 * gib).contains("set memory.appends_bytes"));
    let now = "[memory]\nbytes = '512MiB'\nkey_index_bytes = '128MiB'\nappends_bytes = '128MiB'";
    for (right, machine) in [
        (now, 8 * gib),
        ("", 8 * gib),
        ("[memory]\nbytes = '3GiB'", 4 * gib),
    ] {
        assert_eq!(remarks(right, machine), "");
    }
    for too_much in ["[memory]\nbytes = '4GiB'", "[memory]\nbytes = '3100MiB'"] {
        let remark = remarks(too_much, 4 * gib);
        assert!(remark.contains("has 4294967296 bytes"), "{remark}");
    }
    assert!(remarks("", 256 << 20).contains("memory.bytes is 335544320"));
}
