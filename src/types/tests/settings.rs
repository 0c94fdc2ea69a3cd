//! The settings of a topic.

use crate::types::{
    Durability, Keys, SettingError, TOPIC_SETTINGS, TopicSettings,
    limits::{RECORD_BYTES, SEGMENT_BYTES, SEGMENT_MS},
    shown_setting, topic_settings_text,
};

/// A value for every setting that differs from its default.
const OTHERS: [(&str, &str); 17] = [
    ("keys", "plain"),
    ("durability", "os"),
    ("max.record.bytes", "2097152"),
    ("segment.bytes", "1048576"),
    ("segment.ms", "60000"),
    ("retention.ms", "5000"),
    ("retention.bytes", "1048576"),
    ("limit.policy", "refuse"),
    ("retention.hold", "groups"),
    ("cleanup.policy", "compact,delete"),
    ("compaction.keep", "3"),
    ("delete.retention.ms", "-1"),
    ("min.compaction.lag.ms", "1000"),
    ("max.compaction.lag.ms", "3600000"),
    ("compression", "zstd"),
    ("compression.level", "7"),
    ("appends", "import"),
];

#[test]
fn the_defaults_are_the_documented_ones() {
    let defaults = TopicSettings::default();
    assert_eq!(defaults.keys, Keys::Versioned);
    assert_eq!(defaults.durability, Durability::Sync);
    assert_eq!(defaults.max_record_bytes, 1 << 20);
    assert_eq!(defaults.segment_bytes, 256 << 20);
    assert_eq!(defaults.segment_ms, 7 * 24 * 60 * 60 * 1_000);
}

#[test]
fn every_setting_can_be_set_read_back_and_reset() {
    assert_eq!(
        OTHERS.map(|(name, _)| name),
        *TopicSettings::names(),
        "a setting is missing from this test"
    );
    for (name, value) in OTHERS {
        let mut settings = TopicSettings::default();
        assert_ne!(settings.get(name).as_deref(), Some(value), "{name}");

        settings.set(name, value).expect(name);
        assert_eq!(settings.get(name).as_deref(), Some(value), "{name}");
        let changed = TopicSettings::names()
            .iter()
            .filter(|n| settings.get(n) != TopicSettings::default().get(n))
            .count();
        assert_eq!(changed, 1, "{name} changed another setting");

        settings.reset(name).expect(name);
        assert_eq!(settings, TopicSettings::default(), "{name}");
    }
}

#[test]
fn limits_remove_nothing_of_a_topic_that_is_only_compacted() {
    let mut settings = TopicSettings::default();
    for (name, value) in [("retention.ms", "5s"), ("retention.bytes", "1MiB")] {
        settings.set(name, value).expect(name);
    }
    assert!(settings.has_limits() && !settings.is_compacted());
    settings.set("cleanup.policy", "compact").expect("a word");
    assert!(!settings.has_limits() && settings.is_compacted());
    assert_eq!(
        (settings.expires_ms(), settings.discards_at()),
        (None, None)
    );
    assert_eq!(settings.longest_life_ms(), None);
    settings
        .set("cleanup.policy", "compact,delete")
        .expect("a word");
    assert!(settings.has_limits() && settings.is_compacted());
    assert_eq!(settings.expires_ms(), Some(5_000));
    assert_eq!(settings.discards_at(), Some(1 << 20));
    settings.set("limit.policy", "refuse").expect("a word");
    assert_eq!(settings.discards_at(), None);
}

#[test]
fn sizes_and_durations_may_have_units() {
    let mut settings = TopicSettings::default();
    settings.set("segment.bytes", "64MiB").expect("a size");
    settings.set("segment.ms", "12h").expect("a duration");
    assert_eq!(
        (settings.segment_bytes, settings.segment_ms),
        (64 << 20, 43_200_000)
    );
}

