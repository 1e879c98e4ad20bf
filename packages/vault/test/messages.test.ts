import { decodeCbor, encodeCbor, systemRandom } from '@millrace/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeMessage,
  encodeMessage,
  MAINTAIN,
  MAX_CELLS,
  Packed,
  type VaultMessage,
  wipeMessage,
} from '../src/index.ts';

const bytes = (length: number) => systemRandom(length);
const samples: VaultMessage[] = [
  { type: 'want', design: bytes(16), from: 5, count: 256 },
  {
    type: 'store',
    design: bytes(16),
    generation: 9,
    from: 0,
    decoys: false,
    cells: [{ index: bytes(20), key: bytes(32), epoch: 7 }],
    seeds: [],
    labels: [],
  },
  {
    type: 'store',
    design: bytes(16),
    generation: 9,
    from: 0,
    decoys: true,
    cells: [{ index: bytes(20), key: bytes(32), epoch: 7 }],
    seeds: [bytes(32)],
    labels: [bytes(32)],
  },
  { type: 'stored', design: bytes(16), generation: 9, from: 9, count: 1 },
  { type: 'recorded', design: bytes(16), generation: 9, from: 9, count: 1 },
  { type: 'refused', design: bytes(16), from: 9, code: 'E_SEGMENT', reason: 'no' },
  {
    type: 'maintain',
    to: 8,
    lane: 63,
    number: 3,
    fence: 2,
    forget: Packed.of(MAINTAIN.forget, [{ index: bytes(20) }, { index: bytes(20) }]),
    items: Packed.of(MAINTAIN.items, [
      { oldIndex: bytes(20), newIndex: bytes(20), oldKey: bytes(32), newKey: bytes(32), flags: 1 },
    ]),
    masked: Packed.of(MAINTAIN.masked, [{ oldIndex: bytes(20), newIndex: bytes(20), flags: 0, mask: bytes(16_386) }]),
    points: Packed.of(MAINTAIN.points, [
      { oldIndex: bytes(20), newIndex: bytes(20), flags: 0, token: bytes(32), label: bytes(32) },
    ]),
  },
  {
    type: 'maintained',
    to: 8,
    lane: 63,
    number: 3,
    fence: 2,
    staged: 1,
    absent: 2,
    missing: [bytes(20)],
    damaged: [],
    work: 12,
  },
  {
    type: 'check',
    check: bytes(16),
    part: 2,
    last: true,
    deep: false,
    oldest: 8,
    after: bytes(20),
    upto: bytes(20),
    cells: [{ index: bytes(20), epoch: 8, flags: 0 }],
  },
  {
    type: 'check',
    check: bytes(16),
    part: 0,
    last: false,
    deep: true,
    oldest: 8,
    after: bytes(20),
    upto: bytes(20),
    cells: [
      { index: bytes(20), epoch: 8, flags: 0, key: bytes(32), hash: bytes(32) },
      { index: bytes(20), epoch: 8, flags: 1, key: bytes(32), hash: bytes(32), label: bytes(32) },
      { index: bytes(20), epoch: 8, flags: 1 },
    ],
  },
  { type: 'checked', check: bytes(16), part: 2, missing: [], extra: [bytes(20)], damaged: [bytes(20)] },
];

describe('vault messages', () => {
  it.each(samples)('$type round-trips', (message) => {
    expect(decodeMessage(encodeMessage(message))).toEqual(message);
  });

  it('reject an unknown type, an unknown field, a missing field, a wrong length, too many cells', () => {
    for (const message of samples) {
      const wire = decodeCbor(encodeMessage(message), 'test') as Record<string, unknown>;
      const wrong: Record<string, unknown>[] = [
        { ...wire, type: 'other' },
        { ...wire, extra: 1 },
      ];
      for (const field of Object.keys(wire)) {
        const { [field]: _, ...without } = wire;
        wrong.push(without);
        if (wire[field] instanceof Uint8Array) wrong.push({ ...wire, [field]: new Uint8Array(wire[field].length + 1) });
        if (typeof wire[field] === 'number')
          wrong.push({ ...wire, [field]: -1 }, { ...wire, [field]: 1.5 }, { ...wire, [field]: '1' });
      }
      for (const one of wrong) {
        expect(() => decodeMessage(encodeCbor(one as never)), JSON.stringify(one)).toThrow(
          expect.objectContaining({ code: 'E_INPUT' }),
        );
      }
    }
    const cells = Array.from({ length: MAX_CELLS + 1 }, () => ({ index: bytes(20), key: bytes(32), epoch: 1 }));
    const large = encodeMessage({
      type: 'store',
      design: bytes(16),
      generation: 9,
      from: 0,
      decoys: false,
      cells,
      seeds: [],
      labels: [],
    });
    expect(() => decodeMessage(large)).toThrow(expect.objectContaining({ code: 'E_INPUT' }));
    const store = samples.find((sample) => sample.type === 'store');
    if (store?.type !== 'store') throw new Error('no sample');
    const unequal = encodeMessage({ ...store, labels: [bytes(32), bytes(32)] });
    expect(() => decodeMessage(unequal)).toThrow(expect.objectContaining({ code: 'E_INPUT' }));
  });

  it('decode arbitrary bytes to E_INPUT only', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (junk) => {
        expect(() => decodeMessage(junk)).toThrow(expect.objectContaining({ code: 'E_INPUT' }));
      }),
      { numRuns: 2000 },
    );
  });

  it('wipe the outer keys that they carry', () => {
    for (const message of samples.map((sample) => decodeMessage(encodeMessage(sample)))) {
      wipeMessage(message);
      if (message.type === 'store')
        expect(
          [...message.cells.map(({ key }) => key), ...message.seeds].every((key) => key.every((byte) => byte === 0)),
        ).toBe(true);
      if (message.type === 'maintain')
        expect(
          message.items.count + message.masked.count === 2 &&
            [...message.items.bytes, ...message.masked.bytes].every((byte) => byte === 0),
        ).toBe(true);
    }
  });
});
