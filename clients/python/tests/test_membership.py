"""What a member says to the broker, and gives to its program, message by message."""

from __future__ import annotations

from taffrail import TopicPartition
from taffrail.membership import Membership
from taffrail.v1 import groups_pb2 as pb
from taffrail.v1 import log_pb2, record_pb2

PLACE = TopicPartition("t", 0)
PARTITIONS = pb.Partitions(partitions=[pb.GroupPartition(topic="t", partition=0, topic_id="id")])


class Session:
    """A member with the partition, and what it has said on its stream."""

    def __init__(self) -> None:
        self.membership = Membership(pb.JoinGroup(), None, None, None, auto_commit=True)
        self.begin()

    def begin(self) -> None:
        self.said: list[pb.ConsumeRequest] = []
        self.membership.begin(self.said.append)
        self.assign(generation=1)

    def assign(self, generation: int) -> None:
        assigned = pb.AssignedPartition(topic="t", partition=0, topic_id="id", generation=generation)
        self.membership.take(pb.ConsumeResponse(assigned=pb.Assigned(partitions=[assigned])))

    def records(self, *offsets: int, generation: int = 1) -> None:
        following = log_pb2.GroupOffset(
            topic="t", partition=0, topic_id="id", generation=generation, next_offset=offsets[-1] + 1
        )
        cost = pb.Credit(records=len(offsets), bytes=10 * len(offsets))
        records = [record_pb2.Record(offset=offset) for offset in offsets]
        self.membership.take(pb.ConsumeResponse(records=pb.Records(next=following, cost=cost, records=records)))

    def next(self) -> int | None:
        self.membership.note_handled()
        record = self.membership.next_record()
        return None if record is None else record.offset

    def kinds(self) -> list[str | None]:
        return [request.WhichOneof("message") for request in self.said]


def test_what_was_handled_is_committed_before_a_partition_is_handed_over() -> None:
    session = Session()
    session.records(0, 1, 2)
    assert [session.next(), session.next()] == [0, 1]
    session.membership.note_handled()
    session.membership.take(pb.ConsumeResponse(revoked=pb.Revoked(partitions=PARTITIONS, drain_ms=1000)))
    assert session.kinds() == ["credit", "commit", "drained"]
    assert session.said[0].credit.records == 3
    assert session.said[1].commit.offsets[0].next_offset == 2
    assert session.said[2].drained == PARTITIONS
    assert session.next() is None
    session.records(3)
    session.membership.take(pb.ConsumeResponse(revoked=pb.Revoked(partitions=PARTITIONS, drain_ms=0)))
    assert session.kinds()[3:] == ["credit"]


def test_what_a_broken_stream_had_is_not_given_and_not_committed_on_the_next_one() -> None:
    session = Session()
    session.records(0, 1)
    session.records(2)
    assert [session.next(), session.next()] == [0, 1]
    session.membership.lost()
    session.begin()
    assert session.next() is None
    session.records(0)
    assert session.next() == 0
    session.membership.note_handled()
    session.membership.commit_handled()
    # The credit of what the broken stream had is not given back on this one.
    assert session.kinds() == ["credit", "commit"]
    assert session.said[0].credit.records == 1
    assert session.said[1].commit.offsets[0].next_offset == 1


def test_what_was_read_before_a_partition_is_assigned_anew_is_not_committed() -> None:
    session = Session()
    session.records(5, 6)
    assert session.next() == 5
    session.assign(generation=2)
    session.membership.note_handled()
    session.membership.commit_handled()
    assert session.kinds() == ["credit"]
    session.records(0, generation=2)
    assert session.next() == 0
    assert session.next() is None
    session.membership.commit_handled()
    assert [offset.generation for request in session.said for offset in request.commit.offsets] == [2]


def test_a_paused_partition_is_paused_again_where_it_is_assigned_anew() -> None:
    session = Session()
    session.membership.pause([PLACE])
    session.membership.lost()
    session.begin()
    assert session.said == [pb.ConsumeRequest(pause=PARTITIONS)]
    session.membership.take(pb.ConsumeResponse(revoked=pb.Revoked(partitions=PARTITIONS, drain_ms=1000)))
    session.assign(generation=2)
    assert session.kinds() == ["pause", "drained"]
