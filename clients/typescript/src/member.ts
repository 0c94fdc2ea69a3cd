import { status as Code, type ClientDuplexStream } from "@grpc/grpc-js";

import { MAX_RESPONSE_BYTES, Responses, VERSION, type CallOptions, type Connection } from "./connection.js";
import { isWorthAnotherTry, OutcomeUnknown, Refused, TaffrailError, Unavailable } from "./errors.js";
import {
  CommitOffsets,
  ConsumeRequest,
  GroupsService,
  JoinGroup,
  type AssignedPartition,
  type CommitResult,
  type ConsumeResponse,
  type Credit,
  type PartitionFailed,
  type Partitions,
  type Records,
  type Revoked,
} from "./generated/taffrail/v1/groups.js";
import type { ErasedEntity, GroupOffset, GroupOffsets } from "./generated/taffrail/v1/log.js";
import { positionToWire, recordFromWire, type Position, type StoredRecord } from "./records.js";
import { Retries } from "./retry.js";

export interface TopicPartition {
  topic: string;
  partition: number;
}

/** One of `topics` and `topicPrefixes` is needed. The signal closes the member, and ends its joining. */
export interface JoinOptions extends CallOptions {
  topics?: readonly string[];
  topicPrefixes?: readonly string[];
  /** Keeps the member's partitions for the next one that joins with it, and fences another that has it. */
  name?: string;
  /** Where to begin in partitions for which nothing is committed; not an offset. Default: at the earliest record. */
  start?: Exclude<Position, bigint>;
  /** How much is sent ahead of what has been handled. Default: 1,000 records and 8 MiB. */
  creditRecords?: bigint;
  creditBytes?: bigint;
  /** Leave it to `commit` to commit. */
  commitsExplicitly?: boolean;
  /** How often what was handled is committed while records come. Default: every second. */
  commitIntervalMs?: number;
  /** How long the member may be away and has its partitions still. Default: 10 s. */
  sessionTimeoutMs?: number;
  /** For how long the broker may be away. Default: 2 min. */
  giveUpAfterMs?: number;
  /** Told of partitions that the member has from then on, while it is asked for records. */
  onAssigned?: (partitions: AssignedPartition[]) => void | Promise<void>;
  /** Told of partitions that go, and waited for before they are handed over, unless they are lost already. */
  onRevoked?: (partitions: TopicPartition[], areLost: boolean) => void | Promise<void>;
  /**
   * Told of a partition that cannot be read on, because its offset is gone or its records are damaged: the member goes on
   * with its others. Without it, the member ends with that error.
   */
  onFailed?: (failed: PartitionFailed) => void | Promise<void>;
  /** The name of the client, for people to see. */
  client?: string;
}

/** Some records of one of a member's partitions, or, without any, how far it has come. */
export interface GroupBatch extends TopicPartition {
  records: StoredRecord[];
  /** The offset to commit once these records have been handled. */
  next: GroupOffset;
  highWatermark: bigint;
  /** Entities that were erased since the partition was assigned. */
  erased: ErasedEntity[];
}

interface Queued {
  batch: GroupBatch;
  /** The part of the member's credit that the batch took. */
  cost: Credit | undefined;
  /** How many of its records were given to the program. */
  given: number;
}

/** A member's stream, until it ends. */
interface Stream {
  readonly call: ClientDuplexStream<ConsumeRequest, ConsumeResponse>;
  readonly heartbeat: NodeJS.Timeout;
  /** Messages that have come and were not handled yet. */
  readonly inbox: ConsumeResponse[];
  /** Commits that are not answered, and the answer to the last one. */
  readonly commits: { resolve(results: CommitResult[]): void; reject(error: unknown): void }[];
  lastAnswer: Promise<unknown>;
  ended: Promise<void>;
}

type Message = NonNullable<ConsumeRequest["message"]>;

const JOIN_TIMEOUT_MS = 30_000;
const CLOSE_TIMEOUT_MS = 10_000;

