import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Session } from '@millrace/client';
import { randomDesign } from '@millrace/testkit/designs';
import { hashOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';

const BYTES_PER_SECOND = 400_000;

let system: TestInstallation;
let owner: Session;
let operator: Session;
beforeAll(async () => {
  system = await createTestInstallation({
    machine: { kind: 'sink', factor: 1, bytesPerSecond: BYTES_PER_SECOND, hints: 'sparse' },
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
});
afterAll(() => system?.close());

// Sizes around the limits of a segment (16,370 bytes), and one of many segments.
it.each([1, 16_370, 16_371, 300_001])('a sink receives exactly the %i bytes of a random file', async (bytes) => {
  const design = randomDesign(bytes);
  const options = { name: `random-${bytes}.bin`, kind: 'binary', bytesPerSecond: BYTES_PER_SECOND } as const;
  const stored = await store(system, owner, design, options);
  expect(stored).toMatchObject({ state: 'stored', size: bytes });
  const licence = await license(system, owner, stored.design, 1);
  const view = await untilEnded(operator, await order(system, operator, licence));
  expect(view).toMatchObject({ state: 'completed' });
  expect(await machineObject(system, objectOf(view))).toMatchObject({
    bytes,
    sha256: hashOf(design),
    event: 'completed',
  });
  // Control has accepted the machine's reports: a rejected one would stay in the folder.
  const reports = join(system.installation.layout.machine('virtual-1'), 'data', 'reports');
  await vi.waitFor(async () => expect(await readdir(reports)).toEqual([]), { timeout: 30_000, interval: 200 });
});

it('an empty file is rejected as a design', async () => {
  await expect(
    store(system, owner, new Uint8Array(), { name: 'empty.bin', kind: 'binary', bytesPerSecond: 1 }),
  ).rejects.toMatchObject({
    code: 'E_DESIGN_EMPTY',
  });
});
