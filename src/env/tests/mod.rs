//! What the doors to the world promise.

mod aligned;
mod conformance;
mod crashes;
mod faults;
mod system;
