/**
 * A small order service: orders that never sell more than there is, and projections of them.
 *
 * Usage: npm start [HOST:PORT]
 */

import { Client, Conflict } from "taffrail";

const TOPIC = "orders";

/** How many pieces of each article there are to sell. */
const STOCK = { lamp: 5, chair: 2 };

/** Whether there was a piece left for this customer. */
async function order(client: Client, article: keyof typeof STOCK, customer: string): Promise<boolean> {
  const placed = { key: article, type: "ordered", value: customer };
  for (;;) {
    // An article is an entity, its records the orders.
    let pieces = 0;
    let version = 0n;
    for await (const each of await client.readKey(TOPIC, article)) {
      pieces += 1;
      version = each.version ?? 0n;
    }
    if (pieces === STOCK[article]) return false;
    try {
      // Only if nobody else has ordered the article since it was read.
      await client.append(TOPIC, [placed], { conditions: [{ key: article, version }] });
      return true;
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
      // Somebody has: decide again, on what there is now.
    }
  }
}

/** Goes on where its group has come to: counts the orders, and thanks for each, once. */
async function project(client: Client, group: string): Promise<void> {
  const pieces = new Map([
    ["lamp", 0],
    ["chair", 0],
  ]);
  let thanked = 0;
  const { partitions } = await client.describeTopic(TOPIC);
  const member = await client.join(group, { topics: [TOPIC] });
  const committed = await client.committed(group);
  const nextOffsets = new Map(committed.map(({ partition, nextOffset }) => [partition, nextOffset]));
  for (const { partition, highWatermark } of partitions) {
    while ((nextOffsets.get(partition) ?? 0n) < highWatermark) {
      const { value: placed } = await member.next();
      if (!placed) return;
      if (placed.offset < (nextOffsets.get(placed.partition) ?? 0n)) continue; // it came again, after a break
      nextOffsets.set(placed.partition, placed.offset + 1n);
      pieces.set(String(placed.key), (pieces.get(String(placed.key)) ?? 0) + 1);
      if (!placed.isReplayed) thanked += 1;
    }
  }
  await member.leave(); // commits what was handled
  console.log(`${group}: lamps ${pieces.get("lamp")}, chairs ${pieces.get("chair")}, thanked ${thanked}`);
}

const client = new Client(process.argv[2]);
await client.createTopic(TOPIC, { partitions: 3 });
const customers = Array.from({ length: 8 }, (_, number) => `customer-${number}`);
const served = await Promise.all(customers.map((customer) => order(client, "lamp", customer)));
console.log(`8 customers want a lamp, ${served.filter(Boolean).length} get one`);
await project(client, "totals-1");

await order(client, "chair", "alice");
// Another group reads all orders again, and is told which the first one has handled: it thanks for the rest.
await client.forkGroup("totals-1", "totals-2", { replay: true });
await project(client, "totals-2");
client.close();
