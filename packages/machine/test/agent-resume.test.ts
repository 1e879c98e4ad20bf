import { MillraceError, sleep, systemClock, systemRandom, toHex } from '@millrace/base';
import { createReceiver, type Receiver } from '@millrace/live-matrix';
import { encodeControl, encodeStream } from '@millrace/protocol';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { type Bench, type BenchOptions, startBench } from '@millrace/testkit/machine/agent-harness';
import { afterEach, expect, test } from 'vitest';
import type { Driver } from '../src/drivers/contract.ts';

let bench: Bench | undefined;
afterEach(async () => {
  await bench?.close();
  bench = undefined;
});

const cloudOf = () => {
  if (bench === undefined) throw new Error('no bench');
  return bench.cloud;
};

const design = storeDesign(systemRandom(20 * 16_370 - 5));

/** A copy of the driver whose methods can be replaced one by one. */
function bound(driver: Driver): Driver {
  const names = [
    'connect',
    'identify',
    'begin',
    'write',
    'drain',
    'pause',
    'resume',
    'cancel',
    'emergencyStop',
  ] as const;
  const more = ['telemetry', 'onTelemetry', 'summary', 'toolPath', 'close'] as const;
  const methods = [...names, ...more].map((name) => [name, driver[name].bind(driver)]);
  return { kind: driver.kind, capabilities: driver.capabilities, ...Object.fromEntries(methods) };
}

/** Prints, waits for the end, and checks what holds for every print, however often it was resumed. */
async function printWhole(options: Partial<BenchOptions>): Promise<Bench> {
  bench = await startBench({ design, window: 6, ...options });
  const { cloud } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed' || event === 'failed'));
  expect(cloud.reports.at(-1)?.event).toBe('completed');
  expect(bench.executed().equals(design.bytes)).toBe(true);
  expect(new Set(cloud.requests.map(({ run }) => toHex(run))).size).toBe(1);
  expect(new Set(cloud.requests.map(({ ephemeral }) => toHex(ephemeral))).size).toBe(cloud.requests.length);
  expect(cloud.reports.filter(({ event }) => event === 'started').length).toBe(1);
  return bench;
}

test('a lost connection: the stream resumes with the same run and a new ephemeral key', async () => {
  let cuts = 0;
  const { cloud } = await printWhole({
    meddling: {
      frame: (frame, segment) => {
        if ((segment === 7 && cuts === 0) || (segment === 13 && cuts === 1)) {
          cuts++;
          setImmediate(() => cloudOf().cut());
        }
        return [frame];
      },
    },
  });
  expect(cloud.connections).toBe(3);
  expect(cloud.requests.length).toBe(3);
  const froms = cloud.requests.map(({ from }) => from);
  expect(froms[0]).toBe(0);
  expect(froms[1]).toBeGreaterThan(0);
  expect(froms[2]).toBeGreaterThan(froms[1] ?? 0);
});

test('a lost connection with a full buffer: the window is counted from the segments that the machine has taken', async () => {
  let go: () => void = () => undefined;
  const slow = new Promise<void>((resolve) => {
    go = resolve;
  });
  let writes = 0;
  let most = 0;
  const { cloud } = await printWhole({
    agent: { stallMs: 2_000 },
    wrapDriver: (driver) => ({
      ...bound(driver),
      // The third segment is taken only after a second session has started and sent what it may.
      write: async (content, signal) => {
        if (++writes === 3) await slow;
        await driver.write(content, signal);
      },
    }),
    meddling: {
      frame: (frame, segment, session) => {
        most = Math.max(most, segment);
        if (session === cloudOf().sessions[0] && segment === 7) setImmediate(() => cloudOf().cut());
        return [frame];
      },
      telemetry: ({ acked }, session) => {
        if (session === cloudOf().sessions[1] && acked === 2) setTimeout(go, 100);
      },
    },
  });
  expect(cloud.requests.length).toBe(2);
  expect(cloud.requests[1]?.from).toBeGreaterThan(5); // the buffer held the segments after the second one
  expect(most).toBe(19);
});

