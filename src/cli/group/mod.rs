//! `taffrail group …`: who is in consumer groups, how far they have come, and where they go on.

mod describe;
mod reset;

use serde_json::{Value, json};

use super::{
    Failure,
    connection::Server,
    flags::{GroupCommand, GroupFlags},
    output, question,
};
use crate::{
    client::{Groups, ListedGroup},
    env::Env,
};

pub(super) async fn run(flags: GroupFlags, env: Env) -> Result<(), Failure> {
    let groups = Server::new(&flags.connection)?.connect().await?.groups();
    let json = flags.connection.json;
    match flags.command {
        GroupCommand::List => list(&groups, json).await,
        GroupCommand::Describe { name, watch } => describe::run(&groups, &name, watch, json).await,
        GroupCommand::Reset(flags) => reset::run(&groups, &flags, env.clock.now_ms(), json).await,
        GroupCommand::Fork {
            name,
            new_name,
            replay,
        } => fork(&groups, &name, &new_name, replay, json).await,
        GroupCommand::RemoveMember { name, member } => {
            remove_member(&groups, &name, &member, json).await
        }
        GroupCommand::Delete { name, yes } => delete(&groups, &name, yes, json).await,
    }
}

async fn list(groups: &Groups, json: bool) -> Result<(), Failure> {
    let groups = groups.list().await?;
    if json {
        let groups: Vec<Value> = groups.iter().map(group_json).collect();
        return Ok(output::json(&json!({ "groups": groups }))?);
    }
    let row = |group: &ListedGroup| {
        [
            output::printable(&group.group),
            group.state.as_str().to_owned(),
            group.members.to_string(),
            group.partitions.to_string(),
            group.lag.to_string(),
            group.stalled_partitions.to_string(),
        ]
    };
    let rows: Vec<[String; 6]> = groups.iter().map(row).collect();
    let headings = ["GROUP", "STATE", "MEMBERS", "PARTITIONS", "LAG", "STALLED"];
    Ok(output::table(headings, &rows)?)
}

async fn fork(
    groups: &Groups,
    name: &str,
    new_name: &str,
    replay: bool,
    json: bool,
) -> Result<(), Failure> {
    groups.fork(name, new_name, replay).await?;
    if json {
        return Ok(output::json(
            &json!({ "forked": name, "as": new_name, "replay": replay }),
        )?);
    }
    let place = match replay {
        true => "begins at the earliest records, and",
        false => "is where",
    };
    let rest = match replay {
        true => format!("is told which of them {name} has handled"),
        false => format!("{name} is"),
    };
    Ok(output::line(format_args!("{new_name} {place} {rest}"))?)
}

async fn remove_member(
    groups: &Groups,
    name: &str,
    member: &str,
    json: bool,
) -> Result<(), Failure> {
    let members = groups.describe(name).await?.members;
    let named = members.iter().find(|known| known.name == member);
    // If there is no member with this id, the broker says so.
    let id = named.map_or(member, |known| &known.member_id);
    groups.remove_member(name, id).await?;
    if json {
        return Ok(output::json(&json!({ "removed": id, "group": name }))?);
    }
    Ok(output::line(format_args!(
        "removed member {} from group {name}",
        output::printable(member)
    ))?)
}

async fn delete(groups: &Groups, name: &str, yes: bool, json: bool) -> Result<(), Failure> {
    tokio::task::block_in_place(|| {
        let what = format!("delete group {name}");
        question::confirm(yes, &what, "How far it has come is forgotten.")
    })?;
    groups.delete(name).await?;
    if json {
        return Ok(output::json(&json!({ "deleted": name }))?);
    }
    Ok(output::line(format_args!("deleted group {name}"))?)
}

fn group_json(group: &ListedGroup) -> Value {
    json!({
        "group": group.group,
        "state": group.state.as_str(),
        "members": group.members,
        "partitions": group.partitions,
        "lag": group.lag,
        "stalled": group.stalled_partitions,
        "ephemeral": group.is_ephemeral,
    })
}
