//! The command line, its texts and its processes.

mod logging;
mod reload;
mod serve;
mod texts;
mod top;
