//! What text does where it is shown.

/// The first character of a text that [steers](steers), as people look it up: `U+202E`.
pub(crate) fn steering(text: &str) -> Option<String> {
    let letter = text.chars().find(|letter| steers(*letter))?;
    Some(format!("U+{:04X}", u32::from(letter)))
}

/// Whether a terminal obeys a character rather than showing it, or shows what is around it in
/// another order or on another line for it.
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
