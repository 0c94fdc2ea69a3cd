import { MAX_RESPONSE_BYTES, Responses, type CallOptions, type Connection } from "./connection.js";
import { isWorthAnotherTry, Refused, Unavailable } from "./errors.js";
import { EntitiesService, type ReadKeyResponse } from "./generated/taffrail/v1/entities.js";
import {
  LogService,
  type ErasedEntity,
  type PartitionPosition,
  type ReadRequest,
  type ReadResponse,
} from "./generated/taffrail/v1/log.js";
import { positionToWire, recordFromWire, toBytes, type Bytes, type Position, type StoredRecord } from "./records.js";
import { Retries } from "./retry.js";

export interface ReadOptions extends CallOptions {
  /** Where to start. Default: at the earliest record. */
  start?: Position;
  /** The partitions to read, from `start`, or each from a place of its own. Default: all. */
  partitions?: readonly number[] | ReadonlyMap<number, Position>;
  /** Go on with records as they are appended. */
  follow?: boolean;
  /** End after so many records. */
  maxRecords?: bigint;
  /** Only records with one of these keys. */
  keys?: readonly Bytes[];
  /** Only records of one of these types. */
  types?: readonly string[];
  /** For how long the broker may be away. Default: 2 min. */
  giveUpAfterMs?: number;
}

/** Some records of one partition, or, without any, how far the read has come. */
export interface ReadBatch {
  partition: number;
  records: StoredRecord[];
  nextOffset: bigint;
  highWatermark: bigint;
  isCaughtUp: boolean;
  /** Entities that were erased since the read began. */
  erased: ErasedEntity[];
}

/** Settles where each partition is read from, so that a read that breaks off before it has heard of one begins there again. */
export async function openRead(connection: Connection, topic: string, options: ReadOptions): Promise<Reading> {
  const { start = "earliest", partitions = [], follow = false, maxRecords = 0n, keys = [], types = [] } = options;
  const chosen = new Map([...partitions].map((each) => (typeof each === "number" ? [each, start] : each)));
  const asked = [...chosen].map(([partition, place]) => ({ partition, position: positionToWire(place) }));
  const ask = { topic, topicId: "", position: positionToWire(start), partitions: asked };
  const { offsets, topicId } = await connection.ask(LogService.listOffsets, ask, options);
  const places = offsets.map(({ partition, offset }): PartitionPosition => {
    // The beginning may be trimmed meanwhile, and then is what is the beginning by then.
    const isEarliest = (chosen.get(partition) ?? start) === "earliest";
    return { partition, position: positionToWire(isEarliest ? "earliest" : offset) };
  });
  const filter =
    keys.length + types.length > 0 ? { keys: keys.map((key) => toBytes(key, "a key")), types: [...types] } : undefined;
  return new Reading(
    connection,
    {
      topic,
      topicId,
      start: undefined,
      partitions: places,
      follow,
      maxRecords,
      filter,
      maxResponseBytes: MAX_RESPONSE_BYTES,
    },
    options,
  );
}

/**
 * The records of a read, one by one, or with `batches` as they come, which is faster. Use one of them. Leaving a loop over
 * either closes the read; one that is not looped over to its end is to be closed.
 *
 * When the connection or the broker is lost, it goes on by itself behind what it has had, once the broker is back. After
 * `Unavailable`, when that took too long, whoever asks again goes on too.
 */
export class Reading implements AsyncIterableIterator<StoredRecord>, AsyncDisposable {
  /** The topic's id: offsets mean nothing in another topic of the same name. */
  readonly topicId: string;
  readonly #places: Map<number, PartitionPosition>;
  readonly #retries: Retries;
  readonly #closing = new AbortController();
  readonly #signal: AbortSignal;
  #responses: Responses<ReadResponse> | undefined;
  #records: AsyncGenerator<StoredRecord, undefined> | undefined;
  /** The refusal before, and how far its partition had been read. */
  #refused = "";

  constructor(
    private readonly connection: Connection,
    private readonly request: ReadRequest,
    options: ReadOptions,
  ) {
    this.topicId = request.topicId;
    this.#places = new Map(request.partitions.map((place) => [place.partition, place]));
    this.#retries = new Retries(options.giveUpAfterMs ?? 120_000);
    const { signal } = this.#closing;
    this.#signal = options.signal ? AbortSignal.any([options.signal, signal]) : signal;
  }

  /** For each partition from which something has come, the offset behind what has come. */
  positions(): Map<number, bigint> {
    const positions = new Map<number, bigint>();
    for (const { partition, position } of this.#places.values()) {
      if (position?.at?.$case === "offset") positions.set(partition, position.at.value);
    }
    return positions;
  }

