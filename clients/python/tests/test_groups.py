"""Members of consumer groups, that are fenced, killed, cut off and told to hand over."""

from __future__ import annotations

import gc
import queue
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime

import grpc
import pytest
from conftest import PATIENCE, Proxy, beside, numbered, take, values, wait_until

import taffrail
from taffrail import CommitOutcome, TopicPartition
from taffrail.testing import Broker
from taffrail.v1 import groups_pb2, groups_pb2_grpc


def test_what_was_handled_is_committed_and_nothing_else(client: taffrail.Client) -> None:
    client.create_topic("t")
    client.append("t", numbered(0, 1, 2, 3))
    with client.join("g", ["t"]) as member:
        take(member, 2)
    assert client.committed("g") == {("t", 0): 2}
    with pytest.raises(ZeroDivisionError), client.join("g", ["t"]) as member:
        assert values(take(member, 2)) == [b"2", b"3"]
        # The last one is not handled.
        raise ZeroDivisionError
    assert client.committed("g") == {("t", 0): 3}
    client.delete_group("g")
    with pytest.raises(taffrail.NotFound):
        client.committed("g")


def test_a_member_that_cannot_be_made_leaves_nothing_to_close(
    client: taffrail.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    with pytest.raises(ValueError):
        client.join("g", ["t"], start=datetime(2000, 1, 1))
    gc.collect()
    assert not ignored


def test_a_member_commits_by_itself_when_there_is_nothing_else_to_do(client: taffrail.Client) -> None:
    client.create_topic("t")
    client.append("t", numbered(0, 1))
    with client.join("g", ["t"]) as member:
        take(member, 2)
        waiting = beside(lambda: next(member).value)
        wait_until(lambda: client.committed("g") == {("t", 0): 2})
        client.append("t", numbered(2))
        assert waiting.result(PATIENCE) == b"2"


def test_a_member_that_commits_explicitly_is_told_what_came_of_it(client: taffrail.Client) -> None:
    client.create_topic("t")
    client.append("t", numbered(0, 1, 2))
    with client.join("g", ["t"], auto_commit=False) as member:
        batches: Iterator[taffrail.GroupBatch] = member.batches()
        batch = next(batches)
        assert values(list(batch.records)) == [b"0", b"1", b"2"]
        assert member.commit() == [CommitOutcome.DONE]
        assert member.commit() == []
        assert member.commit([batch.next]) == [CommitOutcome.UNCHANGED]
        beyond = taffrail.Offset("t", 0, 9, batch.next.topic_id, batch.next.generation)
        stale = taffrail.Offset("t", 0, 3, batch.next.topic_id, batch.next.generation + 1)
        assert member.commit([beyond]) == [CommitOutcome.BEYOND_END]
        assert member.commit([stale]) == [CommitOutcome.FENCED]
        with pytest.raises(ValueError):
            member.commit([taffrail.Offset("t", 0, -1)])
        assert member.commit([batch.next]) == [CommitOutcome.UNCHANGED]
    with client.join("h", ["t"], auto_commit=False) as member:
        take(member, 3)
    assert client.committed("h") == {}


def test_credit_is_given_back_for_what_was_handled(client: taffrail.Client) -> None:
    client.create_topic("t", 2)
    for number in range(10):
        client.append("t", numbered(number, key=None), partition=number % 2)
    with client.join("g", ["t"], credit_records=1) as member:
        assert sorted(values(take(member, 10)), key=str) == [b"%d" % number for number in range(10)]


def test_a_partition_is_handed_over_behind_what_was_handled(client: taffrail.Client) -> None:
    client.create_topic("t", 4)
    for number in range(40):
        client.append("t", numbered(number, key=None), partition=number % 4)
    gone: list[tuple[TopicPartition, bool]] = []
    handled: queue.SimpleQueue[taffrail.StoredRecord] = queue.SimpleQueue()
    first = client.join(
        "g", ["t"], on_revoked=lambda places, lost: gone.extend((place, lost) for place in places)
    )
    for _ in range(40):
        handled.put(take(first, 1)[0])
    began: list[taffrail.Assigned] = []
    following = beside(lambda: next(first))
    second = client.join("g", ["t"], on_assigned=began.extend)
    going = beside(lambda: next(second))
    # The newcomer asks for records, and gets two of the four, behind all that the first one had handled.
    wait_until(lambda: len(began) == 2)
    assert {(each.topic, each.partition) for each in began} == {(place.topic, place.partition) for place, _ in gone}
    assert [each.next_offset for each in began] == [10, 10]
    assert not any(lost for _, lost in gone)
    moved = began[0].partition
    stayed = next(place.partition for place in first.partitions)
    client.append("t", numbered(100, key=None), partition=moved)
    client.append("t", numbered(101, key=None), partition=stayed)
    assert going.result(PATIENCE).value == b"100"
    assert following.result(PATIENCE).value == b"101"
    first.leave()
    second.leave()


def test_a_member_is_heard_while_its_program_is_busy(broker: Broker, client: taffrail.Client) -> None:
    client.create_topic("t")
    with client.join("g", ["t"], session_timeout=3):
        heard: set[int] = set()
        wait_until(lambda: is_heard(broker, heard))


def is_heard(broker: Broker, heard: set[int]) -> bool:
    """Notes when the only member was heard last; whether that was at four times."""
    with grpc.insecure_channel(broker.address) as channel:
        request = groups_pb2.DescribeGroupRequest(group="g")
        described = groups_pb2_grpc.GroupsStub(channel).Describe(request, timeout=PATIENCE)
    assert described.members[0].connected
    heard.add(described.members[0].last_heard_ms)
    return len(heard) == 4


def test_a_fenced_member_says_so_on_every_call(client: taffrail.Client) -> None:
    client.create_topic("t")
    old = client.join("g", ["t"], name="m")
    with client.join("g", ["t"], name="m") as new:
        client.append("t", numbered(0))
        for _ in range(2):
            with pytest.raises(taffrail.Fenced):
                take(old, 1)
        with pytest.raises(taffrail.Fenced):
            old.commit()
        assert values(take(new, 1)) == [b"0"]


KILLED = """
import sys, taffrail
member = taffrail.Client(sys.argv[1]).join("g", ["t"], session_timeout=1)
for record in member:
    print(record.offset, flush=True)
"""


def test_the_partitions_of_a_killed_member_move(broker: Broker, client: taffrail.Client) -> None:
    client.create_topic("t", 4)
    for partition in range(4):
        client.append("t", numbered(partition, key=None), partition=partition)
    command = [sys.executable, "-c", KILLED, broker.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(4):
            assert process.stdout.readline() == "0\n"
        process.kill()
    with client.join("g", ["t"]) as member:
        for partition in range(4):
            client.append("t", numbered(10 + partition, key=None), partition=partition)
        seen: set[bytes | None] = set()
        while not seen >= {b"10", b"11", b"12", b"13"}:
            seen.update(values(take(member, 1)))
        assert len(member.partitions) == 4


@pytest.mark.on_disk
def test_a_member_goes_on_after_kill_9_and_a_restart(broker: Broker, client: taffrail.Client) -> None:
    client.create_topic("t")
    client.append("t", numbered(0, 1))
    lost: list[bool] = []
    with client.join("g", ["t"], on_revoked=lambda _, is_lost: lost.append(is_lost)) as member:
        assert values(take(member, 2)) == [b"0", b"1"]
        assert member.commit() == [CommitOutcome.DONE]
        member_id = member.member_id
        for number in range(2, 5):
            broker.kill()
            following = beside(lambda: next(member).value)
            broker.start()
            assert answers(client)
            client.append("t", numbered(number))
            assert following.result(PATIENCE) == b"%d" % number
            member.commit()
        assert member.member_id == member_id
    assert lost == [True] * 3
    assert client.committed("g") == {("t", 0): 5}


def answers(client: taffrail.Client) -> bool:
    def described() -> bool:
        try:
            client.describe_topic("t")
            return True
        except taffrail.Unavailable:
            return False

    wait_until(described)
    return True


def test_what_was_not_committed_when_the_connection_broke_comes_again(client: taffrail.Client, proxy: Proxy) -> None:
    client.create_topic("t")
    client.append("t", numbered(0, 1, 2))
    with taffrail.Client(proxy.address) as behind, behind.join("g", ["t"], auto_commit=False) as member:
        assert values(take(member, 1)) == [b"0"]
        member.commit()
        assert values(take(member, 2)) == [b"1", b"2"]
        proxy.cut()
        assert values(take(member, 2)) == [b"1", b"2"]
        proxy.hold_answers()
        committing = beside(member.commit)
        wait_until(lambda: client.committed("g") == {("t", 0): 3})
        proxy.cut()
        assert isinstance(committing.exception(PATIENCE), taffrail.OutcomeUnknown)


def test_a_member_that_leaves_says_that_it_does_not_know_what_is_committed(
    client: taffrail.Client, proxy: Proxy
) -> None:
    client.create_topic("t")
    client.append("t", numbered(0))
    with taffrail.Client(proxy.address) as behind:
        member = behind.join("g", ["t"])
        take(member, 1)
        proxy.hold_answers()
        leaving = beside(member.leave)
        wait_until(lambda: client.committed("g") == {("t", 0): 1})
        proxy.cut()
        assert isinstance(leaving.exception(PATIENCE), taffrail.OutcomeUnknown)


@pytest.mark.on_disk
def test_a_member_whose_broker_is_away_for_too_long_says_so_and_can_go_on(
    broker: Broker, client: taffrail.Client
) -> None:
    client.create_topic("t")
    client.append("t", numbered(0))
    with client.join("g", ["t"], give_up_after=0) as member:
        take(member, 1)
        broker.kill()
        for _ in range(2):
            with pytest.raises(taffrail.Unavailable):
                take(member, 1)
        broker.start()
        assert answers(client)
        client.append("t", numbered(1))
        wait_until(lambda: has_come(member))


def has_come(member: taffrail.Member) -> bool:
    try:
        return values(take(member, 1)) == [b"1"]
    except taffrail.Unavailable:
        return False


def test_a_paused_partition_gives_nothing_until_it_is_resumed_also_after_a_break(
    client: taffrail.Client, proxy: Proxy
) -> None:
    client.create_topic("t", 2)
    client.append("t", numbered(0, key=None), partition=0)
    client.append("t", numbered(1, key=None), partition=1)
    with taffrail.Client(proxy.address) as behind, behind.join("g", ["t"]) as member:
        take(member, 2)
        paused = [TopicPartition("t", 0)]
        member.pause(paused)
        for number in range(2, 6):
            client.append("t", numbered(-number, key=None), partition=0)
            client.append("t", numbered(number, key=None), partition=1)
            if number == 4:
                member.commit()
                proxy.cut()
            while values(record := take(member, 1)) != [b"%d" % number]:
                # After the break what was not committed comes again, but nothing of the paused one.
                assert record[0].partition == 1
        member.resume(paused)
        came: set[bytes | None] = set()
        while not came >= {b"-2", b"-3", b"-4", b"-5"}:
            came.update(values(take(member, 1)))


def test_offsets_are_committed_with_an_append_or_neither_is(client: taffrail.Client) -> None:
    client.create_topic("in")
    client.create_topic("out")
    client.append("in", numbered(0, 1))
    with client.join("g", ["in"], auto_commit=False) as member:
        batch = next(iter(member.batches()))
        offsets = [member.group_offsets([batch.next])]
        client.append("out", numbered(5), group_offsets=offsets)
        assert client.committed("g") == {("in", 0): 2}
        stale = taffrail.Offset("in", 0, 2, batch.next.topic_id, batch.next.generation + 1)
        with pytest.raises(taffrail.Fenced):
            client.append("out", numbered(6), group_offsets=[member.group_offsets([stale])])
    assert values(list(client.read("out"))) == [b"5"]


def test_a_fork_that_replays_is_told_what_the_other_group_has_handled(client: taffrail.Client) -> None:
    client.create_topic("t")
    client.append("t", numbered(0, 1, 2))
    with client.join("g", ["t"]) as member:
        take(member, 2)
    client.fork_group("g", "replaying", replay=True)
    with client.join("replaying", ["t"]) as member:
        assert [record.replayed for record in take(member, 3)] == [True, True, False]
    client.fork_group("g", "going-on")
    assert client.committed("going-on") == {("t", 0): 2}
    with pytest.raises(taffrail.AlreadyExists):
        client.fork_group("g", "going-on")


def test_the_committed_offsets_of_many_partitions_are_told(broker: Broker, client: taffrail.Client) -> None:
    client.create_topic("t", 1_001)
    request = groups_pb2.CommitRequest(group="g")
    for partition in range(1_001):
        request.offsets.add(topic="t", partition=partition)
    with grpc.insecure_channel(broker.address) as channel:
        groups_pb2_grpc.GroupsStub(channel).Commit(request, timeout=PATIENCE)
    assert list(client.committed("g")) == [("t", partition) for partition in range(1_001)]


def test_a_partition_that_cannot_be_read_on_is_told_and_the_others_are_read(client: taffrail.Client) -> None:
    client.create_topic("t", 2)
    for partition in range(2):
        client.append("t", numbered(partition, key=None), partition=partition)
    with client.join("g", ["t"]) as member:
        take(member, 2)
    client.append("t", numbered(2, 3, key=None), partition=0)
    client.trim("t", 0, 3)
    client.append("t", numbered(4, key=None), partition=1)
    failed: list[taffrail.FailedPartition] = []
    with client.join("g", ["t"], on_failed=failed.append) as member:
        assert values(take(member, 1)) == [b"4"]
        client.append("t", numbered(5, key=None), partition=1)
        assert values(take(member, 1)) == [b"5"]
    told = [(each.topic, each.partition, each.reason, each.earliest) for each in failed]
    assert told == [("t", 0, "OFFSET_OUT_OF_RANGE", 3)]
