import { systemRandom, toHex } from '@millrace/base';
import { generateP256Key } from '@millrace/identity';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createFactsSealing,
  createOwnerSealing,
  MAX_SEALED_FACTS,
  MAX_SEALED_STATE,
  type OwnerState,
  openOwnerFacts,
  openOwnerState,
} from '../src/index.ts';

const owner = generateP256Key();
const binding = { installation: toHex(systemRandom(16)), object: `${toHex(systemRandom(16))}-12` };
const session = systemRandom(16);
const state: OwnerState = { time: 1_790_000_000_000, bytes: 40_123, line: 4_321, layer: 7, position: [1.25, -2.5, 3] };

describe('owner-only telemetry', () => {
  it('opens for the owner, for that object and session, and for nobody else', async () => {
    const sealing = await createOwnerSealing(owner.publicKey, binding, session);
    const [first, second] = [sealing.seal(state), sealing.seal({ ...state, line: 4_322 })];
    sealing.close();
    expect(await openOwnerState(owner, binding, session, second)).toMatchObject({ line: 4_322 });
    expect(await openOwnerState(owner, binding, session, first)).toEqual(state);
    const refused = [
      () => openOwnerState(generateP256Key(), binding, session, first),
      () => openOwnerState(owner, { ...binding, object: binding.object.replace('-12', '-1') }, session, first),
      () => openOwnerState(owner, { ...binding, installation: toHex(systemRandom(16)) }, session, first),
      () => openOwnerState(owner, binding, systemRandom(16), first),
      () => openOwnerFacts(owner, binding, session, first),
    ];
    for (const open of refused) await expect(open()).rejects.toMatchObject({ code: 'E_SEAL' });
  });

  it('has a fixed length, whatever the numbers are, below its bound', async () => {
    const sealing = await createOwnerSealing(owner.publicKey, binding, session);
    const mm = fc.integer({ min: -200_000, max: 200_000 }).map((hundredths) => hundredths / 100);
    const uint = fc.integer({ min: 0, max: 2 ** 31 });
    fc.assert(
      fc.property(uint, uint, fc.integer({ min: 0, max: 65_535 }), fc.tuple(mm, mm, mm), uint, (...values) => {
        const [bytes, line, layer, position, hundredths] = values;
        const filament = hundredths / 100;
        expect(sealing.seal({ time: state.time, bytes, line, layer, position, filament }).length).toBe(213);
      }),
    );
    expect(sealing.seal({ time: 0, bytes: 0 }).length).toBe(213);
    expect(213).toBeLessThanOrEqual(MAX_SEALED_STATE);
    const facts = await createFactsSealing(owner.publicKey, binding, session);
    const longest = facts.seal({ ...state, filament: 1 / 3, reason: '\u{ffff}'.repeat(500) });
    expect(longest.length).toBeLessThanOrEqual(MAX_SEALED_FACTS);
    expect(await openOwnerFacts(owner, binding, session, longest)).toMatchObject({ line: 4_321 });
  });
});
