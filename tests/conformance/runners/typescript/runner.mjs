/**
 * Carries out the commands of the conformance kit with the TypeScript client, as `npm test` has built it: one command a line
 * on standard input, one answer a line on standard output. See ../../README.md.
 */

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const {
  AlreadyExists,
  Client,
  CommitOutcome,
  Conflict,
  DamagedRecords,
  Fenced,
  NotFound,
  OffsetOutOfRange,
  OutcomeUnknown,
  Refused,
  Unavailable,
} = await import("../../../../clients/typescript/build/src/index.js");

/** The first that fits: a conflict is a refusal, too. */
const KINDS = [
  [Conflict, "conflict"],
  [Fenced, "fenced"],
  [NotFound, "not_found"],
  [AlreadyExists, "already_exists"],
  [OffsetOutOfRange, "out_of_range"],
  [DamagedRecords, "damaged"],
  [Refused, "refused"],
  [OutcomeUnknown, "outcome_unknown"],
  [Unavailable, "unavailable"],
];

/** What grpc-js calls gzip. */
const GZIP = 2;

class Unsupported extends Error {}

const named = new Map();
const underWay = new Map();
const client = (c) => named.get(c.client);

const commands = {
  connect(c) {
    named.set(
      c.as,
      new Client(c.address, {
        timeoutMs: c.timeout_ms ?? 30_000,
        ...(c.ca && { tls: { ca: readFileSync(c.ca) } }),
        ...(c.token && { token: c.token }),
        ...(c.gzip && { channelOptions: { "grpc.default_compression_algorithm": GZIP } }),
      }),
    );
  },

  disconnect(c) {
    client(c).close();
  },

  async create_topic(c, signal) {
    await client(c).createTopic(c.topic, { partitions: c.partitions, signal });
  },

  async describe_topic(c, signal) {
    const { partitions } = await client(c).describeTopic(c.topic, { signal });
    return {
      partitions: partitions.map(({ partition, earliest, highWatermark }) => {
        return { partition, earliest: String(earliest), high_watermark: String(highWatermark) };
      }),
    };
  },

  async append(c, signal) {
    const conditions = (c.conditions ?? []).map(condition);
    const options = { partition: c.partition, conditions, returnVersions: true, signal };
    const { ranges } = await client(c).append(c.topic, c.records.map(record), options);
    return {
      ranges: ranges.map(({ partition, firstOffset, versions }) => {
        return { partition, first_offset: String(firstOffset), versions: versions.map(String) };
      }),
    };
  },

  async producer(c, signal) {
    const { name = "", give_up_after_ms: giveUpAfterMs = 120_000 } = c;
    named.set(c.as, await client(c).producer(c.topic, { name, giveUpAfterMs, signal }));
  },

  async produce(c, signal) {
    await named.get(c.of).append(c.records.map(record), { signal });
  },

  async resend(c, signal) {
    await named.get(c.of).resend({ signal });
  },

  async read(c) {
    const { follow, partitions = [], types = [], max_records: maxRecords = 0 } = c;
    const keys = (c.keys ?? []).map(octets);
    const options = { start: position(c.start), follow, partitions, types, keys, maxRecords: BigInt(maxRecords) };
    named.set(c.as, await client(c).read(c.topic, options));
  },

  async read_key(c) {
    const reading = await client(c).readKey(c.topic, octets(c.key), { fromVersion: BigInt(c.from_version ?? 0) });
    named.set(c.as, reading[Symbol.asyncIterator]());
  },

  async next(c, signal) {
    const of = named.get(c.of);
    // A read has a signal of its own, and is cancelled by closing it.
    signal.addEventListener("abort", () => of.close?.());
    const records = [];
    while (records.length < c.count) {
      const { done, value } = await of.next();
      if (done) return { records, end: true };
      records.push(stored(value));
    }
    return { records, end: false };
  },

  async close(c) {
    const of = named.get(c.of);
    await (of.close ? of.close() : of.return());
  },

  async latest(c, signal) {
    const found = await client(c).getLatest(c.topic, c.keys.map(octets), { signal });
    return {
      latest: found.map(({ version, record }) => {
        return { version: String(version), record: record ? stored(record) : null };
      }),
    };
  },

  async erase(c, signal) {
    await client(c).erase(c.topic, octets(c.key), { signal });
  },

  async join(c) {
    const member = await client(c).join(c.group, {
      topics: c.topics,
      name: c.name ?? "",
      sessionTimeoutMs: c.session_timeout_ms ?? 10_000,
      creditRecords: BigInt(c.credit_records ?? 1_000),
      commitsExplicitly: c.commits_explicitly ?? false,
      commitIntervalMs: c.commit_interval_ms ?? 1_000,
    });
    named.set(c.as, member);
  },

  async commit(c) {
    const results = await named.get(c.of).commit();
    const nameOf = ({ outcome }) => CommitOutcome[outcome].replace("COMMIT_OUTCOME_", "");
    return { outcomes: results.map(nameOf) };
  },

  async leave(c) {
    await named.get(c.of).leave();
  },

  async committed(c, signal) {
    const offsets = await client(c).committed(c.group, { signal });
    return { offsets: offsets.map(({ topic, partition, nextOffset }) => [topic, partition, String(nextOffset)]).sort() };
  },

  cancel(c) {
    underWay.get(c.what).abort();
  },
};

