/** What the tests share: a broker of their own, a proxy that can lose what passes it, and waiting. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createConnection, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { test as nodeTest } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Client, Unavailable, type ClientOptions, type NewRecord, type StoredRecord } from "../src/index.js";
import { Broker, type BrokerOptions } from "../src/testing.js";

/** A test that waits for so long fails; none passes because of it. */
const PATIENCE_MS = 60_000;

export class World {
  readonly #ends: (() => unknown)[] = [];
  readonly client: Client;

  constructor(readonly broker: Broker) {
    this.client = this.connect(broker.address);
  }

  connect(address: string, options: ClientOptions = {}): Client {
    const client = new Client(address, options);
    this.#ends.push(() => client.close());
    return client;
  }

  async proxy(): Promise<Proxy> {
    const proxy = await Proxy.start(this.broker.address);
    this.#ends.push(() => proxy.close());
    return proxy;
  }

  /** Appends records with these numbers once the broker is there. */
  async append(topic: string, ...numbers: number[]): Promise<void> {
    await this.untilAnswered();
    await this.client.append(topic, numbered(...numbers));
  }

  async appendTo(topic: string, partition: number, ...numbers: number[]): Promise<void> {
    await this.client.append(
      topic,
      numbered(...numbers).map(({ value }) => ({ value })),
      { partition },
    );
  }

  /** The offset that the next record of the first partition gets. */
  async end(topic: string): Promise<bigint | undefined> {
    return (await this.client.describeTopic(topic)).partitions[0]?.highWatermark;
  }

  async values(topic: string): Promise<string[]> {
    const found = [];
    for await (const record of await this.client.read(topic)) found.push(text(record));
    return found;
  }

  async committed(group = "g"): Promise<{ [partition: string]: bigint }> {
    const offsets = await this.client.committed(group);
    return Object.fromEntries(offsets.map(({ topic, partition, nextOffset }) => [`${topic}/${partition}`, nextOffset]));
  }

  untilAnswered(): Promise<void> {
    return until(async () => (await failureOf(this.client.topics().next())) === undefined);
  }

  async close(): Promise<void> {
    for (const end of this.#ends.reverse()) await end();
    await this.broker.close();
  }
}

export function test(name: string, run: (world: World) => Promise<void>): void {
  testWith(name, {}, run);
}

/** A test in which the broker is away for a while. */
export function testOnDisk(name: string, run: (world: World) => Promise<void>): void {
  testWith(name, { onDisk: true }, run);
}

function testWith(name: string, options: BrokerOptions, run: (world: World) => Promise<void>): void {
  void nodeTest(name, { timeout: PATIENCE_MS }, async () => {
    const world = new World(await Broker.start(options));
    try {
      await run(world);
    } finally {
      await world.close();
    }
  });
}

export async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await sleep(10);
}

/** Why a promise was rejected; undefined if it was not. */
export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error ?? "rejected",
  );
}

/** Asserts that a promise is rejected with an error of this class, which it returns. */
export async function rejected<E extends Error>(
  promise: Promise<unknown>,
  kind: new (...of: never[]) => E,
): Promise<E> {
  const failure = await failureOf(promise);
  assert.ok(failure instanceof kind, `${String(failure)} is no ${kind.name}`);
  return failure;
}

export function numbered(...numbers: number[]): NewRecord[] {
  return numbers.map((number) => ({ key: "key", value: String(number) }));
}

export function text(record: StoredRecord): string {
  return String(record.value);
}

/** The values of the next records. */
export async function take(records: AsyncIterator<StoredRecord, undefined>, number: number): Promise<string[]> {
  const values = [];
  for (let taken = 0; taken < number; taken++) {
    const next = await records.next();
    assert.ok(!next.done, "there are no more records");
    values.push(text(next.value));
  }
  return values;
}

/** The next record, also where the broker is away for longer than whoever asks wants to wait. */
export async function eventually(records: AsyncIterator<StoredRecord, undefined>): Promise<string | undefined> {
  for (;;) {
    const next = take(records, 1);
    const failure = await failureOf(next);
    if (failure === undefined) return (await next)[0];
    assert.ok(failure instanceof Unavailable, String(failure));
    await sleep(10);
  }
}

/** Stands between a client and the broker. */
export class Proxy {
  readonly #sockets = new Set<Socket>();
  #held: Socket[] | undefined;
  /** Bytes of answers that were passed on. */
  passed = 0;

  private constructor(private readonly server: Server) {}

  static async start(broker: string): Promise<Proxy> {
    const server = createServer();
    const proxy = new Proxy(server);
    const [host, port] = broker.split(":");
    server.on("connection", (client) => proxy.#join(client, createConnection(Number(port), host)));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Passes nothing on that the broker says from now on. */
  holdAnswers(): void {
    this.#held = [];
    for (const socket of this.#sockets) socket.emit("hold");
  }

  /** Ends all connections, with what was held; new ones are as they should be. */
  cut(): void {
    this.#held = undefined;
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  close(): void {
    this.server.close();
    this.cut();
  }

  #join(client: Socket, broker: Socket): void {
    for (const [socket, other] of [
      [client, broker],
      [broker, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => other.destroy());
    }
    client.pipe(broker);
    broker.pipe(client);
    broker.on("data", (data: Buffer) => (this.passed += data.length));
    const hold = () => broker.unpipe(client).pause();
    broker.on("hold", hold);
    if (this.#held) hold();
  }
}
