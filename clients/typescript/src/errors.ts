/**
 * What can go wrong, by what a caller should do about it.
 *
 * A status that carries `google.rpc.ErrorInfo` is the broker's own answer. Any other comes from the connection, or from
 * something in between, and does not say whether a call that was sent has been carried out.
 */

import { status as Code, type StatusObject } from "@grpc/grpc-js";

import { ErrorInfo, RetryInfo } from "./generated/google/rpc/error_details.js";
import { Status } from "./generated/google/rpc/status.js";
import { Conflict as WireConflict } from "./generated/taffrail/v1/log.js";

interface Told {
  /** The status code of gRPC. */
  code?: Code;
  reason?: string;
  metadata?: { readonly [name: string]: string };
  retryAfterMs?: number;
  failed?: readonly FailedCondition[];
  cause?: unknown;
}

/** A condition of an append that does not hold. */
export interface FailedCondition {
  /** Its place in the request, from 0. */
  readonly index: number;
  /** The version that the entity has, 0 for none, or the offset that the partition's next record gets. */
  readonly actual: bigint;
}

/** Any error of a call. `reason` is for programs: the files in `proto/` list the reasons call by call. */
export class TaffrailError extends Error {
  /** The status code of gRPC. */
  readonly code: Code;
  /** The broker's reason, such as UNKNOWN_TOPIC; empty if the error is not an answer of the broker. */
  readonly reason: string;
  /** The values that the message mentions, by name. */
  readonly metadata: { readonly [name: string]: string };
  /** When to try again, where the broker says so. */
  readonly retryAfterMs: number;

  constructor(message: string, told: Told = {}) {
    super(message, { cause: told.cause });
    this.name = new.target.name;
    this.code = told.code ?? Code.UNKNOWN;
    this.reason = told.reason ?? "";
    this.metadata = told.metadata ?? {};
    this.retryAfterMs = told.retryAfterMs ?? 0;
  }

  /** A number of the metadata; 0 if it is not there. */
  number(name: string): bigint {
    return BigInt(this.metadata[name] ?? 0);
  }
}

/** The broker cannot be reached, is shutting down, or did not answer a question. Nothing was changed. */
export class Unavailable extends TaffrailError {}

/** The answer to a change was lost: it was made, or not. Read to find out. */
export class OutcomeUnknown extends TaffrailError {}

/** The broker refused. Nothing was stored or changed. */
export class Refused extends TaffrailError {}

/** There is no such topic, partition, group or erasure. */
export class NotFound extends Refused {}

/** There is one of that name already. */
export class AlreadyExists extends Refused {}

/** Another one has taken over: a newer producer or member of the same name. Final. */
export class Fenced extends Refused {}

/** Conditions of an append do not hold. Look at what is there now, and decide again. */
export class Conflict extends Refused {
  /** The conditions that do not hold, in their order. */
  readonly failed: readonly FailedCondition[];

  constructor(message: string, told: Told = {}) {
    super(message, told);
    this.failed = told.failed ?? [];
  }

  /** What the first condition that does not hold is compared with: see `FailedCondition`. */
  get actual(): bigint {
    return this.failed[0]?.actual ?? 0n;
  }
}

/** The place to read from is trimmed, or above the end: `number` has `partition`, `earliest` and `high_watermark`. */
export class OffsetOutOfRange extends Refused {}

/** Records are damaged on disk: `number` has `partition`, `from_offset`, and `to_offset`, where reads can go on. */
export class DamagedRecords extends Refused {}

const REFUSALS = new Map<Code, typeof TaffrailError>([
  [Code.NOT_FOUND, NotFound],
  [Code.ALREADY_EXISTS, AlreadyExists],
  [Code.OUT_OF_RANGE, OffsetOutOfRange],
  [Code.DATA_LOSS, DamagedRecords],
]);

/**
 * Without the broker's own words these say all the same that nothing was done. RESOURCE_EXHAUSTED is what grpc-js answers
 * to a message over its own limit: trying again does not make it smaller.
 */
