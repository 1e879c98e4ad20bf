// A process that tests/heavy/kafka.test.ts kills and stops: `node kafka-worker.mjs publish|consume FROM`, the
// options of the queue in the variable QUEUE.
// publish: message n goes to key n % 4, each key in order, repeated until it is stored; prints `stored n`.
// consume: prints `got n` and, once that is durable, `acknowledged n`; ends when another process took over.
import { writeSync } from 'node:fs';
import { openKafkaQueue } from '@millrace/cluster';

const [, , what, from] = process.argv;
const KEYS = 4;
const print = (text) => writeSync(1, `${text}\n`);
const transient = (error) => error.retryable === true;

async function repeat(call) {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!transient(error)) throw error;
      print(`again ${error.code}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

const queue = await repeat(() => openKafkaQueue(JSON.parse(process.env.QUEUE)));
print('ready');

async function publish(key) {
  for (let n = Math.ceil((Number(from) - key) / KEYS) * KEYS + key; ; n += KEYS) {
    await repeat(() => queue.publish('crash', `k${key}`, `n${n}`, Buffer.from(String(n))));
    print(`stored ${n}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function consume() {
  for (;;) {
    const claim = { consumer: String(process.pid), limit: 8, leaseMs: 3_600_000 };
    const claimed = await repeat(() => queue.claim('crash', claim));
    for (const { id, message } of claimed) {
      print(`got ${Buffer.from(message)}`);
      await repeat(() => queue.acknowledge('crash', [id]));
      print(`acknowledged ${Buffer.from(message)}`);
    }
    if (claimed.length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

try {
  await (what === 'publish' ? Promise.all([0, 1, 2, 3].map(publish)) : consume());
} catch (error) {
  print(`ended ${error.code}`);
  process.exit(3);
}
