/** A broker for tests: the real one, on a port of its own, with data that is removed with it. */

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, closeSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";

/** Runs `taffrail serve` until it is closed, or the program ends. */
export class Broker implements AsyncDisposable {
  /** Where it is, also after a restart: HOST:PORT. */
  address = "127.0.0.1:0";
  readonly dataDir: string;
  readonly #folder = mkdtempSync(join(tmpdir(), "taffrail-"));
  #process: ChildProcess | undefined;
  readonly #endWithProgram = () => {
    this.#process?.kill("SIGKILL");
    rmSync(this.#folder, { recursive: true, force: true });
  };

  private constructor(private readonly binary: string) {
    this.dataDir = join(this.#folder, "data");
    process.once("exit", this.#endWithProgram);
  }

  /** @param binary by default what TAFFRAIL_BINARY names, or `taffrail` on the PATH */
  static async start(binary = process.env["TAFFRAIL_BINARY"] || "taffrail"): Promise<Broker> {
    const broker = new Broker(binary);
    try {
      await broker.start();
      return broker;
    } catch (error) {
      await broker.close();
      throw error;
    }
  }

  /** Starts it again on what is on the disk, and waits until it can be connected to. */
  async start(): Promise<void> {
    const log = openSync(join(this.#folder, "log"), "a");
    const serve = ["serve", "--data-dir", this.dataDir, "--listen", this.address];
    const child = spawn(this.binary, serve, { stdio: ["ignore", "pipe", log] });
    closeSync(log);
    this.#process = child;
    // Rejects if there is no such binary.
    await once(child, "spawn");
    const output = child.stdout as Readable;
    for await (const line of createInterface({ input: output })) {
      const listening = /listening on http:\/\/(\S+)/.exec(line);
      if (!listening) break;
      this.address = listening[1] ?? "";
      // Nobody takes what it prints from here on.
      output.resume();
      return;
    }
    throw new Error(`the broker ended instead of serving:\n${this.log()}`);
  }

  /** kill -9: nothing is finished, nothing is closed. */
  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  /** SIGTERM, as an operator would: what is under way is finished. */
  stop(): Promise<void> {
    return this.#end("SIGTERM");
  }

  /** What it has logged. */
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

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
  }
}
