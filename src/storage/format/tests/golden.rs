//! Golden files: this code still writes and reads what version 2 wrote. Version 1 was never
//! released.
//!
//! They lie in `tests/fixtures/v2`, as hexadecimal text, 16 bytes a line. If a test here fails,
//! existing data directories would not be readable any more. If that is intended: raise
//! `format::VERSION`, make sure that the old version is still read or refused with a clear message,
//! and write the files of the new version with
//!
//! ```text
//! cargo test --lib -- --ignored write_the_golden_files_of_a_new_version
//! ```
//!
//! which never replaces an existing file.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use super::{
    blocks, earlier,
    samples::{compacted, concat, golden},
};
use crate::{
    catalog::{Change, Token},
    env::{Env, Open},
    storage::{
        files::read_file,
        format::{
            VERSION,
            checkpoint::Checkpoint,
            compacted::Compacted,
            crc32,
            delta::{self, Delta},
            entry::{self, FileHeader, Item},
            filter,
            frame::Frame,
            identity::Identity,
            page::{self, Page},
            retired::{self, FenceRow, Retired, open_block},
            ring,
            segment_file::{self, INDEX_ROW_BYTES, IndexRow},
            sorted_table::{self, Name, Row},
            topic_file::TopicFile,
        },
    },
    types::{RecordView, Records},
};

fn dir(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/v{version}"))
}

fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(16) {
        let line: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{}", line.join(" ")).expect("a String takes everything");
    }
    text
}

fn from_hex(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits"))
        .collect()
}

pub(super) fn golden_file(version: u32, name: &str) -> Vec<u8> {
    let path = dir(version).join(format!("{name}.hex"));
    let found = read_file(&*Env::system().files, &path).expect("the file can be read");
    let found = found.unwrap_or_else(|| {
        panic!(
            "there is no golden file {}: write those of version {version} (see golden.rs)",
            path.display()
        )
    });
    from_hex(std::str::from_utf8(&found).expect("text"))
}

/// Checks that an encoding equals its golden file, and returns the file's content.
pub(super) fn check(name: &str, encoded: &[u8]) -> bytes::Bytes {
    let golden = golden_file(VERSION, name);
    if golden != encoded {
        let at = golden
            .iter()
            .zip(encoded)
            .take_while(|(golden, encoded)| golden == encoded)
            .count();
        panic!(
            "the format of `{name}` has changed, from byte {at} on, but format::VERSION is still {VERSION}: data \
             directories would not be read any more (see golden.rs for what to do)\n--- version {VERSION}\n{}--- this \
             code\n{}",
            to_hex(&golden),
            to_hex(encoded),
        );
    }
    golden.into()
}

/// The bytes of its page that the header of a key index file takes; the rest is zeros.
const KEY_FILE_HEADER_BYTES: usize = 80;

/// The bytes of its page that the header of a table of last versions takes; the rest is zeros.
const LAST_VERSIONS_HEADER_BYTES: usize = 96;

fn index() -> Vec<u8> {
    golden::index_rows()
        .iter()
        .flat_map(IndexRow::encode)
        .collect()
}

/// A checkpoint from before checkpoints named their directory: it ends 8 bytes earlier.
fn nameless_encoded() -> Vec<u8> {
    let mut encoded = golden::later_checkpoint().encode();
    encoded.truncate(encoded.len() - 8);
    let checksum = crc32(&[&encoded[8..12], &encoded[16..]]);
    encoded[12..16].copy_from_slice(&checksum.to_le_bytes());
    encoded
}

fn change_with_instance() -> Change {
    Change::Group {
        group: golden::group(),
        change: golden::group_change_with_instance(),
    }
}

fn change_with_beginning() -> Change {
    Change::Group {
        group: golden::group(),
        change: golden::group_change_with_beginning(),
    }
}

fn change_of_group() -> Change {
    Change::Group {
        group: golden::group(),
        change: golden::group_change(),
    }
}

fn change_names() -> [&'static str; 8] {
    [
        "change-create",
        "change-delete",
        "change-alter",
        "change-trim",
        "change-open-producer",
        "change-forget-producer",
        "change-erase",
        "change-erasure-complete",
    ]
}