const REFUSED_BY_ANYBODY = new Set([
  Code.INVALID_ARGUMENT,
  Code.NOT_FOUND,
  Code.ALREADY_EXISTS,
  Code.PERMISSION_DENIED,
  Code.FAILED_PRECONDITION,
  Code.OUT_OF_RANGE,
  Code.UNIMPLEMENTED,
  Code.UNAUTHENTICATED,
  Code.RESOURCE_EXHAUSTED,
]);

/**
 * How grpc-js begins the message of a call that was never sent. Where it says something else, the outcome of a change
 * counts as unknown, which is never wrong.
 */
const NEVER_SENT = /^(No connection established|Name resolution failed)/;

/** The beginning of grpc-js's message for a number that does not fit its field. */
const NOT_SENDABLE = /^Request message serialization failure/;

const FENCED = new Set(["FENCED", "COMMIT_FENCED", "OUT_OF_SEQUENCE", "UNKNOWN_PRODUCER"]);
const TRIED_AGAIN = new Set(["OVERLOADED", "DISK_FULL", "PARTITION_FULL", "RETENTION_HELD"]);

/** Whether the same call, made again, can succeed. */
export function isWorthAnotherTry(error: TaffrailError): boolean {
  if (error instanceof Unavailable || error instanceof OutcomeUnknown || TRIED_AGAIN.has(error.reason)) return true;
  // What is refused until then says so, as a quota does.
  return error.retryAfterMs > 0;
}

/**
 * The error of a call. `isChange`: it asked for a change, whose outcome is not known without an answer. `aborted`: why the
 * caller has given up meanwhile.
 */
export function fromStatus(status: StatusObject, isChange: boolean, aborted?: unknown): TaffrailError {
  const { info, retry, conflict } = detailsOf(status);
  const kind = kindOf(status, info?.reason, isChange ? OutcomeUnknown : Unavailable);
  return new kind(status.details, {
    code: status.code,
    reason: info?.reason ?? "",
    metadata: info?.metadata ?? {},
    retryAfterMs: Number(retry?.retryDelay?.seconds ?? 0n) * 1000 + (retry?.retryDelay?.nanos ?? 0) / 1e6,
    failed: (conflict?.failed ?? []).map(({ index, actual }) => ({ index, actual: actual?.value ?? 0n })),
    cause: aborted,
  });
}

function kindOf(status: StatusObject, reason: string | undefined, lost: typeof TaffrailError): typeof TaffrailError {
  const refusal = REFUSALS.get(status.code) ?? Refused;
  if (reason === undefined) {
    if (NEVER_SENT.test(status.details)) return Unavailable;
    return REFUSED_BY_ANYBODY.has(status.code) || NOT_SENDABLE.test(status.details) ? refusal : lost;
  }
  if (reason === "CONFLICT") return Conflict;
  if (FENCED.has(reason)) return Fenced;
  if (status.code === Code.UNAVAILABLE) return Unavailable;
  // The broker has stopped waiting, not what it waited for.
  return status.code === Code.UNKNOWN || status.code === Code.DEADLINE_EXCEEDED ? lost : refusal;
}

function detailsOf(status: StatusObject): { info?: ErrorInfo; retry?: RetryInfo; conflict?: WireConflict } {
  const [encoded] = status.metadata.get("grpc-status-details-bin");
  const found: ReturnType<typeof detailsOf> = {};
  for (const { typeUrl, value } of encoded instanceof Buffer ? Status.decode(encoded).details : []) {
    if (typeUrl.endsWith("/google.rpc.ErrorInfo")) found.info = ErrorInfo.decode(value);
    if (typeUrl.endsWith("/google.rpc.RetryInfo")) found.retry = RetryInfo.decode(value);
    if (typeUrl.endsWith("/taffrail.v1.Conflict")) found.conflict = WireConflict.decode(value);
  }
  return found;
}
