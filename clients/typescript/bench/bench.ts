/**
 * Measures this client: appends of 100 records of 1,000 bytes, one after the other and many at a time, and a follow that
 * reads them.
 *
 * Usage: bench.js ADDRESS SECONDS, against a broker without topics. It prints records a second, as JSON.
 */

import { Client, type NewRecord } from "../src/index.js";

const RECORDS_PER_REQUEST = 100;
const RECORD_BYTES = 1000;
const UNDER_WAY = 16;

const [address = "", seconds = "1"] = process.argv.slice(2);
const client = new Client(address);
// What is compiled, allocated and connected once is not measured.
await run("warm-up", 1000);
await client.deleteTopic("warm-up");
console.log(JSON.stringify(await run("bench", Number(seconds) * 1000)));
client.close();

async function run(topic: string, leastMs: number): Promise<{ one: number; many: number; follow: number }> {
  await client.createTopic(topic);
  const producer = await client.producer(topic);
  const one = await append(0, 1, leastMs, (records) => producer.append(records));
  const many = await append(one.end, UNDER_WAY, leastMs, (records) => client.append(topic, records));
  return { one: one.perSecond, many: many.perSecond, follow: await follow(topic, many.end) };
}

/** Has so many requests under way for so long. Records begin with their numbers. */
async function append(
  first: number,
  tasks: number,
  leastMs: number,
  request: (records: NewRecord[]) => Promise<unknown>,
): Promise<{ end: number; perSecond: number }> {
  const start = performance.now();
  let end = first;
  const task = async () => {
    while (performance.now() - start < leastMs) {
      await request(Array.from({ length: RECORDS_PER_REQUEST }, () => ({ value: valueOf(end++) })));
    }
  };
  await Promise.all(Array.from({ length: tasks }, task));
  return { end, perSecond: ((end - first) * 1000) / (performance.now() - start) };
}

function valueOf(number: number): Buffer {
  const value = Buffer.alloc(RECORD_BYTES);
  value.writeUInt32BE(number);
  return value;
}

/** Reads all that was appended, and checks that each record is there once. Records a second. */
async function follow(topic: string, appended: number): Promise<number> {
  const start = performance.now();
  const seen = new Uint8Array(appended);
  let count = 0;
  for await (const { records } of (await client.read(topic, { follow: true })).batches()) {
    for (const { value } of records) {
      const number = value?.readUInt32BE() ?? appended;
      if (value?.length !== RECORD_BYTES || seen[number] !== 0) throw new Error(`record ${number} is not as it was`);
      seen[number] = 1;
    }
    count += records.length;
    if (count === appended) break;
  }
  return (appended * 1000) / (performance.now() - start);
}
