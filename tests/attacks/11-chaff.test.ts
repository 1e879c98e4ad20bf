import { createEngine, type MatrixParameters, Ratchet } from '@millrace/live-matrix';
import { chaffPlaces } from '@millrace/live-matrix/parts';
import { bareHints, framesOf, hintsOf, known, valuesOf } from '@millrace/testkit/attacks/known';
import { describe, expect, it } from 'vitest';

// Row 11: distinguishing chaff from data by counting repeats within a revision. The area under the curve (AUC) of a
// distinguisher is the probability that it ranks a data hint above a chaff hint: 0.5 is guessing. Seeds are fixed. With
// this number of hints 0.02 is more than eight standard deviations.

const HINT_BYTES = 3;
const FRAMES = 8;
const engine = createEngine();

interface Stream {
  /** All hints of a revision, frame by frame. */
  readonly hints: Uint32Array;
  /** 1 for chaff. */
  readonly isChaff: Uint8Array;
  readonly perFrame: number;
}

/** A whole revision of a session, with the secret known to its two ends: which hints are chaff. */
function stream(chaffPercent: number): Stream {
  const parameters: MatrixParameters = { suite: 'turboshake128', order: 16, hints: 'sparse', chaffPercent };
  const label = `row 11, ${chaffPercent}`;
  const cells = Array.from({ length: FRAMES }, (_, i) => known(`${label} cell ${i}`, 16_386));
  const frames = framesOf(parameters, label, cells);
  const hints = frames.map((frame) => hintsOf(frame, HINT_BYTES));
  const perFrame = hints[0]?.length ?? 0;
  const { keys } = new Ratchet(known(`${label} seed`, 32), 0n);
  const parityKey = { suite: parameters.suite, revision: 0n, key: keys.parity };
  const places = frames.map((_, i) => chaffPlaces(engine, parityKey, i, perFrame, perFrame - 16_386 / 2));
  return {
    hints: Uint32Array.from(hints.flatMap((some) => [...some])),
    isChaff: Uint8Array.from(places.flatMap((some) => [...some])),
    perFrame,
  };
}

/** The same stream with other chaff at the same positions. */
const withChaff = ({ hints, ...rest }: Stream, chaff: Uint32Array): Stream => {
  let next = 0;
  return { ...rest, hints: hints.map((hint, i) => (rest.isChaff[i] === 1 ? (chaff[next++] ?? 0) : hint)) };
};

/** Mann-Whitney: the share of pairs (data, chaff) that a score ranks correctly; ties count half. */
function auc(scores: ArrayLike<number>, isChaff: Uint8Array): number {
  const order = Uint32Array.from({ length: scores.length }, (_, i) => i).sort(
    (a, b) => (scores[a] ?? 0) - (scores[b] ?? 0),
  );
  let [chaff, data, ranks] = [0, 0, 0];
  for (let at = 0; at < order.length; ) {
    let end = at;
    while (end < order.length && scores[order[end] ?? 0] === scores[order[at] ?? 0]) end++;
    const rank = (at + end + 1) / 2;
    for (; at < end; at++) {
      if (isChaff[order[at] ?? 0] === 1) chaff++;
      else {
        data++;
        ranks += rank;
      }
    }
  }
  return (ranks - (data * (data + 1)) / 2) / (data * chaff);
}

function countBy(keys: Iterable<number>): Map<number, number> {
  const counts = new Map<number, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return counts;
}

/** Scores of a hint that an observer of all hints can compute. */
const distinguishers: Readonly<Record<string, (stream: Stream) => ArrayLike<number>>> = {
  'repeats in the revision': ({ hints }) => {
    const counts = countBy(hints);
    return Array.from(hints, (hint) => counts.get(hint) ?? 0);
  },
  'repeats in the frame': ({ hints, perFrame }) => {
    const inFrame = Array.from(hints, (hint, i) => hint + 2 ** 24 * Math.floor(i / perFrame));
    const counts = countBy(inFrame);
    return inFrame.map((key) => counts.get(key) ?? 0);
  },
  'distance to the last equal one': ({ hints }) => {
    const last = new Map<number, number>();
    return Array.from(hints, (hint, i) => {
      const before = last.get(hint);
      last.set(hint, i);
      return before === undefined ? Number.POSITIVE_INFINITY : i - before;
    });
  },
  'the hint itself': ({ hints }) => hints,
  'its lowest byte': ({ hints }) => hints.map((hint) => hint & 0xff),
  'its place in the frame': ({ hints, perFrame }) => hints.map((_, i) => i % perFrame),
  'repeats of its neighbours': ({ hints }) => {
    const counts = countBy(hints);
    return Array.from(hints, (_, i) => (counts.get(hints[i - 1] ?? -1) ?? 0) + (counts.get(hints[i + 1] ?? -1) ?? 0));
  },
};

describe('baseline', () => {
  const ours = stream(30);
  const chaff = ours.isChaff.filter((one) => one === 1).length;
  const byRepeats = (made: Stream) => auc(distinguishers['repeats in the revision']?.(made) ?? [], made.isChaff);

  it('naive chaff of uniform codes is identified by its repeats', () => {
    expect(byRepeats(withChaff(ours, valuesOf(known('row 11 naive', HINT_BYTES * chaff), HINT_BYTES)))).toBeGreaterThan(
      0.7,
    );
  });

  it('chaff of uniform values is identified if there is less of it than of data', () => {
    const uniform = bareHints(
      engine,
      known('row 11 uniform', 32),
      valuesOf(known('row 11 values', 2 * chaff), 2),
      HINT_BYTES,
    );
    expect(byRepeats(withChaff(ours, uniform))).toBeGreaterThan(0.6);
  });
});

describe.each([10, 30, 100])('ours, %i chaff for 100 of data', (percent) => {
  const ours = stream(percent);

  it.each(Object.entries(distinguishers))('%s: 0.50 within 0.02', (_, score) => {
    expect(Math.abs(auc(score(ours), ours.isChaff) - 0.5)).toBeLessThan(0.02);
  });

  it('has the requested amount of chaff', () => {
    const chaff = ours.isChaff.reduce((sum, one) => sum + one, 0);
    expect(chaff / (ours.hints.length - chaff)).toBeCloseTo(percent / 100, 3);
  });
});
