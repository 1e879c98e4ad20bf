import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeCbor, type Logger, silentLogger, systemClock, systemRandom } from '@millrace/base';
import { safetyPolicySchema } from '@millrace/gcode';
import { generateUserKey } from '@millrace/identity';
import {
  onlyKey,
  type RemoteSettings,
  registrationHash,
  type SettingsReport,
  sha256,
  type TransactionOf,
  verifyMachineDocument,
} from '@millrace/protocol';
import { TestCloud } from '@millrace/testkit/machine/agent-cloud';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { settingsOf, writeFolder } from '@millrace/testkit/machine/agent-harness';
import { createPeople, type TestOrganisation, type TestPerson } from '@millrace/testkit/protocol/people';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadMachineConfig } from '../src/agent/config.ts';
import type { SettingsWork } from '../src/agent/control-calls.ts';
import { takeSettings } from '../src/agent/take-settings.ts';

const policy = (change: object = {}) =>
  safetyPolicySchema.parse({
    version: 1,
    volume: { x: [0, 200], y: [0, 200], z: [0, 180] },
    feed: { x: 12_000, y: 12_000, z: 1_200 },
    temperatures: { hotend: 250, bed: 100 },
    ...change,
  });
const encoded = (change: object = {}) => encodeCbor(policy(change) as never);

let cloud: TestCloud;
let folder: string;
let people: ReturnType<typeof createPeople>;
let bureau: TestOrganisation;
let operator: TestPerson;
let number: number;

beforeEach(async () => {
  const design = storeDesign(new Uint8Array([10]));
  cloud = await TestCloud.start({ design, machine: { serial: 'MR-1', kind: 'virtual', profile: { factor: 1 } } });
  folder = await writeFolder(cloud, settingsOf(cloud));
  people = createPeople({ admin: cloud.admin, installation: cloud.directory.installation });
  bureau = await people.organisation('Bureau', 'bureau');
  operator = await people.person(bureau, 'Olga', ['operator']);
  number = Date.now() - 60_000;
});
afterEach(async () => {
  await cloud.close();
  await rm(folder, { recursive: true, force: true });
});

const assign = (changes: Partial<TransactionOf<'machine.assign'>> = {}, by = cloud.admin) =>
  people.sign(by, {
    type: 'machine.assign',
    machine: cloud.registration.machine,
    registration: registrationHash(cloud.registration),
    organisation: bureau.organisation,
    number: 5,
    ...changes,
  });

async function work(
  settings: RemoteSettings,
  changes: Partial<TransactionOf<'machine.settings'>> = {},
  { key, credential }: TestPerson = operator,
): Promise<SettingsWork> {
  const { organisation } = bureau;
  const body = { organisation, number: ++number, machines: [cloud.registration.machine], settings };
  const transaction = await people.sign(key, { type: 'machine.settings', ...body, ...changes });
  return { statement: { transaction, credential }, assignment: await assign(), machine: cloud.registration };
}

/** What the machine reports, and whether it starts again. */
async function take(given: SettingsWork): Promise<SettingsReport & { readonly again: boolean }> {
  const config = await loadMachineConfig(folder);
  const reports: Uint8Array[] = [];
  const outbox = { add: async (report: Uint8Array) => void reports.push(report) };
  const parts = { config, outbox, clock: systemClock, random: systemRandom, logger: silentLogger as Logger };
  const again = await takeSettings(parts as never, given);
  const signer = onlyKey(cloud.registration.publicKey);
  const { installation } = cloud.directory;
  const { body } = await verifyMachineDocument(reports[0] ?? new Uint8Array(), installation, signer, Date.now());
  return { ...(body as SettingsReport), again };
}
const configured = () => loadMachineConfig(folder);
const ownPolicy = (change: object = {}) => writeFile(join(folder, 'safety.json'), JSON.stringify(policy(change)));

