//! `docs/LIMITS.md` says what the code says. To make it anew:
//! `TAFFRAIL_WRITE_LIMITS=1 cargo test limits_page`.

use std::fmt::Write as _;

use crate::{
    budget::{Budget, MIN_BYTES, Name, Part, Sizes},
    server,
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

fn sizes(page: &mut String) {
    let rows: [(&str, String, &str); 26] = [
        ("Name of a topic", number(MAX_TOPIC_NAME_BYTES), "bytes"),
        ("Key", number(MAX_KEY_BYTES), "bytes"),
        ("Event type, header name", number(MAX_NAME_BYTES), "bytes"),
        ("Event id", number(MAX_EVENT_ID_BYTES), "bytes"),
        (
            "Name of a producer",
            number(MAX_PRODUCER_NAME_BYTES),
            "bytes",
        ),
        (
            "Name of a consumer group",
            number(MAX_GROUP_NAME_BYTES),
            "bytes",
        ),
        (
            "Name of a member of a group, and what it says it is, each",
            number(MAX_MEMBER_NAME_BYTES),
            "bytes",
        ),
        (
            "Topics and prefixes that a member takes",
            number(MAX_GROUP_TOPICS),
            "",
        ),
        (
            "Session timeout of a member, and its progress timeout",
            format!(
                "{} (at least {})",
                number(MAX_GROUP_TIME_MS),
                number(MIN_SESSION_MS)
            ),
            "ms",
        ),
        ("Drain timeout of a member", number(MAX_GROUP_TIME_MS), "ms"),
        ("Offsets of a commit", number(MAX_OFFSETS_PER_COMMIT), ""),
        (
            "Metadata of an offset",
            number(MAX_OFFSET_METADATA_BYTES),
            "bytes",
        ),
        (
            "Metadata of all offsets of a commit",
            number(MAX_COMMIT_METADATA_BYTES),
            "bytes",
        ),
        (
            "Groups whose offsets one append commits",
            number(MAX_GROUPS_PER_APPEND),
            "",
        ),
        ("Headers of a record", number(MAX_HEADERS), ""),
        (
            "Record, by the topic's `max.record.bytes`",
            format!(
                "{} (default {})",
                number(RECORD_BYTES.2),
                number(RECORD_BYTES.1)
            ),
            "bytes",
        ),
        ("Append request", number(MAX_REQUEST_BYTES), "bytes"),
        ("Batches of an append", number(MAX_BATCHES_PER_APPEND), ""),
        (
            "Conditions of an append",
            number(MAX_CONDITIONS_PER_APPEND),
            "",
        ),
        ("Records of an append", number(MAX_RECORDS_PER_APPEND), ""),
        ("Other requests", number(4 * MIB), "bytes"),
        (
            "Elements of a request, batches not looked into",
            number(MAX_ELEMENTS),
            "",
        ),
        ("Keys of a `GetLatest`", number(MAX_LATEST_KEYS), ""),
        (
            "Keys and types of a filter, each",
            number(MAX_FILTER_VALUES),
            "",
        ),
        (
            "Topics or groups in a page of a listing",
            number(MAX_TOPICS_PER_PAGE.min(MAX_GROUPS_PER_PAGE)),
            "",
        ),
        (
            "Records in one answer, unless one record is larger",
            number(MAX_RESPONSE_BYTES),
            "bytes",
        ),
    ];
    page.push_str("| What | Most | |\n|---|---:|---|\n");
    for (what, most, unit) in rows {
        writeln!(page, "| {what} | {most} | {unit} |").unwrap();
    }
}

fn counts(page: &mut String) {
    let server = server::Options::default();
    let rows: [(&str, String); 20] = [
        ("Partitions of a topic", number(MAX_PARTITIONS_PER_TOPIC)),
        ("Partitions of a broker", number(MAX_PARTITIONS)),
        ("Producers", number(MAX_PRODUCERS)),
        (
            "Partitions that all producers have appended to",
            number(MAX_PRODUCER_SEQUENCES),
        ),
        (
            "Batches of a producer in a partition that are answered again with their offsets",
            number(REMEMBERED_BATCHES),
        ),
        (
            "Of all producers and partitions together, but for the last of each, `producers.remembered_batches`",
            format!("{} (default)", number(MOST_REMEMBERED_BATCHES)),
        ),
        ("Consumer groups", number(MAX_GROUPS)),
        ("Members of a group", number(MAX_GROUP_MEMBERS)),
        (
            "Partitions that members of all groups have",
            number(MAX_OWNED_PARTITIONS),
        ),
        (
            "Offsets that all groups have committed",
            number(MAX_GROUP_OFFSETS),
        ),
        (
            "Commits of a member that wait for their answers; what the member says behind them waits",
            number(server::limits::MAX_COMMITS_IN_FLIGHT),
        ),
        (
            "Bytes of them from which on what the member says behind them waits; where there is no \
             room for them in requests, its stream ends as OVERLOADED",
            number(server::limits::MAX_UNANSWERED_BYTES),
        ),
        (
            "Bytes of metadata of all committed offsets",
            number(MAX_ALL_METADATA_BYTES),
        ),
        (
            "Erasures that wait for their bytes to be removed",
            number(MAX_ERASURES),
        ),
        (
            "Connections, `server.max_connections`",
            format!("{} (default)", number(server.max_connections)),
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
    let seconds = |time: std::time::Duration| format!("{} s", time.as_secs());
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
    page.push_str("\n## Sizes\n\nMore is refused, and the message says what is allowed.\n\n");
    sizes(&mut page);
    page.push_str("\n## Counts\n\n");
    counts(&mut page);
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
