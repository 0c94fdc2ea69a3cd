//! Which characters do something to a terminal instead of being shown.

/// The first character of a text that [steers](steers) a terminal, in the form that people look up:
/// `U+202E`.
pub(crate) fn steering(text: &str) -> Option<String> {
    let letter = text.chars().find(|letter| steers(*letter))?;
    Some(format!("U+{:04X}", u32::from(letter)))
}

/// Whether a terminal acts on a character instead of showing it, or because of it shows the text
/// around it in another order or on another line.
pub(crate) fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}