test('a machine that takes no data for a long time keeps its stream', async () => {
  let writes = 0;
  const { cloud } = await printWhole({
    window: 8,
    agent: { stallMs: 200 },
    wrapDriver: (driver) => ({
      ...bound(driver),
      write: async (content, signal) => {
        // For example, it heats up. It takes three segments, so that one more than was sent would fit into the window.
        if (++writes === 4) await sleep(1_000, signal);
        await driver.write(content, signal);
      },
    }),
  });
  expect(cloud.requests.length).toBe(1);
});

test.each([
  ['ahead', 3_600_000],
  ['back', -3_600_000],
])('clocks that jump an hour %s during a wait for frames have no effect', async (_, jump) => {
  let offset = 0;
  let released = false;
  const held: Uint8Array[] = [];
  const { cloud } = await printWhole({
    clock: {
      now: () => systemClock.now() + offset,
      monotonic: () => systemClock.monotonic() + 7_200_000 + offset,
    },
    agent: { stallMs: 2_000 },
    meddling: {
      frame: (frame, segment) => {
        if (segment < 9 || released) return [frame];
        held.push(frame);
        if (segment > 9) return [];
        // Everything received has been taken and acknowledged.
        setTimeout(() => {
          offset = jump;
        }, 300);
        setTimeout(() => {
          released = true;
          for (const one of held) cloudOf().send(encodeStream('frame', one));
        }, 1_300);
        return [];
      },
    },
  });
  expect(offset).toBe(jump);
  expect(cloud.requests.length).toBe(1);
});

test('missing keys: the stall is detected and the stream resumed', async () => {
  const { cloud } = await printWhole({
    meddling: { key: (key, segment, session) => (session === cloudOf().sessions[0] && segment >= 5 ? [] : [key]) },
  });
  expect(cloud.requests.map(({ from }) => from)).toEqual([0, 5]);
});

test('one key is lost: the stream resumes', async () => {
  const { cloud } = await printWhole({
    meddling: { key: (key, segment, session) => (session === cloudOf().sessions[0] && segment === 4 ? [] : [key]) },
  });
  expect(cloud.requests.length).toBe(2);
  expect(cloud.requests[1]?.from).toBeLessThanOrEqual(4);
});

test('a frame is lost: the stream resumes', async () => {
  const { cloud } = await printWhole({
    meddling: {
      frame: (frame, segment, session) => (session === cloudOf().sessions[0] && segment === 9 ? [] : [frame]),
    },
  });
  expect(cloud.requests.map(({ from }) => from)).toEqual([0, 9]);
});

test('the distribution node reports a disconnected node: the stream resumes', async () => {
  const { cloud } = await printWhole({
    meddling: {
      frame: (frame, segment, session) => {
        if (session !== cloudOf().sessions[0] || segment < 3) return [frame];
        session.ended = true;
        cloudOf().send(encodeControl({ type: 'lost', session: session.session, who: 'segments' }));
        return [];
      },
    },
  });
  expect(cloud.requests.length).toBe(2);
});

test('a stream that ends with a temporary error is resumed, and late frames of the old session are dropped', async () => {
  let late: Uint8Array<ArrayBuffer> | undefined;
  const { cloud } = await printWhole({
    meddling: {
      frame: (frame, segment, session) => {
        if (session === cloudOf().sessions[0]) {
          if (segment !== 6) return [frame];
          late = frame;
          session.end('E_UNAVAILABLE');
          return [];
        }
        return late === undefined ? [frame] : [late, frame];
      },
    },
  });
  expect(late).toBeDefined();
  expect(cloud.requests.length).toBe(2);
});

