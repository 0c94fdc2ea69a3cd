//! A client's connection, as far as what it shares with others is concerned.

use std::sync::{Arc, OnceLock};

use tonic::Extensions;

use super::{
    reads::{Reads, Shares},
    tally::{Counted, Tally},
};
use crate::{
    broker::{Broker, Flow, ProducerHolder},
    budget::{Budget, Holder, Name},
};

/// What one connection has of the parts that all connections share. Travels with every request of
/// it; clones are the same connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Requests that come in.
    pub(super) requests: Holder,
    /// Calls that are open.
    pub(super) calls: Holder,
    /// What the client may send before it is taken.
    pub(super) windows: Holder,
    /// Reads, and answers that wait for their client.
    pub(super) reads: Holder,
    /// Reads alone.
    read_shares: Arc<OnceLock<Shares>>,
    /// Its appends, which take turns with those of others.
    pub(super) appends: Flow,
    /// The producers that it uses.
    pub(super) producers: Option<Arc<ProducerHolder>>,
    _counted: Option<Arc<Counted>>,
}

impl Peer {
    pub(super) fn new(budget: &Budget, producers: Option<Arc<ProducerHolder>>) -> Self {
        Self {
            requests: budget.part(Name::Requests).holder(),
            calls: budget.part(Name::Calls).holder(),
            windows: budget.part(Name::Windows).holder(),
            reads: budget.part(Name::Reads).holder(),
            read_shares: Arc::default(),
            appends: Flow::default(),
            producers,
            _counted: None,
        }
    }
}

/// The peers of a listener.
#[derive(Clone)]
pub(super) struct Peers {
    budget: Budget,
    /// None where no producers are used.
    broker: Option<Arc<Broker>>,
    /// How many there are.
    tally: Arc<Tally>,
}

impl Peers {
    pub(super) fn new(budget: &Budget, broker: Option<&Arc<Broker>>, tally: &Arc<Tally>) -> Self {
        Self {
            budget: budget.clone(),
            broker: broker.cloned(),
            tally: Arc::clone(tally),
        }
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Another one has connected.
    pub(super) fn connected(&self) -> Peer {
        let producers = self.broker.as_ref().map(|broker| broker.producer_holder());
        Peer {
            _counted: Some(Arc::new(self.tally.count())),
            ..Peer::new(&self.budget, producers)
        }
    }
}

/// The flow of the connection that a request came by; one of its own where none is known.
pub(super) fn flow(extensions: &Extensions) -> Flow {
    extensions
        .get::<Peer>()
        .map(|peer| peer.appends.clone())
        .unwrap_or_default()
}

/// What holds the producers of the connection that a request came by.
pub(super) fn producers(extensions: &Extensions) -> Option<Arc<ProducerHolder>> {
    extensions.get::<Peer>()?.producers.clone()
}

/// What the connection that a request came by has of the memory of reads; shares of its own where
/// none is known.
pub(super) fn reads(extensions: &Extensions, broker: &Broker, reads: &Reads) -> Shares {
    match extensions.get::<Peer>() {
        Some(peer) => {
            let shares = || reads.shares(peer.reads.clone());
            peer.read_shares.get_or_init(shares).clone()
        }
        None => reads.shares(broker.budget().part(Name::Reads).holder()),
    }
}
