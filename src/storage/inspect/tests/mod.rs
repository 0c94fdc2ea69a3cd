//! Looking at data directories, sound and damaged.
