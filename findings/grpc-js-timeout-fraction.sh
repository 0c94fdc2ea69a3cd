#!/usr/bin/env bash
# grpc-js reads the fraction of a service config's `timeout` as a number of nanoseconds.
#
# Version:   @grpc/grpc-js 1.14.7, Node 20.
# Behaviour: "1.5s" is 1 s and 5 ns. "0.9s" is 9 ns: every call of the method ends with DEADLINE_EXCEEDED (4) before it
#            is sent. Only a fraction written with all nine digits is what it says. Other durations of the same config
#            (`initialBackoff` "0.1s") are read right, so a config that was tried with its retries looks right.
# Seen on 2026-11-27, with a server that never answers:
#   timeout 0.9s: code 4 after 0.0 s, 0 calls at the server
#   timeout 0.900000000s: code 4 after 0.9 s, 1 calls at the server
#   timeout 1.5s: code 4 after 1.0 s, 1 calls at the server
#   timeout 1.500000000s: code 4 after 1.5 s, 1 calls at the server
# Exits with 1 if that changes. Needs node and npm.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund @grpc/grpc-js@1.14.7

cat > run.js <<'JS'
const grpc = require('@grpc/grpc-js');

const bytes = (value) => value;
const service = {
  Wait: {
    path: '/example.Log/Wait',
    requestStream: false,
    responseStream: false,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  },
};
const Client = grpc.makeGenericClientConstructor(service, 'Log');

let reached = 0;
const server = new grpc.Server();
server.addService(service, { Wait: () => reached++ });

function call(port, timeout) {
  const config = JSON.stringify({ methodConfig: [{ name: [{ service: 'example.Log' }], timeout }] });
  const client = new Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), { 'grpc.service_config': config });
  return new Promise((done) => {
    client.waitForReady(Date.now() + 10_000, () => {
      reached = 0;
      const start = Date.now();
      client.Wait(Buffer.from('x'), (error) => {
        const seconds = ((Date.now() - start) / 1000).toFixed(1);
        console.log(`timeout ${timeout}: code ${error.code} after ${seconds} s, ${reached} calls at the server`);
        client.close();
        done();
      });
    });
  });
}

server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), async (_, port) => {
  for (const timeout of ['0.9s', '0.900000000s', '1.5s', '1.500000000s']) await call(port, timeout);
  server.forceShutdown();
});
JS

cat > expected <<'TEXT'
timeout 0.9s: code 4 after 0.0 s, 0 calls at the server
timeout 0.900000000s: code 4 after 0.9 s, 1 calls at the server
timeout 1.5s: code 4 after 1.0 s, 1 calls at the server
timeout 1.500000000s: code 4 after 1.5 s, 1 calls at the server
TEXT

node run.js | tee seen
diff expected seen && echo 'as found'
