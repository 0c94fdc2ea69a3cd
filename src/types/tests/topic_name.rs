//! What may name a topic.

use proptest::prelude::*;

use crate::types::TopicName;

#[test]
fn names_of_letters_digits_dots_dashes_and_underscores_are_valid() {
    for name in [
        "a",
        "orders",
        "Orders-2013_01.v2",
        "...",
        "-",
        "0",
        &"x".repeat(249),
    ] {
        assert_eq!(TopicName::new(name).expect(name).as_str(), name);
    }
}

#[test]
fn other_names_are_refused_and_the_message_names_them() {
    for name in [
        "",
        ".",
        "..",
        "a b",
        "a/b",
        "../x",
        "ä",
        "a\0",
        "a\n",
        "orders:1",
        &"x".repeat(250),
    ] {
        let error = TopicName::new(name).expect_err(name);
        assert_eq!(error.name, name);
        assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
    }
}

#[test]
fn the_error_about_an_endless_name_is_not_endless() {
    let error = TopicName::new(&"x".repeat(1 << 20)).expect_err("too long");
    assert_eq!(error.name.len(), 250);
}

proptest! {
    #[test]
    fn a_valid_name_is_also_a_safe_file_name(name in "\\PC{0,260}") {
        if TopicName::new(&name).is_ok() {
            prop_assert_eq!(std::path::Path::new(&name).components().count(), 1);
            prop_assert!(name.len() <= 249 && name.is_ascii());
        }
    }
}
