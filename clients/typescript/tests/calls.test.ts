/** Topics, appends, entities, and what goes wrong with them. */

import assert from "node:assert/strict";

import { status as Code } from "@grpc/grpc-js";

import {
  AlreadyExists,
  Conflict,
  Fenced,
  NotFound,
  OutcomeUnknown,
  Refused,
  TaffrailError,
  Unavailable,
  type Condition,
  type NewRecord,
  type StoredRecord,
} from "../src/index.js";
import { failureOf, numbered, rejected, test, testOnDisk, text, until } from "./world.js";

testOnDisk("a broker is reached by its URL and by its socket", async (world) => {
  for (const address of [`http://${world.broker.address}/`, `unix:${world.broker.dataDir}/admin.sock`]) {
    assert.equal((await world.connect(address).topics().next()).done, true);
  }
});

test("topics are created, listed, altered, trimmed and deleted", async ({ client }) => {
  await client.createTopic("a.1", { partitions: 2, settings: { "retention.ms": "1d" } });
  await client.createTopic("a.2");
  await client.createTopic("b");
  const names = [];
  for await (const topic of client.topics("a.")) names.push(topic.name);
  assert.deepEqual(names, ["a.1", "a.2"]);
  const described = await client.describeTopic("a.1");
  assert.equal(described.settings["retention.ms"], "86400000");
  assert.equal(described.partitions.length, 2);
  const altered = await client.alterTopic("a.1", { set: { "retention.bytes": "1GiB" }, reset: ["retention.ms"] });
  assert.equal(altered.settings["retention.bytes"], "1073741824");
  assert.equal(altered.settings["retention.ms"], "-1");
  assert.deepEqual(await client.wouldRemove("a.2", { set: { "retention.bytes": "256KiB" } }), []);
  assert.equal((await client.describeTopic("a.2")).settings["retention.bytes"], "-1");
  await client.append("b", numbered(0, 1, 2));
  assert.equal(await client.trim("b", 0, 2n), 2n);
  await client.deleteTopic("b");
  const unknown = await rejected(client.describeTopic("b"), NotFound);
  assert.equal(unknown.reason, "UNKNOWN_TOPIC");
  assert.equal(unknown.metadata["topic"], "b");
  await rejected(client.createTopic("a.1"), AlreadyExists);
});

test("topics are listed page by page", async ({ client }) => {
  const names = Array.from({ length: 1_001 }, (_, number) => `t${String(number).padStart(4, "0")}`);
  await Promise.all(names.map((name) => client.createTopic(name)));
  const listed = [];
  for await (const topic of client.topics()) listed.push(topic.name);
  assert.deepEqual(listed, names);
});

test("a conflict says what does not hold and the actual version", async ({ client }) => {
  await client.createTopic("t");
  await client.append("t", numbered(1, 2));
  const holds: Condition = { key: "key", version: 2n };
  const conditions: Condition[] = [
    holds,
    { key: "other", exists: true },
    { partition: 0, nextOffset: 2n },
    { key: Buffer.from("key"), version: 1n },
    { partition: 0, nextOffset: 2n ** 64n - 1n },
    { key: "key", absent: true },
  ];
  const conflict = await rejected(client.append("t", numbered(3), { conditions }), Conflict);
  assert.deepEqual(conflict.failed, [
    { index: 1, actual: 0n },
    { index: 3, actual: 2n },
    { index: 4, actual: 2n },
    { index: 5, actual: 2n },
  ]);
  assert.equal(conflict.actual, 0n);
  assert.equal(conflict.code, Code.ABORTED);
  const appended = await client.append("t", numbered(3), { conditions: [holds] });
  assert.equal(appended.ranges[0]?.firstOffset, 2n);
});

