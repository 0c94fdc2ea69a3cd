//! Who calls, and what they may do.

mod grants;
mod guarded;
mod requests;
mod table;
