//! What the interfaces to the outside world promise.

mod alarm;
mod aligned;
mod conformance;
mod crashes;
mod disk;
#[cfg(feature = "cli")]
mod ephemeral;
mod faults;
#[cfg(all(feature = "cli", target_os = "linux", target_env = "gnu"))]
mod heap;
#[cfg(feature = "cli")]
mod machine;
mod ordered;
mod process;
mod side_by_side;
mod system;
mod tally;