test('frames that cannot be decoded are requested again in a later revision', async () => {
  const unsolved = new Set([2, 3, 11]);
  const sent = new Map<number, bigint[]>();
  const receiver: typeof createReceiver = async (options) => {
    const honest: Receiver = await createReceiver(options);
    return {
      get ready() {
        return honest.ready;
      },
      engine: honest.engine,
      tables: honest.tables,
      verifyAhead: (frame, ahead) => honest.verifyAhead(frame, ahead),
      forget: (below) => honest.forget(below),
      prepareNext: () => honest.prepareNext(),
      mix: (secret) => honest.mix(secret),
      close: () => honest.close(),
      decode: async (frame) => {
        const number = new DataView(frame.buffer, frame.byteOffset).getUint32(30);
        if (unsolved.delete(number)) throw new MillraceError('E_FRAME_UNSOLVED', 'the test says so');
        return honest.decode(frame);
      },
    };
  };
  const { cloud } = await printWhole({
    receiver,
    meddling: {
      frame: (frame, segment, session) => {
        sent.set(segment, [...(sent.get(segment) ?? []), session.sender.revision]);
        return [frame];
      },
    },
  });
  expect(cloud.requests.length).toBe(1);
  expect(cloud.telemetry.flatMap(({ resend }) => resend ?? [])).toEqual(expect.arrayContaining([2, 3, 11]));
  for (const segment of [2, 3, 11]) {
    const revisions = sent.get(segment) ?? [];
    expect(revisions.length).toBeGreaterThanOrEqual(2);
    expect(revisions[1]).toBeGreaterThan(revisions[0] ?? 0n);
  }
});

test('a lost answer to a call home: the same request is sent again and uses no second object', async () => {
  let lost = 0;
  const { cloud } = await printWhole({
    meddling: { answer: (method) => method !== 'call-home' || lost++ >= 2, offer: () => true },
  });
  const [first, second] = cloud.requestBytes;
  expect(cloud.requestBytes.length).toBeGreaterThanOrEqual(3);
  expect(second).toEqual(first);
  expect(new Set(cloud.reports.map(({ object }) => object)).size).toBe(1);
});

test('control fails after recording the request: the agent makes a new request of the same run', async () => {
  let noted = 0;
  const { cloud } = await printWhole({
    meddling: {
      refuse: (method) =>
        method === 'call-home' && noted++ === 0 ? new MillraceError('E_REPLAY', 'used already') : undefined,
    },
  });
  expect(cloud.requests.length).toBe(1);
});

test('the machine executes its buffer while the cloud is unreachable', async () => {
  const left: number[] = [];
  /** The number of bytes received when the stream broke, as the agent reports it. */
  const come = () => {
    const line = bench?.log.find((one) => one.includes('resuming'));
    return line === undefined ? 0 : (JSON.parse(line) as { from: number }).from * 16_370;
  };
  await printWhole({
    // Slow: 16 segments a second, with room for one, so that most of the window waits in the agent.
    factor: 1,
    bytesPerSecond: 16 * 16_370,
    driver: { bufferBytes: 16_384 },
    meddling: {
      telemetry: ({ acked }, session) => {
        if (acked >= 2 && session === cloudOf().sessions[0] && !session.ended) cloudOf().cut();
      },
      refuse: (method) => {
        if (method !== 'call-home' || come() === 0) return undefined;
        left.push(come() - (bench?.executed().length ?? 0));
        return (left.at(-1) ?? 0) > 0 ? new MillraceError('E_UNAVAILABLE', 'not now') : undefined;
      },
    },
  });
  expect(left[0]).toBeGreaterThan(0);
  expect(left.at(-1)).toBe(0);
});

test('a stream that breaks after the buffer was full for longer than the patience goes on', async () => {
  let writes = 0;
  let cut = 0;
  let go: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    go = resolve;
  });
  const { cloud } = await printWhole({
    agent: { giveUpMs: 1_000 },
    wrapDriver: (driver) => ({
      ...bound(driver),
      write: async (content, signal) => {
        if (++writes === 3) await held;
        await driver.write(content, signal);
      },
    }),
    meddling: {
      telemetry: ({ got }, session) => {
        const at = cloudOf().sessions.indexOf(session);
        if (got !== 8 || at !== cut) return; // two that the machine has taken, and a window
        cut++;
        if (at > 1) return go();
        // In the second session nothing is due for longer than `giveUpMs`.
        setTimeout(() => cloudOf().cut(), at === 0 ? 0 : 1_500);
      },
    },
  });
  expect(cloud.requests.length).toBe(3);
  expect(cloud.requests[2]?.from).toBe(cloud.requests[1]?.from);
});