/// All formats by the names of their files.
fn all() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = vec![
        ("frame", golden::frame().bytes().to_vec()),
        ("frame-erased", golden::erased_frame().bytes().to_vec()),
        (
            "frame-compacted",
            compacted::compacted_frame().bytes().to_vec(),
        ),
        ("compacted", compacted::compacted().encode().to_vec()),
        (
            "entry",
            concat(&entry::encode(golden::link(), &golden::items())).to_vec(),
        ),
        ("journal-header", golden::file_header().encode()),
        ("journal-ring", golden::ring_use().encode()),
        ("segment-header", golden::segment_header().encode().to_vec()),
        (
            "segment-header-later",
            golden::later_segment_header().encode().to_vec(),
        ),
        ("index", index()),
        ("checkpoint", golden::checkpoint().encode()),
        ("checkpoint-later", golden::later_checkpoint().encode()),
        ("checkpoint-nameless", nameless_encoded()),
        (
            "checkpoint-with-deltas",
            golden::checkpoint_with_deltas().encode(),
        ),
        (
            "checkpoint-with-groups",
            golden::checkpoint_with_groups().encode(),
        ),
        (
            "delta-with-groups",
            golden::delta_with_groups().encode(golden::delta_head().number, 3),
        ),
        (
            "checkpoint-with-tokens",
            golden::checkpoint_with_tokens().encode(),
        ),
        (
            "delta-with-tokens",
            golden::delta_with_tokens().encode(golden::delta_head().number, 3),
        ),
        ("change-group", change_of_group().encode()),
        ("change-group-instance", change_with_instance().encode()),
        ("change-group-beginning", change_with_beginning().encode()),
        ("change-add-partitions", golden::more_partitions().encode()),
        ("change-start-at", golden::start_at().encode()),
        ("delta-head", golden::delta_head().encode()),
        (
            "delta",
            golden::delta().encode(golden::delta_head().number, 3),
        ),
        ("topic", golden::topic_file().encode()),
        ("identity", golden::identity().encode()),
    ];
    all.extend([
        (
            "key-run-header",
            golden::records_header().encode()[..KEY_FILE_HEADER_BYTES].to_vec(),
        ),
        ("key-run-page", golden::key_page().to_vec()),
        ("key-filter-block", golden::filter_block().to_vec()),
        (
            "last-versions-header",
            golden::last_versions_header().encode()[..LAST_VERSIONS_HEADER_BYTES].to_vec(),
        ),
        ("last-versions-names", golden::encoded_names()),
        (
            "retired-header",
            earlier::retired_header().encode()[..KEY_FILE_HEADER_BYTES].to_vec(),
        ),
        ("retired-block", earlier::retired_block().to_vec()),
        (
            "retired-fence",
            earlier::retired_fence_page()[..24].to_vec(),
        ),
    ]);
    let of_tokens = ["change-create-token", "change-revoke-token"].into_iter();
    all.extend(of_tokens.zip(golden::changes_of_tokens().map(|change| change.encode())));
    all.extend(
        change_names()
            .into_iter()
            .zip(golden::changes().map(|change| change.encode())),
    );
    all
}

#[test]
fn a_frame_is_what_it_was() {
    let stored = check("frame", golden::frame().bytes());
    assert_eq!(Frame::decode(&stored), Some(golden::frame()));
}

#[test]
fn a_frame_with_an_erased_record_is_what_it_was() {
    let stored = check("frame-erased", golden::erased_frame().bytes());
    let frame = Frame::decode(&stored).expect("the stored frame is sound");
    assert_eq!(frame, golden::erased_frame());
    let records = frame.records();
    let (_, record) = Records::new(&records)
        .next()
        .expect("two records")
        .expect("a sound record");
    let token = RecordView::parse(record)
        .expect("a record")
        .erased
        .and_then(Token::decode);
    assert_eq!(token, Some(golden::erasure().token));
    assert!(token.is_some_and(|token| token.is_of(b"N14228") && !token.is_of(b"N14229")));
}

#[test]
fn what_compaction_leaves_is_what_it_was() {
    let stored = check("frame-compacted", compacted::compacted_frame().bytes());
    let frame = Frame::decode(&stored).expect("the stored frame is sound");
    assert_eq!(frame, compacted::compacted_frame());
    let header = frame.header();
    assert_eq!((header.count, header.span, header.batch), (1, 2, None));
    assert_eq!(header.tombstones_since_ms, Some(1_357_120_000_000));
    let stored = check("compacted", &compacted::compacted().encode());
    assert_eq!(Compacted::decode(&stored), Some(compacted::compacted()));
}

