//! The tables `[[role]]` and `[[grant]]`: who may do what. `[[quota]]` in `quotas.rs` uses the same
//! roles.
//!
//! They are lists, other than settings, and can only be given in the file. Errors name the line. A
//! rule that could never have an effect is refused: its author must have meant something else.

use std::collections::BTreeMap;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Error, quotas};
use crate::{
    server::{
        CertificateName, Grant, Grants, NamePattern, Operation, Operations, Principal, Rules,
    },
    types::{GroupName, TopicName},
};

/// The names of the tables that are not settings.
pub(super) const ROLE: &str = "role";
pub(super) const GRANT: &str = "grant";

/// A TOML value with its place in the file.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// Parses the grants and quotas in a file that is valid TOML.
pub(super) fn parse(file: &str, text: &str) -> Result<(Grants, Rules), Error> {
    let source = Source { file, text };
    let document = DeTable::parse(text).map_err(|error| Error::NotToml {
        file: file.to_owned(),
        problem: error.to_string(),
    })?;
    let document = document.into_inner();
    let mut roles = BTreeMap::new();
    for table in source.tables(&document, ROLE)? {
        let (name, role) = source.role(table)?;
        if roles.insert(name.clone(), role).is_some() {
            return Err(source.wrong(table, format!("the role {name:?} is there twice")));
        }
    }
    let mut grants = Vec::new();
    for table in source.tables(&document, GRANT)? {
        grants.push(source.grant(table, &roles)?);
    }
    let rules = quotas::parse(&source, &document, &roles)?;
    Ok((Grants::new(grants), rules))
}

pub(super) type Roles = BTreeMap<String, Vec<NamePattern>>;

