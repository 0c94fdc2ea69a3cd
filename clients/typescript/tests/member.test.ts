/** What a member says to the broker, and gives to its program, message by message. */

import assert from "node:assert/strict";
import { test as nodeTest } from "node:test";
import { setImmediate } from "node:timers/promises";

import { status as Code, type ServerDuplexStream } from "@grpc/grpc-js";

import { Client, DamagedRecords, type Member } from "../src/index.js";
import { GroupsService, type ConsumeRequest, type ConsumeResponse } from "../src/generated/taffrail/v1/groups.js";
import { GroupOffset } from "../src/generated/taffrail/v1/log.js";
import { Record } from "../src/generated/taffrail/v1/record.js";
import { failure, serve } from "./fake.js";
import { failureOf } from "./world.js";

const PLACE = { topic: "t", partition: 0 };
const PARTITIONS = { partitions: [{ ...PLACE, topicId: "id" }] };

/** A member that has a partition, and the broker's side of its stream. */
class Session {
  member!: Member;
  #stream!: ServerDuplexStream<ConsumeRequest, ConsumeResponse>;
  #said: string[] = [];

  consume(stream: ServerDuplexStream<ConsumeRequest, ConsumeResponse>): void {
    this.#stream = stream;
    stream.on("data", ({ message }: ConsumeRequest) => {
      if (message?.$case === "join") {
        this.say({ $case: "joined", value: { memberId: "m", sessionTimeoutMs: 10_000n, drainTimeoutMs: 1_000n } });
        this.assign(1n);
        return;
      }
      if (message?.$case === "commit") this.say({ $case: "committed", value: { results: [] } });
      const words = inWords(message);
      if (words) this.#said.push(words);
    });
  }

  say(message: ConsumeResponse["message"]): void {
    this.#stream.write({ message });
  }

  refuse(error: object): void {
    this.#stream.emit("error", error);
  }

  /** Ends the stream, and waits until the member has joined again. */
  async breakOff(): Promise<void> {
    const broken = this.#stream;
    this.refuse({ code: Code.UNAVAILABLE });
    while (this.#stream === broken) await failureOf(this.arrival());
  }

  assign(generation: bigint): void {
    const assigned = { ...PLACE, topicId: "id", generation, nextOffset: 0n, highWatermark: 9n, replayedBelow: 0n };
    this.say({ $case: "assigned", value: { partitions: [{ ...assigned, committed: undefined }] } });
  }

  revoke(drainMs: bigint): void {
    this.say({ $case: "revoked", value: { partitions: PARTITIONS, drainMs } });
  }

  records(generation: bigint, ...offsets: bigint[]): void {
    const nextOffset = (offsets.at(-1) ?? 0n) + 1n;
    const next = GroupOffset.fromPartial({ ...PLACE, topicId: "id", generation, nextOffset });
    const records = offsets.map((offset) => Record.fromPartial({ offset }));
    const cost = { records: BigInt(offsets.length), bytes: 1n };
    const value = { next, cost, records, highWatermark: 9n, caughtUp: false, replayedBelow: 0n, erased: [] };
    this.say({ $case: "records", value });
  }

  /** Waits until everything that was sent has come to the member. */
  async arrival(): Promise<void> {
    await this.member.commit([GroupOffset.create()]);
  }

  /** The next record is the one at this offset. */
  async gives(offset: bigint): Promise<void> {
    assert.equal((await this.member.next()).value?.offset, offset);
  }

  /** The member says this, and nothing else, since it was asked last. */
  async says(...words: string[]): Promise<void> {
    while (this.#said.length < words.length) await setImmediate();
    assert.deepEqual(this.#said.splice(0), words);
  }
}

/** The message in words; undefined for a heartbeat, and for the commit of `arrival`. */
function inWords(message: ConsumeRequest["message"]): string | undefined {
  switch (message?.$case) {
    case "credit":
      return `credit ${message.value.records}`;
    case "commit": {
      const [offset] = message.value.offsets;
      return offset?.generation ? `commit ${offset.nextOffset} in ${offset.generation}` : undefined;
    }
    case "drained":
    case "pause":
      return `${message.$case} ${message.value.partitions.length}`;
    default:
      return undefined;
  }
}

function test(name: string, run: (session: Session) => Promise<void>, commitIntervalMs = 1e6): void {
  void nodeTest(name, { timeout: 60_000 }, async () => {
    const session = new Session();
    const server = await serve(GroupsService, {
      consume: (stream: ServerDuplexStream<ConsumeRequest, ConsumeResponse>) => session.consume(stream),
    });
    const client = new Client(`127.0.0.1:${server.port}`);
    try {
      session.member = await client.join("g", { topics: ["t"], commitIntervalMs });
      await run(session);
    } finally {
      client.close();
      server.close();
    }
  });
}

test("what was handled is committed before a partition is handed over", async (session) => {
  session.records(1n, 0n, 1n, 2n);
  await session.gives(0n);
  await session.gives(1n);
  session.revoke(1_000n);
  await session.arrival();
  const following = session.member.next();
  await session.says("credit 3", "commit 2 in 1", "drained 1");
  session.assign(2n);
  session.records(2n, 4n);
  assert.equal((await following).value?.offset, 4n);
  // A partition that is lost is not handed over, and not committed.
  session.records(2n, 5n);
  session.revoke(0n);
  session.assign(3n);
  session.records(3n, 6n);
  await session.arrival();
  await session.gives(6n);
  await session.says("credit 1", "credit 1");
});

test("what a broken stream had is not given, and not committed on the next one", async (session) => {
  session.records(1n, 0n, 1n);
  session.records(1n, 2n);
  await session.gives(0n);
  await session.arrival();
  await session.gives(1n);
  await session.breakOff();
  session.records(1n, 0n);
  await session.gives(0n);
  void failureOf(session.member.next());
  await session.says("credit 1", "commit 1 in 1");
});

test("what was read before a partition is assigned anew is not committed", async (session) => {
  session.records(1n, 5n, 6n);
  await session.gives(5n);
  session.assign(2n);
  session.records(2n, 0n);
  await session.arrival();
  await session.gives(0n);
  await session.says("credit 2");
  void failureOf(session.member.next());
  await session.says("credit 1", "commit 1 in 2");
});

test("what was handled is committed while records come, one commit at a time", async (session) => {
  session.records(1n, 0n, 1n, 2n, 3n);
  for (const offset of [0n, 1n, 2n, 3n]) await session.gives(offset);
  await session.says("commit 1 in 1");
  await session.arrival();
  session.records(1n, 4n, 5n);
  await session.arrival();
  await session.gives(4n);
  await session.says("credit 4", "commit 4 in 1");
}, 0);

test("a paused partition is paused again where it is assigned anew, until it is handed over", async (session) => {
  session.records(1n, 0n);
  await session.gives(0n);
  session.member.pause([PLACE]);
  await session.says("pause 1");
  await session.breakOff();
  const following = session.member.next();
  await session.says("pause 1");
  session.revoke(1_000n);
  await session.says("drained 1");
  session.assign(2n);
  session.records(2n, 1n);
  assert.equal((await following).value?.offset, 1n);
});

test("a refusal of the broker ends a member, and every call says it", async (session) => {
  session.refuse(failure(Code.DATA_LOSS, "DAMAGED_RECORDS", { partition: "0", from_offset: "7" }));
  for (const call of [() => session.member.next(), () => session.member.commit(), () => session.member.next()]) {
    const refused = await failureOf(call());
    assert.ok(refused instanceof DamagedRecords);
    assert.equal(refused.number("from_offset"), 7n);
  }
});
