//! Decoding returns what was encoded.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::{earlier::seal_block, samples::*};
use crate::catalog::Change;
use crate::storage::format::{
    checkpoint::Checkpoint,
    delta::Delta,
    entry::{self, BLOCK_BYTES, FileHeader, Item},
    frame::Frame,
    identity::Identity,
    page::{self, PAGE_BYTES},
    retired::{self, BLOCK_HEAD_BYTES, Retired, open_block},
    segment_file::{self, IndexRow},
    sorted_table::{self, KeyHash, ROWS_PER_PAGE, Row},
    topic_file::TopicFile,
};
use crate::types::Version;

proptest! {
    #[test]
    fn a_frame_comes_back_with_what_follows_it_left_alone(frame in any_frame(), behind: Vec<u8>) {
        let bytes = [frame.bytes(), &behind[..]].concat();
        prop_assert_eq!(Frame::decode(&bytes.into()), Some(frame));
    }

    #[test]
    fn an_entry_comes_back_with_what_follows_it_left_alone(
        link in any_link(),
        items in any_items(),
        behind: Vec<u8>,
    ) {
        let encoded = entry::encode(link, &items);
        let bytes = concat(&encoded);
        prop_assert_eq!(bytes.len(), entry::encoded_len(&items));

        let decoded = entry::decode(&[&bytes[..], &behind].concat().into(), link.salt).expect("a sound entry");
        prop_assert_eq!(decoded.link, link);
        prop_assert_eq!(decoded.checksum, encoded.checksum);
        prop_assert_eq!(decoded.length, bytes.len());
        let decoded: Vec<Item> = decoded.items.into_iter().map(|item| item.expect("a sound item")).collect();
        prop_assert_eq!(decoded, items);
    }

    #[test]
    fn an_entry_of_another_salt_is_none(link in any_link(), items in any_items(), other: u64) {
        prop_assume!(other != link.salt);
        let bytes = concat(&entry::encode(link, &items));
        prop_assert!(entry::decode(&bytes, other).is_none());
        prop_assert!(entry::has_salt(&bytes, link.salt));
        prop_assert!(!entry::has_salt(&bytes, other));
    }

    #[test]
    fn a_change_comes_back(change in any_change()) {
        prop_assert_eq!(Change::decode(&change.encode()), Some(change));
    }

    #[test]
    fn a_checkpoint_comes_back(checkpoint in any_checkpoint()) {
        prop_assert_eq!(Checkpoint::decode(&checkpoint.encode()), Some(checkpoint));
    }

    #[test]
    fn deltas_come_back_one_behind_the_other(one in any_delta(), other in any_delta()) {
        let bytes = [one.encode(7, 0), other.encode(7, 1)].concat();
        let mut rest = &bytes[..];
        prop_assert_eq!(Delta::take(&mut rest, 7, 0), Some(one));
        prop_assert_eq!(Delta::take(&mut rest, 7, 1), Some(other));
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn a_topic_file_comes_back(topic in any_topic_file()) {
        prop_assert_eq!(TopicFile::decode(&topic.encode()), Some(topic));
    }

    #[test]
    fn a_segment_header_comes_back(header in any_segment_header()) {
        prop_assert_eq!(segment_file::Header::decode(&header.encode()), Some(header));
    }

    #[test]
    fn an_index_row_comes_back(row in any_index_row()) {
        prop_assert_eq!(IndexRow::decode(&row.encode()), Some(row));
    }

    #[test]
    fn the_headers_of_tables_and_retired_files_come_back(table in any_table_header(), retired in any_retired_header()) {
        prop_assert_eq!(sorted_table::Header::decode(&table.encode()), Some(table));
        prop_assert_eq!(retired::Header::decode(&retired.encode()), Some(retired));
    }

    #[test]
    fn a_row_comes_back_from_its_place_in_a_page(
        rows in vec(any::<[u64; 3]>(), 0..=ROWS_PER_PAGE as usize),
        salt: u32,
        number: u64,
    ) {
        let mut page = [0; PAGE_BYTES];
        let rows = rows.into_iter().map(|[hash, version, place]| Row {
            hash: KeyHash(hash),
            version: Version(version),
            place,
        });
        let rows: Vec<Row> = rows.collect();
        rows.iter().enumerate().for_each(|(nth, row)| row.put(&mut page, nth));
        page::seal(&mut page, salt, number);
        prop_assert!(page::is_sound(&page, salt, number));
        prop_assert!(!page::is_sound(&page, salt ^ 1, number) && !page::is_sound(&page, salt, number ^ 1));
        prop_assert!(rows.iter().enumerate().all(|(nth, row)| Row::at(&page, nth) == *row));
    }

    #[test]
    fn a_block_of_facts_comes_back_with_what_follows_it_left_alone(
        facts in vec(any_retired(), 0..8),
        behind: Vec<u8>,
        salt: u32,
        position: u64,
    ) {
        let mut block = vec![0; BLOCK_HEAD_BYTES];
        facts.iter().for_each(|fact| fact.encode(&mut block));
        seal_block(&mut block, salt, position);
        let bytes = Bytes::from([block, behind].concat());
        prop_assert_eq!(open_block(&bytes, salt ^ 1, position), None);
        prop_assert_eq!(open_block(&bytes, salt, position ^ 1), None);
        let mut rest = open_block(&bytes, salt, position).expect("a sound block");
        for fact in facts {
            prop_assert_eq!(Retired::take(&mut rest), Some(fact));
        }
        prop_assert_eq!(Retired::take(&mut rest), None);
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn the_headers_of_journal_files_and_directories_come_back(number: u64, salt: u64) {
        let header = FileHeader { number, salt };
        let mut block = header.encode();
        prop_assert!(block.len() as u64 <= BLOCK_BYTES);
        block.resize(BLOCK_BYTES as usize, 0);
        prop_assert_eq!(FileHeader::decode(&block), Some(header));

        let identity = Identity { id: salt };
        prop_assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
    }
}
