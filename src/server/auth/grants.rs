//! What is granted: operations on topics, groups and producers, by name or prefix, to principals.

use std::{borrow::Cow, fmt, sync::Arc};

use super::Principal;

/// What may be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Read records of a topic, and look at it.
    Read,
    /// Append to a topic.
    Append,
    /// Be a member of a group, commit for it, look at it, reset, fork and delete it.
    Group,
    /// Erase and trim entities of a topic.
    Erase,
    /// Create, alter, trim, compact and delete a topic.
    TopicAdmin,
    /// Look after the broker itself.
    Admin,
}

impl Operation {
    pub(crate) const ALL: [Self; 6] = [
        Self::Read,
        Self::Append,
        Self::Group,
        Self::Erase,
        Self::TopicAdmin,
        Self::Admin,
    ];

    /// The word for it in grants.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Append => "append",
            Self::Group => "group",
            Self::Erase => "erase",
            Self::TopicAdmin => "topic-admin",
            Self::Admin => "admin",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// A set of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Operations(u8);

impl Operations {
    /// The operations on topics: who may do any of these may see the topic.
    pub(crate) const OF_TOPICS: Self = Self::of(Operation::Read)
        .and(Operation::Append)
        .and(Operation::Erase)
        .and(Operation::TopicAdmin);

    pub(crate) const fn of(operation: Operation) -> Self {
        Self(1 << operation as u8)
    }

    pub(crate) const fn and(self, operation: Operation) -> Self {
        Self(self.0 | 1 << operation as u8)
    }

    /// Whether the two sets have an operation in common.
    pub(crate) fn meet(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Its first operation, in the order of [`Operation`].
    pub(super) fn first(self) -> Option<Operation> {
        let mut all = Operation::ALL.into_iter();
        all.find(|one| self.meet(Self::of(*one)))
    }
}

/// A name, or the beginning of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamePattern {
    text: Box<str>,
    is_prefix: bool,
}

impl NamePattern {
    /// Parses a name; with `*` at its end, the beginning of names. `None` if the text is empty or
    /// has a `*` elsewhere.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, is_prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        if name.contains('*') || text.is_empty() {
            return None;
        }
        Some(Self {
            text: name.into(),
            is_prefix,
        })
    }

    fn has(&self, name: &str) -> bool {
        match self.is_prefix {
            true => name.starts_with(&*self.text),
            false => name == &*self.text,
        }
    }

    /// Whether it matches the principal or one of its roles.
    pub(in crate::server) fn is_of(&self, principal: &Principal, roles: &[Principal]) -> bool {
        self.has(principal.as_str()) || roles.iter().any(|role| self.has(role.as_str()))
    }

    /// Whether it matches all names that begin with `prefix`.
    fn has_all_with(&self, prefix: &str) -> bool {
        self.is_prefix && prefix.starts_with(&*self.text)
    }
}

/// Allows some principals some operations on some resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) principals: Vec<NamePattern>,
    pub(crate) operations: Operations,
    pub(crate) topics: Vec<NamePattern>,
    pub(crate) groups: Vec<NamePattern>,
    /// The names under which producers may be opened.
    pub(crate) producers: Vec<NamePattern>,
}

/// All grants of the configuration. If there is none, everybody may do everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grants(Vec<Arc<Grant>>);

impl Grants {
    pub(crate) fn new(grants: Vec<Grant>) -> Self {
        Self(grants.into_iter().map(Arc::new).collect())
    }

    /// How many grants there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What a principal with these roles may do; `None` if there are no grants, and everybody may
    /// do everything.
    pub(super) fn rights(&self, principal: &Principal, roles: &[Principal]) -> Option<Rights> {
        if self.0.is_empty() {
            return None;
        }
        let mut own = Vec::new();
        for grant in &self.0 {
            if grant
                .principals
                .iter()
                .any(|pattern| pattern.is_of(principal, roles))
            {
                own.push(Arc::clone(grant));
            }
        }
        Some(Rights::Granted(own.into()))
    }
}

/// What one principal may do.
#[derive(Clone, Debug)]
pub(super) enum Rights {
    Everything,
    Granted(Arc<[Arc<Grant>]>),
}

/// The object of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource<'a> {
    Topic(Cow<'a, str>),
    /// All topics whose names begin with this, also those that do not exist yet.
    TopicsWith(Cow<'a, str>),
    /// Any topic: one that may be accessed is enough.
    AnyTopic,
    Group(Cow<'a, str>),
    /// A producer, by its name.
    Producer(Cow<'a, str>),
    /// The broker itself.
    Broker,
    /// A part of the broker: its kind, and its name.
    OfBroker(&'static str, Cow<'a, str>),
}

impl Resource<'_> {
    pub(super) fn into_owned(self) -> Resource<'static> {
        let owned = |name: Cow<'_, str>| Cow::Owned(name.into_owned());
        match self {
            Self::Topic(name) => Resource::Topic(owned(name)),
            Self::TopicsWith(prefix) => Resource::TopicsWith(owned(prefix)),
            Self::AnyTopic => Resource::AnyTopic,
            Self::Group(name) => Resource::Group(owned(name)),
            Self::Producer(name) => Resource::Producer(owned(name)),
            Self::Broker => Resource::Broker,
            Self::OfBroker(what, name) => Resource::OfBroker(what, owned(name)),
        }
    }
}

impl Rights {
    pub(super) fn none() -> Self {
        Self::Granted(Arc::new([]))
    }

    /// Whether the principal may do any of these operations on the resource.
    pub(super) fn allow(&self, operations: Operations, resource: &Resource<'_>) -> bool {
        let Self::Granted(grants) = self else {
            return true;
        };
        let mut able = grants
            .iter()
            .filter(|grant| grant.operations.meet(operations));
        able.any(|grant| grant.is_about(resource))
    }
}

impl Grant {
    fn is_about(&self, resource: &Resource<'_>) -> bool {
        let has =
            |patterns: &[NamePattern], name: &str| patterns.iter().any(|pattern| pattern.has(name));
        match resource {
            Resource::Topic(name) => has(&self.topics, name),
            Resource::TopicsWith(prefix) => {
                let mut topics = self.topics.iter();
                topics.any(|pattern| pattern.has_all_with(prefix))
            }
            Resource::AnyTopic => !self.topics.is_empty(),
            Resource::Group(name) => has(&self.groups, name),
            Resource::Producer(name) => has(&self.producers, name),
            Resource::Broker | Resource::OfBroker(..) => true,
        }
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name:?}"),
            Self::TopicsWith(prefix) => write!(f, "all topics whose names begin with {prefix:?}"),
            Self::AnyTopic => f.write_str("any topic"),
            Self::Group(name) => write!(f, "group {name:?}"),
            Self::Producer(name) => write!(f, "producer {name:?}"),
            Self::Broker => f.write_str("the broker"),
            Self::OfBroker(what, name) => write!(f, "{what} {name:?}"),
        }
    }
}