test("a condition that is none of the forms is refused before it is sent", async ({ client }) => {
  await client.createTopic("t");
  await client.append("t", [{ key: "x", value: "1" }]);
  const spoilt = [
    [{ key: "x", verson: 0n }, /verson/],
    [{ key: "x" }, /not { key }/],
    [{ key: "x", version: undefined }, /not { key }/],
    [{ key: "x", absent: false }, /absent: false/],
    [{ key: "x", exists: false }, /exists: false/],
    [{ key: "x", version: 0n, exists: true }, /version, exists: true/],
    [{ key: "x", version: 0 }, /version of a condition is a bigint, not number/],
    [{ key: null, version: 0n }, /key of a condition is bytes or a text, not null/],
    [{ partition: 0 }, /not { partition }/],
    [{ partition: 0, nextOffset: 1 }, /nextOffset of a condition is a bigint/],
    [{ partition: "0", nextOffset: 1n }, /partition of a condition is a number/],
    [{ version: 0n }, /not { version }/],
  ] as const;
  for (const [condition, message] of spoilt) {
    const append = client.append("t", [{ key: "x", value: "2" }], { conditions: [condition as unknown as Condition] });
    await assert.rejects(append, { name: "TypeError", message });
  }
  const left = { key: "x", version: 1n, topic: undefined, exists: undefined } as unknown as Condition;
  await client.append("t", [{ key: "x", value: "2" }], { conditions: [left] });
});

test("what is no part of a record is named", async ({ client }) => {
  await client.createTopic("t");
  const producer = await client.producer("t");
  const spoilt = [
    [{ value: null }, /a value is bytes or a text, not null/],
    [{ value: { a: 1 } }, /a value is bytes or a text, not object/],
    [{ key: 1 }, /a key is bytes or a text, not number/],
    [{ type: 1 }, /a type is a string, not number/],
    [{ timestampMs: 1 }, /timestampMs is a bigint, not number/],
    [{ eventId: 1n }, /an eventId is bytes or a text, not bigint/],
    [{ headers: [{ value: "v" }] }, /the name of a header is a string, not undefined/],
    [{ headers: [{ name: "n" }] }, /the value of a header is bytes or a text, not undefined/],
  ] as const;
  for (const [record, message] of spoilt) {
    for (const appender of [client.append("t", [record as unknown as NewRecord]), producer.append([record as never])]) {
      await assert.rejects(appender, { name: "TypeError", message });
    }
  }
  await producer.append([{ value: "right" }]);
  for (const key of [null, undefined, 1] as unknown as string[]) {
    const message = /a key is bytes or a text/;
    await assert.rejects(client.getLatest("t", [key]), { name: "TypeError", message });
    await assert.rejects(client.readKey("t", key), { name: "TypeError", message });
    await assert.rejects(client.erase("t", key), { name: "TypeError", message });
  }
});

test("an append to several topics is one", async (world) => {
  const { client } = world;
  await client.createTopic("a");
  await client.createTopic("b");
  const batches = [
    { topic: "a", records: numbered(1) },
    { topic: "b", records: numbered(2, 3) },
  ];
  const exists: Condition = { topic: "a", key: "key", exists: true };
  await rejected(client.appendBatches(batches, { conditions: [exists] }), Conflict);
  assert.deepEqual(await world.values("b"), []);
  const absent = { key: "key", absent: true } as const;
  const conditions = [{ topic: "a", ...absent }];
  const appended = await client.appendBatches(batches, { conditions, returnVersions: true });
  assert.deepEqual(
    appended.map((each) => each.ranges[0]?.versions),
    [[1n], [1n, 2n]],
  );
  await rejected(client.appendBatches(batches, { conditions: [absent] }), TypeError);
});