/**
 * A member of a consumer group, with the records of its partitions, one by one, or with `batches` as they come. Use one of
 * them. Leaving a loop over either closes the member.
 *
 * Asking for the next record says that the one before has been handled: that is committed a moment later, or when there is
 * nothing else to do. Heartbeats are sent meanwhile. When the connection or the broker is lost, the member joins again by
 * itself; what was handled and not committed then comes again.
 *
 * `Fenced`, when another one has joined with this member's name, is final, as any error but `Unavailable`: every call says it
 * again. After `Unavailable`, when the broker was away for too long, whoever asks again goes on.
 */
export class Member implements AsyncIterableIterator<StoredRecord>, AsyncDisposable {
  readonly #join: JoinGroup;
  readonly #retries: Retries;
  readonly #commitIntervalMs: number;
  readonly #assigned = new Map<string, AssignedPartition>();
  readonly #paused = new Set<string>();
  #stream: Stream | undefined;
  #joining: Promise<void> | undefined;
  #queue: Queued[] = [];
  /** The records that were given last: they count as handled when more are asked for. */
  #given: { offset: GroupOffset; cost?: Credit | undefined } | undefined;
  /** Handled and not committed. */
  readonly #handled = new Map<string, GroupOffset>();
  #commitDue: number;
  #isAsked = false;
  readonly #leaving = new AbortController();
  /** Why the last stream ended, and why the member does not join again. */
  #lost: TaffrailError | undefined;
  #ended: TaffrailError | undefined;
  #wake = () => {};

