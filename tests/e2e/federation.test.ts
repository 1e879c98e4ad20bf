import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromHex, systemClock, systemRandom } from '@millrace/base';
import { openInstallation, openSession, userFiles } from '@millrace/cli/parts';
import { checkCertificate, grantLicence, registerAll, requestVisit, type Session } from '@millrace/client';
import { cli } from '@millrace/testkit/cli/helpers';
import { randomDesign } from '@millrace/testkit/designs';
import { recognise, withdraw } from '@millrace/testkit/federation';
import {
  eventsOf,
  hashOf,
  machineObject,
  objectOf,
  runRecordOf,
  store,
  untilEnded,
  untilPrint,
} from '@millrace/testkit/job';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

// Two clouds with their own administrators, nodes and TLS. The design is `here`, the machine is `there`. The operator
// has the same key at both.

const BYTES_PER_SECOND = 400_000;
const machine = { kind: 'sink', factor: 1, bytesPerSecond: BYTES_PER_SECOND, giveUpMs: 20_000 } as const;

let here: TestInstallation;
let there: TestInstallation;
let owner: Session;
let operator: Session;
let visitor: Session;
let design: string;
const content = randomDesign(900_000);

beforeAll(async () => {
  here = await createTestInstallation({ machine, start: [] });
  there = await createTestInstallation({ machine, start: [] });
  await recognise(here, there);
  await recognise(there, here);
  for (const { processes } of [here, there]) await processes.control.start();
  for (const role of ['distribution', 'segments', 'keys'] as const) await here.processes[role].start();
  for (const role of ['distribution', 'machine'] as const) await there.processes[role].start();
  owner = await here.session('owner');
  operator = await here.session('operator');
  for (const system of [here, there]) await registerAll(await system.session('admin'));
  visitor = await enrolThere();
  const at = ['--at', home(), '--home', here.home, '--user', 'operator'];
  await command('cloud', 'introduce', there.machine, ...at);
  design = (await store(here, owner, content, { name: 'part.bin', kind: 'binary', bytesPerSecond: BYTES_PER_SECOND }))
    .design;
});
afterAll(async () => {
  visitor?.close();
  await here?.close();
  await there?.close();
});

const home = () => join(here.scratch, 'visitor');

