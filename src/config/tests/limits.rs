//! `docs/LIMITS.md` agrees with the code. To write it: `TAFFRAIL_WRITE_LIMITS=1 cargo test
//! limits_page`.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use crate::{
    budget::{Budget, MIN_BYTES, Name, Part, Sizes},
    server::{
        self,
        bounds::{self, Bound, Configured},
    },
    types::limits::*,
};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/LIMITS.md");
const MIB: usize = 1 << 20;

fn mebibytes(bytes: usize) -> String {
    format!("{} MiB", bytes / MIB)
}

/// A number with commas between its thousands.
fn number(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap())
        .collect();
    groups.join(",")
}

fn memory(page: &mut String) {
    let (least, most) = (Sizes::of_whole(MIN_BYTES), Sizes::of_whole(2_048 * MIB));
    let budget = Budget::new(&least);
    page.push_str("| Part | Setting | At least | Of 320 MiB | Of 2 GiB | What it is for |\n");
    page.push_str("|---|---|---:|---:|---:|---|\n");
    for part in budget.parts().map(Part::name) {
        let name = part.as_str();
        writeln!(
            page,
            "| {name} | `memory.{name}_bytes` | {} | {} | {} | {} |",
            mebibytes(part.min_bytes()),
            mebibytes(least.of(part)),
            mebibytes(most.of(part)),
            part.purpose()
        )
        .unwrap();
    }
    let connections = server::most_connections(least.of(Name::Windows), false);
    let least = least.for_holders(connections + server::ADMIN_CONNECTIONS);
    let budget = Budget::new(&least);
    let share = |name| number(budget.part(name).basic());
    writeln!(
        page,
        "\nOne rule divides a part among connections and reads: three quarters are shared, and nobody \
         may hold more of them than is still free; the last quarter is for those who hold little. \
         320 MiB are enough for {connections} connections, and each of them always finds room for {} \
         bytes of requests and {} bytes of calls, whatever others hold.",
        share(Name::Requests),
        share(Name::Calls)
    )
    .unwrap();
}

/// The configured limits of a broker with the default settings and 2 GiB of memory.
fn configured() -> Configured {
    let server = server::Options::default();
    let producers = (
        Duration::from_millis(PRODUCER_IDLE_MS),
        MOST_REMEMBERED_BATCHES,
    );
    let catalog = Sizes::of_whole(2_048 * MIB).of(Name::Catalog);
    Configured::of(&server, server.max_connections, producers, catalog)
}

fn bounds_of(page: &mut String, bounds: &[Bound]) {
    page.push_str("| Name | Of | Most | |\n|---|---|---:|---|\n");
    for bound in bounds {
        let Bound {
            name, what, unit, ..
        } = bound;
        let setting = match bound.setting {
            "" => String::new(),
            setting => format!(", `{setting}`"),
        };
        let most = match bound.least {
            0 => number(bound.most),
            least => format!("{} (at least {})", number(bound.most), number(least)),
        };
        let unit = unit.as_str();
        writeln!(page, "| `{name}` | {what}{setting} | {most} | {unit} |").unwrap();
    }
}

/// Limits that never cause a refusal.
fn others(page: &mut String) {
    let rows: [(&str, String); 6] = [
        (
            "Bytes of commits of a member from which on what the member says behind them waits; where there is \
             no room for them in requests, its stream ends as OVERLOADED",
            number(server::limits::MAX_UNANSWERED_BYTES),
        ),
        (
            "Calls that walk many partitions, worked on at a time; one of a connection, another one of \
             administrators",
            "half of the processors".to_owned(),
        ),
        (
            "Reads that begin or make a message at a time; another one of administrators",
            format!(
                "as many as processors, at least {}",
                server::limits::MIN_TURNS
            ),
        ),
        (
            "Appends that wait for files at a time",
            number(server::limits::APPENDS_IN_FILES),
        ),
        (
            "Segments open at a time, `memory.open_segments`",
            format!("{} (default)", number(OPEN_SEGMENTS)),
        ),
        ("Requests that wait for the journal", number(QUEUED_COMMITS)),
    ];
    page.push_str("| What | Most |\n|---|---:|\n");
    for (what, most) in rows {
        writeln!(page, "| {what} | {most} |").unwrap();
    }
}

