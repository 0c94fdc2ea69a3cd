/** Records, places and conditions as a program has them, and on the wire. Offsets, versions and times have 64 bits: bigint. */

import { inspect, types } from "node:util";

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
  /** Handled already by the group that this one was forked from: repeat no effects outside the group's own state. */
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

export function toBytes(bytes: Bytes, what: string): Buffer {
  if (typeof bytes === "string") return Buffer.from(bytes);
  if (!ArrayBuffer.isView(bytes)) throw new TypeError(`${what} is bytes or a text, not ${kindOf(bytes)}`);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** For messages about values that a program has given: they do not show the values, which may be secret. */
function kindOf(given: unknown): string {
  return given === null ? "null" : typeof given;
}

function check(given: unknown, kind: "string" | "bigint" | "number", what: string): void {
  if (typeof given !== kind) throw new TypeError(`${what} is a ${kind}, not ${kindOf(given)}`);
}

export function recordToWire({ key, value, type, headers, timestampMs, eventId }: NewRecord): WireRecord {
  const record = WireRecord.create();
  if (key !== undefined) record.key = toBytes(key, "a key");
  if (value !== undefined) record.value = toBytes(value, "a value");
  if (type !== undefined) {
    check(type, "string", "a type");
    record.type = type;
  }
  if (headers !== undefined) record.headers = headers.map(headerToWire);
  if (timestampMs !== undefined) {
    check(timestampMs, "bigint", "timestampMs");
    record.timestampMs = timestampMs;
  }
  if (eventId !== undefined) record.eventId = toBytes(eventId, "an eventId");
  return record;
}

function headerToWire({ name, value }: { name: string; value: Bytes }): Header {
  check(name, "string", "the name of a header");
  return { name, value: toBytes(value, "the value of a header") };
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
  if (types.isDate(position) && !Number.isNaN(position.getTime())) {
    return { at: { $case: "timestampMs", value: BigInt(position.getTime()) } };
  }
  if (position === "latest") return { at: { $case: "edge", value: Edge.EDGE_LATEST } };
  if (position === "earliest") return { at: { $case: "edge", value: Edge.EDGE_EARLIEST } };
  throw new TypeError(`a position is "earliest", "latest", an offset as a bigint or a Date, not ${inspect(position)}`);
}

export function conditionToWire(condition: Condition, topic: string | undefined): WireCondition {
  const named = condition.topic ?? topic;
  if (named === undefined) throw new TypeError("in an append to several topics each condition names its topic");
  return { topic: named, topicId: "", about: aboutOf(condition) };
}

/** A condition that is none of the forms would be another one on the wire, which may hold where the one that is meant does not. */
function aboutOf(condition: Condition): WireCondition["about"] {
  const given = new Map<string, unknown>(Object.entries(condition).filter(([, value]) => value !== undefined));
  given.delete("topic");
  if ("partition" in condition && isOf(given, "nextOffset", "partition")) {
    check(condition.partition, "number", "the partition of a condition");
    check(condition.nextOffset, "bigint", "the nextOffset of a condition");
    return { $case: "partition", value: { partition: condition.partition, nextOffset: condition.nextOffset } };
  }
  const state = stateOf(given);
  if (!("key" in condition) || state === undefined) {
    const forms = "{ key, version }, { key, absent: true }, { key, exists: true } or { partition, nextOffset }";
    const names = [...given].map(([name, value]) => (typeof value === "boolean" ? `${name}: ${value}` : name));
    throw new TypeError(`a condition is ${forms}, not { ${names.join(", ")} }`);
  }
  return { $case: "key", value: { key: toBytes(condition.key, "the key of a condition"), state } };
}

function stateOf(given: Map<string, unknown>): KeyCondition["state"] {
  if (isOf(given, "key", "version")) {
    check(given.get("version"), "bigint", "the version of a condition");
    return { $case: "version", value: given.get("version") as bigint };
  }
  if (isOf(given, "absent", "key") && given.get("absent") === true) return { $case: "absent", value: true };
  if (isOf(given, "exists", "key") && given.get("exists") === true) return { $case: "exists", value: true };
  return undefined;
}

function isOf(given: Map<string, unknown>, ...names: string[]): boolean {
  return given.size === names.length && names.every((name) => given.has(name));
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
