import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { sleep, systemClock, systemRandom, toHex } from '@millrace/base';
import { checkCertificate, type PrintView, type Session, trustOf } from '@millrace/client';
import { signTransaction } from '@millrace/protocol';
import { expectSound } from '@millrace/testkit/audit';
import { randomDesign } from '@millrace/testkit/designs';
import { hashOf, license, machineObject, objectOf, store, untilEnded } from '@millrace/testkit/job';
import { every, first } from '@millrace/testkit/share';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Control and both proactive nodes are killed with SIGKILL right after each durable write that they make from the print
// request to the certificate: the 1st, the 2nd, and so on, until a print has fewer. The process is real; the program
// that kills it counts the commits of its stores. MILLRACE_KILLS takes a share of these writes.

const victims = ['control', 'segments', 'keys'] as const;
type Victim = (typeof victims)[number];
/** Writes that the life of one print has at least, by kind: each is a step at which the process was killed. */
const writes: Record<Victim, readonly string[]> = {
  control: ['records print', 'records seen', 'records claim', 'ledger', 'mail'],
  segments: ['records print', 'records object'],
  keys: ['records print', 'records object'],
};
const MOST = 60;

const design = randomDesign(6 * 16_370);
const program = createRequire(import.meta.url).resolve('@millrace/testkit/kill-at-write.mjs');
const scratch = mkdtempSync(join(tmpdir(), 'millrace permit kills '));
const fileOf = (name: Victim): string => join(scratch, name);

let system: TestInstallation;
let owner: Session;
let operator: Session;
let licence: string;
let made = 0;

beforeAll(async () => {
  const environment = (name: Victim) => ({
    env: { NODE_OPTIONS: `--import ${pathToFileURL(program).href}`, MILLRACE_KILL_FILE: fileOf(name) },
    modules: true,
  });
  system = await createTestInstallation({
    machine: { kind: 'sink', factor: 1, bytesPerSecond: Math.ceil(design.length / 0.4), stallMs: 3_000 },
    environment: { control: environment('control'), segments: environment('segments'), keys: environment('keys') },
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
  const stored = await store(system, owner, design, { name: 'a.bin', kind: 'binary', bytesPerSecond: 1e6 });
  licence = await license(system, owner, stored.design, victims.length * MOST);
});
afterAll(async () => {
  await system?.close();
  for (const name of victims) for (const file of [fileOf(name), `${fileOf(name)}.log`]) rmSync(file, { force: true });
});

/** Starts the victim again when it was killed. @returns false when the print is over before */
async function restartWhenKilled(name: Victim, over: () => boolean): Promise<boolean> {
  while (existsSync(fileOf(name))) {
    if (over()) return false;
    await sleep(20);
  }
  while (system.processes[name].running) await sleep(20);
  await system.processes[name].start();
  return true;
}

/** Sends the same signed request until control has answered it: its answer may be lost, but not its effect. */
async function request(): Promise<string> {
  const id = systemRandom(16);
  const issued = systemClock.now();
  const body = { type: 'print.request', licence, machine: system.machine } as const;
  const transaction = await signTransaction(operator.signer, system.installation.directory.installation, {
    ...body,
    id,
    issued,
    expires: issued + 600_000,
  });
  for (let i = 0; ; i++) {
    try {
      await operator.api.submit(transaction);
      return toHex(id);
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === 'E_REPLAY') return toHex(id);
      if (code !== 'E_UNAVAILABLE' || i === 200) throw error;
      await sleep(50);
    }
  }
}

/** Prints one object while the victim is killed after its nth write. @returns undefined if it has fewer */
async function printKilledAfter(name: Victim, nth: number): Promise<{ view: PrintView; killed: boolean }> {
  const file = fileOf(name);
  writeFileSync(file, JSON.stringify({ nth, order: toHex(systemRandom(4)) }));
  let over = false;
  const killed = restartWhenKilled(name, () => over);
  const view = await untilEnded(operator, await request());
  await machineObject(system, objectOf(view));
  over = true;
  const was = await killed;
  rmSync(file, { force: true });
  return { view, killed: was };
}

describe.each(victims)('%s', (name) => {
  it('killed after each of its durable writes: every object is made once', async () => {
    for (let nth = 1 + first; ; nth += every) {
      expect(nth, 'a print has fewer writes').toBeLessThanOrEqual(MOST);
      const { view, killed } = await printKilledAfter(name, nth);
      made++;
      const object = objectOf(view);
      expect(view, `write ${nth}`).toMatchObject({ state: 'completed' });
      expect(await machineObject(system, object)).toMatchObject({ sha256: hashOf(design) });
      const { events } = await owner.api.object(object);
      const types = events.map(({ type }) => type);
      // One order, one permit, one start, one end; each further session has its own entry and its own permit.
      const steps = types.filter((type) => type !== 'machine' && type !== 'progressed');
      expect(steps).toEqual(['ordered', 'permitted', 'started', 'completed']);
      const permits = events.flatMap(({ body }) => (body.permit === undefined ? [] : [body.permit]));
      expect(new Set(permits).size).toBe(permits.length);
      if (!killed) break;
      const { state } = await checkCertificate(await owner.api.certificate(object), trustOf(owner));
      expect(state).toBe('completed');
    }
    const seen = new Set(readFileSync(`${fileOf(name)}.log`, 'utf8').split('\n'));
    for (const write of writes[name]) expect(seen).toContain(write);
  }, 600_000);
});

it('afterwards exactly as many objects are permitted as prints were requested, and all stores are sound', async () => {
  expect((await owner.api.licence(licence)).permitted).toBe(made);
  await expectSound(system, owner, licence);
});