fn deadlines(page: &mut String) {
    let server = server::Options::default();
    let seconds = |time: Duration| format!("{} s", time.as_secs());
    let stalled = seconds(server.stalled_read);
    let rows = [
        (
            "Finish the handshake of HTTP/2, `server.handshake_timeout`",
            seconds(server.handshake_timeout),
            "The connection is closed.",
        ),
        (
            "Send more of a request, `server.request_timeout`",
            seconds(server.request_timeout),
            "The call ends with REQUEST_STALLED.",
        ),
        (
            "Take more of an answer, `reads.stalled`",
            stalled.clone(),
            "The call ends with ANSWER_STALLED, that of an append with OUTCOME_UNKNOWN. Where \
             HTTP/2 has all of the answer, the call is reset, which clients know as CANCELLED.",
        ),
        (
            "Take the end of the last call of a connection, `reads.stalled` once more",
            stalled.clone(),
            "The connection is closed.",
        ),
        (
            "Take more of a read, `reads.stalled`",
            stalled,
            "It stays; where a new read finds no memory, it ends with READ_STALLED, or is reset \
             where HTTP/2 has all of its end. Members of groups are never ended for that.",
        ),
    ];
    page.push_str("| What a client has to do | Within (default) | Or else |\n|---|---:|---|\n");
    for (what, within, otherwise) in rows {
        writeln!(page, "| {what} | {within} | {otherwise} |").unwrap();
    }
}

fn page() -> String {
    let mut page = String::from(
        "# Limits\n\nWhat clients can take of a broker, and how much. This page is made from the code; \
         a test fails where they differ.\n\n## Memory\n\n`memory.bytes` is the whole: an eighth of the \
         memory of the machine or the container, at least 320 MiB and at most 2 GiB, unless it is \
         set. What the process takes beside it is at most 64 MiB or 15 %.\n\n",
    );
    memory(&mut page);
    page.push_str(
        "\n## Sizes\n\nMore is refused, and the message says how much it was and what is allowed. What stands \
         here and below with a name is what `Broker.Limits` answers (`taffrail status --limits`): what can be \
         set is there as it is set, and here as it is by default, with 2 GiB of memory.\n\n",
    );
    bounds_of(&mut page, &bounds::sizes());
    page.push_str("\n## Numbers\n\n");
    bounds_of(&mut page, &bounds::numbers());
    page.push_str("\n## Counts\n\n");
    bounds_of(&mut page, &bounds::counts(&configured()));
    page.push_str("\n## Times\n\n");
    bounds_of(&mut page, &bounds::times(&configured()));
    page.push_str("\n## What waits\n\n");
    others(&mut page);
    page.push_str("\n## Deadlines\n\n");
    deadlines(&mut page);
    page
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the page is a file of this package"
)]
fn the_limits_page_says_what_the_code_says() {
    let page = page();
    if std::env::var_os("TAFFRAIL_WRITE_LIMITS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert_eq!(
        written, page,
        "make it anew: TAFFRAIL_WRITE_LIMITS=1 cargo test limits_page"
    );
}

#[test]
fn each_bound_has_a_name_of_its_own_and_a_most() {
    let all = bounds::all(&configured());
    let names: BTreeSet<&str> = all.iter().map(|bound| bound.name).collect();
    assert_eq!(names.len(), all.len());
    for bound in all {
        assert!(bound.most > bound.least, "{bound:?}");
        let is_named = |unit: &str| bound.name.ends_with(unit);
        assert_eq!(
            is_named("_bytes"),
            bound.unit == bounds::Unit::Bytes,
            "{bound:?}"
        );
        assert_eq!(
            is_named("_ms"),
            bound.unit == bounds::Unit::Milliseconds,
            "{bound:?}"
        );
    }
}
