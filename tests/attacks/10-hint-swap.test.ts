import { estimateDesign } from '@millrace/gcode';
import { createEngine } from '@millrace/live-matrix';
import { bareHints, impeller, known, valuesOf } from '@millrace/testkit/attacks/known';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { type Bench, startBench } from '@millrace/testkit/machine/agent-harness';
import { afterEach, describe, expect, it } from 'vitest';

// Row 10: a man in the middle swaps two hints. In the paper nothing binds a hint to its position.

/** Ends with a whole line, and is a multiple of the paper's segments except for some bytes of a comment. */
const text = (() => {
  const whole = impeller();
  return whole.slice(0, whole.lastIndexOf(0x0a, 120_000) + 1);
})();

/** Two positions, a multiple of `width` bytes apart, with different digits of a coordinate. */
function coordinates(width: number): [number, number] {
  const found: number[] = [];
  for (let at = 60_000 - (60_000 % width); found.length < 2; at += width) {
    const piece = Buffer.from(text.subarray(at, at + width)).toString();
    const first = found[0];
    const other =
      first === undefined || Buffer.compare(text.subarray(first, first + width), text.subarray(at, at + width)) !== 0;
    const before = Buffer.from(text.subarray(at - 6, at)).toString();
    if (/^\d+$/.test(piece) && / [XY]\d{0,2}\.?\d{0,2}$/.test(before) && other) found.push(at);
  }
  return [found[0] ?? 0, found[1] ?? 0];
}

describe('baseline: hints of raw G-code, looked up one by one', () => {
  it('two swapped hints: the machine makes another part without an error', async () => {
    const width = 2;
    const engine = createEngine();
    const key = known('row 10', 32);
    const hints = bareHints(engine, key, valuesOf(text, width), 4);
    const [a, b] = coordinates(width).map((at) => at / width) as [number, number];
    [hints[a], hints[b]] = [hints[b] ?? 0, hints[a] ?? 0];
    const all = bareHints(
      engine,
      key,
      Uint32Array.from({ length: 2 ** 16 }, (_, g) => g),
      4,
    );
    const book = new Map(Array.from(all, (hint, g) => [hint, g]));
    const made = Buffer.from(
      Array.from(hints, (hint) => book.get(hint) ?? -1).flatMap((value) => [value & 0xff, value >> 8]),
    );
    const [ours, theirs] = [text.subarray(0, made.length), made].map((bytes) => Buffer.from(bytes));
    expect(made.length).toBe(text.length - (text.length % width));
    expect(Buffer.compare(ours ?? made, theirs ?? made)).not.toBe(0);
    const seconds = (bytes: Uint8Array) => estimateDesign([bytes]).then(({ totalSeconds }) => totalSeconds);
    expect(await seconds(made)).not.toBe(await seconds(text));
  });
});

describe('ours', () => {
  let bench: Bench | undefined;
  afterEach(() => bench?.close());

  it.each([
    ['within a block', 10, 200],
    ['across blocks', 10, 8_000],
    ['neighbours', 5, 6],
  ])(
    'two swapped hints of one frame, %s: the stream stops at the frame, before the machine moves on it',
    async (_, a, b) => {
      const BAD = 3;
      const design = storeDesign(text);
      bench = await startBench({
        design,
        window: 4,
        kind: 'virtual',
        meddling: {
          frame: (frame, segment) => {
            if (segment === BAD) {
              const one = frame.slice(38 + 2 * a, 40 + 2 * a);
              frame.copyWithin(38 + 2 * a, 38 + 2 * b, 40 + 2 * b);
              frame.set(one, 38 + 2 * b);
            }
            return [frame];
          },
        },
      });
      const { cloud } = bench;
      await cloud.print();
      await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed' || event === 'completed'));
      expect(cloud.reports.at(-1)).toMatchObject({ event: 'failed', facts: { code: 'E_FRAME_MAC' } });
      const executed = bench.executed();
      expect(executed.length).toBeLessThanOrEqual(BAD * 16_370);
      expect(executed.equals(text.subarray(0, executed.length))).toBe(true);
    },
  );

  it('unmodified, the same design is made to its last byte', async () => {
    bench = await startBench({ design: storeDesign(text), window: 4, kind: 'virtual' });
    const { cloud } = bench;
    await cloud.print();
    await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed' || event === 'completed'));
    expect(cloud.reports.at(-1)?.event).toBe('completed');
    expect(bench.executed().equals(text)).toBe(true);
  });
});
