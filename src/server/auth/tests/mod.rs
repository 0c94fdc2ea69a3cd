//! Who calls, and what they may do.

mod bystanders;
mod certificates;
mod grants;
mod guarded;
pub(crate) mod issuer;
mod jwt;
mod requests;
mod table;
mod tokens;
mod trail;

use std::sync::Arc;

use tokio::sync::watch;

use crate::env::Env;

use super::{
    Access, Auth, Entrance, Principal,
    access::Length,
    authority::{Authority, Caller},
};

/// The access of a caller at this address, checked by `auth` without tokens.
fn access_of(auth: Auth, principal: Principal, address: &str) -> Access {
    let authority = Authority {
        auth: Arc::new(auth),
        tokens: watch::Sender::default().subscribe(),
        now_ms: Box::new(|| 0),
        clock: Env::system().clock,
    };
    let at = (Entrance::from(address), address.into());
    let caller = Caller::unproven(principal);
    Access::new(&Arc::new(authority), caller, at, Length::Short, None)
}

/// The access of everybody if there are no grants.
pub(in crate::server) fn access_of_everybody() -> Access {
    access_of(Auth::default(), Principal::anonymous(), "")
}
