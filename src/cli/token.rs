//! `taffrail token …`: access tokens, by which a broker knows its callers.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Failure,
    connection::Server,
    flags::{TokenCommand, TokenFlags},
    output, question, said, time,
};
use crate::{
    client::{AccessToken, Tokens},
    types::parse_millis,
};

pub(super) async fn run(flags: TokenFlags) -> Result<(), Failure> {
    let tokens = Server::new(&flags.connection)?.connect().await?.tokens();
    let json = flags.connection.json;
    match flags.command {
        TokenCommand::Create { name, expires } => create(&tokens, &name, &expires, json).await,
        TokenCommand::List => list(&tokens, json).await,
        TokenCommand::Revoke { which, yes } => revoke(&tokens, &which, yes, json).await,
    }
}

async fn create(tokens: &Tokens, name: &str, expires: &str, json: bool) -> Result<(), Failure> {
    let life = parse_millis(expires);
    let life = life.map_err(|error| Failure::Usage(format!("--expires: {error}")))?;
    let (text, token) = tokens.create(name, Duration::from_millis(life)).await?;
    if json {
        return Ok(output::json(
            &json!({ "text": text, "token": token_json(&token) }),
        )?);
    }
    said::remark(format_args!(
        "this is the only time that the token is shown; it is principal token:{} until {}",
        token.name,
        time::format_time(token.expires_ms)
    ));
    Ok(output::line(format_args!("{text}"))?)
}

async fn list(tokens: &Tokens, json: bool) -> Result<(), Failure> {
    let tokens = tokens.list().await?;
    if json {
        let tokens: Vec<Value> = tokens.iter().map(token_json).collect();
        return Ok(output::json(&json!({ "tokens": tokens }))?);
    }
    let row = |token: &AccessToken| {
        [
            format!("{:016x}", token.id),
            time::format_time(token.created_ms),
            time::format_time(token.expires_ms),
            output::printable(&token.name),
        ]
    };
    let rows: Vec<[String; 4]> = tokens.iter().map(row).collect();
    Ok(output::table(
        ["TOKEN", "CREATED", "EXPIRES", "NAME"],
        &rows,
    )?)
}

async fn revoke(tokens: &Tokens, named: &str, yes: bool, json: bool) -> Result<(), Failure> {
    let known = tokens.list().await?;
    let mut meant = known.iter().filter(|token| token.name == named).count();
    let id = u64::from_str_radix(named, 16).ok();
    let by_id = known
        .iter()
        .find(|token| meant == 0 && Some(token.id) == id);
    meant += usize::from(by_id.is_some());
    if meant == 0 {
        return Err(Failure::Missing {
            reason: "UNKNOWN_TOKEN",
            message: format!(
                "there is no token with the name or the id {named:?}; see: taffrail token list"
            ),
        });
    }
    tokio::task::block_in_place(|| {
        let what = format!("revoke {meant} token(s) of {named:?}");
        question::confirm(yes, &what, "Whoever has them is refused from then on.")
    })?;
    let revoked = match by_id {
        Some(token) => tokens.revoke_id(token.id).await?,
        None => tokens.revoke(named).await?,
    };
    if json {
        let revoked: Vec<Value> = revoked.iter().map(token_json).collect();
        return Ok(output::json(&json!({ "revoked": revoked }))?);
    }
    for token in &revoked {
        output::line(format_args!(
            "revoked token {:016x} of {}",
            token.id, token.name
        ))?;
    }
    Ok(())
}

fn token_json(token: &AccessToken) -> Value {
    json!({
        "id": format!("{:016x}", token.id),
        "name": token.name,
        "created_ms": token.created_ms,
        "expires_ms": token.expires_ms,
    })
}
