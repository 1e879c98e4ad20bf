import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeCbor, sleep } from '@millrace/base';
import { machineFiles } from '@millrace/cli/parts';
import { checkCertificate, type Session, trustOf } from '@millrace/client';
import { windowFor } from '@millrace/cloud/parts';
import { p256Key } from '@millrace/identity';
import { signMachineDocument } from '@millrace/protocol';
import { millrace } from '@millrace/testkit/cli';
import { randomDesign } from '@millrace/testkit/designs';
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
} from '@millrace/testkit/job';
import { permitRequest } from '@millrace/testkit/permit-request.mjs';
import { setDriver } from '@millrace/testkit/settings';
import { createTestInstallation, folderOf, MACHINE, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** The registered pace: four segments of 16,370 bytes a second, so that a busy computer can serve three times that. */
const rate = 4 * 16_370;
const fair = randomDesign(24 * 16_370);
/** Long enough that the alarm comes well before its end: the bucket holds 12 + 5 segments and a quarter of a second. */
const coveted = randomDesign(96 * 16_370);
const WINDOW = windowFor(new Array<number>(96).fill(2_500), 1);
/** The bucket drains at half of the rate of consumption, so it lasts for 36 segments. Then follows the window. */
const MOST = 72;

let system: TestInstallation;
let owner: Session;
let operator: Session;
let fairLicence: string;
let covetedLicence: string;

beforeAll(async () => {
  system = await createTestInstallation({ count: true, machine: { kind: 'sink', factor: 1, bytesPerSecond: rate } });
  owner = await system.session('owner');
  operator = await system.session('operator');
  const bring = async (design: Uint8Array, name: string) => {
    const stored = await store(system, owner, design, { name, kind: 'binary', bytesPerSecond: rate });
    return license(system, owner, stored.design, 2);
  };
  fairLicence = await bring(fair, 'fair.bin');
  covetedLicence = await bring(coveted, 'coveted.bin');
});
afterAll(() => system?.close());

/** Acts as the machine, with its real key, as a modified agent could. */
async function callHomeAgain(print: string) {
  const { description, directory } = system.installation;
  const registration = description.machines[0]?.registration;
  const file = join(folderOf(system.installation, 'machine'), machineFiles.identity);
  const key = p256Key(new Uint8Array(await readFile(file)));
  const asked = permitRequest({ print, serial: registration?.serial ?? '' });
  const request = await signMachineDocument(key, directory.installation, asked);
  key.close();
  const path = `/v1/machines/${system.machine}/call-home`;
  return system.call('control', 'distribution', { method: 'POST', path, body: encodeCbor({ request }) });
}

describe('the machine at its registered pace', () => {
  it('raises no alarm, even if its stream stalls and continues', async () => {
    const print = await order(system, operator, fairLicence);
    await untilPrint(operator, print, ({ progress }) => (progress?.acked ?? 0) > 8);
    system.processes.segments.signal('SIGSTOP');
    await sleep(2_500);
    system.processes.segments.signal('SIGCONT');
    const view = await untilEnded(operator, print);
    expect(view).toMatchObject({ state: 'completed' });
    expect(await machineObject(system, objectOf(view))).toMatchObject({ sha256: hashOf(fair) });
    expect(await eventsOf(owner, objectOf(view))).not.toContain('alarmed');
  });
});

describe('an agent at three times its registered pace', () => {
  let object: string;
  let print: string;

  it('raises the alarm; hints and keys stop; at most one window is lost', async () => {
    await system.processes.machine.stop();
    await setDriver(system.installation.layout, MACHINE, { factor: 3 });
    await system.processes.machine.start();
    print = await order(system, operator, covetedLicence);
    // The machine's report of its failure may arrive just before the nodes' alarm is in the ledger.
    const view = await untilPrint(operator, print, ({ state }) => state === 'alarmed');
    expect(view.code).toBe('E_ALARM');
    object = objectOf(view);
    const found = async () => (await owner.api.object(object)).events.find(({ type }) => type === 'alarmed');
    await expect.poll(found, { timeout: 60_000 }).toBeDefined();
    const alarm = await found();
    const acked = Number(alarm?.body.acked);
    expect(acked).toBeGreaterThan(0);
    const taken = await machineObject(system, object);
    expect(taken).toMatchObject({ event: 'failed', code: 'E_ALARM' });
    expect(taken.segments).toBeLessThanOrEqual(acked + WINDOW);
    // The print was stopped long before its end.
    expect(taken.segments).toBeLessThan(MOST);
  });

  it('the ledger, the owner’s view and the command show the alarm', async () => {
    // The machine's own report that it failed may follow. It must not hide the alarm.
    expect(await eventsOf(owner, object)).toContain('alarmed');
    expect((await owner.api.prints()).find((view) => view.object === object)).toMatchObject({ state: 'alarmed' });
    const shown = await millrace(system.home, 'object', 'show', object);
    expect(shown.stdout).toMatch(/alarmed/);
    expect(shown.stdout).toMatch(/E_ALARM/);
  });

  it('a stopped object stays stopped after a restart: less than a frame arrives, calls home get nothing', async () => {
    await Promise.all([system.processes.segments.restart(), system.processes.keys.restart()]);
    const before = system.wire?.down ?? Number.NaN;
    const refused = await callHomeAgain(print);
    expect(refused).toMatchObject({ status: 403, error: { code: 'E_ALARM' } });
    await sleep(1_500);
    expect((system.wire?.down ?? Number.NaN) - before).toBeLessThan(16_000);
    expect((await owner.api.prints()).find((view) => view.object === object)).toMatchObject({ state: 'alarmed' });
    expect((await machineObject(system, object)).segments).toBeLessThan(MOST);
  });

  it('the machine gets nothing more of that licence until the owner clears the alarm', async () => {
    await expect(order(system, operator, covetedLicence)).rejects.toMatchObject({ code: 'E_ALARM' });
    const listed = await millrace(system.home, 'alarm', 'list', '--json');
    expect(listed.json?.alarms).toEqual([expect.objectContaining({ object, state: 'alarmed', code: 'E_ALARM' })]);
    expect(await millrace(system.home, 'alarm', 'clear', object, '--user', 'operator', '--json')).toMatchObject({
      exit: 3,
      code: 'E_FORBIDDEN',
    });
    await expect(order(system, operator, covetedLicence)).rejects.toMatchObject({ code: 'E_ALARM' });
  });

  it('the next object of the same machine is made at its registered pace', async () => {
    await system.processes.machine.stop();
    await setDriver(system.installation.layout, MACHINE, {});
    await system.processes.machine.start();
    const view = await untilEnded(operator, await order(system, operator, fairLicence));
    expect(view).toMatchObject({ state: 'completed' });
  });

  it('after the owner’s recorded clearance the licence continues and the object stays stopped', async () => {
    expect(await millrace(system.home, 'alarm', 'clear', object.slice(0, 12), '--json')).toMatchObject({ exit: 0 });
    expect((await millrace(system.home, 'alarm', 'clear', object, '--json')).code).toBe('E_STATE'); // only once
    expect((await owner.api.object(object)).events.at(-1)).toMatchObject({
      type: 'inspected',
      body: { fact: 'alarm cleared' },
    });
    expect((await owner.api.prints()).find((view) => view.object === object)).toMatchObject({ cleared: true });
    const certificate = await checkCertificate(await owner.api.certificate(object), trustOf(owner));
    expect(certificate.checked).toContain('alarm: cleared by the owner');
    expect(certificate.state).not.toBe('completed');
    // Both proactive nodes accept it too: hints and keys are sent.
    const again = await order(system, operator, covetedLicence);
    await untilPrint(operator, again, ({ progress }) => (progress?.acked ?? 0) > 1);
    expect(await callHomeAgain(print)).toMatchObject({ status: 403, error: { code: 'E_ALARM' } });
  });
});
