// Calls over HTTP as a web page makes them: with fetch, which a browser has too, and with events that are taken up again
// behind the last one that was seen, across a restart of the broker, as EventSource does it.
//
// Usage: node check_http.mjs BINARY DIR. DIR is made anew.

import { spawn, execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { createInterface } from "node:readline";

const [binary, dir] = process.argv.slice(2);
const COUNT = 500;
rmSync(dir, { recursive: true, force: true });

function fail(problem) {
  console.error(`FAILED: ${problem}`);
  process.exit(1);
}

/** Starts a broker, and says where it takes calls. */
async function serve(listen, httpListen) {
  const args = ["serve", "--data-dir", dir, "--listen", listen, "--http-listen", httpListen, "--log-format", "json"];
  const broker = spawn(binary, [...args, "--log-level", "error"], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: broker.stdout })) {
    return { broker, ...JSON.parse(line) };
  }
  return fail("the broker does not start");
}

function ended(broker) {
  return new Promise((resolve) => broker.once("exit", resolve));
}

/** Reads events as EventSource does: until `enough` says so, and again behind the last one when they break off. */
async function follow(url, onEvent, enough) {
  let lastId = "";
  for (;;) {
    try {
      const headers = { accept: "text/event-stream", ...(lastId && { "last-event-id": lastId }) };
      const response = await fetch(url, { headers });
      if (response.status !== 200 || !response.headers.get("content-type").startsWith("text/event-stream")) {
        fail(`events are answered with ${response.status}: ${await response.text()}`);
      }
      let came = "";
      for await (const bytes of response.body.pipeThrough(new TextDecoderStream())) {
        came += bytes;
        for (let end = came.indexOf("\n\n"); end >= 0; end = came.indexOf("\n\n")) {
          const event = Object.fromEntries(came.slice(0, end).split("\n").map((line) => line.split(/: (.*)/s)));
          came = came.slice(end + 2);
          lastId = event.id ?? lastId;
          if (event.data && !event.event) onEvent(JSON.parse(event.data));
          if (enough()) return;
        }
      }
    } catch {
      // The broker is away.
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

let { broker, url, http_url: http } = await serve("127.0.0.1:0", "127.0.0.1:0");
execFileSync(binary, ["topic", "create", "orders", "--partitions", "4", "--server", url]);
const records = `${http}/v1/topics/orders/records`;

const seen = [];
const reading = follow(`${records}?follow`, (record) => seen.push(Number(record.value)), () => seen.length >= COUNT);
for (let next = 0; next < COUNT; next += 10) {
  if (next === COUNT / 2) {
    broker.kill("SIGKILL");
    await ended(broker);
    ({ broker } = await serve(new URL(url).host, new URL(http).host));
  }
  const lines = Array.from({ length: 10 }, (_, nth) => JSON.stringify({ key: `k${nth}`, value: `${next + nth}` }));
  const response = await fetch(records, {
    method: "POST",
    headers: { "content-type": "application/x-ndjson" },
    body: lines.join("\n"),
  });
  if (response.status !== 200) fail(`an append is answered with ${response.status}: ${await response.text()}`);
}
await reading;
seen.sort((a, b) => a - b);
const wrong = seen.findIndex((value, nth) => value !== nth);
if (wrong >= 0) fail(`of ${COUNT} records, the ${wrong}th that was seen is ${seen[wrong]}`);

const page = await fetch(`${http}/v1/topics`, { headers: { origin: "https://evil.example" } });
if (page.status !== 403) fail(`a page of another origin is answered with ${page.status}`);
const away = ended(broker);
broker.kill("SIGTERM");
if ((await away) !== 0) fail("the broker does not stop well");
console.log(`   ${COUNT} records were read as events, once each, across a broker that was killed`);
