#!/usr/bin/env bash
# A text for a `bytes` field is taken for base64 by Node's proto-loader, and what does not fill a byte is dropped.
#
# Versions:  @grpc/proto-loader 0.8.1 with protobufjs 7.6.6, Node 20.
# Behaviour: there is no error where one would expect it. The message is sent with other bytes, and texts that differ
#            in their last character can become the same bytes: all two-digit numbers of a decade, and up to four
#            neighbours among three-digit numbers. Lengths of 4n + 1, and a dash, are refused ("invalid encoding"), so
#            whether it is noticed depends on what the ids look like. For a broker: many entities under one key.
# Seen on 2026-11-27:
#   key "user12" is sent as bac7abd7
#   key "user13" is sent as bac7abd7
#   key "user1" is refused: invalid encoding
#   ids 10 to 99: 9 different keys of 90
#   ids 100 to 999: 270 different keys of 900
#   ids 1000 to 9999: 9000 different keys of 9000
#   key Buffer.from("user12") is sent as 757365723132
# Exits with 1 if that changes. Needs node and npm.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund @grpc/proto-loader@0.8.1 protobufjs@7.6.6

cat > record.proto <<'PROTO'
syntax = "proto3";
package example;
message Record { bytes key = 1; }
service Log { rpc Append(Record) returns (Record); }
PROTO

cat > run.js <<'JS'
const { Append } = require('@grpc/proto-loader').loadSync('record.proto')['example.Log'];

// What the receiver finds in the field.
const sent = (key) => Append.requestDeserialize(Append.requestSerialize({ key })).key.toString('hex');

function different(from, to) {
  const keys = new Set();
  for (let id = from; id <= to; id++) keys.add(sent(String(id)));
  return `ids ${from} to ${to}: ${keys.size} different keys of ${to - from + 1}`;
}

for (const key of ['user12', 'user13']) console.log(`key "${key}" is sent as ${sent(key)}`);
try {
  console.log(`key "user1" is sent as ${sent('user1')}`);
} catch (e) {
  console.log(`key "user1" is refused: ${e.message}`);
}
for (const [from, to] of [[10, 99], [100, 999], [1000, 9999]]) console.log(different(from, to));
console.log(`key Buffer.from("user12") is sent as ${sent(Buffer.from('user12'))}`);
JS

cat > expected <<'TEXT'
key "user12" is sent as bac7abd7
key "user13" is sent as bac7abd7
key "user1" is refused: invalid encoding
ids 10 to 99: 9 different keys of 90
ids 100 to 999: 270 different keys of 900
ids 1000 to 9999: 9000 different keys of 9000
key Buffer.from("user12") is sent as 757365723132
TEXT

node run.js | tee seen
diff expected seen && echo 'as found'