test("keys, values and headers are any bytes, and numbers have 64 bits", async ({ client }) => {
  await client.createTopic("t");
  const everything = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  const records: NewRecord[] = [
    { key: "\0", value: "" },
    {
      key: everything,
      value: everything,
      headers: [
        { name: "h", value: everything },
        { name: "h", value: "" },
      ],
      eventId: everything.subarray(100, 164),
    },
    { key: "k", timestampMs: 2n ** 63n - 1n },
    { value: "v", timestampMs: -(2n ** 63n) },
    { key: "user12", value: "grüße", type: "type", timestampMs: 2n ** 53n + 1n },
  ];
  await client.append("t", records);
  const read: StoredRecord[] = [];
  for await (const record of await client.read("t")) read.push(record);
  assert.equal(read.length, records.length);
  const bytes = (given: NewRecord["key"]) => (given === undefined ? undefined : Buffer.from(given as string));
  for (const [at, sent] of records.entries()) {
    const stored: StoredRecord | undefined = read[at];
    assert.deepEqual(stored?.key, bytes(sent.key));
    assert.deepEqual(stored?.value, bytes(sent.value));
    assert.deepEqual(stored?.eventId, bytes(sent.eventId ?? ""));
    assert.deepEqual(
      stored?.headers,
      (sent.headers ?? []).map(({ name, value }) => ({ name, value: bytes(value) })),
    );
    if (sent.timestampMs !== undefined) assert.equal(stored?.timestampMs, sent.timestampMs);
    assert.equal(stored?.offset, BigInt(at));
  }
  assert.deepEqual(
    read.map((record) => record.version),
    [1n, 1n, 1n, undefined, 1n],
  );
  const found = [];
  for await (const record of await client.read("t", { keys: [everything] })) found.push(record.offset);
  for await (const record of await client.read("t", { types: ["type"] })) found.push(record.offset);
  assert.deepEqual(found, [1n, 4n]);
  assert.equal((await rejected(client.append("t", [{ key: "" }]), Refused)).reason, "MALFORMED_RECORD");
  // What does not fit its field is not sent.
  await rejected(client.append("t", [{ value: "v", timestampMs: 2n ** 63n }]), Refused);
});

test("an entity is read by version, and erased", async ({ client }) => {
  await client.createTopic("t", { partitions: 4 });
  await client.append("t", numbered(1, 2, 3));
  const values = async (reading: Awaited<ReturnType<typeof client.readKey>>) => {
    const found = [];
    for await (const record of reading) found.push(text(record));
    return found;
  };
  const reading = await client.readKey("t", "key", { fromVersion: 2n });
  assert.equal(reading.latestVersion, 3n);
  assert.deepEqual(await values(reading), ["2", "3"]);
  assert.deepEqual(await values(await client.readKey("t", "key", { backward: true, maxRecords: 1n })), ["3"]);
  assert.equal((await client.readKey("t", "never")).latestVersion, 0n);
  const [never, key] = await client.getLatest("t", ["never", "key"]);
  assert.deepEqual([never?.version, never?.record, String(never?.key)], [0n, undefined, "never"]);
  assert.deepEqual([key?.version, String(key?.record?.value), key?.record?.partition], [3n, "3", key?.partition]);
  const erasure = await client.erase("t", "key");
  assert.ok(erasure.id > 2n ** 32n);
  for await (const record of await client.read("t")) assert.ok(record.isErased && record.value === undefined);
  await until(async () => (await client.describeErasure(erasure.id)).complete);
});

test("what is too large is refused, and what a topic may have is read", async (world) => {
  const { client } = world;
  await client.createTopic("t");
  await client.createTopic("large", { settings: { "max.record.bytes": "8MiB" } });
  const producer = await client.producer("t");
  const large = Buffer.alloc(2 << 20);
  assert.equal((await rejected(producer.append([{ value: large }]), Refused)).reason, "RECORD_TOO_LARGE");
  assert.equal((await producer.append(numbered(1))).ranges[0]?.firstOffset, 0n);
  const huge = { key: "key", value: Buffer.alloc(7 << 20) };
  const tooMuch = await rejected(client.append("large", [huge, huge, huge]), Refused);
  assert.equal(tooMuch.reason, "REQUEST_TOO_LARGE");
  // A larger response than grpc-js receives by default.
  await client.append("large", [huge]);
  for await (const record of await client.read("large")) assert.equal(record.value?.length, 7 << 20);
  for await (const record of await client.readKey("large", "key")) assert.equal(record.value?.length, 7 << 20);
  // A limit of the user's own is not run into again and again.
  const limited = world.connect(world.broker.address, { channelOptions: { "grpc.max_receive_message_length": 1_000 } });
  const refused = await rejected((await limited.read("large")).next(), Refused);
  assert.equal(refused.code, Code.RESOURCE_EXHAUSTED);
});