#[test]
fn a_run_of_a_key_index_is_what_it_was() {
    let stored = check(
        "key-run-header",
        &golden::records_header().encode()[..KEY_FILE_HEADER_BYTES],
    );
    assert_eq!(
        sorted_table::Header::decode(&stored),
        Some(golden::records_header())
    );
    let stored = check("key-run-page", &golden::key_page());
    let page: &Page = stored[..].try_into().expect("a page");
    assert!(page::is_sound(
        page,
        golden::records_header().salt(),
        golden::records_header().first_row_page()
    ));
    assert_eq!([0, 1, 2].map(|nth| Row::at(page, nth)), golden::key_rows());
    let stored = check("key-filter-block", &golden::filter_block());
    let block = stored[..].try_into().expect("a block");
    assert!(
        golden::key_rows()
            .iter()
            .all(|row| filter::may_have(block, row.hash.0))
    );
}

#[test]
fn a_table_of_last_versions_is_what_it_was() {
    let header = golden::last_versions_header();
    let stored = check(
        "last-versions-header",
        &header.encode()[..LAST_VERSIONS_HEADER_BYTES],
    );
    assert_eq!(sorted_table::Header::decode(&stored), Some(header));
    let stored = check("last-versions-names", &golden::encoded_names());
    let mut at = 0;
    for name in golden::names() {
        let len = Name::encoded_len(&stored[at..]).expect("a name") as usize;
        assert_eq!(Name::decode(&stored[at..at + len]), Some(name));
        at += len;
    }
    assert_eq!(at, stored.len());
}

#[test]
fn a_file_of_retired_facts_is_what_it_was() {
    let header = earlier::retired_header();
    let stored = check("retired-header", &header.encode()[..KEY_FILE_HEADER_BYTES]);
    assert_eq!(retired::Header::decode(&stored), Some(header));
    let stored = check("retired-block", &earlier::retired_block());
    let mut facts =
        open_block(&stored, header.salt(), header.first_block_at()).expect("a sound block");
    let found: Vec<Retired> = std::iter::from_fn(|| Retired::take(&mut facts)).collect();
    assert_eq!((found, facts.len()), (earlier::retired_facts().to_vec(), 0));
    check("retired-fence", &earlier::retired_fence_page()[..24]);
    assert_eq!(
        FenceRow::at(&earlier::retired_fence_page(), 0),
        earlier::retired_fence()
    );
}

#[test]
fn every_kind_of_change_is_what_it_was() {
    for (name, change) in change_names().into_iter().zip(golden::changes()) {
        let stored = check(name, &change.encode());
        assert_eq!(Change::decode(&stored), Some(change), "{name}");
    }
}

#[test]
fn a_journal_entry_is_what_it_was() {
    let stored = check(
        "entry",
        &concat(&entry::encode(golden::link(), &golden::items())),
    );
    let decoded = entry::decode(&stored, golden::link().salt).expect("the stored entry is sound");
    assert_eq!(decoded.link, golden::link());
    assert_eq!(decoded.length, stored.len());
    let items: Vec<Item> = decoded
        .items
        .into_iter()
        .map(|item| item.expect("a sound item"))
        .collect();
    assert_eq!(items, golden::items());
}

#[test]
fn a_journal_file_begins_as_it_did() {
    let stored = check("journal-header", &golden::file_header().encode());
    assert_eq!(FileHeader::decode(&stored), Some(golden::file_header()));
}

#[test]
fn the_note_on_a_journal_file_is_what_it_was() {
    let stored = check("journal-ring", &golden::ring_use().encode());
    assert_eq!(ring::Use::decode(&stored), Some(golden::ring_use()));
}

#[test]
fn a_segment_begins_as_it_did() {
    let stored = check("segment-header", &golden::segment_header().encode());
    assert_eq!(
        segment_file::Header::decode(&stored),
        Some(golden::segment_header())
    );
    let later = golden::later_segment_header();
    let stored = check("segment-header-later", &later.encode());
    assert_eq!(segment_file::Header::decode(&stored), Some(later));
}

#[test]
fn an_index_is_what_it_was() {
    let stored = check("index", &index());
    let rows: Option<Vec<IndexRow>> = stored
        .chunks(INDEX_ROW_BYTES)
        .map(IndexRow::decode)
        .collect();
    assert_eq!(rows.as_deref(), Some(&golden::index_rows()[..]));
}

#[test]
fn a_checkpoint_is_what_it_was() {
    let stored = check("checkpoint", &golden::checkpoint().encode());
    assert_eq!(Checkpoint::decode(&stored), Some(golden::checkpoint()));
    // Later checkpoints append the broker's time, the journal's files and the directory's id.
    let later = check("checkpoint-later", &golden::later_checkpoint().encode());
    assert_eq!(later[16..stored.len()], stored[16..]);
    let decoded = Checkpoint::decode(&later);
    assert_eq!(decoded, Some(golden::later_checkpoint()));
}

