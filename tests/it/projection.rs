//! The example projection is rebuilt beside the running one, and no side effect happens twice.

#[expect(dead_code, reason = "the program that shows it is not run here")]
#[path = "../../examples/projection.rs"]
mod example;

use taffrail::{
    client::{Error, NewTopic},
    testing::TestBroker,
};

use example::{Orders, Projection, order};

#[tokio::test]
async fn a_projection_that_takes_over_has_all_and_thanks_nobody_again() -> Result<(), Error> {
    let broker = TestBroker::start().await;
    let client = broker.client();
    let topic = NewTopic::new("orders").partitions(3);
    client.topics().create(&topic).await?;
    order(&client, "alice", 42).await?;
    order(&client, "bob", 17).await?;
    let mut first = Projection::start(&client, "totals-1").await?;
    first.catch_up().await?;
    assert_eq!(first.thanked.len(), 2);

    client.groups().fork("totals-1", "totals-2", true).await?;
    let mut second = Projection::start(&client, "totals-2").await?;
    second.catch_up().await?;
    // The first projection handles this one, after the fork.
    order(&client, "bob", 5).await?;
    first.catch_up().await?;
    assert_eq!(first.thanked.len(), 3);
    first.hand_over(&client, ("totals-1", &mut second)).await?;
    assert_eq!(second.thanked, [""; 0]);
    let bob = Orders {
        count: 2,
        total: 22,
    };
    assert_eq!(second.orders["bob"], bob);

    order(&client, "carol", 30).await?;
    second.catch_up().await?;
    assert_eq!(second.thanked, ["carol for 30"]);
    Ok(())
}
