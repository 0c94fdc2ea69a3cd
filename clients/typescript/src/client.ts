import { Connection, MAX_RESPONSE_BYTES, type CallOptions, type ClientOptions } from "./connection.js";
import { BrokerService } from "./generated/taffrail/v1/broker.js";
import { EntitiesService, type Erasure } from "./generated/taffrail/v1/entities.js";
import { GroupsService } from "./generated/taffrail/v1/groups.js";
import { LogService, type AppendedBatch, type GroupOffsets } from "./generated/taffrail/v1/log.js";
import {
  TopicsService,
  type Partition,
  type Removal,
  type Topic as WireTopic,
} from "./generated/taffrail/v1/topics.js";
import { Member, type JoinOptions } from "./member.js";
import { Producer, type ProducerOptions } from "./producer.js";
import { KeyReading, openRead, type KeyOptions, type Reading, type ReadOptions } from "./reading.js";
import {
  conditionToWire,
  recordFromWire,
  recordToWire,
  toBytes,
  type Bytes,
  type Condition,
  type NewRecord,
  type StoredRecord,
} from "./records.js";

/** The settings of a topic by name, those of topics.proto: `{ "retention.ms": "30d" }`. */
export interface Settings {
  [name: string]: string;
}

export interface Topic {
  name: string;
  id: string;
  partitionCount: number;
  settings: Settings;
}

export interface TopicChange {
  set?: Settings;
  /** Settings to give their defaults again. */
  reset?: readonly string[];
}

export interface Batch {
  topic: string;
  records: readonly NewRecord[];
  /** Where all of them go. Left out: each to its key's. */
  partition?: number | undefined;
}

export interface AppendOptions extends CallOptions {
  /** What must hold for the append to happen. */
  conditions?: readonly Condition[];
  /** Offsets of groups, committed with the records: see `Member.groupOffsets`. */
  groupOffsets?: readonly GroupOffsets[];
  /** Ask for the version of each record. */
  returnVersions?: boolean;
}

/** An entity as it is. */
export interface Entity {
  key: Buffer;
  /** The version of its latest record; 0: it never had one. */
  version: bigint;
  /** Undefined if there never was one, or it was trimmed. */
  record: StoredRecord | undefined;
  partition: number;
}

export interface CommittedOffset {
  topic: string;
  partition: number;
  nextOffset: bigint;
}

/**
 * Calls a broker. It connects when it is first used, and again when that is lost. One is enough for a program.
 *
 * Calls reject with a `TaffrailError`, or the reason of their signal.
 */
export class Client implements AsyncDisposable {
  /** For what this class does not have: it calls any method of `taffrail/v1`. */
  readonly connection: Connection;

  /** @param address HOST:PORT, unix:PATH, or a URL: `https://` is TLS */
  constructor(address = "127.0.0.1:9640", options: ClientOptions = {}) {
    this.connection = new Connection(address, options);
  }

