/**
 * A client for Taffrail, a log broker and event store in one binary.
 *
 *     const client = new Client("127.0.0.1:9640");
 *     await client.append("orders", [{ key: "order-1", value: "placed" }]);
 *     for await (const record of await client.read("orders")) console.log(record.offset, String(record.value));
 *
 * Generated code is in `taffrail/v1`, for what this client does not have.
 */

export * from "./client.js";
export { VERSION, type CallOptions, type ClientOptions, type Connection } from "./connection.js";
export {
  AlreadyExists,
  Conflict,
  DamagedRecords,
  Fenced,
  NotFound,
  OffsetOutOfRange,
  OutcomeUnknown,
  Refused,
  TaffrailError,
  Unavailable,
  type FailedCondition,
} from "./errors.js";
export { CommitOutcome } from "./generated/taffrail/v1/groups.js";
export { Member, type GroupBatch, type JoinOptions, type TopicPartition } from "./member.js";
export { Producer, type Appended, type ProducerOptions } from "./producer.js";
export { Reading, KeyReading, type KeyOptions, type ReadBatch, type ReadOptions } from "./reading.js";
export type { Bytes, Condition, NewRecord, Position, StoredRecord } from "./records.js";
