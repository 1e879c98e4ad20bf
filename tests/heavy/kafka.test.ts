import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { rootCertificates } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { MemoryMetrics, sleep, systemClock, utf8 } from '@millrace/base';
import { type KafkaQueueOptions, openKafkaQueue } from '@millrace/cluster';
import type { Queue } from '@millrace/stores';
import { queueCases } from '@millrace/stores/compliance';
import { type Engine, startEngine } from '@millrace/testkit/engines';
import kafkajs from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// One real Kafka broker with TLS and logins. Every case has topics of its own.

let engine: Engine | string;
beforeAll(async () => {
  engine = await startEngine('kafka');
  if (typeof engine === 'string') console.log(engine);
});
afterAll(async () => {
  if (typeof engine === 'object') await engine.close();
});

const options = ({ host, port, user, password, ca }: Engine): KafkaQueueOptions => ({
  brokers: [`${host}:${port}`],
  prefix: `t${randomBytes(6).toString('hex')}`,
  copies: 1,
  login: { user, password },
  tls: { ca },
});

/** A test that needs the engine. */
function needs(name: string, test: (engine: Engine) => Promise<void>): void {
  it(name, async ({ skip }) => (typeof engine === 'string' ? skip(engine) : test(engine)));
}

describe('a queue in Kafka', () => {
  const open = (engine: Engine) => async (rememberMs: number) => {
    const own = { ...options(engine), rememberMs };
    let later = 0;
    const clock = { ...systemClock, now: () => Date.now() + later };
    const opened: Queue[] = [];
    const next = async (): Promise<Queue> => {
      await opened.at(-1)?.close();
      opened.push(await openKafkaQueue(own, { clock }));
      return opened.at(-1) as Queue;
    };
    return {
      queue: await next(),
      advance: (milliseconds: number) => {
        later += milliseconds;
      },
      reopen: next,
      dispose: async () => opened.at(-1)?.close(),
    };
  };
  for (const { name, run } of queueCases) needs(name, (engine) => run(open(engine)));
});

/** Kafka as its administrator sees it. */
const raw = (engine: Engine): kafkajs.Kafka =>
  new kafkajs.Kafka({
    brokers: [`${engine.host}:${engine.port}`],
    ssl: { ca: engine.ca },
    sasl: { mechanism: 'scram-sha-512', username: engine.user, password: engine.password },
    logLevel: kafkajs.logLevel.NOTHING,
  });

describe('a queue in Kafka, in hostile hands', () => {
  const claim = (queue: Queue) => queue.claim('t', { consumer: 'c', limit: 9, leaseMs: 60_000 });

  needs('fences the process that delivered before, and no other call of it succeeds', async (engine) => {
    const own = options(engine);
    const [old, next] = [await openKafkaQueue(own), await openKafkaQueue(own)];
    try {
      await old.publish('t', 'k', 'a', utf8('a'));
      expect(await claim(old)).toHaveLength(1);
      await next.publish('t', 'k', 'b', utf8('b'));
      expect((await claim(next)).map(({ id }) => id)).toEqual(['a', 'b']);
      // The first call waits for the log, and learns of the other process. Before that, a claim could still deliver.
      for (const call of [
        () => old.acknowledge('t', ['a']),
        () => claim(old),
        () => old.publish('t', 'k', 'c', utf8('c')),
      ])
        await expect(call()).rejects.toMatchObject({ code: 'E_FENCED' });
      await next.acknowledge('t', ['a', 'b']);
      const again = await openKafkaQueue(own);
      expect(await claim(again)).toEqual((await again.depth('t')) === 0 ? [] : [expect.objectContaining({ id: 'c' })]);
      await again.close();
    } finally {
      await old.close();
      await next.close();
    }
  });

  needs('puts what nobody can read, and what nobody can handle, to the dead letters', async (engine) => {
    const own = { ...options(engine), deadAfter: 2 };
    const metrics = new MemoryMetrics();
    const queue = await openKafkaQueue(own, { metrics });
    const kafka = raw(engine);
    const producer = kafka.producer({ allowAutoTopicCreation: false });
    const consumer = kafka.consumer({ groupId: `${own.prefix}-check` });
    try {
      await queue.publish('t', 'k', 'poison', utf8('poison'));
      await queue.publish('t', 'k', 'good', utf8('good'));
      await producer.connect();
      await producer.send({ topic: `${own.prefix}.t`, messages: [{ key: 'foreign', value: 'foreign' }] });
      for (let i = 0; i < 2; i++) {
        expect((await claim(queue)).map(({ id }) => id)).toEqual(['poison', 'good']);
        await queue.release('t', ['poison', 'good']);
      }
      expect(await claim(queue)).toEqual([]);
      const letters: string[] = [];
      await consumer.connect();
      await consumer.subscribe({ topics: [`${own.prefix}.dead_letters`], fromBeginning: true });
      await consumer.run({
        eachMessage: async ({ message: { value, headers } }) => {
          letters.push(`${value?.toString('utf8').replace(/^.k/, '')}: ${headers?.reason}`);
        },
      });
      while (letters.length < 3) await sleep(20);
      expect(letters.sort()).toEqual([
        'foreign: not a record of a queue',
        'good: delivered 2 times',
        'poison: delivered 2 times',
      ]);
      expect(await queue.depth('t')).toBe(0);
      expect(metrics.value('millrace_queue_dead_letters_total', { topic: `${own.prefix}.t` })).toBe(3);
    } finally {
      await consumer.disconnect();
      await producer.disconnect();
      await queue.close();
    }
  });

  needs('refuses more than it may keep in memory, and topics that would lose messages', async (engine) => {
    const own = { ...options(engine), mostBytes: 1_000 };
    const queue = await openKafkaQueue(own);
    const admin = raw(engine).admin();
    try {
      await queue.publish('t', 'k', 'a', new Uint8Array(900));
      await expect(queue.publish('t', 'k', 'b', new Uint8Array(200))).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
      await claim(queue);
      await queue.acknowledge('t', ['a']);
      await queue.publish('t', 'k', 'b', new Uint8Array(200));

      await admin.connect();
      const wrong = [
        { topic: `${own.prefix}.deleting`, numPartitions: 1 },
        {
          topic: `${own.prefix}.many`,
          numPartitions: 2,
          configEntries: [{ name: 'cleanup.policy', value: 'compact' }],
        },
      ];
      await admin.createTopics({ topics: wrong });
      for (const topic of ['deleting', 'many'])
        await expect(queue.publish(topic, 'k', 'a', utf8('a'))).rejects.toMatchObject({ code: 'E_CONFIG' });
    } finally {
      await admin.disconnect();
      await queue.close();
    }
  });

  needs('is not used under a false name, with a foreign certificate or with a wrong password', async (engine) => {
    const own = options(engine);
    for (const wrong of [
      { tls: { ca: engine.ca, serverName: 'elsewhere.example' } },
      { tls: { ca: rootCertificates[0] ?? '' } },
      { login: { user: engine.user, password: 'wrong' } },
    ])
      await expect(openKafkaQueue({ ...own, ...wrong })).rejects.toMatchObject({ code: 'E_CONFIG' });
  });
});

