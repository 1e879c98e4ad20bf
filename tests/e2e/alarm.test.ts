import { sleep } from '@millrace/base';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Session } from '../../packages/cli/src/client/session.ts';
import { windowFor } from '../../packages/cloud/src/streaming/pace.ts';
import { millrace } from '../support/cli.ts';
import { randomDesign } from '../support/designs.ts';
import {
  eventsOf,
  hashOf,
  license,
  machineObject,
  objectOf,
  order,
  store,
  untilEnded,
  untilPrint,
} from '../support/job.ts';
import { setDriver } from '../support/settings.ts';
import { createWorld, MACHINE, type World } from '../support/world.ts';

/** At its registered pace the machine takes 8 s for the design. */
const SECONDS = 8;
const design = randomDesign(64 * 16_370);
const SEGMENTS = 64;
/** A bucket of window and machine's buffer, 13 segments, drained at 1.5 a second net: 26 segments; then the window, and some slack. */
const MOST = 0.75;
const rate = Math.ceil(design.length / SECONDS);
const WINDOW = windowFor(new Array<number>(SEGMENTS).fill((SECONDS * 10_000) / SEGMENTS), 1);

let world: World;
let owner: Session;
let operator: Session;
let licence: string;

beforeAll(async () => {
  world = await createWorld({ machine: { kind: 'sink', factor: 1, bytesPerSecond: rate } });
  owner = await world.session('owner');
  operator = await world.session('operator');
  const stored = await store(world, owner, design, { name: 'a.bin', kind: 'binary', bytesPerSecond: rate });
  licence = await license(world, owner, stored.design, 10);
});
afterAll(() => world?.close());

const begin = () => order(world, operator, licence);

describe('the machine at its registered pace', () => {
  it('raises no alarm, also when its stream stalls and goes on', async () => {
    const print = await begin();
    await untilPrint(operator, print, ({ progress }) => (progress?.acked ?? 0) >= SEGMENTS / 3);
    world.processes.segments.signal('SIGSTOP');
    await sleep(4_000);
    world.processes.segments.signal('SIGCONT');
    const view = await untilEnded(operator, print);
    expect(view).toMatchObject({ state: 'completed' });
    expect(await machineObject(world, objectOf(view))).toMatchObject({ sha256: hashOf(design) });
    expect(await eventsOf(owner, objectOf(view))).not.toContain('alarmed');
  });
});

describe('an agent that pulls at three times its registered pace', () => {
  let object: string;

  it('raises the alarm; hints and keys stop; at most the window is lost', async () => {
    await world.processes.machine.stop();
    await setDriver(world.installation.layout, MACHINE, { factor: 3 });
    await world.processes.machine.start();
    const print = await begin();
    // The machine may report its failure a moment before the nodes' alarm is in the ledger.
    const view = await untilPrint(operator, print, ({ state }) => state === 'alarmed');
    expect(view.code).toBe('E_ALARM');
    object = objectOf(view);
    const { events } = await owner.api.object(object);
    const alarm = events.find(({ type }) => type === 'alarmed');
    const acked = Number(alarm?.body.acked);
    expect(acked).toBeGreaterThan(0);
    const taken = await machineObject(world, object);
    expect(taken).toMatchObject({ event: 'failed', code: 'E_ALARM' });
    expect(taken.segments).toBeLessThanOrEqual(acked + WINDOW);
    // It was stopped long before the end.
    expect(taken.segments).toBeLessThan(MOST * SEGMENTS);
  });

  it('the ledger, the owner’s view and the owner’s command say so', async () => {
    // The machine's own report that it failed may follow; it takes the alarm away from nobody's eyes.
    expect(await eventsOf(owner, object)).toContain('alarmed');
    expect((await owner.api.prints()).find((view) => view.object === object)).toMatchObject({ state: 'alarmed' });
    const shown = await millrace(world.home, 'object', 'show', object);
    expect(shown.stdout).toMatch(/alarmed/);
    expect(shown.stdout).toMatch(/E_ALARM/);
  });

  it('a stopped object stays stopped, whoever is restarted', async () => {
    await Promise.all([world.processes.segments.restart(), world.processes.keys.restart()]);
    await sleep(1_500);
    expect((await owner.api.prints()).find((view) => view.object === object)).toMatchObject({ state: 'alarmed' });
    expect((await machineObject(world, object)).segments).toBeLessThan(MOST * SEGMENTS);
  });

  it('the next object of the same machine, at its registered pace again, is made', async () => {
    await world.processes.machine.stop();
    await setDriver(world.installation.layout, MACHINE, {});
    await world.processes.machine.start();
    const view = await untilEnded(operator, await begin());
    expect(view).toMatchObject({ state: 'completed' });
  });
});
