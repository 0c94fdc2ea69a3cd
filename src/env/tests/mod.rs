//! What the doors to the world promise.

mod aligned;
mod conformance;
mod crashes;
mod disk;
mod faults;
#[cfg(feature = "cli")]
mod machine;
mod process;
mod side_by_side;
mod system;