pub(super) struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    /// The error for something at this place in the file.
    pub(super) fn wrong<T>(&self, at: &Spanned<T>, problem: String) -> Error {
        let before = &self.text[..at.span().start.min(self.text.len())];
        Error::InFile {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            problem,
        }
    }

    /// All tables of this name, each of which begins with `[[name]]`.
    pub(super) fn tables<'d, 't>(
        &self,
        document: &'d DeTable<'t>,
        name: &str,
    ) -> Result<Vec<&'d Value<'t>>, Error> {
        let Some(tables) = document.get(name) else {
            return Ok(Vec::new());
        };
        match tables.get_ref().as_array() {
            Some(array) => Ok(array.iter().collect()),
            None => Err(self.wrong(tables, format!("begin each {name} with [[{name}]]"))),
        }
    }

    /// The fields of a table. Fails if there is one that is not in `known`.
    pub(super) fn fields<'d, 't>(
        &self,
        table: &'d Value<'t>,
        what: &str,
        known: &[&str],
    ) -> Result<&'d DeTable<'t>, Error> {
        let Some(fields) = table.get_ref().as_table() else {
            return Err(self.wrong(table, format!("begin each {what} with [[{what}]]")));
        };
        for name in fields.keys() {
            if !known.contains(&&**name.get_ref()) {
                let problem = format!(
                    "a {what} has no {:?}; it has {}",
                    name.get_ref(),
                    known.join(", ")
                );
                return Err(self.wrong(name, problem));
            }
        }
        Ok(fields)
    }

    /// The strings of a list, with their places; none if the field is missing.
    fn texts<'d>(
        &self,
        fields: &'d DeTable<'_>,
        name: &str,
    ) -> Result<Vec<(&'d Value<'d>, &'d str)>, Error> {
        let Some(list) = fields.get(name) else {
            return Ok(Vec::new());
        };
        let expected = || format!("{name} is a list of texts, such as [\"one\", \"two*\"]");
        let Some(array) = list.get_ref().as_array() else {
            return Err(self.wrong(list, expected()));
        };
        if array.is_empty() {
            return Err(self.wrong(list, format!("{name} is empty; leave it out")));
        }
        let mut texts = Vec::with_capacity(array.len());
        for value in array.iter() {
            match value.get_ref().as_str() {
                Some(text) => texts.push((value, text)),
                None => return Err(self.wrong(value, expected())),
            }
        }
        Ok(texts)
    }

    fn role(&self, table: &Value<'_>) -> Result<(String, Vec<NamePattern>), Error> {
        let fields = self.fields(table, ROLE, &["name", "principals"])?;
        let name = fields.get("name").and_then(|name| name.get_ref().as_str());
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            let problem = "the role has no name; give it one, such as name = \"writers\"";
            return Err(self.wrong(table, problem.to_owned()));
        };
        let principals = self.principals(fields)?;
        if principals.is_empty() {
            let problem = format!("the role {name:?} has no principals");
            return Err(self.wrong(table, problem));
        }
        Ok((name.to_owned(), principals))
    }

    fn principals(&self, fields: &DeTable<'_>) -> Result<Vec<NamePattern>, Error> {
        let mut principals = Vec::new();
        for (at, text) in self.texts(fields, "principals")? {
            let pattern = principal(text).map_err(|problem| self.wrong(at, problem))?;
            principals.push(pattern);
        }
        Ok(principals)
    }

    /// The principals that a table names, and those of the roles that it names.
    pub(super) fn all_principals(
        &self,
        fields: &DeTable<'_>,
        roles: &Roles,
    ) -> Result<Vec<NamePattern>, Error> {
        let mut principals = self.principals(fields)?;
        for (at, name) in self.texts(fields, "roles")? {
            let role = roles.get(name).ok_or_else(|| {
                let problem = format!("there is no role {name:?}; begin one with [[role]]");
                self.wrong(at, problem)
            })?;
            principals.extend_from_slice(role);
        }
        Ok(principals)
    }

    fn patterns(&self, fields: &DeTable<'_>, name: &str) -> Result<Vec<NamePattern>, Error> {
        let mut patterns = Vec::new();
        for (at, text) in self.texts(fields, name)? {
            let pattern = NamePattern::parse(text).ok_or_else(|| {
                let problem = format!(
                    "{text:?} in {name} is no name; it is one, or how names begin with a * \
                     behind it, such as \"orders*\""
                );
                self.wrong(at, problem)
            })?;
            patterns.push(pattern);
        }
        Ok(patterns)
    }

    /// Parses the names or patterns in a field. Those that could never match anything are refused.
    fn names(
        &self,
        fields: &DeTable<'_>,
        field: &str,
        is_name: impl Fn(&str) -> bool,
    ) -> Result<Vec<NamePattern>, Error> {
        for (at, text) in self.texts(fields, field)? {
            let may_be = match text.strip_suffix('*') {
                // Any beginning of a name is valid if the name could go on with a letter.
                Some(prefix) => is_name(prefix) || is_name(&format!("{prefix}a")),
                None => is_name(text),
            };
            if !may_be && !text.is_empty() && !text.trim_end_matches('*').contains('*') {
                let problem = format!("{text:?} in {field} is a name that none of them can have");
                return Err(self.wrong(at, problem));
            }
        }
        self.patterns(fields, field)
    }

    fn operations(&self, fields: &DeTable<'_>) -> Result<Vec<Operation>, Error> {
        let mut operations = Vec::new();
        for (at, text) in self.texts(fields, "operations")? {
            let operation = Operation::named(text).ok_or_else(|| {
                let known = Operation::ALL.map(Operation::name).join(", ");
                let problem = format!("there is no operation {text:?}; there are {known}");
                self.wrong(at, problem)
            })?;
            operations.push(operation);
        }
        Ok(operations)
    }

    fn grant(&self, table: &Value<'_>, roles: &Roles) -> Result<Grant, Error> {
        const FIELDS: [&str; 6] = [
            "principals",
            "roles",
            "operations",
            "topics",
            "groups",
            "producers",
        ];
        let fields = self.fields(table, GRANT, &FIELDS)?;
        let principals = self.all_principals(fields, roles)?;
        if principals.is_empty() {
            let problem = "the grant is for nobody; it needs principals, roles or both";
            return Err(self.wrong(table, problem.to_owned()));
        }
        let named = self.operations(fields)?;
        if named.is_empty() {
            let problem = "the grant allows nothing; it needs operations";
            return Err(self.wrong(table, problem.to_owned()));
        }
        let mut operations = Operations::default();
        for operation in &named {
            operations = operations.and(*operation);
        }
        let grant = Grant {
            principals,
            operations,
            topics: self.names(fields, "topics", |name| TopicName::new(name).is_ok())?,
            groups: self.names(fields, "groups", |name| GroupName::new(name).is_ok())?,
            producers: self.patterns(fields, "producers")?,
        };
        useful(&grant).map_err(|problem| self.wrong(table, problem))?;
        Ok(grant)
    }
}

