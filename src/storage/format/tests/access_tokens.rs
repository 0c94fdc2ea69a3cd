//! The stored form of access tokens.

use super::{golden::check, samples::golden};
use crate::{
    catalog::Change,
    storage::format::{checkpoint::Checkpoint, delta::Delta},
};

#[test]
fn what_is_stored_of_access_tokens_is_what_it_was() {
    let names = ["change-create-token", "change-revoke-token"];
    for (name, change) in names.into_iter().zip(golden::changes_of_tokens()) {
        let stored = check(name, &change.encode());
        assert_eq!(Change::decode(&stored), Some(change), "{name}");
    }
    let checkpoint = golden::checkpoint_with_tokens();
    let stored = check("checkpoint-with-tokens", &checkpoint.encode());
    assert_eq!(Checkpoint::decode(&stored), Some(checkpoint));
    let (number, delta) = (golden::delta_head().number, golden::delta_with_tokens());
    let stored = check("delta-with-tokens", &delta.encode(number, 3));
    assert_eq!(Delta::take(&mut &stored[..], number, 3), Some(delta));
}
