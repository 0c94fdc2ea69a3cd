//! What is read of a call's headers.

use std::time::Duration;

use http::HeaderMap;

use crate::server::calls::timeout;

#[test]
fn the_time_that_a_client_gives_a_call_is_read_as_grpc_has_it() {
    let read = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().unwrap());
        timeout(&headers)
    };
    let ms = |ms| Some(Duration::from_millis(ms));
    for (text, expected) in [
        ("1S", ms(1_000)),
        ("250m", ms(250)),
        ("99999999H", ms(99_999_999 * 3_600_000)),
        ("2M", ms(120_000)),
        ("5000u", ms(5)),
        ("1000000n", ms(1)),
        ("0S", ms(0)),
        ("100000000S", None),
        ("S", None),
        ("", None),
        ("1", None),
        ("-1S", None),
        ("+1S", None),
        ("1s", None),
    ] {
        assert_eq!(read(text), expected, "{text:?}");
    }
    assert_eq!(timeout(&HeaderMap::new()), None);
}
