import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, sleep, systemClock, systemRandom, toHex } from '@millrace/base';
import { createReceiver } from '@millrace/live-matrix';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { type Bench, startBench } from '@millrace/testkit/machine/agent-harness';
import { afterEach, expect, test } from 'vitest';

let bench: Bench | undefined;
afterEach(async () => {
  await bench?.close();
  bench = undefined;
});

/** Milliseconds on a clock that the test moves. The real tables of order 16 take far less on any computer. */
const SLOW = 20_000;
const design = storeDesign(systemRandom(60 * 16_370 - 5));

/** Replaces one method of an object. */
function withMethod<T extends object, K extends keyof T>(honest: T, method: K, instead: T[K]): T {
  return new Proxy(honest, {
    get: (target, name) => {
      if (name === method) return instead;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Makes tables of keccak256 take the time that the test sets, on the agent's clock. */
function slowable() {
  const state = { delay: 0, offset: 0 };
  const clock: Clock = { now: () => systemClock.now(), monotonic: () => systemClock.monotonic() + state.offset };
  const receiver: typeof createReceiver = async (options) => {
    const late = () => {
      if (options.parameters.suite === 'keccak256') state.offset += state.delay;
    };
    late();
    const honest = await createReceiver(options);
    return withMethod(honest, 'prepareNext', () => {
      late();
      return honest.prepareNext();
    });
  };
  return { state, modules: { receiver, clock } };
}

/** Order 16 with either suite, so that the real tables take almost no time. */
const agent = { order: 16, suite: 'auto', slowTableMs: SLOW, stallMs: 5_000, giveUpMs: 3_600_000 };

test('a computer that slows down and recovers during a print: lighter session meanwhile, every byte once', async () => {
  const { state, modules } = slowable();
  let writes = 0;
  bench = await startBench({
    design,
    window: 6,
    agent,
    ...modules,
    wrapDriver: (driver) =>
      withMethod(driver, 'write', async (content, signal) => {
        // The machine takes its time, so that neither change has to be quick.
        const wanted = ++writes < 20 ? 1 : writes < 40 ? 2 : 3;
        while ((bench?.cloud.requests.length ?? 0) < wanted) await sleep(10, signal);
        await driver.write(content, signal);
        state.offset += 1_000; // so that the buffered segments last longer than a table takes
      }),
    meddling: {
      frame: (frame, segment) => {
        if (segment === 8) state.delay = 3 * SLOW;
        return [frame];
      },
      telemetry: (_, session) => {
        if (session.parameters.suite === 'keccak256') return;
        state.delay = 0;
        state.offset += 5 * SLOW; // probe tables become due after waits
      },
    },
  });
  const { cloud } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed' || event === 'failed'));
  expect(cloud.reports.at(-1)?.event).toBe('completed');
  expect(bench.executed().equals(design.bytes)).toBe(true);
  expect(cloud.requests.map(({ suite }) => suite)).toEqual(['keccak256', 'turboshake128', 'keccak256']);
  expect(new Set(cloud.requests.map(({ run }) => toHex(run))).size).toBe(1);
  expect(cloud.reports.filter(({ event }) => event === 'started').length).toBe(1);
});

test('a computer that is too slow starts with the lighter suite and remembers it', async () => {
  const { state, modules } = slowable();
  state.delay = 10 * SLOW;
  bench = await startBench({ design, window: 6, agent, ...modules });
  const { cloud } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
  expect(cloud.requests[0]?.suite).toBe('turboshake128');
  const known = JSON.parse(await readFile(join(bench.config.data, 'table.json'), 'utf8')) as Record<string, number>;
  expect(known['16 keccak256 dense auto auto']).toBeGreaterThan(2 * SLOW);
  const logged = bench.log.length;
  await bench.restart();
  await cloud.print();
  await cloud.until(() => cloud.reports.filter(({ event }) => event === 'completed').length === 2);
  expect(cloud.requests.at(-1)?.suite).toBe('turboshake128');
  // It used the remembered level at once.
  expect(bench.log.slice(logged).join('')).not.toContain('matrix level changed for the next session');
});

test('settings that an operator has fixed are kept on a slow computer; the cloud gets its table times', async () => {
  const { state, modules } = slowable();
  state.delay = 3 * SLOW;
  bench = await startBench({
    design: storeDesign(systemRandom(8 * 16_370)),
    window: 6,
    agent: { ...agent, suite: 'keccak256' },
    ...modules,
  });
  const { cloud } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
  expect(cloud.requests.map(({ suite }) => suite)).toEqual(['keccak256']);
  expect(cloud.telemetry.findLast(({ tableMs }) => tableMs !== undefined)?.tableMs).toBeGreaterThanOrEqual(3 * SLOW);
});
