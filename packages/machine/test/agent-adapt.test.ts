import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep, systemRandom, toHex } from '@millrace/base';
import { createReceiver } from '@millrace/live-matrix';
import { afterEach, expect, test } from 'vitest';
import { storeDesign } from './agent-design.ts';
import { type Bench, startBench } from './agent-harness.ts';

let bench: Bench | undefined;
afterEach(async () => {
  await bench?.close();
  bench = undefined;
});

const SLOW = 200;
const design = storeDesign(systemRandom(60 * 16_370 - 5));

/** Tables of keccak256 that take as long as the test says. */
function slowable() {
  const state = { delay: 0 };
  const receiver: typeof createReceiver = async (options) => {
    const { suite } = options.parameters;
    const late = async () => {
      if (suite === 'keccak256') await sleep(state.delay, options.signal);
    };
    await late();
    const honest = await createReceiver(options);
    return new Proxy(honest, {
      get: (target, name) => {
        if (name === 'prepareNext') return () => late().then(() => target.prepareNext());
        const value = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  };
  return { state, receiver };
}

/** Order 16 with either suite, so that the real tables take no time. */
const agent = { order: 16, suite: 'auto', slowTableMs: SLOW, stallMs: 5_000 };

test('a computer that gets slow in mid-print, and fast again: lighter sessions meanwhile, every byte once', async () => {
  const { state, receiver } = slowable();
  bench = await startBench({
    design,
    window: 6,
    agent,
    receiver,
    factor: 1,
    bytesPerSecond: 15 * 16_370,
    driver: { bufferBytes: 16_384 },
    meddling: {
      frame: (frame, segment, session) => {
        if (session.parameters.suite === 'turboshake128') state.delay = 0;
        else if (segment === 8) state.delay = 3 * SLOW;
        return [frame];
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

test('a computer that is too slow from the start begins with the lighter suite, and remembers', async () => {
  const { state, receiver } = slowable();
  state.delay = 10 * SLOW;
  bench = await startBench({ design, window: 6, agent, receiver });
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
  // It had not to find out again.
  expect(bench.log.slice(logged).join('')).not.toContain('another matrix is wanted');
});

test('settings that an operator has fixed are kept, however slow the computer is; the cloud is told how slow', async () => {
  const { state, receiver } = slowable();
  state.delay = 3 * SLOW;
  bench = await startBench({
    design: storeDesign(systemRandom(8 * 16_370)),
    window: 6,
    agent: { ...agent, suite: 'keccak256' },
    receiver,
  });
  const { cloud } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
  expect(cloud.requests.map(({ suite }) => suite)).toEqual(['keccak256']);
  expect(cloud.telemetry.findLast(({ tableMs }) => tableMs !== undefined)?.tableMs).toBeGreaterThanOrEqual(3 * SLOW);
});