function record({ key, value, type, headers, timestamp_ms: timestampMs, event_id: eventId }) {
  return {
    ...(key !== undefined && { key: octets(key) }),
    ...(value !== undefined && { value: octets(value) }),
    ...(type !== undefined && { type }),
    ...(headers !== undefined && { headers: headers.map(([name, value]) => ({ name, value: octets(value) })) }),
    ...(timestampMs !== undefined && { timestampMs: BigInt(timestampMs) }),
    ...(eventId !== undefined && { eventId: octets(eventId) }),
  };
}

function stored(record) {
  return {
    partition: record.partition,
    offset: String(record.offset),
    key: record.key?.toString("hex") ?? null,
    value: record.value?.toString("hex") ?? null,
    type: record.type,
    headers: record.headers.map(({ name, value }) => [name, Buffer.from(value).toString("hex")]),
    timestamp_ms: String(record.timestampMs),
    event_id: record.eventId.toString("hex"),
    version: record.version === undefined ? null : String(record.version),
    erased: record.isErased,
  };
}

function condition({ key, version, absent, partition, next_offset: nextOffset }) {
  if (nextOffset !== undefined) return { partition, nextOffset: BigInt(nextOffset) };
  if (version !== undefined) return { key: octets(key), version: BigInt(version) };
  return absent ? { key: octets(key), absent: true } : { key: octets(key), exists: true };
}

function position(start = "earliest") {
  if (typeof start === "string") return start;
  return start.offset === undefined ? new Date(Number(start.time_ms)) : BigInt(start.offset);
}

function octets(text) {
  return Buffer.from(text, "hex");
}

function described(error, signal) {
  if (error instanceof Unsupported) return { kind: "unsupported" };
  if (signal.aborted && error === signal.reason) return { kind: "cancelled" };
  const [, kind] = KINDS.find(([type]) => error instanceof type) ?? [];
  if (!kind) return { kind: "bug", message: `${error?.stack ?? error}` };
  const { reason, message, metadata, failed = [] } = error;
  return { kind, reason, message, metadata, failed: failed.map(({ index, actual }) => [index, String(actual)]) };
}

async function answer(command) {
  const { id } = command;
  const aborting = new AbortController();
  underWay.set(id, aborting);
  let answer;
  try {
    const run = commands[command.do];
    if (!run) throw new Unsupported();
    answer = { id, ok: (await run(command, aborting.signal)) ?? {} };
  } catch (error) {
    answer = { id, error: described(error, aborting.signal) };
  }
  underWay.delete(id);
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

for await (const line of createInterface({ input: process.stdin })) void answer(JSON.parse(line));
process.exit(0);