test("a producer stores once what it has to send again", async (world) => {
  const { client } = world;
  await client.createTopic("t");
  const proxy = await world.proxy();
  const producer = await world.connect(proxy.address).producer("t", { returnVersions: true });
  await producer.append(numbered(1));
  proxy.holdAnswers();
  const appending = producer.append(numbered(2));
  await until(async () => (await world.end("t")) === 2n);
  proxy.cut();
  const { ranges } = await appending;
  assert.deepEqual([ranges[0]?.firstOffset, ranges[0]?.versions], [1n, [2n]]);
  // They wait for each other.
  await Promise.all([producer.append(numbered(3)), producer.append(numbered(4))]);
  assert.deepEqual(await world.values("t"), ["1", "2", "3", "4"]);
});

test("the outcome of an append without a producer is unknown", async (world) => {
  await world.client.createTopic("t");
  const proxy = await world.proxy();
  const behind = world.connect(proxy.address);
  await behind.describeTopic("t");
  proxy.holdAnswers();
  const appending = failureOf(behind.append("t", numbered(1)));
  await until(async () => (await world.end("t")) === 1n);
  proxy.cut();
  assert.ok((await appending) instanceof OutcomeUnknown);
  assert.deepEqual(await world.values("t"), ["1"]);
});

test("a deadline or a signal leaves the outcome of a change open, and a question unanswered", async (world) => {
  await world.client.createTopic("t");
  const proxy = await world.proxy();
  const behind = world.connect(proxy.address, { timeoutMs: 200 });
  const patient = world.connect(proxy.address);
  await behind.describeTopic("t");
  await patient.describeTopic("t");
  proxy.holdAnswers();
  const late = await rejected(behind.append("t", numbered(1)), OutcomeUnknown);
  assert.equal(late.code, Code.DEADLINE_EXCEEDED);
  await rejected(behind.describeTopic("t"), Unavailable);
  const stopping = new AbortController();
  const appending = rejected(patient.append("t", numbered(2), { signal: stopping.signal }), OutcomeUnknown);
  const asking = failureOf(patient.describeTopic("t", { signal: stopping.signal }));
  await until(async () => (await world.end("t")) === 2n);
  stopping.abort("enough");
  assert.equal((await appending).cause, "enough");
  assert.equal(await asking, "enough");
  assert.equal(await failureOf(patient.append("t", numbered(3), { signal: stopping.signal })), "enough");
  assert.equal(await world.end("t"), 2n);
});

test("a producer that gave up finds out what became of its append", async (world) => {
  await world.client.createTopic("t");
  const proxy = await world.proxy();
  const producer = await world.connect(proxy.address).producer("t", { giveUpAfterMs: 0 });
  proxy.holdAnswers();
  const appending = rejected(producer.append(numbered(1)), OutcomeUnknown);
  await until(async () => (await world.end("t")) === 1n);
  proxy.cut();
  await appending;
  assert.match((await rejected(producer.append(numbered(2)), OutcomeUnknown)).message, /resend/);
  let appended;
  while (!appended)
    appended = await producer.resend().catch((error: unknown) => void assert.ok(error instanceof OutcomeUnknown));
  assert.equal(appended.ranges[0]?.firstOffset, 0n);
  assert.equal(await producer.resend(), undefined);
  await producer.append(numbered(2));
  assert.deepEqual(await world.values("t"), ["1", "2"]);
});

