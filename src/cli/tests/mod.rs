//! The command line, its texts and its processes.

mod reload;
mod serve;
mod texts;
mod top;