  private constructor(
    private readonly connection: Connection,
    group: string,
    private readonly options: JoinOptions,
  ) {
    const { start = "earliest", sessionTimeoutMs = 10_000, creditRecords = 1_000n, creditBytes = 8n << 20n } = options;
    const starts = { policy: { $case: "start", value: positionToWire(start) } } as const;
    this.#join = JoinGroup.create({
      group,
      topics: [...(options.topics ?? [])],
      topicPrefixes: [...(options.topicPrefixes ?? [])],
      memberName: options.name ?? "",
      credit: { records: creditRecords, bytes: creditBytes },
      sessionTimeoutMs: BigInt(sessionTimeoutMs),
      heartbeat: true,
      tellFailed: options.onFailed !== undefined,
      maxResponseBytes: MAX_RESPONSE_BYTES,
      client: options.client ?? `taffrail-typescript/${VERSION}`,
      ...(start === "earliest" ? {} : { noOffset: starts }),
    });
    this.#retries = new Retries(options.giveUpAfterMs ?? 120_000);
    this.#commitIntervalMs = options.commitIntervalMs ?? 1_000;
    this.#commitDue = performance.now() + this.#commitIntervalMs;
  }

  static async join(connection: Connection, group: string, options: JoinOptions): Promise<Member> {
    const member = new Member(connection, group, options);
    options.signal?.throwIfAborted();
    // Ends the waits for records, with the reason.
    const close = () => void member.close().catch(() => {});
    options.signal?.addEventListener("abort", close, { signal: member.#leaving.signal });
    if (!(await member.#joined())) throw options.signal?.reason;
    return member;
  }

  /** The id that the broker has given to this member. */
  get id(): string {
    return this.#join.memberId;
  }

  /** The partitions that the member has. */
  get partitions(): TopicPartition[] {
    return [...this.#assigned.values()].map(({ topic, partition }) => ({ topic, partition }));
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<StoredRecord, undefined>> {
    const value = await this.#next(() => this.#takeRecord());
    return value ? { done: false, value } : { done: true, value };
  }

  async return(): Promise<IteratorResult<StoredRecord, undefined>> {
    await this.close();
    return { done: true, value: undefined };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The records as they come, which is faster. */
  async *batches(): AsyncGenerator<GroupBatch, undefined> {
    try {
      for (let batch; (batch = await this.#next(() => this.#takeBatch()));) yield batch;
    } finally {
      await this.close();
    }
  }

  /**
   * Commits these, by default what has been handled with what was given last, and waits until that is durable: what came of
   * each. `OutcomeUnknown`, when the connection was lost before the answer came.
   */
  async commit(offsets?: readonly GroupOffset[]): Promise<CommitResult[]> {
    if (!offsets) this.#noteHandled();
    if (!(await this.#joined())) throw new Unavailable("the member has left");
    const chosen = offsets ?? this.#takeHandled();
    if (chosen.length === 0) return [];
    checkEncoding(chosen);
    return this.#commit(chosen);
  }

  /** Offsets to commit with the records of an append: `AppendOptions.groupOffsets`. */
  groupOffsets(offsets: readonly GroupOffset[]): GroupOffsets {
    return { group: this.#join.group, memberId: this.id, offsets: [...offsets] };
  }

  /** Gives no records of these for now. They stay the member's, also when it has to join again. */
  pause(partitions: readonly TopicPartition[]): void {
    for (const each of partitions) this.#paused.add(keyOf(each));
    this.#send({ $case: "pause", value: this.#named(partitions) });
  }

  /** Gives records of these again. */
  resume(partitions: readonly TopicPartition[]): void {
    for (const each of partitions) this.#paused.delete(keyOf(each));
    this.#send({ $case: "resume", value: this.#named(partitions) });
    this.#wake();
  }

  /**
   * Leaves the group: commits what was handled, with what was given last, and waits until that is durable. Others get the
   * partitions at once. `OutcomeUnknown`, when the connection was lost before that was answered.
   */
  async leave(): Promise<void> {
    this.#noteHandled();
    await this.#leave();
  }

  /** Leaves the group as `leave` does, but what was given last counts as not handled, and comes again. */
  async close(): Promise<void> {
    this.#given = undefined;
    await this.#leave();
  }

  async #leave(): Promise<void> {
    this.#leaving.abort();
    this.#wake();
    const stream = this.#stream;
    if (!stream) return;
    if (!stream.call.writableEnded) {
      this.#commitHandled();
      this.#send({ $case: "leave", value: {} });
      clearInterval(stream.heartbeat);
      stream.call.end();
    }
    const timer = setTimeout(() => stream.call.cancel(), CLOSE_TIMEOUT_MS);
    await stream.ended;
    clearTimeout(timer);
    await stream.lastAnswer;
  }

  async #next<T>(take: () => T | undefined): Promise<T | undefined> {
    if (this.#isAsked) throw new Error("the member was asked for records, and they have not come yet");
    this.#isAsked = true;
    try {
      this.#noteHandled();
      while (await this.#joined()) {
        const stream = this.#stream;
        for (let came; stream === this.#stream && (came = stream?.inbox.shift());) await this.#understand(came);
        if (stream !== this.#stream) continue;
        const item = take();
        if (item !== undefined) {
          this.#commitIfDue();
          return item;
        }
        this.#commitHandled();
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
      this.options.signal?.throwIfAborted();
      return undefined;
    } finally {
      this.#isAsked = false;
    }
  }

  /** Joins where the member has no stream. False: it has left. */
  async #joined(): Promise<boolean> {
    while (!this.#leaving.signal.aborted) {
      if (this.#ended) throw this.#ended;
      if (this.#stream) return true;
      this.#joining ??= this.#joinOnce().finally(() => (this.#joining = undefined));
      await this.#joining;
    }
    return false;
  }

  async #joinOnce(): Promise<void> {
    // A call after one that has given up tries again before it fails.
    const lost = this.#lost;
    this.#lost = undefined;
    const { signal } = this.#leaving;
    if (lost) await this.#retries.wait(lost, signal);
    const call = await this.connection.converse(GroupsService.consume);
    const responses = new Responses(call);
    const stop = () => call.cancel();
    const timer = setTimeout(stop, JOIN_TIMEOUT_MS);
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    call.write({ message: { $case: "join", value: { ...this.#join } } });
    try {
      const first = await responses.next();
      if (first?.message?.$case !== "joined") throw new Unavailable("the broker has ended the stream");
      this.#join.memberId = first.message.value.memberId;
    } catch (error) {
      this.#noteLost(error as TaffrailError);
      return;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    }
    await this.#begin(call, responses);
  }

  /** There is another stream, on which everything is assigned anew. */
  async #begin(call: Stream["call"], responses: Responses<ConsumeResponse>): Promise<void> {
    // The member may have left meanwhile.
    if (this.#leaving.signal.aborted) return void call.end();
    const had = this.partitions;
    this.#assigned.clear();
    this.#handled.clear();
    const beat = () => this.#send({ $case: "stillWorking", value: { partitions: [] } });
    const heartbeat = setInterval(beat, Number(this.#join.sessionTimeoutMs) / 3);
    const nothing = Promise.resolve();
    const stream: Stream = { call, heartbeat, inbox: [], commits: [], lastAnswer: nothing, ended: nothing };
    this.#stream = stream;
    stream.ended = this.#receive(stream, responses);
    if (had.length > 0) await this.options.onRevoked?.(had, true);
  }

  async #receive(stream: Stream, responses: Responses<ConsumeResponse>): Promise<void> {
    let lost = new Unavailable("the broker has ended the stream") as TaffrailError;
    try {
      for (let response; (response = await responses.next());) this.#arrived(stream, response);
    } catch (error) {
      lost = error as TaffrailError;
    }
    clearInterval(stream.heartbeat);
    const unknown = new OutcomeUnknown("the connection was lost before the commit was answered", { cause: lost });
    for (const commit of stream.commits) commit.reject(unknown);
    this.#stream = undefined;
    // Records of this stream come again on the next one, and their credit ends with it.
    this.#queue = [];
    this.#handled.clear();
    if (this.#given) this.#given.cost = undefined;
    this.#noteLost(lost);
    this.#wake();
  }

  #noteLost(lost: TaffrailError): void {
    this.#lost = lost;
    if (!isWorthAnotherTry(lost)) this.#ended = lost;
  }

  #arrived({ inbox, commits }: Stream, response: ConsumeResponse): void {
    const { message } = response;
    // Joining alone is no success; what comes after it is.
    if (message?.$case !== "assigned") this.#retries.progress();
    if (message?.$case === "committed") commits.shift()?.resolve(message.value.results);
    else inbox.push(response);
    this.#wake();
  }

  async #understand({ message }: ConsumeResponse): Promise<void> {
    if (message?.$case === "assigned") await this.#assign(message.value.partitions);
    if (message?.$case === "revoked") await this.#revoke(message.value);
    if (message?.$case === "records") this.#enqueue(message.value);
    if (message?.$case === "failed") await this.options.onFailed?.(message.value);
  }

  async #assign(partitions: AssignedPartition[]): Promise<void> {
    for (const each of partitions) {
      // The partition may be assigned anew: records that were read of it before are not handled any more.
      this.#forget(each);
      this.#assigned.set(keyOf(each), each);
    }
    const paused = partitions.filter((each) => this.#paused.has(keyOf(each)));
    if (paused.length > 0) this.pause(paused);
    await this.options.onAssigned?.(partitions);
  }

  async #revoke({ partitions, drainMs }: Revoked): Promise<void> {
    const stream = this.#stream;
    const gone = (partitions?.partitions ?? []).map(({ topic, partition }) => ({ topic, partition }));
    const areLost = drainMs === 0n;
    await this.options.onRevoked?.(gone, areLost);
    if (stream !== this.#stream) return;
    const offsets = gone.flatMap((each) => this.#handled.get(keyOf(each)) ?? []);
    for (const each of gone) {
      this.#forget(each);
      this.#assigned.delete(keyOf(each));
      this.#paused.delete(keyOf(each));
    }
    if (areLost) return;
    if (offsets.length > 0 && !this.options.commitsExplicitly) void this.#commit(offsets);
    this.#send({ $case: "drained", value: { partitions: partitions?.partitions ?? [] } });
  }

  #enqueue({ next, cost, highWatermark, replayedBelow, erased, records: wire }: Records): void {
    if (!next) return;
    const { topic, partition } = next;
    const records = wire.map((each) => recordFromWire(topic, partition, each, replayedBelow));
    this.#queue.push({ batch: { topic, partition, records, next, highWatermark, erased }, cost, given: 0 });
  }

  /** Drops what came of a partition and was not given to the program. */
  #forget(partition: TopicPartition): void {
    const key = keyOf(partition);
    this.#queue = this.#queue.filter(({ batch, cost }) => {
      if (keyOf(batch) !== key) return true;
      this.#returnCredit(cost);
      return false;
    });
    this.#handled.delete(key);
  }

  #takeRecord(): StoredRecord | undefined {
    for (let queued; (queued = this.#first());) {
      const { records, next } = queued.batch;
      const record = records[queued.given++];
      if (record && queued.given < records.length) {
        this.#given = { offset: { ...next, nextOffset: record.offset + 1n } };
        return record;
      }
      // The last one stands for what was left out behind it, too.
      this.#giveAll(queued);
      if (record) return record;
      this.#noteHandled();
    }
    return undefined;
  }

  #takeBatch(): GroupBatch | undefined {
    const queued = this.#first();
    return queued && this.#giveAll(queued);
  }

  #first(): Queued | undefined {
    return this.#queue.find(({ batch }) => !this.#paused.has(keyOf(batch)));
  }

  #giveAll(queued: Queued): GroupBatch {
    this.#queue.splice(this.#queue.indexOf(queued), 1);
    this.#given = { offset: queued.batch.next, cost: queued.cost };
    return queued.batch;
  }

  /** Notes that the records that were given last have been handled. */
  #noteHandled(): void {
    if (!this.#given) return;
    const { offset, cost } = this.#given;
    this.#given = undefined;
    this.#returnCredit(cost);
    if (this.#assigned.has(keyOf(offset))) this.#handled.set(keyOf(offset), offset);
  }

  #takeHandled(): GroupOffset[] {
    const offsets = [...this.#handled.values()];
    this.#handled.clear();
    return offsets;
  }

  /** Commits what was handled, unless the program does that. */
  #commitHandled(): void {
    if (!this.options.commitsExplicitly && this.#handled.size > 0) void this.#commit(this.#takeHandled());
  }

  #commitIfDue(): void {
    const now = performance.now();
    // One commit at a time: the next one has what was handled meanwhile.
    if (now < this.#commitDue || this.#stream?.commits.length !== 0) return;
    this.#commitDue = now + this.#commitIntervalMs;
    this.#commitHandled();
  }

  #commit(offsets: readonly GroupOffset[]): Promise<CommitResult[]> {
    const stream = this.#stream;
    const answer = new Promise<CommitResult[]>((resolve, reject) => stream?.commits.push({ resolve, reject }));
    // Perhaps nobody waits for the answer.
    answer.catch(() => {});
    if (stream) stream.lastAnswer = answer;
    this.#send({ $case: "commit", value: { offsets: [...offsets] } });
    return answer;
  }

  #returnCredit(cost: Credit | undefined): void {
    if (cost) this.#send({ $case: "credit", value: cost });
  }

  #send(message: Message): void {
    if (this.#stream && !this.#stream.call.writableEnded) this.#stream.call.write({ message });
  }

  #named(partitions: readonly TopicPartition[]): Partitions {
    const has = partitions.flatMap((each) => this.#assigned.get(keyOf(each)) ?? []);
    return { partitions: has.map(({ topic, partition, topicId }) => ({ topic, partition, topicId })) };
  }
}

/** What cannot be encoded, as an offset below 0, would break the stream. */
function checkEncoding(offsets: readonly GroupOffset[]): void {
  try {
    CommitOffsets.encode({ offsets: [...offsets] });
  } catch (error) {
    throw new Refused("the offsets cannot be encoded", { code: Code.INVALID_ARGUMENT, cause: error });
  }
}

function keyOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`;
}
