"""Reads that follow, and what they do when the broker is lost."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
import pytest
from conftest import PATIENCE, Proxy, beside, numbered, take, values, wait_until

import taffrail
from taffrail import LATEST
from taffrail.testing import Broker
from taffrail.v1 import broker_pb2, broker_pb2_grpc


@pytest.mark.on_disk
def test_a_follow_goes_on_after_kill_9_and_a_restart(broker: Broker, client: taffrail.Client) -> None:
    client.create_topic("t", 2)
    client.append("t", numbered(0, 1))
    with client.read("t", follow=True) as reading:
        assert values(take(reading, 2)) == [b"0", b"1"]
        for number in range(2, 6):
            broker.kill()
            # It waits while there is no broker, and asks for records that come later.
            following = beside(lambda: next(reading).value)
            broker.start()
            client_append(client, number)
            assert following.result(PATIENCE) == b"%d" % number


def client_append(client: taffrail.Client, number: int) -> None:
    """Appends once the broker is back."""
    assert is_there(client)
    client.append("t", numbered(number))


def is_there(client: taffrail.Client) -> bool:
    def described() -> bool:
        try:
            client.describe_topic("t")
            return True
        except taffrail.Unavailable:
            return False

    wait_until(described)
    return True


def test_a_follow_from_the_end_misses_nothing_though_it_was_cut_before_it_heard_anything(
    broker: Broker, client: taffrail.Client
) -> None:
    client.create_topic("t", 3)
    client.append("t", numbered(0))
    reading = client.read("t", LATEST, follow=True)
    client.append("t", numbered(1, 2))
    broker.crash()
    assert values(take(reading, 2)) == [b"1", b"2"]
    reading.close()


@pytest.mark.on_disk
def test_a_follow_goes_on_after_a_shutdown(broker: Broker, client: taffrail.Client) -> None:
    client.create_topic("t")
    client.append("t", numbered(0))
    with client.read("t", follow=True) as reading:
        take(reading, 1)
        following = beside(lambda: next(reading).value)
        broker.stop()
        broker.start()
        client_append(client, 1)
        assert following.result(PATIENCE) == b"1"


def test_a_follow_that_is_cut_between_records_has_each_once(client: taffrail.Client, proxy: Proxy) -> None:
    client.create_topic("t")
    with taffrail.Client(proxy.address) as behind, behind.read("t", follow=True) as reading:
        for number in range(20):
            client.append("t", numbered(number))
            assert values(take(reading, 1)) == [b"%d" % number]
            proxy.cut()


def test_a_follow_says_what_was_trimmed_while_it_was_away(broker: Broker, client: taffrail.Client) -> None:
    client.create_topic("t")
    client.append("t", numbered(0, 1, 2))
    with client.read("t", follow=True) as reading:
        take(reading, 3)
        broker.crash()
        client_append(client, 3)
        client_append(client, 4)
        client.trim("t", 0, 4)
        with pytest.raises(taffrail.OffsetOutOfRange) as caught:
            take(reading, 1)
        assert (caught.value.partition, caught.value.earliest, caught.value.high_watermark) == (0, 4, 5)


def test_a_follow_ends_where_the_topic_was_created_anew(broker: Broker, client: taffrail.Client) -> None:
    client.create_topic("t")
    client.append("t", numbered(0))
    with client.read("t", follow=True) as reading:
        take(reading, 1)
        broker.crash()
        assert is_there(client)
        client.delete_topic("t")
        client.create_topic("t")
        client.append("t", numbered(1, 2))
        with pytest.raises(taffrail.TaffrailError) as caught:
            take(reading, 1)
        assert caught.value.reason in ("TOPIC_RECREATED", "UNKNOWN_TOPIC")


@pytest.mark.on_disk
def test_the_time_that_a_follow_waits_is_there_again_after_it_has_given_up(
    broker: Broker, client: taffrail.Client
) -> None:
    client.create_topic("t")
    client.append("t", numbered(0))
    with client.read("t", follow=True, give_up_after=0) as reading:
        take(reading, 1)
        broker.kill()
        for _ in range(2):
            with pytest.raises(taffrail.Unavailable):
                take(reading, 1)
        broker.start()
        client_append(client, 1)
        wait_until(lambda: has_next(reading))


def has_next(reading: taffrail.Reading) -> bool:
    try:
        assert values(take(reading, 1)) == [b"1"]
        return True
    except taffrail.Unavailable:
        return False


def test_a_read_is_of_what_it_is_asked_for(client: taffrail.Client) -> None:
    client.create_topic("t", 2)
    for number in range(4):
        client.append("t", numbered(number, key=None), partition=number % 2)
    assert values(list(client.read("t", partitions=[1]))) == [b"1", b"3"]
    assert values(list(client.read("t", partitions={0: 1, 1: LATEST}))) == [b"2"]
    assert len(list(client.read("t", max_records=3))) == 3
    assert list(client.read("t", datetime.now(UTC).replace(year=9000))) == []
    assert len(list(client.read("t", datetime(1970, 1, 2, tzinfo=UTC)))) == 4
    with pytest.raises(ValueError, match="time zone"):
        client.read("t", datetime(2000, 1, 1))
    with pytest.raises(taffrail.NotFound):
        client.read("t", partitions=[2])
    batches = [batch for batch in client.read("t").batches() if batch.caught_up]
    assert sorted((batch.partition, batch.next_offset) for batch in batches) == [(0, 2), (1, 2)]


def test_a_read_has_its_records_also_where_it_breaks_off_behind_some(client: taffrail.Client, proxy: Proxy) -> None:
    client.create_topic("t")
    for number in range(8):
        client.append("t", [taffrail.Record(value=b"%d" % number + bytes(1_000_000))])
    with taffrail.Client(proxy.address) as behind:
        read = []
        for record in behind.read("t", max_records=7):
            read.append((record.value or b"")[:1])
            proxy.cut()
        assert read == [b"%d" % number for number in range(7)]


def test_a_follow_is_ended_by_another_thread_or_by_leaving_it(broker: Broker, client: taffrail.Client) -> None:
    client.create_topic("t")
    client.append("t", numbered(0))
    reading = client.read("t", follow=True)
    take(reading, 1)
    following = beside(lambda: list(reading))
    wait_until(lambda: calls(broker) == 2)
    reading.close()
    assert following.result(PATIENCE) == []
    for _ in client.read("t", follow=True):
        break
    del reading, following
    wait_until(lambda: calls(broker) == 1)


def calls(broker: Broker) -> int:
    """How many calls are under way, with the call that asks for the number."""
    with grpc.insecure_channel(broker.address) as channel:
        status = broker_pb2_grpc.BrokerStub(channel).Status(broker_pb2.StatusRequest(), timeout=PATIENCE)
        return int(status.calls.now)