describe('settings of the organisation', () => {
  it('apply from the next start on, and replace the former ones', async () => {
    const given = await work({ stallMs: 900, giveUpMs: 30_000, bufferBytes: 4_096, safety: encoded() });
    expect(await take(given)).toMatchObject({
      outcome: 'applied',
      number,
      statement: sha256(given.statement.transaction),
      again: true,
    });
    expect(await configured()).toMatchObject({
      agent: { stallMs: 900, giveUpMs: 30_000, order: 16 },
      driver: { bufferBytes: 4_096 },
      safety: { temperatures: { hotend: 250 } },
      remote: { number },
    });
    // Delivered again: reported again, and nothing changes.
    expect(await take(given)).toMatchObject({ outcome: 'applied', again: false });
    expect(await take(await work({}))).toMatchObject({ outcome: 'applied', again: true });
    const config = await configured();
    expect(config).toMatchObject({ agent: { stallMs: 400 }, driver: {}, remote: { number, settings: {} } });
    expect(config.safety).toBeUndefined();
  });

  it('cannot loosen the machine’s own safety policy', async () => {
    await ownPolicy({ commands: { allow: ['G2'], forbid: ['M0'] } });
    const wider = {
      volume: { x: [-100, 150], y: [0, 900], z: [0, 900] },
      feed: { x: 99_000, y: 99_000, z: 99_000 },
      temperatures: { hotend: 500, bed: 60, chamber: 80 },
      commands: { allow: ['G2', 'M500'], forbid: ['M1'] },
    };
    expect(await take(await work({ safety: encoded(wider) }))).toMatchObject({ outcome: 'applied' });
    expect((await configured()).safety).toMatchObject({
      volume: { x: [0, 150], y: [0, 200], z: [0, 180] },
      feed: { x: 12_000, y: 12_000, z: 1_200 },
      temperatures: { hotend: 250, bed: 60, chamber: 0 },
      commands: { allow: ['G2'], forbid: ['M0', 'M1'] },
    });
  });

  it.each<[string, string, () => Promise<SettingsWork>]>([
    ['older than those in force', 'E_REPLAY', () => work({}, { number: 1 })],
    ['another statement of the same number', 'E_REPLAY', () => work({ stallMs: 200 }, { number: number - 1 })],
    ['for another machine', 'E_FORBIDDEN', () => work({}, { machines: ['00'.repeat(16)] })],
    ['dated in the future', 'E_INPUT', () => work({}, { number: Date.now() + 1e9 })],
    ['of a designer', 'E_FORBIDDEN', async () => work({}, {}, await people.person(bureau, 'Dora', ['designer']))],
    [
      'of another organisation',
      'E_FORBIDDEN',
      async () => {
        const rival = await people.organisation('Rival', 'bureau');
        const person = await people.person(rival, 'Rita', ['operator', 'owner-admin']);
        return work({}, { organisation: rival.organisation }, person);
      },
    ],
    [
      'in the name of the organisation',
      'E_AUTH',
      async () => {
        const rival = await people.organisation('Rival', 'bureau');
        return work({}, {}, await people.person(rival, 'Rita', ['operator']));
      },
    ],
    [
      'signed by another key',
      'E_AUTH',
      async () => {
        const given = await work({}, {}, { key: generateUserKey(), credential: operator.credential });
        return given;
      },
    ],
    [
      'of an organisation that nobody has assigned the machine',
      'E_AUTH',
      async () => ({
        ...(await work({})),
        assignment: await assign({}, generateUserKey()),
      }),
    ],
    [
      'of an organisation that has lost the machine',
      'E_REPLAY',
      async () => ({
        ...(await work({})),
        assignment: await assign({ number: 4 }),
      }),
    ],
    ['with a policy that is wrong', 'E_INPUT', () => work({ safety: encodeCbor({ version: 1 }) })],
    [
      'with a policy that leaves no place',
      'E_INPUT',
      async () => {
        await ownPolicy();
        return work({ safety: encoded({ volume: { x: [300, 400], y: [0, 1], z: [0, 1] } }) });
      },
    ],
    [
      'for another registration',
      'E_MACHINE_UNKNOWN',
      async () => ({
        ...(await work({})),
        machine: { ...cloud.registration, serial: 'MR-2' },
      }),
    ],
  ])('are refused, and the former ones stay, when they are %s', async (_, code, given) => {
    expect(await take(await work({ stallMs: 900 }))).toMatchObject({ outcome: 'applied' });
    const before = await readFile(join(folder, 'data', 'settings.state'));
    expect(await take(await given())).toMatchObject({ outcome: 'refused', code, again: false });
    expect(await readFile(join(folder, 'data', 'settings.state'))).toEqual(before);
    expect((await configured()).agent.stallMs).toBe(900);
  });

  it('are refused by a machine whose own file says so, and have no effect there', async () => {
    expect(await take(await work({ stallMs: 900 }))).toMatchObject({ outcome: 'applied' });
    await writeFile(join(folder, 'machine.json'), JSON.stringify({ ...settingsOf(cloud), remoteSettings: false }));
    expect(await take(await work({ stallMs: 800 }))).toMatchObject({ outcome: 'refused', code: 'E_FORBIDDEN' });
    expect((await configured()).agent.stallMs).toBe(400);
  });

  it('stop the agent if somebody has changed them on the disk', async () => {
    await take(await work({ stallMs: 900 }));
    const path = join(folder, 'data', 'settings.state');
    const bytes = await readFile(path);
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
    await writeFile(path, bytes);
    await expect(configured()).rejects.toMatchObject({ code: 'E_STORE' });
  });
});
