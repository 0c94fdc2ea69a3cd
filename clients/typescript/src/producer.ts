import type { Connection, CallOptions } from "./connection.js";
import { OutcomeUnknown, TaffrailError } from "./errors.js";
import {
  LogService,
  type AppendBatch,
  type AppendedRange,
  type AppendRequest,
  type Producer as Identity,
} from "./generated/taffrail/v1/log.js";
import { partitionOfKey, recordToWire, toBytes, type NewRecord } from "./records.js";
import { Retries } from "./retry.js";

export interface ProducerOptions {
  /** Fences: once another producer of this name is opened, this one appends nothing more. */
  name?: string;
  /** For how long an append is tried again. Default: 2 min. */
  giveUpAfterMs?: number;
  /** How long to wait for one answer. Default: 30 s. */
  attemptTimeoutMs?: number;
  /** Ask for the version of each record. */
  returnVersions?: boolean;
}

/** Where the records of an append are. */
export interface Appended {
  /** By partition. None if it was stored so long ago that the broker does not remember where. */
  ranges: AppendedRange[];
  /** The records had been stored before. */
  duplicate: boolean;
}

/** After these the producer appends nothing more. */
const FINAL = new Set(["FENCED", "UNKNOWN_PRODUCER", "OUT_OF_SEQUENCE", "TOPIC_RECREATED"]);

/**
 * Appends to one topic, one request at a time: `append` waits for those before it.
 *
 * Every append is numbered, and sent again with its number when its answer is lost, so that it is stored once however often
 * it is sent. For more throughput append more records at a time, or use more producers.
 */
export class Producer {
  readonly #nextSequence = new Map<number, bigint>();
  /** The partition for records without a key. */
  #rotating = 0;
  /** The append before, which the next one waits for. */
  #before: Promise<unknown> = Promise.resolve();
  /** The request whose outcome is not known yet, and whether an attempt to send it may have stored it. */
  #unresolved: AppendRequest | undefined;
  #isInDoubt = false;
  #ended: TaffrailError | undefined;

  constructor(
    private readonly connection: Connection,
    private readonly topic: { name: string; id: string; partitionCount: number },
    private readonly identity: Identity,
    private readonly options: ProducerOptions,
  ) {}

  /**
   * Appends all records, or none: to their keys' partitions, or to this one.
   *
   * `Fenced` is final. After `OutcomeUnknown`, when the broker could not be asked for too long or the signal was aborted,
   * `resend` goes on asking; other appends are refused until it has succeeded.
   */
  append(records: readonly NewRecord[], options: CallOptions & { partition?: number } = {}): Promise<Appended> {
    return this.#inTurn(options.signal, () => {
      if (this.#unresolved) {
        throw new OutcomeUnknown("what became of the append before is not known: find out with resend()");
      }
      this.#unresolved = this.#number(records, options.partition);
      this.#isInDoubt = false;
      return this.#deliver(this.#unresolved, options.signal);
    });
  }

  /**
   * Sends the append again whose outcome is not known, with its number: it is stored once, whatever became of it before.
   * Undefined if there is no such append.
   */
  resend({ signal }: CallOptions = {}): Promise<Appended | undefined> {
    return this.#inTurn(signal, async () => this.#unresolved && this.#deliver(this.#unresolved, signal));
  }

  #inTurn<T>(signal: AbortSignal | undefined, run: () => Promise<T>): Promise<T> {
    const turn = this.#before.then(() => {
      signal?.throwIfAborted();
      if (this.#ended) throw this.#ended;
      return run();
    });
    this.#before = turn.catch(() => {});
    return turn;
  }

  #number(records: readonly NewRecord[], chosen: number | undefined): AppendRequest {
    const batches = new Map<number, AppendBatch>();
    for (const record of records) {
      const partition = chosen ?? this.#partitionOf(record);
      let batch = batches.get(partition);
      if (!batch) {
        const { name: topic, id: topicId } = this.topic;
        batch = { topic, topicId, partition, sequence: this.#nextSequence.get(partition) ?? 0n, records: [] };
        batches.set(partition, batch);
      }
      batch.records.push(recordToWire(record));
    }
    this.#rotating = (this.#rotating + 1) % this.topic.partitionCount;
    const returnVersions = this.options.returnVersions ?? false;
    return {
      batches: [...batches.values()],
      conditions: [],
      producer: this.identity,
      returnVersions,
      groupOffsets: [],
    };
  }

  #partitionOf({ key }: NewRecord): number {
    return key === undefined ? this.#rotating : partitionOfKey(toBytes(key, "a key"), this.topic.partitionCount);
  }

  /** Sends a request until it is answered. */
  async #deliver(request: AppendRequest, signal: AbortSignal | undefined): Promise<Appended> {
    const { giveUpAfterMs = 120_000, attemptTimeoutMs = 30_000 } = this.options;
    const retries = new Retries(giveUpAfterMs);
    for (;;) {
      try {
        const { batches } = await this.connection.change(LogService.append, request, { signal }, attemptTimeoutMs);
        for (const { partition = 0, sequence = 0n } of request.batches)
          this.#nextSequence.set(partition, sequence + 1n);
        this.#unresolved = undefined;
        return { ranges: batches.flatMap(({ ranges }) => ranges), duplicate: batches.some((each) => each.duplicate) };
      } catch (failure) {
        if (failure instanceof OutcomeUnknown) this.#isInDoubt = true;
        if (failure instanceof TaffrailError && FINAL.has(failure.reason)) this.#ended = failure;
        await retries.wait(failure, signal).catch((error: unknown) => {
          throw this.#giveUp(error);
        });
      }
    }
  }

  /** The error to report if there is no further attempt. */
  #giveUp(error: unknown): unknown {
    if (!this.#isInDoubt) {
      // Nothing of the request is stored, and its sequence numbers are free again.
      this.#unresolved = undefined;
      return error;
    }
    if (error === this.#ended || error instanceof OutcomeUnknown) return error;
    return new OutcomeUnknown("an attempt to append was not answered, and the last one failed", { cause: error });
  }
}
