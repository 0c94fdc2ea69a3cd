//! What the doors to the world promise.

mod aligned;
mod conformance;
mod crashes;
mod disk;
mod faults;
#[cfg(feature = "cli")]
mod machine;
mod process;
mod system;