#[test]
fn the_bounds_themselves_are_allowed_and_one_more_or_less_is_not() {
    for (name, (min, default, max)) in [
        ("max.record.bytes", RECORD_BYTES),
        ("segment.bytes", SEGMENT_BYTES),
        ("segment.ms", SEGMENT_MS),
    ] {
        assert!((min..=max).contains(&default), "{name}");
        let mut settings = TopicSettings::default();
        settings.set(name, &min.to_string()).expect(name);
        settings.set(name, &max.to_string()).expect(name);
        for value in [min - 1, max + 1] {
            let before = settings.clone();
            let error = settings.set(name, &value.to_string()).expect_err(name);
            assert_eq!(
                error,
                SettingError::OutOfBounds {
                    name,
                    value,
                    min,
                    max
                }
            );
            assert_eq!(
                error.to_string(),
                format!(
                    "setting {name} cannot be {}; it is between {} and {}",
                    shown_setting(name, &value.to_string()),
                    shown_setting(name, &min.to_string()),
                    shown_setting(name, &max.to_string())
                )
            );
            assert_eq!(settings, before, "a refused value must change nothing");
        }
    }
}

#[test]
fn an_unknown_setting_is_refused_with_those_that_exist() {
    let mut settings = TopicSettings::default();
    for error in [
        settings.set("retention", "1").expect_err("unknown"),
        settings.reset("retention").expect_err("unknown"),
    ] {
        let names = "keys, durability, max.record.bytes, segment.bytes, segment.ms, retention.ms, \
                     retention.bytes, limit.policy, retention.hold, cleanup.policy, compaction.keep, \
                     delete.retention.ms, min.compaction.lag.ms, max.compaction.lag.ms, \
                     compression, compression.level, appends";
        assert_eq!(
            error.to_string(),
            format!("\"retention\" is not a topic setting; there are: {names}")
        );
    }
    assert_eq!(settings.get("retention"), None);
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_with_what_would_do() {
    let mut settings = TopicSettings::default();
    let error = settings.set("durability", "maybe").expect_err("not a word");
    assert_eq!(
        error.to_string(),
        "setting durability cannot be \"maybe\"; it is one of: sync, os"
    );
    let error = settings.set("keys", "Plain").expect_err("not a word");
    assert_eq!(
        error.to_string(),
        "setting keys cannot be \"Plain\"; it is one of: versioned, plain"
    );
    let error = settings
        .set("segment.bytes", "big")
        .expect_err("not a size");
    assert!(
        error
            .to_string()
            .starts_with("setting segment.bytes: \"big\" is not a size"),
        "{error}"
    );
    let error = settings.set("segment.ms", "").expect_err("not a duration");
    assert!(
        error
            .to_string()
            .starts_with("setting segment.ms: \"\" is not a duration"),
        "{error}"
    );
    assert_eq!(settings, TopicSettings::default());
}

#[test]
fn a_least_lag_above_the_longest_is_refused_with_both_names() {
    let mut settings = TopicSettings::default();
    let set = settings.set("min.compaction.lag.ms", "2d");
    set.expect("it is within its bounds");
    let error = settings.check().expect_err("the default is one day");
    assert_eq!(
        error.to_string(),
        "setting min.compaction.lag.ms cannot be 2d: it would be more than max.compaction.lag.ms, when a record is to \
         be compacted at the latest; raise that, too, or lower this"
    );
    let set = settings.set("max.compaction.lag.ms", "2d");
    set.expect("it is within its bounds");
    assert_eq!(settings.check(), Ok(()));
}

#[test]
fn a_setting_that_is_settled_for_good_is_refused_with_what_can_be_done() {
    let error = SettingError::Fixed { name: "keys" }.to_string();
    assert_eq!(
        error,
        "setting keys cannot be changed; create another topic with it"
    );
}

#[test]
fn the_readme_and_the_api_list_every_setting_as_it_is_declared() {
    let mut table = String::from("| Topic setting | Values | Meaning |\n|---|---|---|\n");
    for setting in &TOPIC_SETTINGS {
        let (name, values) = (setting.name, setting.values());
        table += &format!("| `{name}` | {values} | {} |\n", setting.explained());
    }
    let readme = include_str!("../../../README.md");
    assert!(
        readme.contains(&table),
        "the README does not have this table:\n{table}"
    );
    let comment: String = topic_settings_text(116)
        .lines()
        .map(|line| format!("// {line}\n"))
        .collect();
    let api = include_str!("../../../proto/taffrail/v1/topics.proto");
    assert!(
        api.contains(&comment),
        "topics.proto does not have this comment:\n{comment}"
    );
}
