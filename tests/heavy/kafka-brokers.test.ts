import { randomBytes } from 'node:crypto';
import { MillraceError, sleep, utf8 } from '@millrace/base';
import { openKafkaQueue } from '@millrace/cluster';
import { type EngineCluster, startEngines } from '@millrace/testkit/engines';
import { afterAll, beforeAll, expect, it } from 'vitest';

// Three real Kafka brokers with TLS and logins, of which one is lost: each in turn, so that each leads some topics.

let engine: EngineCluster | string;
beforeAll(async () => {
  engine = await startEngines('kafka', 3, { settings: { KAFKA_SESSION_MS: '6000' } });
  if (typeof engine === 'string') console.log(engine);
}, 300_000);
afterAll(async () => {
  if (typeof engine === 'object') await engine.close();
}, 60_000);

const TOPICS = ['a', 'b', 'c', 'd', 'e', 'f'];

const lost = ['killed', 'frozen'].flatMap((how) => [0, 1, 2].map((broker) => ({ how, broker })));

it.for(lost)(
  'all topics go on while broker $broker is $how',
  { timeout: 240_000 },
  async ({ how, broker }, { skip }) => {
    if (typeof engine === 'string') return skip(engine);
    const { servers, user, password, ca } = engine;
    const server = servers[broker];
    if (server === undefined) throw new Error('there is no such broker');
    const queue = await openKafkaQueue({
      brokers: servers.map(({ host, port }) => `${host}:${port}`),
      ...{ prefix: `t${randomBytes(6).toString('hex')}`, login: { user, password }, tls: { ca } },
    });
    /** What was acknowledged, by topic. */
    const stored = new Map(TOPICS.map((topic) => [topic, [] as string[]]));
    let stopped = false;
    const publish = async (topic: string) => {
      for (let n = 0; !stopped; n++, await sleep(20)) {
        const id = `${topic}${n}`;
        for (;;)
          try {
            await queue.publish(topic, 'k', id, utf8(id));
            break;
          } catch (error) {
            if (!(error instanceof MillraceError) || !error.retryable) throw error;
          }
        stored.get(topic)?.push(id);
      }
    };
    const publishing = Promise.all(TOPICS.map(publish));
    await sleep(3_000);
    if (how === 'killed') await server.kill();
    else server.freeze();
    const began = performance.now();
    try {
      const count = (topic: string) => stored.get(topic)?.length ?? 0;
      const before = new Map(TOPICS.map((topic) => [topic, count(topic)]));
      // One message of a topic may have been on its way.
      const waiting = () => TOPICS.filter((topic) => count(topic) < (before.get(topic) ?? 0) + 3);
      while (waiting().length > 0) await sleep(100);
      console.log(
        `broker ${broker} ${how}: all topics go on after ${((performance.now() - began) / 1_000).toFixed(1)} s`,
      );
    } finally {
      stopped = true;
      if (how === 'killed') await server.start();
      else server.resume();
    }
    await publishing;
    for (const [topic, ids] of stored) {
      const claimed = await queue.claim(topic, { consumer: 'c', limit: ids.length + 1, leaseMs: 60_000 });
      expect(claimed.map(({ id }) => id)).toEqual(ids);
    }
    await queue.close();
  },
);
