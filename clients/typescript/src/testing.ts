/** A broker for tests: the real one, in memory, on a port of its own. */

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, closeSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";

import { credentials, Metadata, status } from "@grpc/grpc-js";
import type { ChannelCredentials, ChannelOptions, Client, ServiceError } from "@grpc/grpc-js";

import * as v1 from "./generated/v1.js";

/** For how long a call waits. */
const PATIENCE_MS = 30_000;

export interface BrokerOptions {
  /** By default what TAFFRAIL_BINARY names, or `taffrail` on the PATH. */
  binary?: string;
  /**
   * Keeps its data in a directory that is removed with it. Such a broker can be away for a while, by `kill` or `stop`
   * and then `start`; its power cannot be cut, nor its clock moved.
   */
  onDisk?: boolean;
}

/** Runs `taffrail serve --ephemeral` until it is closed, or the program ends, however it does. */
export class Broker implements AsyncDisposable {
  /** Where it is, also after a crash or a restart: HOST:PORT. */
  address = "127.0.0.1:0";
  /** Where its data is, if that is on the disk. */
  readonly dataDir: string | undefined;
  readonly #folder = mkdtempSync(join(tmpdir(), "taffrail-"));
  #process: ChildProcess | undefined;
  readonly #endWithProgram = () => {
    this.#process?.kill("SIGKILL");
    rmSync(this.#folder, { recursive: true, force: true });
  };

  private constructor(
    private readonly binary: string,
    isOnDisk: boolean,
  ) {
    this.dataDir = isOnDisk ? join(this.#folder, "data") : undefined;
    process.once("exit", this.#endWithProgram);
  }

  static async start(options: BrokerOptions = {}): Promise<Broker> {
    const binary = options.binary ?? (process.env["TAFFRAIL_BINARY"] || "taffrail");
    const broker = new Broker(binary, options.onDisk ?? false);
    try {
      await broker.#serve();
      return broker;
    } catch (error) {
      await broker.close();
      throw error;
    }
  }

  /** Starts it again on what is on the disk, and waits until it can be connected to. */
  async start(): Promise<void> {
    if (this.dataDir === undefined) {
      throw new Error("its data was in memory: use crash instead of kill and start, or onDisk");
    }
    if (this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null) {
      throw new Error("it runs: kill or stop it first");
    }
    await this.#serve();
  }

  async #serve(): Promise<void> {
    const log = openSync(join(this.#folder, "log"), "a");
    const serve = ["serve", "--listen", this.address];
    if (this.dataDir === undefined) serve.push("--ephemeral");
    else serve.push("--with-parent", "--data-dir", this.dataDir, "--log-format", "json");
    const child = spawn(this.binary, serve, { stdio: ["ignore", "pipe", log] });
    closeSync(log);
    this.#process = child;
    // Rejects if there is no such binary.
    await once(child, "spawn");
    const output = child.stdout as Readable;
    for await (const line of createInterface({ input: output })) {
      this.address = (JSON.parse(line) as { address: string }).address;
      // Nobody takes what it prints from here on.
      output.resume();
      return;
    }
    throw new Error(`the broker ended instead of serving:\n${this.log()}`);
  }

  /** Cuts its power, and waits until it has recovered. All connections break; what was acknowledged is there. */
  crash(): Promise<void> {
    return this.#call(v1.AdminClient, async (admin) => {
      const failure = await answered((done) => admin.crash({}, done)).catch((error: unknown) => error);
      if ((failure as ServiceError).code !== status.UNAVAILABLE) throw failure;
      await this.#call(v1.BrokerClient, (broker) => {
        const [metadata, options] = [new Metadata({ waitForReady: true }), { deadline: Date.now() + PATIENCE_MS }];
        return answered((done) => broker.getClock({}, metadata, options, done));
      });
    });
  }

  /** Lets time pass for it at once: members time out, records expire. */
  advance(milliseconds: number): Promise<void> {
    const request = { byMs: BigInt(Math.round(milliseconds)) };
    return this.#call(v1.AdminClient, (admin) => answered((done) => admin.advance(request, done)));
  }

  /** kill -9: nothing is finished, nothing is closed. */
  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  /** SIGTERM, as an operator would: what is under way is finished. */
  stop(): Promise<void> {
    return this.#end("SIGTERM");
  }

  /** The log of the broker so far. */
  log(): string {
    return readFileSync(join(this.#folder, "log"), "utf8");
  }

  /** Kills it, and removes its data. */
  async close(): Promise<void> {
    await this.kill();
    process.off("exit", this.#endWithProgram);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #call<C extends Client>(
    kind: new (address: string, credentials: ChannelCredentials, options: ChannelOptions) => C,
    call: (client: C) => Promise<unknown>,
  ): Promise<void> {
    const client = new kind(this.address, credentials.createInsecure(), { "grpc.enable_http_proxy": 0 });
    try {
      await call(client);
    } finally {
      client.close();
    }
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
  }
}

function answered<T>(call: (done: (error: ServiceError | null, answer: T) => void) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, answer) => (error ? reject(error) : resolve(answer)));
  });
}
