"""The client for asyncio: what the tests of the client for threads, which is made of it, cannot show."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from conftest import PATIENCE, Proxy, numbered
from test_groups import is_heard
from test_reads import calls

import taffrail
from taffrail import aio
from taffrail.testing import Broker


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), PATIENCE))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    while not await holds():
        await asyncio.sleep(0.01)


async def end_of(client: aio.Client) -> int:
    return (await client.describe_topic("t")).partitions[0].high_watermark


def test_a_follow_goes_on_after_kill_9_and_a_restart(broker: Broker) -> None:
    async def test() -> None:
        async with aio.Client(broker.address) as client:
            await client.create_topic("t")
            producer = await client.producer("t")
            await producer.append(numbered(0))
            async with await client.read("t", follow=True) as reading:
                assert (await anext(reading)).value == b"0"
                for number in range(1, 4):
                    following = asyncio.create_task(anext(reading))
                    broker.crash()
                    await producer.append(numbered(number))
                    assert (await following).value == b"%d" % number

    run(test)


def test_a_producer_stores_once_what_it_has_to_send_again(broker: Broker, proxy: Proxy) -> None:
    async def test() -> None:
        async with aio.Client(broker.address) as client, aio.Client(proxy.address) as behind:
            await client.create_topic("t")
            producer = await behind.producer("t")
            proxy.hold_answers()
            appending = asyncio.create_task(producer.append(numbered(0)))
            await until(lambda: at_end(client, 1))
            proxy.cut()
            assert (await appending).ranges[0].first_offset == 0
            assert (await producer.append(numbered(1))).ranges[0].first_offset == 1

    run(test)


async def at_end(client: aio.Client, end: int) -> bool:
    return await end_of(client) == end


def test_what_became_of_a_cancelled_append_can_be_found_out(broker: Broker, proxy: Proxy) -> None:
    async def test() -> None:
        async with aio.Client(broker.address) as client, aio.Client(proxy.address) as behind:
            await client.create_topic("t")
            producer = await behind.producer("t")
            proxy.hold_answers()
            appending = asyncio.create_task(producer.append(numbered(0)))
            await until(lambda: at_end(client, 1))
            appending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await appending
            proxy.cut()
            with pytest.raises(taffrail.OutcomeUnknown):
                await producer.append(numbered(1))
            resent = await producer.resend()
            assert resent is not None and resent.ranges[0].first_offset == 0
            await producer.append(numbered(1))
            assert [record.value async for record in await client.read("t")] == [b"0", b"1"]

    run(test)


def test_a_read_ends_where_its_task_is_cancelled_and_where_it_is_left(broker: Broker) -> None:
    async def test() -> None:
        async with aio.Client(broker.address) as client:
            await client.create_topic("t")
            await client.append("t", numbered(0))

            async def follow() -> None:
                async with await client.read("t", follow=True) as reading:
                    async for _ in reading:
                        pass

            following = asyncio.create_task(follow())
            await until(lambda: has_calls(broker, 2))
            following.cancel()
            with pytest.raises(asyncio.CancelledError):
                await following
            await until(lambda: has_calls(broker, 1))
            async for _ in await client.read("t", follow=True):
                break
            await until(lambda: has_calls(broker, 1))
            reading = await client.read("t", follow=True)
            await anext(reading)
            waiting = asyncio.create_task(collect(reading))
            await until(lambda: has_calls(broker, 2))
            reading.close()
            assert await waiting == []

    run(test)


async def collect(reading: aio.Reading) -> list[taffrail.StoredRecord]:
    return [record async for record in reading]


async def has_calls(broker: Broker, number: int) -> bool:
    return await asyncio.to_thread(calls, broker) == number


def test_a_member_goes_on_after_a_restart_hands_over_and_is_fenced(broker: Broker) -> None:
    async def test() -> None:
        async with aio.Client(broker.address) as client:
            await client.create_topic("t", 2)
            producer = await client.producer("t")
            for partition in range(2):
                await producer.append(numbered(partition, key=None), partition=partition)
            member = await client.join("g", ["t"], name="m")
            assert {(await anext(member)).value for _ in range(2)} == {b"0", b"1"}
            assert set(await member.commit()) == {taffrail.CommitOutcome.DONE}
            following = asyncio.create_task(anext(member))
            broker.crash()
            await producer.append(numbered(2, key=None), partition=0)
            assert (await following).value == b"2"
            await member.commit()
            following = asyncio.create_task(anext(member))
            async with await client.join("g", ["t"]) as other:
                going = asyncio.create_task(anext(other))
                await until(lambda: has_partitions(member, other))
                moved = other.partitions[0].partition
                await producer.append(numbered(3, key=None), partition=moved)
                await producer.append(numbered(4, key=None), partition=1 - moved)
                assert (await going).value == b"3"
                assert (await following).value == b"4"
            async with await client.join("g", ["t"], name="m"):
                for _ in range(2):
                    with pytest.raises(taffrail.Fenced):
                        await anext(member)

    run(test)


def test_a_member_whose_joining_again_was_cancelled_joins_when_it_is_asked_next(broker: Broker, proxy: Proxy) -> None:
    async def test() -> None:
        async with aio.Client(broker.address) as client, aio.Client(proxy.address) as behind:
            await client.create_topic("t")
            member = await behind.join("g", ["t"])
            proxy.cut()
            # There is a connection before answers are held, or it would not get as far as joining.
            await until(lambda: is_there(behind))
            await until(lambda: has_calls(broker, 1))
            proxy.hold_answers()
            joining = asyncio.create_task(anext(member))
            await until(lambda: has_calls(broker, 2))
            joining.cancel()
            with pytest.raises(asyncio.CancelledError):
                await joining
            proxy.release()
            await client.append("t", numbered(0))
            assert (await anext(member)).value == b"0"
            assert await member.commit() == [taffrail.CommitOutcome.DONE]
            await member.leave()

    run(test)


async def is_there(client: aio.Client) -> bool:
    try:
        await client.describe_topic("t")
        return True
    except taffrail.Unavailable:
        return False


async def has_partitions(*members: aio.Member) -> bool:
    return all(len(member.partitions) == 1 for member in members)


def test_a_member_is_heard_while_its_program_waits_for_something_else(broker: Broker) -> None:
    async def test() -> None:
        async with aio.Client(broker.address) as client:
            await client.create_topic("t")
            async with await client.join("g", ["t"], session_timeout=3):
                heard: set[int] = set()
                await until(lambda: asyncio.to_thread(is_heard, broker, heard))

    run(test)


def test_a_deadline_of_the_users_own_is_a_cancellation(broker: Broker, proxy: Proxy) -> None:
    async def test() -> None:
        async with aio.Client(proxy.address) as client:
            await client.create_topic("t")
            proxy.hold_answers()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.append("t", numbered(0))
            with pytest.raises(taffrail.OutcomeUnknown):
                await client.with_timeout(0.1).append("t", numbered(0))

    run(test)


def test_what_a_closed_client_is_asked_ends_finally(broker: Broker, proxy: Proxy) -> None:
    async def test() -> None:
        async with aio.Client(broker.address) as client:
            await client.create_topic("t")
            behind = aio.Client(proxy.address)
            reading = await behind.read("t", follow=True, give_up_after=None)
            member = await behind.join("g", ["t"], give_up_after=None)
            following, consuming = asyncio.create_task(anext(reading)), asyncio.create_task(anext(member))
            await until(lambda: has_calls(broker, 3))
            proxy.hold_answers()
            appending = asyncio.create_task(behind.append("t", numbered(1)))
            await until(lambda: at_end(client, 1))
            await behind.close()
            for waiting in (following, consuming):
                with pytest.raises(taffrail.Closed):
                    await waiting
            with pytest.raises(taffrail.OutcomeUnknown):
                await appending
            with pytest.raises(taffrail.Closed):
                await anext(member)
            with pytest.raises(taffrail.Closed):
                await behind.append("t", numbered(2))
            with pytest.raises(taffrail.Closed):
                await behind.join("g", ["t"])

    run(test)