  /** Ends the read. */
  close(): void {
    this.#closing.abort();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<StoredRecord, undefined>> {
    this.#records ??= this.#oneByOne();
    try {
      return await this.#records.next();
    } catch (error) {
      this.#records = undefined;
      throw error;
    }
  }

  async return(): Promise<IteratorResult<StoredRecord, undefined>> {
    this.close();
    return { done: true, value: undefined };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** The records as they come, with how far the read is, and which entities were erased meanwhile. */
  async *batches(): AsyncGenerator<ReadBatch, undefined> {
    try {
      for (let batch; (batch = await this.#nextBatch());) yield batch;
    } finally {
      this.close();
    }
  }

  async *#oneByOne(): AsyncGenerator<StoredRecord, undefined> {
    for (let batch; (batch = await this.#nextBatch());) yield* batch.records;
  }

  async #nextBatch(): Promise<ReadBatch | undefined> {
    while (!this.#closing.signal.aborted) {
      try {
        this.#responses ??= await this.connection.read(LogService.read, this.request, this.#signal);
        const response = await this.#responses.next();
        if (response) return this.#take(response);
        if (!this.request.follow) break;
        throw new Unavailable("the read was ended");
      } catch (error) {
        this.#responses = undefined;
        if (!this.#closing.signal.aborted && !this.#isToBeAskedAgain(error)) await this.#goOnAfter(error);
      }
    }
    this.close();
    return undefined;
  }

  #take(response: ReadResponse): ReadBatch {
    const { partition, nextOffset, highWatermark, caughtUp, erased } = response;
    this.#retries.progress();
    const place = this.#places.get(partition);
    if (place) place.position = positionToWire(nextOffset);
    if (this.request.maxRecords > 0n) {
      this.request.maxRecords -= BigInt(response.records.length);
      if (this.request.maxRecords === 0n) this.close();
    }
    const records = response.records.map((each) => recordFromWire(this.request.topic, partition, each));
    return { partition, records, nextOffset, highWatermark, isCaughtUp: caughtUp, erased };
  }

  /**
   * grpc-js drops what has come ahead of an error and was not taken yet. A refusal counts where it comes again with nothing
   * ahead of it.
   */
  #isToBeAskedAgain(error: unknown): boolean {
    if (!(error instanceof Refused) || error.reason === "" || isWorthAnotherTry(error)) return false;
    const refused = `${error.reason} ${this.positions().get(Number(error.number("partition")))}`;
    const isNew = refused !== this.#refused;
    this.#refused = refused;
    return isNew;
  }

  async #goOnAfter(error: unknown): Promise<void> {
    try {
      await this.#retries.wait(error, this.#signal);
    } catch (final) {
      if (!this.#closing.signal.aborted) throw final;
    }
  }
}

export interface KeyOptions extends CallOptions {
  /** The version to start at. Default: the first, or backward, the last. */
  fromVersion?: bigint;
  /** From the latest to the earliest. */
  backward?: boolean;
  /** End after so many records. */
  maxRecords?: bigint;
}

/** The records of one entity, in the order of the read. Leaving a loop over them closes it, as `close` does. */
export class KeyReading implements AsyncIterable<StoredRecord>, AsyncDisposable {
  private constructor(
    private readonly topic: string,
    private readonly responses: Responses<ReadKeyResponse>,
    private readonly first: ReadKeyResponse,
  ) {}

  static async open(connection: Connection, topic: string, key: Bytes, options: KeyOptions): Promise<KeyReading> {
    const { fromVersion = 0n, backward = false, maxRecords = 0n, signal } = options;
    const place = { topic, key: toBytes(key, "a key"), fromVersion, backward };
    const request = { ...place, maxRecords, maxResponseBytes: MAX_RESPONSE_BYTES };
    const responses = await connection.read(EntitiesService.readKey, request, signal);
    const first = await responses.next();
    if (!first) throw new Unavailable("the broker has not answered");
    return new KeyReading(topic, responses, first);
  }

  /** The entity's version when the read began; 0: it never had a record. */
  get latestVersion(): bigint {
    return this.first.latestVersion;
  }

  get partition(): number {
    return this.first.partition;
  }

  close(): void {
    this.responses.cancel();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<StoredRecord, undefined> {
    try {
      for (let response: ReadKeyResponse | undefined = this.first; response; response = await this.responses.next()) {
        yield* response.records.map((each) => recordFromWire(this.topic, this.partition, each));
      }
    } finally {
      this.close();
    }
  }
}