async function command(...argv: string[]): Promise<Record<string, string>> {
  const { exit, stdout, stderr } = await cli([...argv, '--json']);
  if (exit !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

/** Enrols the operator's key of `here` at `there`, by an invitation. */
async function enrolThere(): Promise<Session> {
  const at = ['--home', there.home];
  const { organisation = '' } = await command('org', 'create', 'Guests', '--kind', 'bureau', ...at);
  const invited = await command('user', 'invite', 'Olga', '--org', organisation, '--role', 'operator', ...at);
  const invitation = join(here.scratch, 'invitation');
  await writeFile(invitation, invited.text ?? '');
  const key = join(here.installation.layout.user('operator'), userFiles.key);
  await command('login', '--invitation-file', invitation, '--key', key, '--home', home());
  const installation = await openInstallation(home());
  return openSession({ installation, user: 'me', clock: systemClock, random: systemRandom });
}

/** Orders with `millrace print --at`. */
async function visitByCommand(licence: string) {
  const at = ['--at', home(), '--home', here.home];
  const { print = '', visit = '', machine } = await command('print', '--licence', licence, ...at);
  expect(machine).toBe(there.machine);
  return { print, visit };
}

const license = (objects: number) =>
  grantLicence(owner, { design, objects, machines: [there.machine], materials: [], days: 1, holder: 'operator' });

const visit = (licence: string, startWithinMs = 60_000) =>
  requestVisit(operator, visitor, { licence, machine: there.machine, startWithinMs });

const untilVisit = (id: string, state: string) =>
  vi.waitFor(async () => expect(await visitor.api.visit(id)).toMatchObject({ state }), {
    timeout: 60_000,
    interval: 100,
  });

describe('a design of one cloud on a machine of another', () => {
  it('is made N times and not once more, each object with a certificate', async () => {
    const licence = await license(2);
    const orders = [await visitByCommand(licence), await visit(licence)];
    await expect(visit(licence)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });
    for (const { print, visit: id } of orders) {
      const view = await untilEnded(operator, print);
      expect(view).toMatchObject({ state: 'completed' });
      const object = objectOf(view);
      expect(await machineObject(there, object)).toMatchObject({ bytes: content.length, sha256: hashOf(content) });
      expect(await eventsOf(owner, object)).toEqual(
        expect.arrayContaining(['ordered', 'permitted', 'started', 'completed']),
      );
      await untilVisit(id, 'completed');
      const { directory } = here.installation;
      const trust = { logKey: directory.logKey, authority: fromHex(directory.adminKey) };
      const { checked } = await checkCertificate(await owner.api.certificate(object), trust);
      expect(checked.join('\n')).toContain(`the cloud Millrace (${there.installation.directory.installation})`);
    }
    await expect(visit(licence)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });
  });

  it('is made of a certified material of the machine’s cloud, by the signature of a supplier of both', async () => {
    const enrolCarla = async (system: TestInstallation, name: string, ...more: string[]) => {
      const at = ['--home', system.home];
      await command('org', 'create', 'ACME', '--kind', 'supplier', ...at);
      const invited = await command('user', 'invite', 'Carla', '--org', 'ACME', '--role', 'certifier', ...at);
      const [invitation, folder] = [join(here.scratch, `${name}.invitation`), join(here.scratch, name)];
      await writeFile(invitation, invited.text ?? '');
      await command('login', '--invitation-file', invitation, '--home', folder, ...more);
      return folder;
    };
    // The supplier has the same key at both clouds. It certifies the spool where the machine is.
    const key = join(await enrolCarla(here, 'carla-here'), 'users', 'me', userFiles.key);
    const carla = await enrolCarla(there, 'carla', '--key', key);
    const spool = ['--name', 'PLA', '--batch', 'B-1', '--spool', 'AC-1', '--grams', '1000', '--form', 'stock'];
    const { code = '' } = await command('material', 'certify', ...spool, '--home', carla);
    await command('spool', 'load', code, '--machine', there.machine, '--home', home());
    const terms = ['--design', design, '--objects', '1', '--machine', there.machine, '--home', here.home];
    const supplied = ['--material', 'PLA', '--supplier', 'ACME', '--holder', 'operator'];
    const { licence = '' } = await command('licence', 'grant', ...terms, ...supplied);
    const { print, visit: id } = await visitByCommand(licence);
    const view = await untilEnded(operator, print);
    expect(view).toMatchObject({ state: 'completed' });
    await untilVisit(id, 'completed');
    const { directory } = here.installation;
    const trust = { logKey: directory.logKey, authority: fromHex(directory.adminKey) };
    const { checked, spool: made } = await checkCertificate(await owner.api.certificate(objectOf(view)), trust);
    expect(made).toMatchObject({ serial: 'AC-1', supplier: 'ACME' });
    expect(checked.join('\n')).toContain('certified spool AC-1');
    await command('spool', 'unload', 'AC-1', '--home', home());
  });

  it('is finished when the machine’s cloud stops during the print, which learns of it later', async () => {
    const { print, visit: id } = await visit(await license(1));
    await untilPrint(operator, print, ({ progress }) => (progress?.acked ?? 0) > 2);
    await there.processes.control.kill();
    expect(await untilEnded(operator, print)).toMatchObject({ state: 'completed' });
    await there.processes.control.start();
    await untilVisit(id, 'completed');
  });

  it('ends as failed at both clouds when the agent is killed during the print, and is not begun again', async () => {
    const licence = await license(1);
    const { print, visit: id } = await visit(licence);
    await untilPrint(operator, print, ({ progress }) => (progress?.acked ?? 0) > 2);
    await vi.waitFor(async () => expect(await runRecordOf(there)).toMatchObject({ started: true }), 20_000);
    await there.processes.machine.kill();
    await there.processes.machine.start();
    expect(await untilEnded(operator, print)).toMatchObject({ state: 'failed', code: 'E_MACHINE' });
    await untilVisit(id, 'failed');
    await expect(visit(licence)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });
  });

  it('can be cancelled before its machine takes it, and does not begin while the machine’s cloud cannot be reached', async () => {
    await there.processes.distribution.kill();
    const licence = await license(1);
    const cancelled = await visitByCommand(licence);
    const cancel = (which: string) => command('visit', 'cancel', which, '--at', home(), '--home', here.home);
    expect(await cancel(cancelled.print)).toMatchObject({ ...cancelled, state: 'cancelled' });
    expect(await operator.api.print(cancelled.print)).toMatchObject({ state: 'cancelled', code: 'E_CANCELLED' });
    await untilVisit(cancelled.visit, 'cancelled');
    await cancel(cancelled.visit); // safe to repeat
    const [used] = (await visitor.api.visits()).filter(({ state }) => state === 'completed');
    await expect(cancel(used?.visit ?? '')).rejects.toThrow('E_STATE');
    const { print, visit: id } = await visit(licence, 3_000);
    expect(await untilEnded(operator, print)).toMatchObject({ state: 'refused', code: 'E_EXPIRED' });
    await untilVisit(id, 'refused');
    await there.processes.distribution.start();
    expect((await owner.api.licence(licence)).permitted).toBe(0);
  });

  it('does not begin after one of the clouds has withdrawn its recognition', async () => {
    const licence = await license(1);
    const folders = ['control', 'distribution', 'segments', 'keys'] as const;
    await withdraw(
      here,
      there,
      folders.map((role) => here.installation.layout.node(role)),
    );
    await expect(visit(licence)).rejects.toMatchObject({ code: 'E_CLOUD_UNKNOWN' });
    await recognise(
      here,
      there,
      folders.map((role) => here.installation.layout.node(role)),
    );
    await withdraw(there, here, [there.installation.layout.node('control')]);
    await expect(visit(licence)).rejects.toMatchObject({ code: 'E_CLOUD_UNKNOWN' });
    // The print that was ordered first does not wait for a visit that was refused.
    const [newest] = await operator.api.prints();
    expect(newest).toMatchObject({ state: 'cancelled' });
    expect((await owner.api.licence(licence)).permitted).toBe(0);
  });
});
