/** Reads that follow, and what they do when the broker is lost. */

import assert from "node:assert/strict";
import { test as nodeTest } from "node:test";
import { setImmediate } from "node:timers/promises";

import { status as Code, type ServerWritableStream } from "@grpc/grpc-js";

import {
  Client,
  DamagedRecords,
  NotFound,
  OffsetOutOfRange,
  TaffrailError,
  Unavailable,
  type Position,
} from "../src/index.js";
import { BrokerService } from "../src/generated/taffrail/v1/broker.js";
import { LogService, type ReadRequest, type ReadResponse } from "../src/generated/taffrail/v1/log.js";
import { Record } from "../src/generated/taffrail/v1/record.js";
import { failure, serve } from "./fake.js";
import { eventually, failureOf, rejected, take, test, testOnDisk, text, until, type World } from "./world.js";

testOnDisk("a follow goes on after kill -9 and a restart", async (world) => {
  const { broker, client } = world;
  await client.createTopic("t", { partitions: 2 });
  await world.append("t", 0, 1);
  const reading = await client.read("t", { follow: true });
  assert.deepEqual(await take(reading, 2), ["0", "1"]);
  for (let number = 2; number < 6; number++) {
    await broker.kill();
    // It waits while there is no broker, and asks for records that come later.
    const following = take(reading, 1);
    await broker.start();
    await world.append("t", number);
    assert.deepEqual(await following, [String(number)]);
  }
  assert.deepEqual([...reading.positions().values()].sort(), [0n, 6n]);
});

test("a follow from the end misses nothing, though it was cut before it heard anything", async (world) => {
  const { broker, client } = world;
  await client.createTopic("t", { partitions: 3 });
  await world.append("t", 0);
  const reading = await client.read("t", { start: "latest", follow: true });
  await world.append("t", 1, 2);
  await broker.crash();
  assert.deepEqual(await take(reading, 2), ["1", "2"]);
});

testOnDisk("a follow goes on after a shutdown", async (world) => {
  const { broker, client } = world;
  await client.createTopic("t");
  await world.append("t", 0);
  const reading = await client.read("t", { follow: true });
  await take(reading, 1);
  const following = take(reading, 1);
  await broker.stop();
  await broker.start();
  await world.append("t", 1);
  assert.deepEqual(await following, ["1"]);
});

test("a follow that is cut between records has each once", async (world) => {
  await world.client.createTopic("t");
  const proxy = await world.proxy();
  const reading = await world.connect(proxy.address).read("t", { follow: true });
  for (let number = 0; number < 20; number++) {
    await world.append("t", number);
    assert.deepEqual(await take(reading, 1), [String(number)]);
    proxy.cut();
  }
});

test("a follow says what was trimmed while it was away", async (world) => {
  const { broker, client } = world;
  await client.createTopic("t");
  await world.append("t", 0, 1, 2);
  const reading = await client.read("t", { follow: true });
  await take(reading, 3);
  await broker.crash();
  await world.append("t", 3);
  await world.append("t", 4);
  await client.trim("t", 0, 4n);
  const failure = await rejected(reading.next(), OffsetOutOfRange);
  const numbers = ["partition", "earliest", "high_watermark"].map((name) => failure.number(name));
  assert.deepEqual(numbers, [0n, 4n, 5n]);
});

test("a follow ends where the topic was created anew", async (world) => {
  const { broker, client } = world;
  await client.createTopic("t");
  await world.append("t", 0);
  const reading = await client.read("t", { follow: true });
  await take(reading, 1);
  await broker.crash();
  await world.untilAnswered();
  await client.deleteTopic("t");
  await client.createTopic("t");
  await world.append("t", 1, 2);
  assert.match((await rejected(reading.next(), TaffrailError)).reason, /^(TOPIC_RECREATED|UNKNOWN_TOPIC)$/);
});

testOnDisk("the time that a follow waits is there again after it has given up", async (world) => {
  const { broker, client } = world;
  await client.createTopic("t");
  await world.append("t", 0);
  const reading = await client.read("t", { follow: true, giveUpAfterMs: 0 });
  await take(reading, 1);
  await broker.kill();
  await rejected(reading.next(), Unavailable);
  await rejected(reading.next(), Unavailable);
  await broker.start();
  await world.append("t", 1);
  assert.equal(await eventually(reading), "1");
});

test("a read is of what it is asked for", async (world) => {
  const { client } = world;
  await client.createTopic("t", { partitions: 2 });
  for (let number = 0; number < 4; number++) await world.appendTo("t", number % 2, number);
  const values = async (options: Parameters<Client["read"]>[1]) => {
    const found = [];
    for await (const record of await client.read("t", options)) found.push(text(record));
    return found;
  };
  assert.deepEqual(await values({ partitions: [1] }), ["1", "3"]);
  assert.deepEqual(
    await values({
      partitions: new Map<number, Position>([
        [0, 1n],
        [1, "latest"],
      ]),
    }),
    ["2"],
  );
  assert.equal((await values({ maxRecords: 3n })).length, 3);
  assert.deepEqual(await values({ start: new Date("2900-01-01") }), []);
  assert.equal((await values({ start: new Date(0) })).length, 4);
  await rejected(client.read("t", { partitions: [2] }), NotFound);
  const ends = [];
  for await (const batch of (await client.read("t")).batches()) {
    if (batch.isCaughtUp) ends.push([batch.partition, batch.nextOffset]);
  }
  assert.deepEqual(ends.sort(), [
    [0, 2n],
    [1, 2n],
  ]);
});

