import { systemRandom } from '@millrace/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Packed, pack, unpack } from '../src/packed.ts';

const layout = { place: 20, first: 32, second: 32, epoch: 'u32', flags: 'u8' } as const;
const record = fc.record({
  place: fc.uint8Array({ minLength: 20, maxLength: 20 }),
  first: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  second: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  epoch: fc.integer({ min: 0, max: 0xffff_ffff }),
  flags: fc.integer({ min: 0, max: 255 }),
});

describe('packed records', () => {
  it('round-trip, field by field and as a whole', () => {
    fc.assert(
      fc.property(fc.array(record, { maxLength: 6 }), (list) => {
        const records = list.map((one) => ({
          ...one,
          place: one.place.slice(),
          first: one.first.slice(),
          second: one.second.slice(),
        }));
        const packed = new Packed(layout, pack(layout, records));
        expect(packed.count).toBe(records.length);
        expect(packed.bytes.length).toBe(89 * records.length);
        for (const [i, { place, first, second, epoch, flags }] of records.entries()) {
          expect(packed.view(i, 'place')).toEqual(place);
          expect(packed.span(i, 'first', 'second')).toEqual(Uint8Array.from([...first, ...second]));
          expect(packed.number(i, 'epoch')).toBe(epoch);
          expect(packed.number(i, 'flags')).toBe(flags);
        }
        expect(unpack(layout, packed.bytes)).toEqual(records);
      }),
    );
  });

  it('give views on their bytes; unpacked records are copies, also of a Buffer', () => {
    const bytes = systemRandom(89);
    const packed = new Packed(layout, bytes);
    const [copy] = unpack(layout, Buffer.from(bytes.buffer));
    bytes.fill(0);
    expect(packed.view(0, 'first').every((byte) => byte === 0)).toBe(true);
    expect(copy?.first.every((byte) => byte === 0)).toBe(false);
  });

  it('reject a length that is no multiple of the record, and a field of another length', () => {
    expect(() => new Packed(layout, new Uint8Array(90))).toThrow(expect.objectContaining({ code: 'E_INPUT' }));
    expect(() => Packed.blank(layout, 1).set(0, 'place', new Uint8Array(19))).toThrow(
      expect.objectContaining({ code: 'E_INTERNAL' }),
    );
  });
});
