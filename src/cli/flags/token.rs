//! `taffrail token`.

use clap::{Args, Subcommand};

use super::ConnectionFlags;

/// Make, list and revoke access tokens, by which a broker knows its callers.
///
/// A caller that shows a token is the principal token:NAME, with what the [[grant]] rules of the
/// broker's configuration give it.
#[derive(Args, Debug)]
pub(in crate::cli) struct TokenFlags {
    #[command(flatten)]
    pub(in crate::cli) connection: ConnectionFlags,
    #[command(subcommand)]
    pub(in crate::cli) command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TokenCommand {
    /// Make a token and print it: the broker keeps a hash of it, and cannot show it again
    ///
    /// Several tokens may have one name, so that one can be replaced while both count.
    Create {
        /// The name of its principal, which is token:NAME
        name: String,
        /// How long it is valid, such as 90d: 1 s to 10 years
        #[arg(long, value_name = "DURATION")]
        expires: String,
    },
    /// List tokens, without their secrets
    List,
    /// Revoke tokens: calls with them are refused, and their streams end
    ///
    /// On a terminal it asks first.
    Revoke {
        /// Their name, or the id of one if none has that name
        #[arg(value_name = "NAME|ID")]
        which: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}
