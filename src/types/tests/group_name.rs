//! What may name a group.

use crate::types::GroupName;

#[test]
fn names_of_people_are_valid_and_control_characters_are_not() {
    for name in [
        "billing",
        "Rechnungen für März",
        "帳票",
        "a b",
        &"x".repeat(255),
    ] {
        let valid = GroupName::new(name).expect(name);
        assert_eq!(valid.check_new(), Ok(()));
    }
    for (name, letter) in [
        ("", None),
        (&*"x".repeat(256), None),
        ("a\nb", Some("U+000A")),
        ("a\u{9b}b", Some("U+009B")),
    ] {
        let error = GroupName::new(name).expect_err(name);
        assert_eq!(error.letter.as_deref(), letter);
    }
}

#[test]
fn a_new_name_has_no_characters_for_the_direction_of_text() {
    for letter in ['\u{202e}', '\u{200f}', '\u{2066}', '\u{61c}', '\u{2028}'] {
        let name = GroupName::new(&format!("a{letter}b")).expect("it may be stored");
        let error = name.check_new().expect_err("it is not shown as it is");
        let code = format!("U+{:04X}", u32::from(letter));
        assert!(error.to_string().contains(&code), "{error}");
        assert!(
            !error.to_string().contains(letter),
            "it is escaped: {error}"
        );
    }
}
