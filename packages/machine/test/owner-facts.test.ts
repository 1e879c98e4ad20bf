import { systemClock } from '@millrace/base';
import { generateP256Key } from '@millrace/identity';
import { expect, it } from 'vitest';
import { OwnerFacts } from '../src/agent/owner-facts.ts';
import type { Driver } from '../src/drivers/contract.ts';

const OF = { installation: 'ab'.repeat(16), object: `${'cd'.repeat(16)}-1`, run: 'ef'.repeat(16) };
const creditPolicy = { below: 10, most: 1 };

/** Facts of a print on a machine that has executed so many lines. */
async function facts(line: number, { lines = true, policy = true, began = true } = {}) {
  const capabilities = { lines, layers: false, position: false, filament: false };
  const telemetry = () => ({ executedBytes: line * 20, line, odometer: 0 });
  const owner = new OwnerFacts({ driver: { capabilities, telemetry } as unknown as Driver, clock: systemClock });
  const { publicKey: telemetryKey } = generateP256Key();
  await owner.permitted({ telemetryKey, disclose: [], ...(policy && { creditPolicy }) }, OF);
  if (began) owner.began(0);
  const stated = owner.earlyLines();
  owner.close();
  return stated;
}

it('the machine states how many lines it executed only if the licence credits an object that failed so early', async () => {
  expect(await facts(0)).toEqual({ lines: 0 });
  expect(await facts(9)).toEqual({ lines: 9 });
  expect(await facts(10)).toBeUndefined();
  expect(await facts(9, { policy: false })).toBeUndefined();
});

it('a machine that counts no lines states it only if it has executed nothing', async () => {
  expect(await facts(0, { lines: false })).toEqual({ lines: 0 });
  expect(await facts(9, { lines: false })).toBeUndefined();
});

it('lines of an earlier print are not stated for one that has not begun', async () => {
  expect(await facts(500, { began: false })).toEqual({ lines: 0 });
});
