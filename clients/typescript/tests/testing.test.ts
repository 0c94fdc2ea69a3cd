/** The broker for tests. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";

import { Client } from "../src/index.js";
import { Broker } from "../src/testing.js";
import { until } from "./world.js";

void test("a broker of a test is not started while it runs", async () => {
  await using broker = await Broker.start({ onDisk: true });
  await assert.rejects(broker.start(), /it runs/);
  await broker.stop();
  await broker.start();
  await using client = new Client(broker.address);
  assert.equal((await client.topics().next()).done, true);
});

for (const onDisk of [false, true]) {
  void test(`a broker ${onDisk ? "on disk" : "in memory"} ends with its program, also by kill -9`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "taffrail-killed-"));
    const broker = JSON.stringify(new URL("../src/testing.js", import.meta.url));
    const code = `import { Broker } from ${broker};
      console.log((await Broker.start({ onDisk: ${onDisk} })).address);`;
    const program = spawn(process.execPath, ["--input-type=module", "--eval", code], {
      env: { ...process.env, TMPDIR: folder },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [address] = (await once(createInterface({ input: program.stdout }), "line")) as [string];
    assert.ok(await isThere(address));
    program.kill("SIGKILL");
    await until(async () => !(await isThere(address)));
    // The broker may be writing there for a moment longer.
    rmSync(folder, { recursive: true, maxRetries: 10 });
  });
}

function isThere(address: string): Promise<boolean> {
  const [host, port] = address.split(":");
  const socket = createConnection(Number(port), host);
  return new Promise((resolve) => {
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
  }).finally(() => socket.destroy()) as Promise<boolean>;
}