test("a read has its records also where it breaks off behind some", async (world) => {
  const { client } = world;
  await client.createTopic("t");
  for (let number = 0; number < 8; number++) {
    await client.append("t", [{ value: Buffer.alloc(1_000_000, String(number)) }]);
  }
  const proxy = await world.proxy();
  const read = [];
  for await (const record of await world.connect(proxy.address).read("t", { maxRecords: 7n })) {
    read.push(text(record)[0]);
    proxy.cut();
  }
  assert.deepEqual(read, [..."0123456"]);
});

test("a follow is ended by closing it, by leaving the loop, and by its signal", async (world) => {
  const { client } = world;
  await client.createTopic("t");
  await world.append("t", 0);
  const reading = await client.read("t", { follow: true });
  await take(reading, 1);
  const following = reading.next();
  await until(async () => (await calls(world)) === 2n);
  reading.close();
  assert.equal((await following).done, true);
  for await (const record of await client.read("t", { follow: true })) {
    assert.equal(record.offset, 0n);
    break;
  }
  for await (const batch of (await client.read("t", { follow: true })).batches()) {
    assert.equal(batch.partition, 0);
    break;
  }
  const stopping = new AbortController();
  const stopped = await client.read("t", { follow: true, signal: stopping.signal });
  await take(stopped, 1);
  const waiting = failureOf(stopped.next());
  stopping.abort("enough");
  assert.equal(await waiting, "enough");
  await until(async () => (await calls(world)) === 1n);
});

/** How many calls are under way, with the call that asks for the number. */
async function calls({ client }: World): Promise<bigint | undefined> {
  return (await client.connection.ask(BrokerService.status, {})).calls?.now;
}

test("a read that is not asked for more takes no more", async (world) => {
  const { client } = world;
  await client.createTopic("t");
  const megabytes = Array.from({ length: 10 }, () => ({ value: Buffer.alloc(1_000_000) }));
  for (let number = 0; number < 6; number++) await client.append("t", megabytes);
  const proxy = await world.proxy();
  const reading = await world.connect(proxy.address).read("t");
  await reading.next();
  // Meanwhile others read it all.
  for (let number = 0; number < 5; number++) assert.equal((await world.values("t")).length, 60);
  assert.ok(proxy.passed < 20_000_000, `${proxy.passed} bytes were taken`);
  await take(reading, 59);
  assert.equal((await reading.next()).done, true);
});

void nodeTest("what came ahead of an error is given before it", async () => {
  const server = await serve(LogService, {
    listOffsets: (_: unknown, answer: (error: null, response: unknown) => void) => {
      answer(null, { topicId: "id", offsets: [{ partition: 0, offset: 0n, earliest: 0n, highWatermark: 2000n }] });
    },
    read: (call: ServerWritableStream<ReadRequest, ReadResponse>) => {
      const at = call.request.partitions[0]?.position?.at;
      for (let offset = at?.$case === "offset" ? at.value : 0n; offset < 1_000n; offset++) {
        const records = [Record.fromPartial({ offset })];
        const response = {
          partition: 0,
          nextOffset: offset + 1n,
          highWatermark: 2000n,
          caughtUp: false,
          topicId: "id",
        };
        call.write({ ...response, erased: [], records });
      }
      call.emit("error", failure(Code.DATA_LOSS, "DAMAGED_RECORDS", { partition: "0", from_offset: "1000" }));
    },
  });
  const client = new Client(`127.0.0.1:${server.port}`);
  const reading = await client.read("t");
  for (let offset = 0n; offset < 1_000n; offset++) {
    assert.equal((await reading.next()).value?.offset, offset);
    await setImmediate();
  }
  assert.equal((await rejected(reading.next(), DamagedRecords)).number("from_offset"), 1000n);
  await rejected(reading.next(), DamagedRecords);
  client.close();
  server.close();
});

test("a place to start at that is none is refused", async ({ client }) => {
  await client.createTopic("t");
  for (const start of [2, 1700000000000, "lastest", null, new Date(NaN), {}] as unknown as bigint[]) {
    const refusal = {
      name: "TypeError",
      message: /a position is "earliest", "latest", an offset as a bigint or a Date/,
    };
    await assert.rejects(client.read("t", { start }), refusal);
    await assert.rejects(client.read("t", { partitions: new Map([[0, start]]) }), refusal);
    await assert.rejects(client.join("g", { topics: ["t"], start: start as unknown as Date }), refusal);
  }
});
