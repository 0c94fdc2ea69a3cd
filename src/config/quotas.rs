//! The tables `[[quota]]`: how much principals may use.

use std::num::NonZeroU64;

use toml::de::{DeTable, DeValue};

use super::{
    Error,
    grants::{Roles, Source, Value},
};
use crate::{
    server::{Limits, Quota, Rule, Rules},
    types::parse_bytes,
};

pub(super) const QUOTA: &str = "quota";

/// Parses the `[[quota]]` tables of a file, which may use these roles.
pub(super) fn parse(
    source: &Source<'_>,
    document: &DeTable<'_>,
    roles: &Roles,
) -> Result<Rules, Error> {
    let mut rules = Vec::new();
    for table in source.tables(document, QUOTA)? {
        rules.push(rule(source, table, roles)?);
    }
    Ok(Rules(rules))
}

fn rule(source: &Source<'_>, table: &Value<'_>, roles: &Roles) -> Result<Rule, Error> {
    let mut known = vec!["principals", "roles"];
    known.extend(Quota::ALL.map(Quota::name));
    let fields = source.fields(table, QUOTA, &known)?;
    let principals = source.all_principals(fields, roles)?;
    if principals.is_empty() {
        let problem = "the quota is for nobody; it needs principals, roles or both";
        return Err(source.wrong(table, problem.to_owned()));
    }
    let mut limits = Limits::default();
    for quota in Quota::ALL {
        if let Some(value) = fields.get(quota.name()) {
            let limit = limit(quota, value.get_ref());
            limits.set(
                quota,
                limit.map_err(|problem| source.wrong(value, problem))?,
            );
        }
    }
    if limits == Limits::default() {
        let quotas = Quota::ALL.map(Quota::name).join(", ");
        let problem = format!("the quota bounds nothing; it needs one of {quotas}");
        return Err(source.wrong(table, problem));
    }
    Ok(Rule { principals, limits })
}

fn limit(quota: Quota, value: &DeValue<'_>) -> Result<NonZeroU64, String> {
    let name = quota.name();
    let expected = || match quota.is_of_bytes() {
        true => format!("{name} is a number of bytes each second, or a text such as \"10MiB\""),
        false if quota.is_rate() => format!("{name} is a number each second, such as 100"),
        false => format!("{name} is a number, such as 100"),
    };
    let number = match value {
        DeValue::Integer(digits) => u64::from_str_radix(digits.as_str(), digits.radix()).ok(),
        DeValue::String(text) if quota.is_of_bytes() => parse_bytes(text).ok(),
        _ => None,
    };
    NonZeroU64::new(number.ok_or_else(expected)?).ok_or_else(|| {
        format!(
            "{name} is 0, with which nothing would go on; leave it out, or let no grant allow it"
        )
    })
}
