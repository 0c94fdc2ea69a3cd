//! The command line, its texts and its processes.

mod serve;
mod texts;
mod top;
