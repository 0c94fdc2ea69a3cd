/** TLS and tokens, before a server that asks for them. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { ServerCredentials, type sendUnaryData, type ServerUnaryCall } from "@grpc/grpc-js";

import { Client, Unavailable, type ClientOptions } from "../src/index.js";
import { TopicsService, type ListTopicsRequest, type ListTopicsResponse } from "../src/generated/taffrail/v1/topics.js";
import { Broker } from "../src/testing.js";
import { serve } from "./fake.js";
import { rejected } from "./world.js";

/** A certificate for the name `broker`, and its key. */
function certificate(): { certificate: Buffer; key: Buffer } {
  const folder = mkdtempSync(join(tmpdir(), "taffrail-"));
  try {
    const [cert, key] = [join(folder, "cert"), join(folder, "key")];
    const named = ["-subj", "/CN=broker", "-addext", "subjectAltName=DNS:broker"];
    const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"];
    execFileSync("openssl", [...made, ...named, "-out", cert, "-keyout", key], { stdio: "ignore" });
    return { certificate: readFileSync(cert), key: readFileSync(key) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const OWN = certificate();

/** Lists topics of a server that has TLS, or none; what it was shown. */
async function listed(isSecure: boolean, options: ClientOptions, scheme = ""): Promise<unknown[]> {
  const pair = { private_key: OWN.key, cert_chain: OWN.certificate };
  const credentials = isSecure
    ? ServerCredentials.createSsl(OWN.certificate, [pair], true)
    : ServerCredentials.createInsecure();
  const shown: unknown[] = [];
  const list = (
    call: ServerUnaryCall<ListTopicsRequest, ListTopicsResponse>,
    answer: sendUnaryData<ListTopicsResponse>,
  ) => {
    shown.push(...call.metadata.get("authorization"));
    answer(null, { topics: [], more: false });
  };
  const server = await serve(TopicsService, { list }, credentials);
  const client = new Client(`${scheme}localhost:${server.port}`, options);
  try {
    await client.topics().next();
    await client.topics().next();
    return shown;
  } finally {
    client.close();
    server.close();
  }
}

void test("TLS is spoken with an authority, a certificate and a name of one's own", async () => {
  const tls = { ca: OWN.certificate, certificate: OWN.certificate, key: OWN.key, serverName: "broker" };
  assert.deepEqual(await listed(true, { tls }), []);
  const { certificate, key, ...anonymous } = tls;
  assert.ok(certificate.length + key.length > 0);
  for (const untrusted of [anonymous, { ...tls, serverName: "other" }, true]) {
    await rejected(listed(true, { tls: untrusted, timeoutMs: 10_000 }), Unavailable);
  }
  await rejected(listed(true, { timeoutMs: 10_000 }), Unavailable);
  await rejected(listed(true, { timeoutMs: 10_000 }, "https://"), Unavailable);
  await rejected(listed(false, { tls, timeoutMs: 10_000 }), Unavailable);
});

void test("a token is sent along with every call, and asked for before each", async () => {
  assert.deepEqual(await listed(false, { token: "secret" }), ["Bearer secret", "Bearer secret"]);
  let number = 0;
  const token = async () => `token-${number++}`;
  assert.deepEqual(await listed(false, { token }), ["Bearer token-0", "Bearer token-1"]);
});

void test("a token stays on this machine without encryption, unless that is allowed", async () => {
  const token = "secret";
  const elsewhere = ["broker.example:9640", "http://10.0.0.1:9640", "dns:///broker:1", "ipv4:127.0.0.1:1,10.0.0.1:1"];
  for (const address of [
    ...elsewhere,
    "127.example:1",
    "localhost.example:1",
    "[::2]:1",
    "dns://10.0.0.1/localhost:1",
  ]) {
    for (const asked of [token, () => token]) {
      assert.throws(() => new Client(address, { token: asked }), { name: "TypeError", message: /without encryption/ });
    }
    new Client(address, { token, tokenWithoutEncryption: true }).close();
    new Client(address, { token, tls: true }).close();
  }
  new Client("https://broker.example:9640", { token }).close();
  for (const here of ["127.1.2.3:1", "http://localhost:1/", "dns:///localhost:1", "[::1]:1", "unix:/data"]) {
    new Client(here, { token }).close();
  }
});

void test("what is no token is not sent", async () => {
  for (const token of ["", "two words", "line\n", "übel"]) {
    assert.throws(() => new Client("localhost:1", { token }), /no token/);
    await assert.rejects(listed(false, { token: () => token }), /no token/);
  }
});

void test("a proxy that the environment names is not used without TLS", async () => {
  process.env["grpc_proxy"] = "http://127.0.0.1:1";
  try {
    assert.deepEqual(await listed(false, { token: "secret" }), ["Bearer secret", "Bearer secret"]);
    await using broker = await Broker.start();
    await broker.advance(3_600_000);
  } finally {
    delete process.env["grpc_proxy"];
  }
});
