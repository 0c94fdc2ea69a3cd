/** Records, places and conditions as a program has them, and on the wire. Offsets, versions and times have 64 bits: bigint. */

import { Record as WireRecord, type Header } from "./generated/taffrail/v1/record.js";
import {
  Condition as WireCondition,
  Edge,
  KeyCondition,
  Position as WirePosition,
} from "./generated/taffrail/v1/log.js";

/** Bytes; a text stands for its UTF-8. */
export type Bytes = Uint8Array | string;

/** A record to append. */
export interface NewRecord {
  /** What the record is about. Left out: nothing; else it is not empty. */
  key?: Bytes | undefined;
  /** The content. Left out: a tombstone, which says that the entity of this key has ended. */
  value?: Bytes | undefined;
  /** The type of the event. */
  type?: string;
  /** Application metadata, in order; names may repeat. */
  headers?: readonly { name: string; value: Bytes }[];
  /** When it happened, in milliseconds since 1970. Left out: when it is appended. */
  timestampMs?: bigint | undefined;
  /** The caller's identity for this event: see `AppendRequest.conditions` in log.proto. */
  eventId?: Bytes;
}

/** A record as it is stored. */
export interface StoredRecord {
  topic: string;
  partition: number;
  offset: bigint;
  key: Buffer | undefined;
  /** Undefined in a tombstone. */
  value: Buffer | undefined;
  /** Its number among the records of its key, from 1; undefined without a key, or in a topic with keys=plain. */
  version: bigint | undefined;
  type: string;
  headers: Header[];
  timestampMs: bigint;
  /** When the broker took it. */
  appendTimeMs: bigint;
  /** Empty if it has none. */
  eventId: Buffer;
  /** Key, value, headers and event id are gone. */
  isErased: boolean;
  /** The group that this one was forked from has handled it: only the group's own state should be built from it. */
  isReplayed: boolean;
}

/** A place in a log: an end, the record at an offset, or the first one at or after a time. */
export type Position = "earliest" | "latest" | bigint | Date;

/**
 * What must hold for an append to happen: an entity has this version (0: it never had a record), never had a record, or has
 * had one; or the partition's next record gets this offset. Of several topics in an append each condition names its own.
 */
export type Condition = { topic?: string } & (
  | { key: Bytes; version: bigint }
  | { key: Bytes; absent: true }
  | { key: Bytes; exists: true }
  | { partition: number; nextOffset: bigint }
);

export function toBytes(bytes: Bytes): Buffer {
  if (typeof bytes === "string") return Buffer.from(bytes);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function recordToWire({ key, value, type, headers, timestampMs, eventId }: NewRecord): WireRecord {
  const record = WireRecord.create();
  if (key !== undefined) record.key = toBytes(key);
  if (value !== undefined) record.value = toBytes(value);
  if (type !== undefined) record.type = type;
  if (headers !== undefined) record.headers = headers.map(({ name, value }) => ({ name, value: toBytes(value) }));
  if (timestampMs !== undefined) record.timestampMs = timestampMs;
  if (eventId !== undefined) record.eventId = toBytes(eventId);
  return record;
}

export function recordFromWire(topic: string, partition: number, wire: WireRecord, replayedBelow = 0n): StoredRecord {
  const { key, value, version, type, headers, timestampMs = 0n, appendTimeMs = 0n, eventId, offset = 0n } = wire;
  return {
    topic,
    partition,
    offset,
    key,
    value,
    version,
    type,
    headers,
    timestampMs,
    appendTimeMs,
    eventId,
    isErased: wire.erased !== undefined,
    isReplayed: offset < replayedBelow,
  };
}

export function positionToWire(position: Position): WirePosition {
  if (typeof position === "bigint") return { at: { $case: "offset", value: position } };
  if (position instanceof Date) return { at: { $case: "timestampMs", value: BigInt(position.getTime()) } };
  return { at: { $case: "edge", value: position === "latest" ? Edge.EDGE_LATEST : Edge.EDGE_EARLIEST } };
}

export function conditionToWire(condition: Condition, topic: string | undefined): WireCondition {
  const named = condition.topic ?? topic;
  if (named === undefined) throw new TypeError("in an append to several topics each condition names its topic");
  return { topic: named, topicId: "", about: aboutOf(condition) };
}

function aboutOf(condition: Condition): WireCondition["about"] {
  if ("partition" in condition) {
    const { partition, nextOffset } = condition;
    return { $case: "partition", value: { partition, nextOffset } };
  }
  return { $case: "key", value: { key: toBytes(condition.key), state: stateOf(condition) } };
}

function stateOf(condition: Exclude<Condition, { partition: number }>): KeyCondition["state"] {
  if ("version" in condition) return { $case: "version", value: condition.version };
  return "absent" in condition ? { $case: "absent", value: true } : { $case: "exists", value: true };
}

/** The partition that the broker puts a key in, which is where Kafka's Java client does. */
export function partitionOfKey(key: Buffer, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions;
}

/** 32-bit murmur2 with Kafka's seed, as a signed number. */
export function murmur2(data: Buffer): number {
  const multiplier = 0x5bd1e995;
  const whole = data.length & ~3;
  let hash = 0x9747b28c ^ data.length;
  for (let at = 0; at < whole; at += 4) {
    let word = Math.imul(data.readInt32LE(at), multiplier);
    word = Math.imul(word ^ (word >>> 24), multiplier);
    hash = Math.imul(hash, multiplier) ^ word;
  }
  if (whole < data.length) hash = Math.imul(hash ^ data.readUIntLE(whole, data.length - whole), multiplier);
  hash = Math.imul(hash ^ (hash >>> 13), multiplier);
  return hash ^ (hash >>> 15);
}