test('a machine with a full buffer outlasts an outage longer than the patience', async () => {
  const giveUpMs = 1_000;
  let lateMs = 0;
  let expired = false;
  let writes = 0;
  let cut: object | undefined;
  let go: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    go = resolve;
  });
  const { cloud } = await printWhole({
    agent: { giveUpMs, stallMs: 5_000 },
    clock: { ...systemClock, now: () => systemClock.now() + lateMs },
    wrapDriver: (driver) => ({
      ...bound(driver),
      write: async (content, signal) => {
        if (++writes === 3) await held;
        await driver.write(content, signal);
      },
    }),
    meddling: {
      telemetry: ({ got }, session) => {
        if (cut !== undefined && cut !== session) return go();
        if (cut !== undefined || got !== 8) return; // two that the machine has taken, and a window
        cut = session;
        cloudOf().away = true;
        cloudOf().cut();
        setTimeout(() => {
          cloudOf().away = false;
        }, 2 * giveUpMs);
      },
      refuse: (method) => {
        // Then control fails for twice as long, until the first request after the outage has expired. The first one
        // that arrives then may have been signed before.
        if (cut === undefined || method !== 'call-home' || expired) return undefined;
        expired = lateMs > 0;
        setTimeout(() => {
          lateMs = 11 * 60_000;
        }, 2 * giveUpMs);
        return new MillraceError('E_UNAVAILABLE', 'not now');
      },
    },
  });
  expect(cloud.requests.at(-1)?.issued).toBeGreaterThan(systemClock.now());
});

test('sessions that end while the buffer is full begin at growing intervals', async () => {
  let go: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    go = resolve;
  });
  let writes = 0;
  const ended: number[] = [];
  await printWhole({
    agent: { stallMs: 5_000 },
    timing: { backoff: { firstMs: 200, mostMs: 5_000, random: () => 1 } },
    wrapDriver: (driver) => ({
      ...bound(driver),
      write: async (content, signal) => {
        if (++writes === 3) await held;
        await driver.write(content, signal);
      },
    }),
    meddling: {
      telemetry: ({ got }, session) => {
        if (got !== 8 || session.ended) return; // two that the machine has taken, and a window
        if (ended.push(systemClock.monotonic()) > 3) return go();
        session.ended = true;
        session.end('E_UNAVAILABLE');
      },
    },
  });
  // The first session delivered: 200, 400 and 800 ms.
  expect((ended[3] ?? 0) - (ended[0] ?? 0)).toBeGreaterThan(1_390);
});

test('the cloud stays unreachable: the print fails, with a report', async () => {
  bench = await startBench({
    design,
    window: 6,
    agent: { giveUpMs: 600 },
    meddling: {
      frame: (frame, segment) => (segment < 5 ? [frame] : []),
      refuse: (method, call) =>
        method === 'call-home' && call > 2 ? new MillraceError('E_UNAVAILABLE', 'not now') : undefined,
    },
  });
  const { cloud } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed'));
  expect(cloud.reports.at(-1)?.facts).toMatchObject({ code: 'E_STARVED', segments: 5 });
  expect(bench.executed().equals(design.bytes.subarray(0, 5 * 16_370))).toBe(true);
  expect(cloud.requests.length).toBe(1);
});

test('control refuses to resume: the machine stops and the print fails with the code', async () => {
  let acked = 0;
  bench = await startBench({
    design,
    window: 6,
    meddling: {
      frame: (frame, segment) => (segment < 5 ? [frame] : []),
      telemetry: (told) => {
        acked = told.acked;
      },
      refuse: (method) =>
        method === 'call-home' && acked === 5 ? new MillraceError('E_ALARM', 'consumed too fast') : undefined,
    },
  });
  const { cloud } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed'));
  expect(cloud.reports.map(({ event }) => event)).toEqual(['started', 'progressed', 'failed']);
  expect(cloud.reports.at(-1)?.facts.code).toBe('E_ALARM');
});
