import { concatBytes, MillraceError, utf8 } from '@millrace/base';
import { describe, expect, it } from 'vitest';
import {
  createNumberedSealing,
  generateP256Key,
  isSealingPoint,
  NUMBERED_OVERHEAD,
  openNumbered,
  ownerSealingKey,
} from '../src/index.ts';

const info = utf8('for this');

async function codeOf(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (error instanceof MillraceError) return error.code;
    throw error;
  }
  return 'none';
}

describe('numbered sealing', () => {
  it('opens each message independently', async () => {
    const owner = ownerSealingKey(new Uint8Array(32).fill(5));
    const sealing = await createNumberedSealing(owner.publicKey, info);
    const sealed = ['a', 'bb', '', 'dddd'].map((text) => sealing.seal(utf8(text)));
    sealing.close();
    expect(sealed.map(({ length }) => length - NUMBERED_OVERHEAD)).toEqual([1, 2, 0, 4]);
    for (const [number, text] of [
      [3, 'dddd'],
      [0, 'a'],
      [2, ''],
    ] as const)
      expect(await openNumbered(owner, info, sealed[number] as Uint8Array)).toEqual({ number, plaintext: utf8(text) });
  });

  it('does not open with another key or use, or when one byte is changed', async () => {
    const owner = generateP256Key();
    const sealed = (await createNumberedSealing(owner.publicKey, info)).seal(utf8('position'));
    expect(await codeOf(() => openNumbered(generateP256Key(), info, sealed))).toBe('E_SEAL');
    expect(await codeOf(() => openNumbered(owner, utf8('for that'), sealed))).toBe('E_SEAL');
    for (let at = 0; at < sealed.length; at++) {
      const changed = new Uint8Array(sealed);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(await codeOf(() => openNumbered(owner, info, changed)), `byte ${at}`).toBe('E_SEAL');
    }
    for (const length of [0, 64, 68, 84, sealed.length - 1])
      expect(await codeOf(() => openNumbered(owner, info, sealed.subarray(0, length)))).toBe('E_SEAL');
    expect(await codeOf(() => openNumbered(owner, info, concatBytes(sealed, new Uint8Array(1))))).toBe('E_SEAL');
  });

  it('rejects an invalid public key', async () => {
    const { publicKey } = generateP256Key();
    const beside = new Uint8Array(publicKey);
    beside[64] = (beside[64] ?? 0) ^ 1;
    expect([publicKey, beside, new Uint8Array(65), new Uint8Array(33)].map(isSealingPoint)).toEqual([
      true,
      false,
      false,
      false,
    ]);
    expect(await codeOf(() => createNumberedSealing(beside, info))).toBe('E_INPUT');
    expect(await codeOf(() => createNumberedSealing(new Uint8Array(65), info))).toBe('E_INPUT');
    expect(await codeOf(() => createNumberedSealing(new Uint8Array(33), info))).toBe('E_INPUT');
  });
});
