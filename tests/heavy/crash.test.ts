import { sleep } from '@millrace/base';
import type { Session } from '@millrace/client';
import { expectSound } from '@millrace/testkit/audit';
import { printWithKill } from '@millrace/testkit/crash';
import { randomDesign } from '@millrace/testkit/designs';
import { eventsOf, hashOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { shareOf } from '@millrace/testkit/share';
import { createTestInstallation, processNames, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Each of the five processes is killed with SIGKILL at ten different moments of a print. The vault sweeps every second
// meanwhile, so that kills also hit maintenance. Then follow ten moments of storing and of maintenance alone.
// MILLRACE_KILLS takes a share of these moments.

const SECONDS = 3;
const design = randomDesign(32 * 16_370);
const SEGMENTS = 32;
const rate = Math.ceil(design.length / SECONDS);
const moments = [0, 0.02, 0.05, 0.09, 0.15, 0.3, 0.45, 0.6, 0.8, 0.99];
const kills = shareOf(processNames.flatMap((process) => moments.map((moment) => ({ process, moment }))));
const tenths = shareOf(Array.from({ length: 10 }, (_, i) => i));

let system: TestInstallation;
let owner: Session;
let operator: Session;
let licence: string;
let objects = 0;

beforeAll(async () => {
  system = await createTestInstallation({
    machine: { kind: 'sink', factor: 1, bytesPerSecond: rate, stallMs: 3_000 },
    maintenance: { periodMs: 1_000, density: 50 },
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
  const stored = await store(system, owner, design, { name: 'a.bin', kind: 'binary', bytesPerSecond: rate });
  objects = kills.length + 1;
  licence = await license(system, owner, stored.design, objects);
});
afterAll(() => system?.close());

describe('killed during a print', () => {
  it.each(kills)('$process at $moment of it', async ({ process, moment }) => {
    const view = await printWithKill(system, operator, { licence, segments: SEGMENTS, process, moment });
    const object = objectOf(view);
    const last = (await eventsOf(owner, object)).at(-1);
    if (view.state === 'completed') {
      expect(last).toBe('completed');
      expect(await machineObject(system, object)).toMatchObject({ sha256: hashOf(design) });
    } else {
      // Only the end of the machine's agent spoils an object, and the ledger records it.
      expect(process, JSON.stringify(view)).toBe('machine');
      expect(view.state).toBe('failed');
      expect(last).toBe('failed');
    }
  });

  it('leaves all stores consistent; the design prints again, within the licence', async () => {
    const view = await untilEnded(operator, await order(system, operator, licence));
    expect(view).toMatchObject({ state: 'completed' });
    await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });
    expect((await owner.api.licence(licence)).permitted).toBe(objects);
    await expectSound(system, owner, licence);
  });
});

describe('killed during a sweep', () => {
  it.each(['control', 'segments', 'keys'] as const)('%s at ten moments of an epoch', async (name) => {
    for (const i of tenths) {
      await sleep(100 + i * 107);
      await system.processes[name].restart();
    }
    await sleep(2_000);
    await expectSound(system, owner, licence);
  });
});

describe('killed while a design is stored', () => {
  const storing = ['control', 'distribution', 'segments', 'keys'] as const;
  it.each(storing)('%s at ten moments: every design is stored, and one prints', async (name) => {
    let design = new Uint8Array();
    let id = '';
    for (const i of tenths) {
      design = randomDesign(8 * 16_370 + i);
      const options = { name: `${name}-${i}.bin`, kind: 'binary', bytesPerSecond: rate } as const;
      const stored = store(system, owner, design, options);
      stored.catch(() => undefined);
      await sleep(5 + i * 20);
      await system.processes[name].restart();
      const view = await stored;
      expect(view).toMatchObject({ state: 'stored' });
      id = view.design;
    }
    const other = await license(system, owner, id, 1);
    const view = await untilEnded(operator, await order(system, operator, other));
    expect(view).toMatchObject({ state: 'completed' });
    expect(await machineObject(system, objectOf(view))).toMatchObject({ sha256: hashOf(design) });
    await expectSound(system, owner, other);
  });
});
