"""Topics, appends, entities, and what goes wrong with them."""

from __future__ import annotations

import socket
from collections.abc import Callable

import grpc
import pytest
from conftest import PATIENCE, Proxy, beside, numbered, values, wait_until

import taffrail
from taffrail import KeyAbsent, KeyExists, KeyVersion, NextOffset, Record
from taffrail.numbering import murmur2
from taffrail.testing import Broker


@pytest.mark.on_disk
def test_a_broker_is_reached_by_its_url_and_by_its_socket(broker: Broker) -> None:
    for address in (f"http://{broker.address}", f"unix:{broker.data_dir}/admin.sock"):
        with taffrail.Client(address) as client:
            assert list(client.topics()) == []


def test_a_broker_is_reached_past_the_proxy_of_the_environment(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    for name in ("http_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    for host in ("127.0.0.1", "localhost"):
        with taffrail.Client(f"{host}:{broker.address.rpartition(':')[2]}") as client:
            assert list(client.topics()) == []


def test_each_client_has_a_connection_of_its_own(client: taffrail.Client, proxy: Proxy) -> None:
    with taffrail.Client(proxy.address) as one, taffrail.Client(proxy.address) as other:
        assert list(one.topics()) == list(other.topics()) == []
        assert proxy.connections == 2


@pytest.mark.on_disk
def test_a_broker_for_tests_that_runs_is_not_started_again(broker: Broker) -> None:
    with pytest.raises(RuntimeError, match="is running"):
        broker.start()
    broker.kill()
    broker.start()


def test_topics_are_created_listed_altered_trimmed_and_deleted(client: taffrail.Client) -> None:
    client.create_topic("a.1", 2, {"retention.ms": "1d"})
    client.create_topic("a.2")
    client.create_topic("b")
    assert [topic.name for topic in client.topics("a.")] == ["a.1", "a.2"]
    assert client.describe_topic("a.1").settings["retention.ms"] == "86400000"
    assert client.alter_topic("a.1", {"retention.bytes": "1GiB"}).settings["retention.bytes"] == "1073741824"
    assert client.alter_topic("a.1", reset=["retention.ms"]).settings["retention.ms"] == "-1"
    client.append("b", numbered(0, 1, 2))
    assert client.trim("b", 0, 2) == 2
    assert client.describe_topic("b").partitions[0].earliest == 2
    client.delete_topic("b")
    with pytest.raises(taffrail.NotFound) as caught:
        client.describe_topic("b")
    assert caught.value.reason == "UNKNOWN_TOPIC"
    assert caught.value.metadata["topic"] == "b"
    with pytest.raises(taffrail.AlreadyExists):
        client.create_topic("a.1")


def test_asking_what_an_alter_would_remove_alters_nothing(client: taffrail.Client) -> None:
    client.create_topic("t")
    assert client.would_remove("t", {"retention.bytes": "256KiB"}) == []
    assert client.describe_topic("t").settings["retention.bytes"] == "-1"


def test_a_conflict_says_what_does_not_hold_and_the_actual_version(client: taffrail.Client) -> None:
    client.create_topic("t")
    client.append("t", numbered(1, 2))
    conditions: list[taffrail.Condition] = [
        KeyVersion(b"key", 2),
        KeyExists(b"other"),
        NextOffset(0, 2),
        KeyVersion(b"key", 1),
        NextOffset(0, 2**64 - 1),
    ]
    with pytest.raises(taffrail.Conflict) as caught:
        client.append("t", numbered(3), conditions=conditions)
    assert caught.value.failed == [(1, 0), (3, 2), (4, 2)]
    assert caught.value.actual == 0
    assert caught.value.code is grpc.StatusCode.ABORTED
    assert client.append("t", numbered(3), conditions=conditions[:1]).ranges[0].first_offset == 2


def test_an_append_to_several_topics_is_one(client: taffrail.Client) -> None:
    client.create_topic("a")
    client.create_topic("b")
    batches = [taffrail.Batch("a", numbered(1)), taffrail.Batch("b", numbered(2, 3))]
    with pytest.raises(taffrail.Conflict):
        client.append_batches(batches, conditions=[KeyExists(b"key", topic="a")])
    assert list(client.read("b")) == []
    appended = client.append_batches(batches, conditions=[KeyAbsent(b"key", topic="a")], return_versions=True)
    assert [each.ranges[0].versions for each in appended] == [(1,), (1, 2)]
    with pytest.raises(ValueError, match="names its topic"):
        client.append_batches(batches, conditions=[KeyAbsent(b"key")])


def test_keys_values_and_headers_are_any_bytes_and_numbers_have_64_bits(client: taffrail.Client) -> None:
    client.create_topic("t")
    everything = bytes(range(256))
    records = [
        Record(key=b"\0", value=b""),
        Record(key=everything, value=everything, headers=[("h", everything), ("h", b"")], event_id=everything[:64]),
        Record(key=b"k", timestamp_ms=2**63 - 1),
        Record(value=b"v", timestamp_ms=-(2**63)),
        Record(key=b"k", value=b"w", type="type", timestamp_ms=2**53 + 1),
    ]
    client.append("t", records)
    read = list(client.read("t"))
    for sent, stored in zip(records, read, strict=True):
        assert (sent.key, sent.value, sent.type, sent.event_id) == (stored.key, stored.value, stored.type, stored.event_id)
        assert tuple(sent.headers) == stored.headers
        assert sent.timestamp_ms in (None, stored.timestamp_ms)
    assert [record.version for record in read] == [1, 1, 1, None, 2]
    assert [record.offset for record in client.read("t", keys=[everything])] == [1]
    with pytest.raises(taffrail.Refused) as caught:
        client.append("t", [Record(key=b"")])
    assert caught.value.reason == "MALFORMED_RECORD"


def test_an_entity_is_read_by_version_and_erased(client: taffrail.Client) -> None:
    client.create_topic("t", 4)
    client.append("t", numbered(1, 2, 3))
    reading = client.read_key("t", b"key", from_version=2)
    assert (reading.latest_version, values(list(reading))) == (3, [b"2", b"3"])
    assert values(list(client.read_key("t", b"key", backward=True, max_records=1))) == [b"3"]
    assert client.read_key("t", b"never").latest_version == 0
    latest = client.get_latest("t", [b"never", b"key"])
    assert [(each.key, each.version) for each in latest] == [(b"never", 0), (b"key", 3)]
    assert latest[0].record is None and latest[1].record is not None and latest[1].record.value == b"3"
    erasure = client.erase("t", b"key")
    assert erasure.id > 2**32
    assert all(record.erased and record.value is None for record in client.read("t"))
    wait_until(lambda: client.describe_erasure(erasure.id).complete)


def test_what_is_too_large_is_refused_and_what_a_topic_may_have_is_read(client: taffrail.Client) -> None:
    client.create_topic("t")
    client.create_topic("large", settings={"max.record.bytes": "8MiB"})
    producer = client.producer("t")
    with pytest.raises(taffrail.Refused) as caught:
        producer.append([Record(value=bytes(2 << 20))])
    assert caught.value.reason == "RECORD_TOO_LARGE"
    assert producer.append(numbered(1)).ranges[0].first_offset == 0
    with pytest.raises(taffrail.Refused) as caught:
        client.append("large", [Record(value=bytes(6 << 20))] * 3)
    assert caught.value.reason == "REQUEST_TOO_LARGE"
    # A larger response than grpcio receives by default.
    client.append("large", [Record(key=b"key", value=bytes(7 << 20))])
    assert [len(record.value or b"") for record in client.read("large")] == [7 << 20]
    assert [len(record.value or b"") for record in client.read_key("large", b"key")] == [7 << 20]


def test_a_response_over_a_limit_of_the_users_own_is_not_asked_for_again_and_again(broker: Broker) -> None:
    with taffrail.Client(broker.address, options={"grpc.max_receive_message_length": 1000}) as client:
        client.create_topic("t")
        client.append("t", [Record(value=bytes(2000))])
        with pytest.raises(taffrail.Refused) as caught:
            list(client.read("t", give_up_after=0))
        assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_producer_stores_once_what_it_has_to_send_again(client: taffrail.Client, proxy: Proxy) -> None:
    client.create_topic("t")
    with taffrail.Client(proxy.address) as behind:
        producer = behind.producer("t", return_versions=True)
        producer.append(numbered(1))
        proxy.hold_answers()
        appending = beside(lambda: producer.append(numbered(2)))
        wait_until(lambda: client.describe_topic("t").partitions[0].high_watermark == 2)
        proxy.cut()
        appended = appending.result(PATIENCE)
        assert (appended.ranges[0].first_offset, appended.ranges[0].versions) == (1, (2,))
        producer.append(numbered(3))
    assert values(list(client.read("t"))) == [b"1", b"2", b"3"]


def test_the_outcome_of_an_append_without_a_producer_is_unknown(client: taffrail.Client, proxy: Proxy) -> None:
    client.create_topic("t")
    with taffrail.Client(proxy.address) as behind:
        behind.describe_topic("t")
        proxy.hold_answers()
        appending = beside(lambda: behind.append("t", numbered(1)))
        wait_until(lambda: client.describe_topic("t").partitions[0].high_watermark == 1)
        proxy.cut()
        assert isinstance(appending.exception(PATIENCE), taffrail.OutcomeUnknown)
    assert values(list(client.read("t"))) == [b"1"]


def test_a_deadline_leaves_the_outcome_of_a_change_open_and_a_question_unanswered(
    client: taffrail.Client, proxy: Proxy
) -> None:
    client.create_topic("t")
    with taffrail.Client(proxy.address) as behind:
        behind.describe_topic("t")
        proxy.hold_answers()
        hasty = behind.with_timeout(0.2)
        with pytest.raises(taffrail.OutcomeUnknown) as unknown:
            hasty.append("t", numbered(1))
        assert unknown.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        with pytest.raises(taffrail.Unavailable):
            hasty.describe_topic("t")


def test_another_thread_can_cancel_an_append_and_the_connection_goes_on(client: taffrail.Client, proxy: Proxy) -> None:
    client.create_topic("t")
    with taffrail.Client(proxy.address) as behind:
        behind.describe_topic("t")
        proxy.hold_answers()
        cancellation = taffrail.Cancellation()
        appending = beside(lambda: cancellation.client(behind).append("t", numbered(1)))
        wait_until(lambda: client.describe_topic("t").partitions[0].high_watermark == 1)
        cancellation.cancel()
        error = appending.exception(PATIENCE)
        assert isinstance(error, taffrail.Cancelled) and isinstance(error, taffrail.OutcomeUnknown)
        with pytest.raises(taffrail.Cancelled):
            cancellation.client(behind).append("t", numbered(2))
        proxy.release()
        behind.append("t", numbered(3))
    assert values(list(client.read("t"))) == [b"1", b"3"]


def test_what_a_closed_client_is_asked_ends_finally(client: taffrail.Client, proxy: Proxy) -> None:
    client.create_topic("t")
    behind = taffrail.Client(proxy.address)
    producer = behind.producer("t")
    reading = behind.read("t", follow=True, give_up_after=None)
    member = behind.join("g", ["t"], give_up_after=None)
    waiting = [beside(lambda: next(reading)), beside(lambda: next(member))]
    proxy.hold_answers()
    appending = [beside(lambda: behind.append("t", numbered(1))), beside(lambda: producer.append(numbered(2)))]
    wait_until(lambda: client.describe_topic("t").partitions[0].high_watermark == 2)
    behind.close()
    for each in waiting:
        assert isinstance(each.exception(PATIENCE), taffrail.Closed)
    for sent in appending:
        assert isinstance(sent.exception(PATIENCE), taffrail.OutcomeUnknown)
    calls: list[Callable[[], object]] = [
        lambda: next(member),
        lambda: behind.append("t", numbered(3)),
        lambda: behind.read("t"),
        lambda: behind.read_key("t", b"key"),
        lambda: behind.get_latest("t", [b"key"]),
        lambda: behind.join("g", ["t"]),
    ]
    for call in calls:
        with pytest.raises(taffrail.Closed):
            call()


def test_a_producer_that_is_cancelled_does_not_try_again(client: taffrail.Client, proxy: Proxy) -> None:
    client.create_topic("t")
    with taffrail.Client(proxy.address) as behind:
        cancellation = taffrail.Cancellation()
        producer = cancellation.client(behind).producer("t")
        proxy.hold_answers()
        appending = beside(lambda: producer.append(numbered(1)))
        wait_until(lambda: client.describe_topic("t").partitions[0].high_watermark == 1)
        cancellation.cancel()
        assert isinstance(appending.exception(PATIENCE), taffrail.Cancelled)
        proxy.release()
        resent = producer.resend()
        assert resent is not None and resent.ranges[0].first_offset == 0
        with pytest.raises(taffrail.Cancelled) as caught:
            producer.append(numbered(2))
        # It was never sent, and there is nothing to find out.
        assert not caught.value.was_sent
        assert producer.resend() is None
    assert values(list(client.read("t"))) == [b"1"]


def test_a_producer_that_gave_up_finds_out_what_became_of_its_append(client: taffrail.Client, proxy: Proxy) -> None:
    client.create_topic("t")
    with taffrail.Client(proxy.address) as behind:
        producer = behind.producer("t", give_up_after=0)
        proxy.hold_answers()
        appending = beside(lambda: producer.append(numbered(1)))
        wait_until(lambda: client.describe_topic("t").partitions[0].high_watermark == 1)
        proxy.cut()
        assert isinstance(appending.exception(PATIENCE), taffrail.OutcomeUnknown)
        with pytest.raises(taffrail.OutcomeUnknown, match="resend"):
            producer.append(numbered(2))
        patient = beside(lambda: until_answered(producer))
        assert patient.result(PATIENCE).ranges[0].first_offset == 0
        assert producer.resend() is None
    assert values(list(client.read("t"))) == [b"1"]


def until_answered(producer: taffrail.Producer) -> taffrail.Appended:
    while True:
        try:
            appended = producer.resend()
            assert appended is not None
            return appended
        except taffrail.OutcomeUnknown:
            pass


@pytest.mark.on_disk
def test_a_broker_that_is_not_there_has_stored_nothing(broker: Broker, client: taffrail.Client) -> None:
    client.create_topic("t")
    producer = client.producer("t", give_up_after=0)
    broker.kill()
    # What is sent on a connection that is about to break may have arrived.
    wait_until(lambda: "failed to connect" in why_it_is_away(client))
    with pytest.raises(taffrail.Unavailable):
        client.append("t", numbered(1))
    with pytest.raises(taffrail.Unavailable):
        producer.append(numbered(1))
    broker.start()
    wait_until(lambda: not why_it_is_away(client))
    assert producer.append(numbered(1)).ranges[0].first_offset == 0


def why_it_is_away(client: taffrail.Client) -> str:
    try:
        client.describe_topic("t")
        return ""
    except taffrail.Unavailable as error:
        return error.message


@pytest.mark.on_disk
def test_a_producer_goes_on_after_a_restart(broker: Broker, client: taffrail.Client) -> None:
    client.create_topic("t")
    producer = client.producer("t", name="p")
    producer.append(numbered(1))
    broker.kill()
    appending = beside(lambda: producer.append(numbered(2)))
    broker.start()
    assert appending.result(PATIENCE).ranges[0].first_offset == 1


def test_a_producer_is_fenced_for_good_by_another_of_its_name(client: taffrail.Client) -> None:
    client.create_topic("t")
    old, new = client.producer("t", name="p"), client.producer("t", name="p")
    new.append(numbered(1))
    for _ in range(2):
        with pytest.raises(taffrail.Fenced):
            old.append(numbered(2))
    assert values(list(client.read("t"))) == [b"1"]


def test_a_producer_puts_keys_where_the_broker_does(client: taffrail.Client) -> None:
    client.create_topic("t", 7)
    keys = [bytes([number]) * number for number in range(1, 40)]
    client.producer("t").append([Record(key=key) for key in keys])
    client.append("t", [Record(key=key) for key in keys])
    assert all(latest.version == 2 for latest in client.get_latest("t", keys))
    # The values of Kafka's own tests.
    assert [murmur2(text) for text in (b"21", b"foobar", b"")] == [-973_932_308 % 2**32, -790_332_482 % 2**32, 275_646_681]


def test_time_passes_where_a_test_says_so(broker: Broker, client: taffrail.Client) -> None:
    client.create_topic("t")
    first = client.append("t", numbered(1)).ranges[0]
    broker.advance(3_600)
    second = client.append("t", numbered(2)).ranges[0]
    assert second.append_time_ms - first.append_time_ms >= 3_600_000


def test_what_the_broker_bounds_is_told(client: taffrail.Client) -> None:
    limits = client.limits()
    assert (limits["record_bytes"], limits["append_records"]) == (8 << 20, 65_536)
