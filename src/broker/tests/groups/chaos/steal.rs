//! Members that commit offsets of partitions that others own.

use super::{Chaos, offset_of};
use crate::{
    broker::{
        Append, Error,
        groups::CommitOutcome,
        tests::{
            groups::world::{Has, Member},
            world::{append_of, encode_record, send},
        },
    },
    catalog::groups::Place,
    types::Offset,
};

impl Chaos {
    /// Commits for partitions that other members own, in the owners' generations.
    pub(super) fn steal(&mut self, member: &mut Member) {
        let owned = self.world.state("g").owned;
        for (place, owned) in owned {
            if owned.owner == member.id {
                continue;
            }
            let has = Has {
                topic: self.name_of(place),
                generation: owned.since,
                next: Offset(0),
            };
            if self.writes_out {
                let append = Append {
                    group_offsets: vec![("g".to_owned(), vec![offset_of(member, place, &has)])],
                    ..append_of("out", Some(0), &[encode_record(u64::MAX, 40)])
                };
                let refused = send(self.world.broker(), append);
                let is_fenced = matches!(refused, Err(Error::CommitFenced { .. }));
                assert!(is_fenced, "{refused:?} for {place:?} of {owned:?}");
            }
            match member.commit_at(&self.world, place, &has) {
                Ok(CommitOutcome::Fenced { current }) => assert_eq!(current, Some(owned.since)),
                Err(Error::MemberFenced { .. } | Error::SessionEnded { .. }) => {}
                other => panic!("{other:?} for {place:?} of {owned:?}"),
            }
            self.did.stolen_commits_refused += 1;
        }
    }

    fn name_of(&self, place: Place) -> String {
        let mut names = (0..self.topics).map(|topic| format!("t{topic}"));
        let found = names.find(|name| self.world.place(name, 0).0 == place.0);
        found.expect("the group has read it")
    }
}