test("a producer whose append was aborted finds out what became of it", async (world) => {
  await world.client.createTopic("t");
  const proxy = await world.proxy();
  const producer = await world.connect(proxy.address).producer("t");
  proxy.holdAnswers();
  const stopping = new AbortController();
  const appending = rejected(producer.append(numbered(1), { signal: stopping.signal }), OutcomeUnknown);
  await until(async () => (await world.end("t")) === 1n);
  stopping.abort("enough");
  assert.equal((await appending).cause, "enough");
  proxy.cut();
  assert.equal((await producer.resend())?.ranges[0]?.firstOffset, 0n);
});

testOnDisk("a broker that is not there has stored nothing", async (world) => {
  const { broker, client } = world;
  await client.createTopic("t");
  const producer = await client.producer("t", { giveUpAfterMs: 0 });
  await broker.kill();
  // What is sent on a connection that is about to break may have arrived.
  await until(async () => String(await failureOf(client.describeTopic("t"))).includes("No connection established"));
  await rejected(client.append("t", numbered(1)), Unavailable);
  await rejected(producer.append(numbered(1)), Unavailable);
  await broker.start();
  await world.untilAnswered();
  assert.equal((await producer.append(numbered(1))).ranges[0]?.firstOffset, 0n);
});

testOnDisk("a producer goes on after a restart", async ({ broker, client }) => {
  await client.createTopic("t");
  const producer = await client.producer("t", { name: "p" });
  await producer.append(numbered(1));
  await broker.kill();
  const appending = producer.append(numbered(2));
  await broker.start();
  assert.equal((await appending).ranges[0]?.firstOffset, 1n);
});

test("a producer is fenced for good by another of its name", async (world) => {
  const { client } = world;
  await client.createTopic("t");
  const old = await client.producer("t", { name: "p" });
  const young = await client.producer("t", { name: "p" });
  await young.append(numbered(1));
  await rejected(old.append(numbered(2)), Fenced);
  await rejected(old.append(numbered(2)), Fenced);
  await rejected(old.resend(), Fenced);
  assert.deepEqual(await world.values("t"), ["1"]);
});

test("a producer puts keys where the broker does", async ({ client }) => {
  await client.createTopic("t", { partitions: 7 });
  const keys = Array.from({ length: 40 }, (_, number) => Buffer.alloc(number + 1, 255 - number));
  const producer = await client.producer("t");
  await producer.append(keys.map((key) => ({ key })));
  await client.append(
    "t",
    keys.map((key) => ({ key })),
  );
  assert.ok((await client.getLatest("t", keys)).every((latest) => latest.version === 2n));
  const appended = [];
  for (let turn = 0; turn < 7; turn++) appended.push(...(await producer.append([{ value: "v" }])).ranges);
  assert.deepEqual(appended.map(({ partition }) => partition).sort(), [0, 1, 2, 3, 4, 5, 6]);
  assert.equal((await producer.append([{ value: "v" }], { partition: 3 })).ranges[0]?.partition, 3);
});

test("a client that was closed says so, also to those who wait", async (world) => {
  await world.client.createTopic("t");
  const client = world.connect(world.broker.address);
  const reading = await client.read("t", { follow: true });
  const following = failureOf(reading.next());
  const member = await client.join("g", { topics: ["t"] });
  const consuming = failureOf(member.next());
  client.close();
  for (const failure of [await following, await consuming, await failureOf(client.describeTopic("t"))]) {
    assert.ok(failure instanceof TaffrailError);
    assert.equal(failure.message, "the client was closed");
  }
});

test("time passes where a test says so", async ({ broker, client }) => {
  await client.createTopic("t");
  await client.append("t", [{ value: "1" }]);
  await broker.advance(3_600_000);
  await client.append("t", [{ value: "2" }]);
  const times = [];
  for await (const { appendTimeMs } of await client.read("t")) times.push(appendTimeMs);
  assert.ok((times[1] ?? 0n) - (times[0] ?? 0n) >= 3_600_000n);
});

test("what the broker bounds is told", async ({ client }) => {
  const limits = await client.limits();
  assert.deepEqual([limits.get("record_bytes"), limits.get("append_records")], [8n << 20n, 65_536n]);
});