/// A checkpoint from before checkpoints named their directory can be read.
#[test]
fn a_checkpoint_without_a_directory_is_read() {
    let nameless = Checkpoint {
        directory: None,
        ..golden::later_checkpoint()
    };
    let stored = check("checkpoint-nameless", &nameless_encoded());
    assert_eq!(Checkpoint::decode(&stored), Some(nameless));
}

#[test]
fn where_an_imported_partition_starts_is_what_it_was() {
    let stored = check("change-start-at", &golden::start_at().encode());
    assert_eq!(Change::decode(&stored), Some(golden::start_at()));
}

#[test]
fn what_is_stored_of_groups_is_what_it_was() {
    let stored = check("change-group", &change_of_group().encode());
    assert_eq!(Change::decode(&stored), Some(change_of_group()));
    let stored = check("change-group-instance", &change_with_instance().encode());
    assert_eq!(Change::decode(&stored), Some(change_with_instance()));
    let stored = check("change-group-beginning", &change_with_beginning().encode());
    assert_eq!(Change::decode(&stored), Some(change_with_beginning()));
    let more = golden::more_partitions();
    let stored = check("change-add-partitions", &more.encode());
    assert_eq!(Change::decode(&stored), Some(more));
    let checkpoint = golden::checkpoint_with_groups();
    let stored = check("checkpoint-with-groups", &checkpoint.encode());
    assert_eq!(Checkpoint::decode(&stored), Some(checkpoint));
    let (number, delta) = (golden::delta_head().number, golden::delta_with_groups());
    let stored = check("delta-with-groups", &delta.encode(number, 3));
    assert_eq!(Delta::take(&mut &stored[..], number, 3), Some(delta));
}

/// Checkpoints that deltas follow name the delta files, and give the places of batches.
#[test]
fn a_checkpoint_that_deltas_follow_is_what_it_was() {
    let checkpoint = golden::checkpoint_with_deltas();
    let stored = check("checkpoint-with-deltas", &checkpoint.encode());
    assert_eq!(Checkpoint::decode(&stored), Some(checkpoint));
}

#[test]
fn a_delta_is_what_it_was() {
    let head = golden::delta_head();
    let stored = check("delta-head", &head.encode());
    assert_eq!(delta::Head::decode(&stored), Some(head));
    let stored = check("delta", &golden::delta().encode(head.number, 3));
    let taken = |number, index| Delta::take(&mut &stored[..], number, index);
    assert_eq!(taken(head.number, 3), Some(golden::delta()));
    assert_eq!(taken(head.number, 2), None, "at another place");
    assert_eq!(taken(head.number + 1, 3), None, "of another file");
}

#[test]
fn a_topic_file_is_what_it_was() {
    let stored = check("topic", &golden::topic_file().encode());
    assert_eq!(TopicFile::decode(&stored), Some(golden::topic_file()));
}

#[test]
fn the_identity_of_a_directory_is_what_it_was() {
    let stored = check("identity", &golden::identity().encode());
    assert_eq!(Identity::decode(&stored), Ok(golden::identity()));
}

#[test]
fn every_golden_file_belongs_to_a_format() {
    let known: Vec<String> = all()
        .iter()
        .chain(&blocks::all())
        .map(|(name, _)| format!("{name}.hex"))
        .collect();
    let files = Env::system()
        .files
        .read_dir(&dir(VERSION))
        .expect("the golden files' directory");
    for file in files {
        assert!(known.contains(&file.name), "{} is of no format", file.name);
    }
}

#[test]
#[ignore = "run once, when a format gets a new version; it writes files into the source"]
fn write_the_golden_files_of_a_new_version() {
    let files = Env::system().files;
    match files.create_dir(&dir(VERSION)) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{error}"),
        _ => {}
    }
    for (name, encoded) in all().into_iter().chain(blocks::all()) {
        let path = dir(VERSION).join(format!("{name}.hex"));
        let file = match files.open(&path, Open::Create) {
            Ok(file) => file,
            // The golden file of a version is never overwritten.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
            Err(error) => panic!("cannot create {}: {error}", path.display()),
        };
        file.write_all_at(&[to_hex(&encoded).as_bytes()], 0)
            .expect("room for a few bytes");
    }
}
