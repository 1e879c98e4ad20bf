import { fromHex, systemRandom, toHex } from '@millrace/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_PRIVATE_BYTES, openPrivatePart, type PrivatePart, sealPrivatePart } from '../src/index.ts';
import { readVectors } from './vectors.ts';

const secret = systemRandom(32);
const part: PrivatePart = {
  name: 'Größe 42.gcode',
  nonce: systemRandom(16),
  designSecret: systemRandom(32),
  box: [-1_500, 0, 200, 120_000, 80_000, 30_400],
  material: { name: 'PLA', milligrams: 12_345 },
  time: { model: 2_831_000, slicer: 2_797_000 },
  sliced: { slicer: 'PrusaSlicer 2.5.0', profile: 'fine.ini', profileHash: systemRandom(32) },
  thumbnail: systemRandom(20_000),
};
const shut = expect.objectContaining({ code: 'E_SEAL' });

describe('the private part', () => {
  it('opens for its owner only', () => {
    const sealed = sealPrivatePart(secret, part);
    expect(openPrivatePart(secret, sealed)).toEqual(part);
    expect(() => openPrivatePart(systemRandom(32), sealed)).toThrow(shut);
  });

  it('does not open with any byte changed, or truncated anywhere', () => {
    const sealed = sealPrivatePart(secret, { ...part, thumbnail: undefined });
    fc.assert(
      fc.property(fc.nat(sealed.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const altered = sealed.slice();
        altered[at] = (altered[at] ?? 0) ^ change;
        expect(() => openPrivatePart(secret, altered)).toThrow(shut);
        expect(() => openPrivatePart(secret, sealed.slice(0, at))).toThrow(shut);
      }),
    );
  });

  it('does not reveal by its length the name or, up to 4 KB, a picture', () => {
    const lengths = [
      { ...part, thumbnail: undefined },
      { ...part, name: 'x', thumbnail: undefined, box: undefined, sliced: undefined },
      { ...part, name: 'x'.repeat(200), thumbnail: systemRandom(2_000) },
    ].map((each) => sealPrivatePart(secret, each).length);
    expect(new Set(lengths).size).toBe(1);
    const largest = sealPrivatePart(secret, { ...part, thumbnail: systemRandom(32_768) });
    expect(largest.length).toBeLessThanOrEqual(MAX_PRIVATE_BYTES);
  });

  it('is different each time: sealings of equal parts share no bytes', () => {
    const [one, two] = [sealPrivatePart(secret, part), sealPrivatePart(secret, part)];
    const runs = new Set<string>();
    for (let at = 0; at + 16 <= one.length; at += 1) runs.add(toHex(one.subarray(at, at + 16)));
    for (let at = 0; at + 16 <= two.length; at += 1) expect(runs.has(toHex(two.subarray(at, at + 16)))).toBe(false);
  });

  it('rejects fields beyond their limits', () => {
    for (const wrong of [{ name: '' }, { nonce: new Uint8Array(15) }, { thumbnail: new Uint8Array(32_769) }])
      expect(() => sealPrivatePart(secret, { ...part, ...wrong })).toThrow(
        expect.objectContaining({ code: 'E_INPUT' }),
      );
  });

  it('vectors/vault/private.json', () => {
    const vector = readVectors<Record<'secret' | 'salt' | 'nonce' | 'designSecret' | 'sealed', string>>('private.json');
    const expected = {
      name: 'Größe 42.gcode',
      nonce: fromHex(vector.nonce),
      designSecret: fromHex(vector.designSecret),
      box: [-1_500, 0, 200, 120_000, 80_000, 30_400],
      material: { name: 'PLA', milligrams: 12_345 },
      time: { model: 2_831_000, slicer: 2_797_000 },
    };
    expect(openPrivatePart(fromHex(vector.secret), fromHex(vector.sealed))).toEqual(expected);
    const again = sealPrivatePart(fromHex(vector.secret), expected, () => fromHex(vector.salt));
    expect(toHex(again)).toBe(vector.sealed);
  });
});
