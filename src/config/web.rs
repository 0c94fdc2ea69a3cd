//! Which web pages may call the broker over HTTP, and by which names.

/// Parses origins of web pages, separated by commas.
pub(super) fn origins(text: &str) -> Result<Vec<String>, String> {
    listed(text, is_origin).map_err(|one| {
        format!(
            "{one:?} is no origin: write scheme, host and port as a browser does, without a path, \
             as in \"https://shop.example.com, http://localhost:3000\""
        )
    })
}

/// Parses host names, separated by commas.
pub(super) fn hosts(text: &str) -> Result<Vec<String>, String> {
    listed(text, is_host).map_err(|one| {
        format!(
            "{one:?} is no host: write names or addresses, with a port where only that is meant, \
             as in \"broker.example.com, 10.0.0.7:9641\""
        )
    })
}

/// Splits a list at commas and makes it lower case, as browsers do; fails if an item is not valid.
fn listed(text: &str, is_right: fn(&str) -> bool) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for one in text.split(',') {
        let one = one.trim().to_ascii_lowercase();
        match is_right(&one) {
            _ if one.is_empty() => {}
            true => all.push(one),
            false => return Err(one),
        }
    }
    Ok(all)
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else {
        return false;
    };
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_scheme && is_host(host)
}

/// Whether it is a host name or an address, perhaps with a port.
pub(super) fn is_host(text: &str) -> bool {
    let is_of_host = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'[' | b']' | b':')
    };
    !text.is_empty() && text.bytes().all(is_of_host)
}
