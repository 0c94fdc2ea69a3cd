//! Who makes a call.

use std::{fmt, sync::Arc};

/// The name by which grants know a caller: its kind and its name, as in `token:orders`, so that
/// names of different kinds never meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Principal(Arc<str>);

impl Principal {
    /// All callers who do not prove who they are.
    pub(crate) const ANONYMOUS: &'static str = "anonymous";

    /// Everybody who connects to the socket in the data directory.
    pub(crate) const LOCAL_ADMIN: &'static str = "local-admin";

    /// How the names of all other principals begin.
    pub(crate) const KINDS: [&'static str; 4] =
        [Self::TOKEN, Self::CERTIFICATE, Self::JWT, Self::ROLE];

    const TOKEN: &'static str = "token:";
    const JWT: &'static str = "jwt:";
    const ROLE: &'static str = "jwt-role:";

    /// It is followed by the kind of the certificate's name, a colon, and the name, so that names
    /// of different kinds are never equal.
    pub(crate) const CERTIFICATE: &'static str = "certificate:";

    pub(crate) fn anonymous() -> Self {
        Self(Self::ANONYMOUS.into())
    }

    pub(crate) fn local_admin() -> Self {
        Self(Self::LOCAL_ADMIN.into())
    }

    /// The principal of all tokens with this name.
    pub(crate) fn token(name: &str) -> Self {
        Self(format!("{}{name}", Self::TOKEN).into())
    }

    /// The principal of all certificates with this name.
    pub(super) fn certificate(kind: &str, name: &str) -> Self {
        Self(format!("{}{kind}:{name}", Self::CERTIFICATE).into())
    }

    /// The principal of all JWTs with this name for their caller.
    pub(in crate::server) fn jwt(name: &str) -> Self {
        Self(format!("{}{name}", Self::JWT).into())
    }

    /// The principal of all JWTs that have this role.
    pub(in crate::server) fn role(name: &str) -> Self {
        Self(format!("{}{name}", Self::ROLE).into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_anonymous(&self) -> bool {
        &*self.0 == Self::ANONYMOUS
    }

    pub(in crate::server) fn is_local_admin(&self) -> bool {
        &*self.0 == Self::LOCAL_ADMIN
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
