//! Brokers for integration tests, in the test's own process. Feature `testing`.
//!
//! ```toml
//! [dev-dependencies]
//! taffrail = { version = "0.1", features = ["testing"] }
//! ```
//!
//! A [`TestBroker`] is the whole broker on a directory of its own, which is removed with it, so
//! that tests do not see each other and run at the same time. Nothing listens on a port unless
//! asked to. What the tests are really about is what happens to *your* program when the broker goes
//! away: a client outlives a [`crash`](TestBroker::crash) and finds the broker again after a
//! [`restart`](TestBroker::restart), as it would the real one.
//!
//! ```no_run
//! use taffrail::{
//!     client::{Batch, NewTopic, Record},
//!     testing::TestBroker,
//! };
//!
//! #[tokio::test]
//! async fn what_was_acknowledged_survives_a_crash() -> Result<(), taffrail::client::Error> {
//!     let mut broker = TestBroker::start().await;
//!     let client = broker.client();
//!     client.topics().create(&NewTopic::new("orders")).await?;
//!     client.append(Batch::of("orders", [Record::new().key("4711").value("placed")])).await?;
//!
//!     broker.crash().await;
//!     broker.restart().await;
//!
//!     let mut records = client.read("orders").open().await?;
//!     let record = records.next_record().await?.expect("the order is there");
//!     assert_eq!(record.value.as_deref(), Some(&b"placed"[..]));
//!     Ok(())
//! }
//! ```
//!
//! On the [simulated disk](Builder::simulated) a crash is a power cut: whatever was not synced may
//! be gone, torn or out of order, drawn from a seed, and the clock only moves when it is told to.

mod broker;
mod builder;
mod network;
mod world;

pub use self::{broker::TestBroker, builder::Builder};
