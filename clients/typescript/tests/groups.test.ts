/** Members of consumer groups, that are fenced, killed, cut off and told to hand over. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

import {
  AlreadyExists,
  CommitOutcome,
  Fenced,
  NotFound,
  OutcomeUnknown,
  Refused,
  Unavailable,
  type Client,
  type JoinOptions,
} from "../src/index.js";
import { GroupsService, type AssignedPartition } from "../src/generated/taffrail/v1/groups.js";
import { eventually, failureOf, rejected, take, test, testOnDisk, until } from "./world.js";

const join = (client: Client, options: JoinOptions = {}) => client.join("g", { topics: ["t"], ...options });
const describe = (client: Client) =>
  client.connection.ask(GroupsService.describe, { group: "g", pageSize: 0, after: undefined });

test("what was handled is committed, and nothing else", async (world) => {
  const { client } = world;
  await client.createTopic("t");
  await world.append("t", 0, 1, 2, 3, 4);
  const first = await join(client);
  assert.deepEqual(await take(first, 2), ["0", "1"]);
  await first.leave();
  assert.equal((await first.next()).done, true);
  await rejected(first.commit(), Unavailable);
  assert.deepEqual(await world.committed(), { "t/0": 2n });
  // The last one that was given is not handled, however the loop is left.
  for await (const record of await join(client)) if (record.offset === 3n) break;
  assert.deepEqual(await world.committed(), { "t/0": 3n });
  const failing = async () => {
    for await (const record of await join(client)) if (record.offset === 4n) throw new RangeError("not this one");
  };
  await rejected(failing(), RangeError);
  assert.deepEqual(await world.committed(), { "t/0": 4n });
  await client.deleteGroup("g");
  await rejected(client.committed("g"), NotFound);
});

test("a member commits by itself when there is nothing else to do", async (world) => {
  await world.client.createTopic("t");
  await world.append("t", 0, 1);
  const member = await join(world.client);
  await take(member, 2);
  const waiting = take(member, 1);
  await until(async () => (await world.committed())["t/0"] === 2n);
  await rejected(member.next(), Error);
  await world.append("t", 2);
  assert.deepEqual(await waiting, ["2"]);
});

test("a member that commits explicitly is told what came of it", async (world) => {
  await world.client.createTopic("t");
  await world.append("t", 0, 1, 2);
  const member = await join(world.client, { commitsExplicitly: true });
  const batches = member.batches();
  const batch = (await batches.next()).value;
  assert.ok(batch);
  assert.equal(batch.records.length, 3);
  const outcomes = async (...offsets: Parameters<typeof member.commit>) => {
    return (await member.commit(...offsets)).map(({ outcome }) => outcome);
  };
  assert.deepEqual(await outcomes(), [CommitOutcome.COMMIT_OUTCOME_DONE]);
  assert.deepEqual(await outcomes(), []);
  assert.deepEqual(await outcomes([batch.next]), [CommitOutcome.COMMIT_OUTCOME_UNCHANGED]);
  assert.deepEqual(await outcomes([{ ...batch.next, nextOffset: 9n }]), [CommitOutcome.COMMIT_OUTCOME_BEYOND_END]);
  const stale = { ...batch.next, generation: batch.next.generation + 1n };
  assert.deepEqual(await outcomes([stale]), [CommitOutcome.COMMIT_OUTCOME_FENCED]);
  await assert.rejects(outcomes([{ ...batch.next, nextOffset: -1n }]), Refused);
  assert.deepEqual(await outcomes([batch.next]), [CommitOutcome.COMMIT_OUTCOME_UNCHANGED]);
  await world.append("t", 3);
  // A commit does not wait for records that are being waited for.
  const following = batches.next();
  const last = (await following).value;
  const waiting = batches.next();
  assert.deepEqual(await outcomes([last?.next ?? batch.next]), [CommitOutcome.COMMIT_OUTCOME_DONE]);
  await member.close();
  assert.equal((await waiting).done, true);
  assert.deepEqual(await world.committed(), { "t/0": 4n });
  const other = await join(world.client, { commitsExplicitly: true });
  await world.append("t", 4);
  await take(other, 1);
  await other.leave();
  assert.deepEqual(await world.committed(), { "t/0": 4n });
});

test("credit is given back for what was handled", async (world) => {
  await world.client.createTopic("t", { partitions: 2 });
  for (let number = 0; number < 10; number++) await world.appendTo("t", number % 2, number);
  const member = await join(world.client, { creditRecords: 1n });
  assert.deepEqual((await take(member, 10)).sort(), [..."0123456789"]);
});

test("a member begins where it is told to", async (world) => {
  await world.client.createTopic("t");
  await world.append("t", 0, 1);
  const member = await join(world.client, { start: "latest" });
  const next = take(member, 1);
  await until(async () => member.partitions.length === 1);
  await world.append("t", 2);
  assert.deepEqual(await next, ["2"]);
});

test("a partition is handed over behind what was handled", async (world) => {
  await world.client.createTopic("t", { partitions: 4 });
  for (let number = 0; number < 40; number++) await world.appendTo("t", number % 4, number);
  const gone: number[] = [];
  const old = await join(world.client, {
    onRevoked: async (partitions, areLost) => {
      assert.equal(areLost, false);
      gone.push(...partitions.map(({ partition }) => partition));
    },
  });
  await take(old, 40);
  const following = take(old, 1);
  const began: AssignedPartition[] = [];
  const young = await join(world.client, { onAssigned: (assigned) => void began.push(...assigned) });
  const going = take(young, 1);
  // The newcomer gets two of the four, behind all that the first one had handled.
  await until(async () => began.length === 2);
  assert.deepEqual(began.map(({ partition }) => partition).sort(), gone.sort());
  assert.deepEqual(
    began.map(({ nextOffset }) => nextOffset),
    [10n, 10n],
  );
  await world.appendTo("t", gone[0] ?? 0, 100);
  await world.appendTo("t", old.partitions[0]?.partition ?? 0, 101);
  assert.deepEqual([await going, await following], [["100"], ["101"]]);
});

test("a member is heard while its program is busy", async ({ client }) => {
  await client.createTopic("t");
  await join(client, { sessionTimeoutMs: 3_000 });
  const heard = new Set<bigint>();
  await until(async () => {
    const { members } = await describe(client);
    assert.equal(members[0]?.connected, true);
    heard.add(members[0].lastHeardMs);
    return heard.size === 4;
  });
});

test("a fenced member says so on every call", async (world) => {
  await world.client.createTopic("t");
  const old = await join(world.client, { name: "m" });
  const young = await join(world.client, { name: "m" });
  await world.append("t", 0);
  await rejected(old.next(), Fenced);
  await rejected(old.next(), Fenced);
  await rejected(old.commit(), Fenced);
  assert.deepEqual(await take(young, 1), ["0"]);
});

const KILLED = `
  import { Client } from ${JSON.stringify(new URL("../src/index.js", import.meta.url).href)};
  const member = await new Client(process.argv[1]).join("g", { topics: ["t"], sessionTimeoutMs: 1000 });
  for await (const record of member) console.log(String(record.offset));
`;

test("the partitions of a killed member move", async (world) => {
  await world.client.createTopic("t", { partitions: 4 });
  for (let partition = 0; partition < 4; partition++) await world.appendTo("t", partition, 0);
  const command = ["--input-type=module", "--eval", KILLED, world.broker.address];
  const killed = spawn(process.execPath, command, { stdio: ["ignore", "pipe", "inherit"] });
  let given = 0;
  for await (const line of createInterface({ input: killed.stdout })) {
    assert.equal(line, "0");
    given += 1;
    if (given === 4) break;
  }
  killed.kill("SIGKILL");
  await once(killed, "exit");
  const member = await join(world.client);
  const missing = new Set(["10", "11", "12", "13"]);
  for (let partition = 0; partition < 4; partition++) await world.appendTo("t", partition, 10 + partition);
  while (missing.size > 0) missing.delete((await take(member, 1))[0] ?? "");
  assert.equal(member.partitions.length, 4);
});

testOnDisk("a member goes on after kill -9 and a restart", async (world) => {
  const { broker, client } = world;
  await client.createTopic("t");
  await world.append("t", 0);
  const lost: boolean[] = [];
  const member = await join(client, { onRevoked: (_, areLost) => void lost.push(areLost) });
  assert.deepEqual(await take(member, 1), ["0"]);
  const { id } = member;
  for (let number = 1; number < 4; number++) {
    await member.commit();
    await broker.kill();
    const following = take(member, 1);
    await broker.start();
    await world.append("t", number);
    assert.deepEqual(await following, [String(number)]);
  }
  assert.equal(member.id, id);
  assert.deepEqual(lost, [true, true, true]);
  await member.leave();
  assert.deepEqual(await world.committed(), { "t/0": 4n });
});

test("what was not committed when the connection broke comes again", async (world) => {
  await world.client.createTopic("t");
  await world.append("t", 0, 1, 2);
  const proxy = await world.proxy();
  const member = await join(world.connect(proxy.address), { commitsExplicitly: true });
  assert.deepEqual(await take(member, 1), ["0"]);
  await member.commit();
  assert.deepEqual(await take(member, 2), ["1", "2"]);
  proxy.cut();
  assert.deepEqual(await take(member, 2), ["1", "2"]);
  proxy.holdAnswers();
  const committing = failureOf(member.commit());
  await until(async () => (await world.committed())["t/0"] === 3n);
  proxy.cut();
  assert.ok((await committing) instanceof OutcomeUnknown);
});

test("a member that leaves says that it does not know what is committed", async (world) => {
  await world.client.createTopic("t");
  await world.append("t", 0);
  const proxy = await world.proxy();
  const member = await join(world.connect(proxy.address));
  await take(member, 1);
  proxy.holdAnswers();
  const leaving = failureOf(member.leave());
  await until(async () => (await world.committed())["t/0"] === 1n);
  proxy.cut();
  assert.ok((await leaving) instanceof OutcomeUnknown);
});

testOnDisk("a member whose broker is away for too long says so and can go on", async (world) => {
  const { broker, client } = world;
  await client.createTopic("t");
  await world.append("t", 0);
  const member = await join(client, { giveUpAfterMs: 0 });
  await take(member, 1);
  await broker.kill();
  await rejected(member.next(), Unavailable);
  await rejected(member.next(), Unavailable);
  await broker.start();
  await world.append("t", 1);
  let came;
  while ((came = await eventually(member)) !== "1") assert.equal(came, "0");
});

test("a paused partition gives nothing until it is resumed, also after a break", async (world) => {
  const { client } = world;
  await client.createTopic("t", { partitions: 2 });
  await world.appendTo("t", 0, 0);
  await world.appendTo("t", 1, 1);
  const proxy = await world.proxy();
  const member = await join(world.connect(proxy.address));
  await take(member, 2);
  const paused = [{ topic: "t", partition: 0 }];
  member.pause(paused);
  for (let number = 2; number < 6; number++) {
    await world.appendTo("t", 0, -number);
    await world.appendTo("t", 1, number);
    if (number === 4) {
      await member.commit();
      proxy.cut();
    }
    for (let value; value !== String(number);) {
      const record = (await member.next()).value;
      // After the break what was not committed comes again, but nothing of the paused one.
      assert.equal(record?.partition, 1);
      value = String(record.value);
    }
  }
  const missing = new Set(["-2", "-3", "-4", "-5"]);
  member.resume(paused);
  while (missing.size > 0) missing.delete((await take(member, 1))[0] ?? "");
});

test("a member that waits is told that it was closed, also by its signal", async ({ client }) => {
  await client.createTopic("t");
  const member = await join(client);
  const waiting = member.next();
  await member.close();
  await member.close();
  assert.equal((await waiting).done, true);
  const stopping = new AbortController();
  const stopped = await join(client, { signal: stopping.signal });
  const failing = failureOf(stopped.next());
  stopping.abort("enough");
  assert.equal(await failing, "enough");
  assert.equal(await failureOf(join(client, { signal: stopping.signal })), "enough");
  await until(async () => (await describe(client)).members.length === 0);
});

test("offsets are committed with an append, or neither is", async (world) => {
  const { client } = world;
  await client.createTopic("t");
  await client.createTopic("out");
  await world.append("t", 0, 1);
  const member = await join(client, { commitsExplicitly: true });
  const batch = (await member.batches().next()).value;
  assert.ok(batch);
  const append = (value: string, generation: bigint) => {
    return client.append("out", [{ value }], { groupOffsets: [member.groupOffsets([{ ...batch.next, generation }])] });
  };
  await append("5", batch.next.generation);
  assert.deepEqual(await world.committed(), { "t/0": 2n });
  await rejected(append("6", batch.next.generation + 1n), Fenced);
  assert.deepEqual(await world.values("out"), ["5"]);
});

test("a fork that replays is told what the other group has handled", async (world) => {
  const { client } = world;
  await client.createTopic("t");
  await world.append("t", 0, 1, 2);
  const member = await join(client);
  await take(member, 2);
  await member.leave();
  await client.forkGroup("g", "replaying", { replay: true });
  const replaying = await client.join("replaying", { topics: ["t"] });
  for (const isReplayed of [true, true, false]) {
    assert.equal((await replaying.next()).value?.isReplayed, isReplayed);
  }
  await client.forkGroup("g", "going-on");
  assert.equal((await client.committed("going-on"))[0]?.nextOffset, 2n);
  await rejected(client.forkGroup("g", "going-on"), AlreadyExists);
});

test("the committed offsets of many partitions are told", async ({ client }) => {
  await client.createTopic("t", { partitions: 1_001 });
  const offsets = Array.from({ length: 1_001 }, (_, partition) => {
    return { topic: "t", partition, topicId: "", nextOffset: 0n, generation: 0n, metadata: Buffer.alloc(0) };
  });
  await client.connection.ask(GroupsService.commit, { group: "g", offsets, force: false });
  const committed = await client.committed("g");
  assert.deepEqual(
    committed.map(({ partition }) => partition),
    offsets.map(({ partition }) => partition),
  );
});

test("a partition that cannot be read on is told, and the others are read", async (world) => {
  const { client } = world;
  await client.createTopic("t", { partitions: 2 });
  await world.appendTo("t", 0, 0);
  await world.appendTo("t", 1, 1);
  const before = await join(client);
  await take(before, 2);
  await before.leave();
  await world.appendTo("t", 0, 2, 3);
  await client.trim("t", 0, 3n);
  await world.appendTo("t", 1, 4);
  const failed: unknown[] = [];
  const member = await join(client, {
    onFailed: ({ topic, partition, reason, earliest }) => void failed.push({ topic, partition, reason, earliest }),
  });
  assert.deepEqual(await take(member, 1), ["4"]);
  await world.appendTo("t", 1, 5);
  assert.deepEqual(await take(member, 1), ["5"]);
  assert.deepEqual(failed, [{ topic: "t", partition: 0, reason: "OFFSET_OUT_OF_RANGE", earliest: 3n }]);
  await member.leave();
});
