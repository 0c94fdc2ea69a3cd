//! What is encoded is decoded as it was.

use proptest::prelude::*;

use super::samples::*;
use crate::storage::format::{
    change::Change,
    checkpoint::Checkpoint,
    entry::{self, BLOCK_BYTES, FileHeader, Item},
    frame::Frame,
    identity::Identity,
    segment_file::{self, IndexRow},
    topic_file::TopicFile,
};

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