  /** Ends every call that is under way. */
  close(): void {
    this.connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  async createTopic(
    name: string,
    { partitions = 1, settings = {}, signal }: CallOptions & { partitions?: number; settings?: Settings } = {},
  ): Promise<Topic> {
    const request = { name, partitions, settings };
    return topicFromWire((await this.connection.change(TopicsService.create, request, { signal })).topic);
  }

  /** The topics whose names begin with `prefix`, sorted by name. */
  async *topics(prefix = "", options?: CallOptions): AsyncGenerator<Topic, undefined> {
    for (let after = "", more = true; more;) {
      const page = await this.connection.ask(TopicsService.list, { prefix, pageSize: 0, after }, options);
      yield* page.topics.map(topicFromWire);
      more = page.more;
      after = page.topics.at(-1)?.name ?? "";
    }
  }

  /** The broker's limits, by name, with the values that are configured: `record_bytes`, `append_records`, ... */
  async limits(options?: CallOptions): Promise<Map<string, bigint>> {
    const { limits } = await this.connection.ask(BrokerService.limits, {}, options);
    return new Map(limits.map(({ name, most }) => [name, most]));
  }

  async describeTopic(name: string, options?: CallOptions): Promise<Topic & { partitions: Partition[] }> {
    const { topic, partitions } = await this.connection.ask(TopicsService.describe, { name }, options);
    return { ...topicFromWire(topic), partitions };
  }

  /** Changes settings: all that are given, or none. */
  async alterTopic(name: string, { set = {}, reset = [] }: TopicChange, options?: CallOptions): Promise<Topic> {
    const request = { name, set, reset: [...reset], dryRun: false };
    return topicFromWire((await this.connection.change(TopicsService.alter, request, options)).topic);
  }

  /** What `alterTopic` would remove at once; nothing is changed. */
  async wouldRemove(name: string, { set = {}, reset = [] }: TopicChange, options?: CallOptions): Promise<Removal[]> {
    const request = { name, set, reset: [...reset], dryRun: true };
    return (await this.connection.ask(TopicsService.alter, request, options)).wouldRemove;
  }

  /** Deletes a topic with all its records. */
  async deleteTopic(name: string, options?: CallOptions): Promise<void> {
    await this.connection.change(TopicsService.delete, { name }, options);
  }

  /**
   * Deletes the records of a partition before an offset; with `force` also what retention.hold=groups keeps. The partition's
   * earliest offset now.
   */
  async trim(
    topic: string,
    partition: number,
    beforeOffset: bigint,
    { force = false, signal }: CallOptions & { force?: boolean } = {},
  ): Promise<bigint> {
    const request = { topic, partition, beforeOffset, topicId: "", force, dryRun: false };
    return (await this.connection.change(TopicsService.trim, request, { signal })).earliest;
  }

  /**
   * Appends to one topic: all records, or none. When it resolves, they are synced to disk. Where a condition does not hold,
   * it rejects with `Conflict`, which says what is the case instead.
   *
   * It is not tried again: after `OutcomeUnknown` they are stored, or not. A producer finds out.
   */
  async append(
    topic: string,
    records: readonly NewRecord[],
    options: AppendOptions & { partition?: number } = {},
  ): Promise<AppendedBatch> {
    const [appended] = await this.appendBatches([{ topic, records, partition: options.partition }], options);
    return appended ?? { ranges: [], duplicate: false };
  }

  /** `append` for any number of topics and partitions: all of it happens, or nothing. Where the records of each batch are. */
  async appendBatches(batches: readonly Batch[], options: AppendOptions = {}): Promise<AppendedBatch[]> {
    const topics = new Set(batches.map(({ topic }) => topic));
    const only = topics.size === 1 ? batches[0]?.topic : undefined;
    const request = {
      batches: batches.map(({ topic, records, partition }) => {
        return { topic, topicId: "", partition, sequence: undefined, records: records.map(recordToWire) };
      }),
      conditions: (options.conditions ?? []).map((condition) => conditionToWire(condition, only)),
      producer: undefined,
      returnVersions: options.returnVersions ?? false,
      groupOffsets: [...(options.groupOffsets ?? [])],
    };
    return (await this.connection.change(LogService.append, request, options)).batches;
  }

  /** A producer for a topic, whose appends are stored exactly once. */
  async producer(topic: string, options: ProducerOptions & CallOptions = {}): Promise<Producer> {
    const described = await this.describeTopic(topic, options);
    const { producer } = await this.connection.change(LogService.openProducer, { name: options.name ?? "" }, options);
    return new Producer(this.connection, described, producer ?? { id: 0n, epoch: 0 }, options);
  }

  /** Reads a topic, up to its end as it is now, or with `follow` on and on. Where it starts is settled when this resolves. */
  read(topic: string, options: ReadOptions = {}): Promise<Reading> {
    return openRead(this.connection, topic, options);
  }

  /** Reads one entity by version, up to its latest as it is now. */
  readKey(topic: string, key: Bytes, options: KeyOptions = {}): Promise<KeyReading> {
    return KeyReading.open(this.connection, topic, key, options);
  }

  /** The latest record and version of up to 1,000 entities, in order, as they were at one moment. */
  async getLatest(topic: string, keys: readonly Bytes[], options?: CallOptions): Promise<Entity[]> {
    const request = { topic, keys: keys.map((key) => toBytes(key, "a key")), maxResponseBytes: MAX_RESPONSE_BYTES };
    const responses = await this.connection.read(EntitiesService.getLatest, request, options?.signal);
    const entities: Entity[] = [];
    for (let response; (response = await responses.next());) {
      for (const { version, record, partition } of response.latest) {
        const key = request.keys[entities.length] ?? Buffer.alloc(0);
        entities.push({ key, version, partition, record: record && recordFromWire(topic, partition, record) });
      }
    }
    return entities;
  }

  /** Erases an entity: when this resolves, no read returns its keys, values and headers any more. */
  async erase(topic: string, key: Bytes, options?: CallOptions): Promise<Erasure> {
    const { erasure } = await this.connection.change(
      EntitiesService.eraseKey,
      { topic, key: toBytes(key, "a key") },
      options,
    );
    return erasure as Erasure;
  }

  /** How far the removal of an entity's bytes from the files has come. */
  async describeErasure(id: bigint, options?: CallOptions): Promise<Erasure> {
    return (await this.connection.ask(EntitiesService.describeErasure, { id }, options)).erasure as Erasure;
  }

  /** Joins a consumer group, which is made if there is none. */
  join(group: string, options: JoinOptions): Promise<Member> {
    return Member.join(this.connection, group, options);
  }

  /** The committed offsets of a group. */
  async committed(group: string, options?: CallOptions): Promise<CommittedOffset[]> {
    const committed: CommittedOffset[] = [];
    for (;;) {
      const last = committed.at(-1);
      const after = last && { topic: last.topic, partition: last.partition, topicId: "" };
      const request = { group, topic: "", pageSize: 0, after };
      const page = await this.connection.ask(GroupsService.fetchOffsets, request, options);
      committed.push(...page.offsets);
      if (!page.more) {
        return committed;
      }
    }
  }

  /**
   * Makes a group that goes on where the other one is. With `replay` it reads everything again instead, and what the other
   * one has handled comes with `isReplayed`.
   */
  async forkGroup(
    group: string,
    newGroup: string,
    { replay = false, signal }: CallOptions & { replay?: boolean } = {},
  ): Promise<void> {
    await this.connection.change(GroupsService.fork, { group, newGroup, replay }, { signal });
  }

  /** Deletes a group that has no members, and its offsets. */
  async deleteGroup(group: string, options?: CallOptions): Promise<void> {
    await this.connection.change(GroupsService.delete, { group }, options);
  }
}

function topicFromWire(wire: WireTopic | undefined): Topic {
  const { name = "", id = "", partitions = 0, settings = [] } = wire ?? {};
  return {
    name,
    id,
    partitionCount: partitions,
    settings: Object.fromEntries(settings.map(({ name, value }) => [name, value])),
  };
}
