//! Access tokens.

use super::*;
use crate::catalog::AccessToken;

prop_compose! {
    pub(super) fn any_token()(
        id in any::<u64>(),
        name in "[a-z.-]{1,20}",
        hash in any::<[u8; 32]>(),
        created_ms in any::<i64>(),
        expires_ms in any::<i64>(),
    ) -> AccessToken {
        AccessToken { id, name, hash, created_ms, expires_ms }
    }
}

pub(super) fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any_token().prop_map(|token| Change::CreateToken { token }),
        any::<u64>().prop_map(|id| Change::RevokeToken { id }),
    ]
}

/// The token of the golden files.
pub(in super::super) fn golden() -> AccessToken {
    AccessToken {
        id: 0x0011_2233_4455_6677,
        name: "gate".to_owned(),
        hash: [9; 32],
        created_ms: 1_357_034_225_000,
        expires_ms: 1_364_810_225_000,
    }
}
