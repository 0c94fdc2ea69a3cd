# Made of ../aio/client.py by ../../generate: change that.
"""A connection to a broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc

from taffrail.sync.connection import Flag, Responses, call, open_channel, open_stream
from taffrail.sync.member import Member
from taffrail.sync.producer import Producer
from taffrail.sync.reading import KeyReading, Reading
from taffrail.errors import from_rpc
from taffrail.membership import OnAssigned, OnFailed, OnRevoked
from taffrail.model import (
    EARLIEST,
    Appended,
    Batch,
    Condition,
    Erasure,
    GroupOffsets,
    Latest,
    Position,
    Record,
    Removal,
    Topic,
    append_request,
    appended_from_wire,
    erasure_from_wire,
    latest_from_wire,
    removal_from_wire,
    topic_from_wire,
)
from taffrail.options import MAX_RESPONSE_BYTES, VERSION, check_token
from taffrail.v1 import broker_pb2, broker_pb2_grpc
from taffrail.v1 import entities_pb2, entities_pb2_grpc, groups_pb2, groups_pb2_grpc
from taffrail.v1 import log_pb2, log_pb2_grpc, topics_pb2, topics_pb2_grpc



class Client:
    """Calls a broker. It connects when it is first used, and again when that is lost.

    One client is enough for a program, and may be used by all of it at the same time.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:9640",
        *,
        timeout: float = 30,
        token: str | None = None,
        token_without_encryption: bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """
        :param address: `HOST:PORT`, `unix:PATH`, or a URL: `https://` is TLS.
        :param timeout: how many seconds to wait for an answer; reads and members are not bounded by it.
        :param token: what `taffrail token create` has printed; every call shows it.
        :param token_without_encryption: the token may go to another machine without TLS, where everybody on the way can
            read it.
        :param credentials: for a broker that speaks TLS: `grpc.ssl_channel_credentials(...)`.
        :param metadata: sent with every call.
        :param options: grpcio's channel arguments, over those that this client sets.
        """
        if credentials is None and address.startswith("https://"):
            credentials = grpc.ssl_channel_credentials()
        self._channel = open_channel(address, credentials, dict(options or {}))
        self._closed = Flag()
        self._timeout = timeout
        if token is not None:
            check_token(token, address, credentials is not None or token_without_encryption)
            metadata = (*metadata, ("authorization", f"Bearer {token}"))
        self._metadata = tuple(metadata)
        self._connect_stubs()
        # What became of an append can be found out also after it was cancelled.
        self._resend = self._log.Append

    def _connect_stubs(self) -> None:
        # The generated stubs take either kind of channel, which their types do not say.
        channel: Any = self._channel
        self._log = log_pb2_grpc.LogStub(channel)
        self._topics = topics_pb2_grpc.TopicsStub(channel)
        self._entities = entities_pb2_grpc.EntitiesStub(channel)
        self._groups = groups_pb2_grpc.GroupsStub(channel)
        self._broker = broker_pb2_grpc.BrokerStub(channel)

    def close(self) -> None:
        """Ends every call that is under way: it raises Closed, or OutcomeUnknown if it asked for a change, and so do reads,
        members and producers, which go on no more."""
        self._closed.set()
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def with_timeout(self, timeout: float) -> Client:
        """The same connection with another time to wait for answers: `client.with_timeout(2).append(...)`."""
        other = object.__new__(Client)
        other.__dict__ = {**self.__dict__, "_timeout": timeout}
        return other

    def limits(self) -> dict[str, int]:
        """The broker's limits, by name, with the values that are configured: `record_bytes`, `append_records`, ..."""
        answer = self._ask(self._broker.Limits, broker_pb2.LimitsRequest())
        return {limit.name: limit.most for limit in answer.limits}

    # Topics

    def create_topic(self, name: str, partitions: int = 1, settings: Mapping[str, str] | None = None) -> Topic:
        """Creates a topic. `settings` are those of `proto/taffrail/v1/topics.proto`: `{"retention.ms": "30d"}`."""
        request = topics_pb2.CreateTopicRequest(name=name, partitions=partitions, settings=settings or {})
        return topic_from_wire((self._change(self._topics.Create, request)).topic)

    def topics(self, prefix: str = "") -> Iterator[Topic]:
        """The topics by name, page by page."""
        after, more = "", True
        while more:
            request = topics_pb2.ListTopicsRequest(prefix=prefix, after=after)
            page = self._ask(self._topics.List, request)
            for topic in page.topics:
                after = topic.name
                yield topic_from_wire(topic)
            more = page.more

    def describe_topic(self, name: str) -> Topic:
        described = self._ask(self._topics.Describe, topics_pb2.DescribeTopicRequest(name=name))
        return topic_from_wire(described.topic, described.partitions)

    def alter_topic(
        self, name: str, settings: Mapping[str, str] | None = None, reset: Sequence[str] = ()
    ) -> Topic:
        """Changes settings, and gives those in `reset` their defaults again: all of it, or nothing."""
        request = topics_pb2.AlterTopicRequest(name=name, set=settings or {}, reset=reset)
        return topic_from_wire((self._change(self._topics.Alter, request)).topic)

    def would_remove(
        self, name: str, settings: Mapping[str, str] | None = None, reset: Sequence[str] = ()
    ) -> list[Removal]:
        """What `alter_topic` would remove at once; nothing is changed."""
        request = topics_pb2.AlterTopicRequest(name=name, set=settings or {}, reset=reset, dry_run=True)
        return [removal_from_wire(each) for each in (self._ask(self._topics.Alter, request)).would_remove]

    def delete_topic(self, name: str) -> None:
        self._change(self._topics.Delete, topics_pb2.DeleteTopicRequest(name=name))

    def trim(self, topic: str, partition: int, before_offset: int, *, force: bool = False) -> int:
        """Deletes the records before an offset. The partition's earliest offset now."""
        request = topics_pb2.TrimRequest(topic=topic, partition=partition, before_offset=before_offset, force=force)
        earliest: int = (self._change(self._topics.Trim, request)).earliest
        return earliest

    # Appends

    def append(
        self,
        topic: str,
        records: Sequence[Record],
        *,
        partition: int | None = None,
        conditions: Sequence[Condition] = (),
        group_offsets: Sequence[GroupOffsets] = (),
        return_versions: bool = False,
    ) -> Appended:
        """Appends to one topic: all records, or none. When this returns, they are synced to disk.

        It is not tried again: after OutcomeUnknown they are stored, or not. A producer finds out; see `producer`.

        :raises Conflict: a condition does not hold; `actual` says what is the case instead.
        """
        batches = [Batch(topic, records, partition)]
        appended = self.append_batches(
            batches, conditions=conditions, group_offsets=group_offsets, return_versions=return_versions
        )
        return appended[0]

    def append_batches(
        self,
        batches: Sequence[Batch],
        *,
        conditions: Sequence[Condition] = (),
        group_offsets: Sequence[GroupOffsets] = (),
        return_versions: bool = False,
    ) -> list[Appended]:
        """Appends to any number of topics in one atomic commit, as `append` does."""
        request = append_request(batches, conditions, group_offsets, return_versions)
        response = self._change(self._log.Append, request)
        return [appended_from_wire(batch.topic, each) for batch, each in zip(batches, response.batches)]

    def producer(
        self, topic: str, *, name: str = "", give_up_after: float = 120, return_versions: bool = False
    ) -> Producer:
        """Opens a producer, whose appends to the topic are stored exactly once.

        :param name: fences: once another producer of this name is opened, this one appends nothing more.
        :param give_up_after: for how many seconds an append is tried again.
        """
        described = self.describe_topic(topic)
        opened = self._change(self._log.OpenProducer, log_pb2.OpenProducerRequest(name=name))
        append = lambda request: self._change(self._log.Append, request)  # noqa: E731
        resend = lambda request: self._change(self._resend, request)  # noqa: E731
        return Producer(append, resend, described, opened.producer, give_up_after, return_versions)

    # Reads

    def read(
        self,
        topic: str,
        start: Position = EARLIEST,
        *,
        partitions: Sequence[int] | Mapping[int, Position] = (),
        follow: bool = False,
        max_records: int = 0,
        keys: Sequence[bytes] = (),
        types: Sequence[str] = (),
        give_up_after: float | None = 120,
    ) -> Reading:
        """Reads a topic, up to its end as it is now, or with `follow` on and on.

        Where it starts is settled when this returns. When the connection or the broker is lost, the read goes on by
        itself behind what it has had, once the broker is back.

        :param start: where to start: an offset, EARLIEST, LATEST, or a time.
        :param partitions: those to read, by default all; with a mapping each from a place of its own.
        :param keys, types: only records with one of these keys, of one of these types.
        :param give_up_after: for how many seconds the broker may be away; None: for ever.
        """
        each = partitions if isinstance(partitions, Mapping) else {partition: start for partition in partitions}
        request = log_pb2.ReadRequest(
            topic=topic, follow=follow, max_records=max_records, max_response_bytes=MAX_RESPONSE_BYTES
        )
        if keys or types:
            request.filter.CopyFrom(log_pb2.Filter(keys=keys, types=types))
        reading = Reading(self._open_read, request, give_up_after)
        reading.settle(lambda ask: self._ask(self._log.ListOffsets, ask), start, each)
        return reading

    def _open_read(self, request: log_pb2.ReadRequest) -> Responses[log_pb2.ReadResponse]:
        return Responses(open_stream(self._closed, self._log.Read, request, metadata=self._metadata), self._closed)

    # Entities

    def read_key(
        self, topic: str, key: bytes, *, from_version: int = 0, backward: bool = False, max_records: int = 0
    ) -> KeyReading:
        """Reads one entity by version, up to its latest as it is now."""
        request = entities_pb2.ReadKeyRequest(
            topic=topic,
            key=key,
            from_version=from_version,
            backward=backward,
            max_records=max_records,
            max_response_bytes=MAX_RESPONSE_BYTES,
        )
        responses = Responses[entities_pb2.ReadKeyResponse](
            open_stream(self._closed, self._entities.ReadKey, request, metadata=self._metadata), self._closed
        )
        reading = KeyReading(topic, responses)
        reading.open()
        return reading

    def get_latest(self, topic: str, keys: Sequence[bytes]) -> list[Latest]:
        """The latest record and version of up to 1,000 entities, in order, as they were at one moment."""
        request = entities_pb2.GetLatestRequest(topic=topic, keys=keys, max_response_bytes=MAX_RESPONSE_BYTES)
        responses = Responses[entities_pb2.GetLatestResponse](
            open_stream(
                self._closed, self._entities.GetLatest, request, timeout=self._timeout, metadata=self._metadata
            ),
            self._closed,
        )
        found: list[entities_pb2.LatestRecord] = []
        try:
            while (response := responses.next()) is not None:
                found.extend(response.latest)
        except grpc.RpcError as error:
            raise from_rpc(error, changes=False) from error
        return [latest_from_wire(topic, key, each) for key, each in zip(keys, found)]

    def erase(self, topic: str, key: bytes) -> Erasure:
        """Erases an entity: when this returns, no read returns its keys, values and headers any more."""
        request = entities_pb2.EraseKeyRequest(topic=topic, key=key)
        return erasure_from_wire((self._change(self._entities.EraseKey, request)).erasure)

    def describe_erasure(self, id: int) -> Erasure:
        """How far the removal of an entity's bytes from the files has come."""
        request = entities_pb2.DescribeErasureRequest(id=id)
        return erasure_from_wire((self._ask(self._entities.DescribeErasure, request)).erasure)

    # Groups

    def join(
        self,
        group: str,
        topics: Sequence[str] = (),
        *,
        topic_prefixes: Sequence[str] = (),
        name: str = "",
        start: Position = EARLIEST,
        credit_records: int = 1000,
        credit_bytes: int = 8 << 20,
        auto_commit: bool = True,
        commit_interval: float = 1,
        session_timeout: float = 10,
        give_up_after: float | None = 120,
        on_assigned: OnAssigned | None = None,
        on_revoked: OnRevoked | None = None,
        on_failed: OnFailed | None = None,
        client: str = f"taffrail-python/{VERSION}",
    ) -> Member:
        """Joins a consumer group, which is made if there is none.

        :param name: keeps the member's partitions for the next one that joins with it, and fences another that has it.
        :param start: EARLIEST, LATEST or a time: where to begin in partitions for which nothing is committed.
        :param credit_records, credit_bytes: how much is sent ahead of what has been handled.
        :param auto_commit: commit what was handled; otherwise only `Member.commit` does.
        :param session_timeout: how many seconds the member may be away and has its partitions still.
        :param give_up_after: for how many seconds the broker may be away; None: for ever.
        :param on_assigned: called with partitions that the member has from then on.
        :param on_revoked: called with partitions that go, and whether they are gone already.
        :param on_failed: called with a partition that cannot be read on, because its offset is gone or its records are
            damaged: the member goes on with its others. Without it, the member ends with that error.
        """
        join = groups_pb2.JoinGroup(
            group=group,
            max_response_bytes=MAX_RESPONSE_BYTES,
            topics=topics,
            topic_prefixes=topic_prefixes,
            member_name=name,
            credit=groups_pb2.Credit(records=credit_records, bytes=credit_bytes),
            session_timeout_ms=round(session_timeout * 1000),
            heartbeat=True,
            client=client,
        )
        member = Member(
            lambda requests, **more: Responses(
                open_stream(self._closed, self._groups.Consume, requests, **more), self._closed
            ),
            join,
            start,
            on_assigned,
            on_revoked,
            on_failed,
            auto_commit=auto_commit,
            commit_interval=commit_interval,
            give_up_after=give_up_after,
            timeout=self._timeout,
            metadata=self._metadata,
        )
        member.open()
        return member

    def fork_group(self, group: str, new_group: str, *, replay: bool = False) -> None:
        """Makes a group that goes on where the other one is.

        :param replay: it reads everything again instead, and what the other one has handled comes as `replayed`.
        """
        request = groups_pb2.ForkGroupRequest(group=group, new_group=new_group, replay=replay)
        self._change(self._groups.Fork, request)

    def delete_group(self, group: str) -> None:
        """Deletes a group that has no members, and its offsets."""
        self._change(self._groups.Delete, groups_pb2.DeleteGroupRequest(group=group))

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """The committed offsets of a group, by topic and partition."""
        request = groups_pb2.FetchOffsetsRequest(group=group)
        committed: dict[tuple[str, int], int] = {}
        while True:
            page = self._ask(self._groups.FetchOffsets, request)
            for each in page.offsets:
                committed[each.topic, each.partition] = each.next_offset
            if not page.more:
                return committed
            last = page.offsets[-1]
            request.after.CopyFrom(groups_pb2.GroupPartition(topic=last.topic, partition=last.partition))

    def _ask(self, method: Any, request: Any) -> Any:
        return self._call(method, request, changes=False)

    def _change(self, method: Any, request: Any) -> Any:
        return self._call(method, request, changes=True)

    def _call(self, method: Any, request: Any, changes: bool) -> Any:
        return call(self._closed, method, request, changes, timeout=self._timeout, metadata=self._metadata)