interface Worker {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
}

it('loses nothing, keeps the order of each key and repeats nothing acknowledged, whoever is killed or stopped', async ({
  skip,
}) => {
  if (typeof engine === 'string') return skip(engine);
  const own = options(engine);
  const stored = new Set<number>();
  const first: number[] = [];
  const acknowledged = new Set<number>();
  const repeated: number[] = [];
  const workers: Worker[] = [];
  /** Once it goes on, a stopped consumer may deliver what another has acknowledged, until it has read of the takeover. */
  let stale: ChildProcess | undefined;
  const take = (child: ChildProcess, line: string) => {
    const [word = '', text = ''] = line.split(' ');
    const n = Number(text);
    if (word === 'stored') stored.add(n);
    if (word === 'acknowledged') acknowledged.add(n);
    if (word !== 'got') return;
    if (acknowledged.has(n)) {
      if (child !== stale) repeated.push(n);
    } else if (!first.includes(n)) first.push(n);
  };
  const start = (what: 'publish' | 'consume', from = 0): Worker => {
    const program = fileURLToPath(new URL('kafka-worker.mjs', import.meta.url));
    const child = spawn(process.execPath, [program, what, String(from)], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, QUEUE: JSON.stringify(own) },
    });
    createInterface({ input: child.stdout }).on('line', (line) => take(child, line));
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    workers.push({ child, ended });
    return { child, ended };
  };
  const more = async (count: number) => {
    const [a, s] = [acknowledged.size, stored.size];
    while (acknowledged.size < a + count || stored.size < s + count) await sleep(20);
  };
  /** The next publisher repeats some messages that its predecessor may have stored. */
  const restart = () => start('publish', Math.max(0, Math.min(...[0, 1, 2, 3].map((key) => lastOf(stored, key))) - 8));
  try {
    let publisher = start('publish');
    const killed = start('consume');
    await more(8);
    killed.child.kill('SIGKILL');
    await killed.ended;
    const frozen = start('consume');
    await more(8);
    frozen.child.kill('SIGSTOP');
    stale = frozen.child;
    start('consume');
    await more(8);
    frozen.child.kill('SIGCONT');
    expect(await frozen.ended, 'another consumer took over').toBe(3);
    publisher.child.kill('SIGKILL');
    await publisher.ended;
    publisher = restart();
    await more(8);
    publisher.child.kill('SIGSTOP');
    await sleep(3_000);
    publisher.child.kill('SIGCONT');
    await more(8);
    engine.freeze();
    await sleep(8_000); // longer than a request: answers are lost, and the broker finds the requests later
    engine.resume();
    await more(8);
    await engine.kill();
    await engine.start();
    await more(8);
    publisher.child.kill('SIGKILL');
    await publisher.ended;
    // A consumer may have ended after its acknowledgement was stored and before it could say so.
    const reader = await openKafkaQueue(own);
    while ((await reader.depth('crash')) > 0) await sleep(20);
    await reader.close();
  } finally {
    for (const { child } of workers) child.kill('SIGKILL');
    await Promise.all(workers.map(({ ended }) => ended));
  }
  expect(repeated).toEqual([]);
  expect([...stored].filter((n) => !first.includes(n))).toEqual([]);
  for (const key of [0, 1, 2, 3]) {
    const order = first.filter((n) => n % 4 === key);
    expect(order).toEqual([...order].sort((a, b) => a - b));
  }
  console.log(`${stored.size} messages stored, ${first.length} delivered`);
}, 480_000);

const lastOf = (numbers: ReadonlySet<number>, key: number): number =>
  Math.max(0, ...[...numbers].filter((n) => n % 4 === key));
