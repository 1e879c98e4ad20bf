import type { Session } from '@millrace/client';
import { expectSound } from '@millrace/testkit/audit';
import { printWithKill } from '@millrace/testkit/crash';
import { randomDesign } from '@millrace/testkit/designs';
import { eventsOf, hashOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { createTestInstallation, processNames, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it } from 'vitest';

// One kill per process. tests/heavy/crash.test.ts tries ten moments.

const SECONDS = 2;
const design = randomDesign(32 * 16_370);
const SEGMENTS = 32;
const rate = Math.ceil(design.length / SECONDS);

let system: TestInstallation;
let owner: Session;
let operator: Session;
let licence: string;

beforeAll(async () => {
  system = await createTestInstallation({
    machine: { kind: 'sink', factor: 1, bytesPerSecond: rate, stallMs: 3_000 },
    maintenance: { periodMs: 1_000, density: 50 },
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
  const stored = await store(system, owner, design, { name: 'a.bin', kind: 'binary', bytesPerSecond: rate });
  licence = await license(system, owner, stored.design, 6);
});
afterAll(() => system?.close());

it.each(processNames)('%s killed during a print: the print is completed, or failed in the ledger', async (process) => {
  const view = await printWithKill(system, operator, { licence, segments: SEGMENTS, process, moment: 0.4 });
  const object = objectOf(view);
  if (process === 'machine') {
    // The machine did not have the whole object.
    expect(view).toMatchObject({ state: 'failed', code: 'E_MACHINE' });
    expect((await eventsOf(owner, object)).at(-1)).toBe('failed');
  } else {
    expect(view).toMatchObject({ state: 'completed' });
    expect(await machineObject(system, object)).toMatchObject({ sha256: hashOf(design) });
  }
});

it('afterwards all stores are consistent, and the design prints again', async () => {
  const view = await untilEnded(operator, await order(system, operator, licence));
  expect(view).toMatchObject({ state: 'completed' });
  expect(await machineObject(system, objectOf(view))).toMatchObject({ sha256: hashOf(design) });
  await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });
  await expectSound(system, owner, licence);
});