/// Parses a principal, or the beginning of the names of several.
fn principal(text: &str) -> Result<NamePattern, String> {
    if text == Principal::LOCAL_ADMIN {
        return Err(format!(
            "{text} may do everything, without grants and quotas; leave it out"
        ));
    }
    if let Some(name) = text.strip_prefix(Principal::CERTIFICATE) {
        certificate(name)?;
    }
    let is_of_a_kind = |kind: &&str| text.strip_prefix(kind).is_some_and(|name| !name.is_empty());
    let is_known =
        text == "*" || text == Principal::ANONYMOUS || Principal::KINDS.iter().any(is_of_a_kind);
    let pattern = NamePattern::parse(text).filter(|_| is_known);
    pattern.ok_or_else(|| {
        format!(
            "{text:?} is no principal; it is \"{}\", \"token:NAME\", \"certificate:CN:NAME\", \
             \"jwt:NAME\" or \"jwt-role:NAME\", which may end with a *, and \"*\" is everybody",
            Principal::ANONYMOUS
        )
    })
}

/// Checks the name of a certificate's principal, or the beginning of such names: it must begin with
/// the kind of name.
fn certificate(name: &str) -> Result<(), String> {
    let prefix = name.strip_suffix('*');
    for kind in CertificateName::ALL.map(CertificateName::kind) {
        let behind = name
            .strip_prefix(kind)
            .and_then(|text| text.strip_prefix(':'));
        let begins_kind = prefix.is_some_and(|prefix| format!("{kind}:").starts_with(prefix));
        if begins_kind || behind.is_some_and(|name| !name.is_empty()) {
            return Ok(());
        }
    }
    Err(format!(
        "no certificate has the name {name:?}; behind \"certificate:\" come the kind of the name \
         ({}), a colon and the name, such as \"certificate:CN:billing\"",
        CertificateName::ALL.map(CertificateName::kind).join(", ")
    ))
}

/// Checks that each part of a grant can have an effect with the others.
fn useful(grant: &Grant) -> Result<(), String> {
    let allows = |operations| grant.operations.meet(operations);
    let (append, group) = (Operation::Append, Operation::Group);
    let of_topics = "read, append, erase or topic-admin";
    let named = [
        ("topics", &grant.topics, Operations::OF_TOPICS, of_topics),
        ("groups", &grant.groups, Operations::of(group), "group"),
        (
            "producers",
            &grant.producers,
            Operations::of(append),
            "append",
        ),
    ];
    for (field, names, operations, text) in named {
        // `append` does not need the names of producers.
        if allows(operations) && names.is_empty() && field != "producers" {
            return Err(format!(
                "the grant allows {text} and names no {field}; [\"*\"] means all of them"
            ));
        }
        if !allows(operations) && !names.is_empty() {
            return Err(format!(
                "the grant names {field} and does not allow {text}, which would be on them"
            ));
        }
    }
    Ok(())
}
