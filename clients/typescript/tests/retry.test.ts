/** When there is another try, by a clock that the test turns. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Refused, Unavailable } from "../src/index.js";
import { murmur2 } from "../src/records.js";
import { FIRST_PAUSE_MS, LAST_PAUSE_MS, Retries } from "../src/retry.js";

const AWAY = new Unavailable("away");

void test("pauses double up to a limit and begin anew with progress", () => {
  const retries = new Retries(Infinity);
  for (let number = 0; number < 20; number++) {
    const longest = Math.min(FIRST_PAUSE_MS * 2 ** number, LAST_PAUSE_MS);
    const pause = retries.pause(AWAY);
    assert.ok(longest / 2 <= pause && pause <= longest, `pause ${number} is ${pause}`);
  }
  retries.progress();
  assert.ok(retries.pause(AWAY) <= FIRST_PAUSE_MS);
  assert.equal(retries.pause(new Unavailable("away", { retryAfterMs: 7_000 })), 7_000);
});

void test("there is no other try when the time is over, and the whole time again behind that", () => {
  let now = 0;
  const retries = new Retries(10, () => now);
  for (let round = 0; round < 2; round++) {
    // The time for failures begins with the first failure, however long the program made no call before.
    now += 1_000;
    retries.pause(AWAY);
    now += 9;
    retries.pause(AWAY);
    retries.progress();
    retries.pause(AWAY);
    now += 9;
    retries.pause(AWAY);
    now += 2;
    assert.throws(() => retries.pause(AWAY), Unavailable);
  }
});

void test("what was refused is not tried again, but for want of room", () => {
  const retries = new Retries(Infinity);
  assert.throws(() => retries.pause(new Refused("no", { reason: "UNKNOWN_TOPIC" })), Refused);
  retries.pause(new Refused("full", { reason: "DISK_FULL" }));
});

void test("a refusal that says when it will have passed is waited for, if there is time", () => {
  const retries = new Retries(10_000);
  const quota = (retryAfterMs: number) => new Refused("too much", { reason: "QUOTA_EXCEEDED", retryAfterMs });
  assert.equal(retries.pause(quota(7_000)), 7_000);
  for (const after of [11_000, 0]) assert.throws(() => retries.pause(quota(after)), Refused);
});

void test("whoever waits for the next try is told why its signal was aborted", async () => {
  const stopping = new AbortController();
  const waiting = new Retries(Infinity).wait(new Unavailable("away", { retryAfterMs: 1e6 }), stopping.signal);
  stopping.abort("enough");
  await assert.rejects(waiting, (reason) => reason === "enough");
});

void test("keys are hashed as Kafka's own tests have it", () => {
  const hashes = ["21", "foobar", "", "a", "ab", "abc", "\u00ff".repeat(4)].map((key) => murmur2(Buffer.from(key)));
  assert.deepEqual(hashes.slice(0, 3), [-973_932_308, -790_332_482, 275_646_681]);
  assert.deepEqual(
    hashes.slice(3),
    hashes.slice(3).map((hash) => hash | 0),
  );
});
