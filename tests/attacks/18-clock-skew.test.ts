import { type Clock, copyBytes, systemClock, systemRandom } from '@millrace/base';
import { createEngine } from '@millrace/live-matrix';
import { signPermit } from '@millrace/protocol';
import { bareHints, known, valuesOf } from '@millrace/testkit/attacks/known';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { type Bench, startBench } from '@millrace/testkit/machine/agent-harness';
import { afterEach, describe, expect, it } from 'vitest';

// Row 18: the machine's clock is off by an hour. Revisions are numbers in frames, not times. The validity of signed
// documents has 65 minutes of tolerance.

const HOUR = 3_600_000;
const design = storeDesign(known('row 18 design', 12 * 16_370));
const off = (by: number): Clock => ({ now: () => systemClock.now() + by, monotonic: () => systemClock.monotonic() });

let bench: Bench | undefined;
afterEach(() => bench?.close());

const ended = (one: Bench) =>
  one.cloud.until(() => one.cloud.reports.some(({ event }) => event === 'failed' || event === 'completed'));

describe('baseline: revisions by the wall clock of each end, as in one-time passwords', () => {
  /** Revisions of five seconds. The receiver has the current and the previous one. */
  const revisionAt = (time: number) => BigInt(Math.floor(time / 5_000));
  const engine = createEngine();
  const key = known('row 18 key', 32);
  const values = valuesOf(known('row 18 values', 2_000), 2);
  const all = Uint32Array.from({ length: 2 ** 16 }, (_, g) => g);

  function understood(skew: number): number {
    const now = 1_800_000_000_000;
    const sent = bareHints(engine, key, values, 4, revisionAt(now));
    const books = [0n, 1n].map((back) => new Set(bareHints(engine, key, all, 4, revisionAt(now + skew) - back)));
    return sent.filter((hint) => books.some((book) => book.has(hint))).length / values.length;
  }

  it('decodes everything with equal clocks and nothing with clocks an hour apart', () => {
    expect(understood(0)).toBe(1);
    expect(understood(4_000)).toBe(1);
    for (const skew of [HOUR, -HOUR]) expect(understood(skew)).toBeLessThan(0.01);
  });
});

describe('ours', () => {
  it.each([HOUR, -HOUR, 0])('a machine whose clock is off by %i ms makes the whole object', async (by) => {
    bench = await startBench({ design, window: 4, clock: off(by) });
    await bench.cloud.print();
    await ended(bench);
    expect(bench.cloud.reports.at(-1)?.event).toBe('completed');
    expect(bench.executed().equals(design.bytes)).toBe(true);
  });

  it.each([
    [3 * HOUR, 'E_CLOCK'],
    [-3 * HOUR, 'E_EXPIRED'],
  ])('with a clock off by %i ms no print starts, and the log has the code (%s)', async (by, code) => {
    bench = await startBench({ design, window: 4, clock: off(by) });
    await bench.cloud.print();
    while (!bench.log.some((line) => line.includes('not begun')))
      await new Promise((resolve) => setTimeout(resolve, 10));
    expect(bench.log.find((line) => line.includes('not begun'))).toContain(`"code":"${code}"`);
    expect(bench.executed()).toHaveLength(0);
  });

  it('a slow clock does not make a recorded permit valid: it answers only its own request', async () => {
    const recorded: Uint8Array[] = [];
    bench = await startBench({
      design,
      window: 4,
      clock: off(-HOUR),
      meddling: {
        callHome: async (answer) => {
          const { cloud } = bench as Bench;
          const [request, bytes] = [cloud.requests.at(-1), cloud.requestBytes.at(-1)];
          if (request === undefined || bytes === undefined) throw new Error('no request');
          // An hour old, of the same machine, licence and print, for another request than this one.
          const old = { ...cloud.permitFor(request, bytes), request: systemRandom(32) };
          const issued = systemClock.now() - HOUR;
          const permit = await signPermit(cloud.permitKey, cloud.directory.installation, {
            ...old,
            issued,
            expires: issued + 120_000,
          });
          recorded.push(copyBytes(permit));
          return { ...answer, permit };
        },
      },
    });
    await bench.cloud.print();
    while (!bench.log.some((line) => line.includes('not begun')))
      await new Promise((resolve) => setTimeout(resolve, 10));
    expect(bench.log.find((line) => line.includes('not begun'))).toContain('"code":"E_PERMIT"');
    expect(recorded.length).toBeGreaterThan(0);
    expect(bench.executed()).toHaveLength(0);
  });
});
