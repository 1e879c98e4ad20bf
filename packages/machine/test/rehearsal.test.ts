import { rm } from 'node:fs/promises';
import {
  decodeCbor,
  encodeCbor,
  MillraceError,
  silentLogger,
  systemClock,
  systemRandom,
  toHex,
  utf8,
} from '@millrace/base';
import { DesignEstimator, type MachineFrame, safetyPolicySchema } from '@millrace/gcode';
import { generateUserKey, type MemorySigner, parseSign1 } from '@millrace/identity';
import {
  MAX_REHEARSALS,
  onlyKey,
  openDesignSecret,
  openEnvelopeKey,
  type RehearsalResult,
  sha256,
  signTransaction,
  type TransactionOf,
  verifyMachineDocument,
} from '@millrace/protocol';
import { TestCloud } from '@millrace/testkit/machine/agent-cloud';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { settingsOf, writeFolder } from '@millrace/testkit/machine/agent-harness';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadMachineConfig, type MachineConfig } from '../src/agent/config.ts';
import type { RehearsalWork } from '../src/agent/control-calls.ts';
import { rehearse } from '../src/agent/rehearsal.ts';

const text = 'G28\nG90\nM104 S210\nG1 X20 Y150 Z5 E3 F1200\nG1 X120 Y20 E500\nM104 S0\n';

function designOf(program: string, kind = 'gcode', custody: 'owner' | 'keys' = 'owner') {
  const estimator = new DesignEstimator();
  estimator.push(utf8(program));
  return storeDesign(utf8(program), { kind, custody, envelope: encodeCbor(estimator.finish().envelope) });
}
const design = designOf(text);
const roomy = {
  version: 1,
  volume: { x: [0, 200], y: [0, 200], z: [0, 180] },
  feed: { x: 12_000, y: 12_000, z: 12_000 },
  temperatures: { hotend: 250 },
};

let cloud: TestCloud;
let folder: string;
let config: MachineConfig;
let logged: unknown[];
beforeEach(async () => {
  logged = [];
  cloud = await TestCloud.start({ design, machine: { serial: 'MR-1', kind: 'virtual', profile: { factor: 1 } } });
  folder = await writeFolder(cloud, settingsOf(cloud));
  config = await loadMachineConfig(folder);
});
afterEach(async () => {
  await cloud.close();
  await rm(folder, { recursive: true, force: true });
});

const request = (changes: object = {}, by: MemorySigner = cloud.holder, id = systemRandom(16)) => {
  const now = Date.now();
  const licence = toHex(sha256(cloud.licence)).slice(0, 32);
  const body = { type: 'rehearsal.request', id, issued: now, expires: now + 60_000, licence } as const;
  const named = { machine: cloud.registration.machine, ...changes };
  return signTransaction(by, cloud.directory.installation, { ...body, ...named } as never);
};

/** What an honest control gives, with changes. */
async function work(changes: Partial<RehearsalWork> = {}, asked: object = {}, by = cloud.holder) {
  const id = systemRandom(16);
  const granted = decodeCbor(parseSign1(cloud.licence).payload, 'licence') as { id: Uint8Array };
  return {
    rehearsal: toHex(id),
    request: {
      transaction: await request({ licence: toHex(granted.id), ...asked }, by, id),
      credential: cloud.holderDocument,
    },
    licence: { transaction: cloud.licence, credential: cloud.ownerDocument },
    amendments: [],
    core: design.manifest.core,
    envelope: design.manifest.envelope ?? new Uint8Array(),
    machine: cloud.registration,
    ...changes,
  } satisfies RehearsalWork;
}

/** What the machine signs. */
async function answerTo(
  given: RehearsalWork,
  { safety, formats = ['gcode'], material = 'PLA', kind = 'virtual', frame }: Machine = {},
) {
  const answers: Uint8Array[] = [];
  const policy = safety === undefined ? {} : { safety: safetyPolicySchema.parse(safety) };
  await rehearse(
    {
      config: {
        ...config,
        ...policy,
        kind,
        directory: config.directory,
        machineKey: config.machineKey,
        tls: config.tls,
      },
      driver: { capabilities: { formats }, ...(frame && { frame: async () => frame }) } as never,
      spool: { material, proof: undefined, filament: {}, spool: undefined, take: async () => undefined },
      outbox: {
        add: async (answer) => void answers.push(answer),
        whenEmpty: async () => undefined,
        close: async () => undefined,
      },
      clock: systemClock,
      random: systemRandom,
      logger: { ...silentLogger, info: (...all: unknown[]) => void logged.push(all), warn: () => undefined } as never,
    },
    given,
  );
  const [answer = new Uint8Array()] = answers;
  const signer = onlyKey(cloud.registration.publicKey);
  const { body } = await verifyMachineDocument(answer, cloud.directory.installation, signer, Date.now());
  return body as RehearsalResult;
}
interface Machine {
  readonly safety?: object;
  readonly formats?: string[];
  readonly material?: string;
  readonly kind?: string;
  readonly frame?: MachineFrame;
}

describe('a rehearsal', () => {
  it('is answered for one request, licence, design and machine', async () => {
    const given = await work();
    expect(await answerTo(given, { safety: roomy })).toMatchObject({
      outcome: 'fits',
      rules: [],
      policy: true,
      rehearsal: given.rehearsal,
      request: sha256(given.request.transaction),
      design: design.manifest.designId,
      machine: cloud.registration.machine,
    });
    expect(await answerTo(await work())).toMatchObject({ outcome: 'fits', policy: false });
  });

  it.each<[string, Machine, object, string[]]>([
    ['the volume', { safety: { ...roomy, volume: { ...roomy.volume, x: [0, 100] } } }, {}, ['volume']],
    ['the temperature', { safety: { ...roomy, temperatures: { hotend: 200 } } }, {}, ['temperature']],
    ['a command', { safety: { ...roomy, commands: { forbid: ['M104'] } } }, {}, ['command']],
    ['the kind of design', { safety: roomy, formats: ['binary'] }, {}, ['kind']],
    ['what is left on the spool', { safety: roomy }, { left: 1 }, ['spool']],
    ['two limits', { safety: { ...roomy, feed: { x: 1, y: 1, z: 12_000 } } }, { left: 0 }, ['feed', 'spool']],
  ])('does not fit because of %s', async (_, machine, changes, rules) => {
    const answer = await answerTo(await work(changes), machine);
    expect(answer).toMatchObject({ outcome: 'does-not-fit', rules });
    // Neither the design’s figures nor those of the policy.
    expect(Object.keys(answer).sort()).toEqual([
      'design',
      'expires',
      'id',
      'issued',
      'licence',
      'machine',
      'outcome',
      'policy',
      'rehearsal',
      'request',
      'rules',
      'type',
    ]);
    expect(JSON.stringify(logged)).not.toMatch(/\b(210|150|120)\b/);
  });

  it('compares a mill with where it stands and its work offsets, which are in no answer', async () => {
    const cut = designOf('G90 G21\nM3 S9000\nG0 X10 Y10 Z5\nG1 Z-1 F300\nG55 G0 X40\nM5\n');
    await cloud.close();
    await rm(folder, { recursive: true });
    cloud = await TestCloud.start({ design: cut, machine: { serial: 'MILL-1', kind: 'grbl', profile: { factor: 1 } } });
    folder = await writeFolder(cloud, settingsOf(cloud));
    config = await loadMachineConfig(folder);
    const safety = {
      ...{ version: 1, spindle: 9_000, feed: { x: 900, y: 900, z: 900 } },
      volume: { x: [-300, 0], y: [-200, 0], z: [-80, 0] },
    };
    const at = (second: number): MachineFrame => ({
      ...{ position: [-1, -1, -1], origin: [-250, -150, -40], homes: true },
      systems: [[-250, -150, -40], [second, -150, -40], ...Array.from({ length: 4 }, () => [0, 0, 0] as const)],
    });
    const answered = async (frame?: MachineFrame, change: object = {}) =>
      answerTo(await work({ core: cut.manifest.core, envelope: cut.manifest.envelope ?? new Uint8Array() }), {
        ...{ kind: 'grbl', safety: { ...safety, ...change } },
        ...(frame && { frame }),
      });
    expect(await answered(at(-137))).toMatchObject({ outcome: 'fits', rules: [] });
    expect(await answered(at(-39))).toMatchObject({ outcome: 'does-not-fit', rules: ['volume'] });
    expect(await answered(at(-137), { spindle: 8_000 })).toMatchObject({ rules: ['spindle'] });
    expect(await answered()).toMatchObject({ outcome: 'refused', code: 'E_STATE' });
    expect(JSON.stringify(logged)).not.toMatch(/-?\b(137|250|39)\b/);
  });

  it('needs no design secret: the key of the envelope is in the licence, for one machine, licence and design', async () => {
    const kept = designOf(text, 'gcode', 'keys');
    await cloud.close();
    cloud = await TestCloud.start({
      design: kept,
      machine: { serial: 'MR-1', kind: 'virtual', profile: { factor: 1 } },
    });
    await rm(folder, { recursive: true });
    folder = await writeFolder(cloud, settingsOf(cloud));
    config = await loadMachineConfig(folder);
    const given = { core: kept.manifest.core, envelope: kept.manifest.envelope ?? new Uint8Array() };
    const terms = decodeCbor(parseSign1(cloud.licence).payload, 'licence') as never as TransactionOf<'licence.grant'>;
    const answered = async () => answerTo(await work(given), { safety: roomy });
    expect(terms.machines[0]).not.toHaveProperty('secret');
    expect(await answered()).toMatchObject({ outcome: 'fits', rules: [] });
    // The machine cannot open more than the envelope with it.
    const binding = { installation: cloud.directory.installation, licence: toHex(terms.id), design: terms.design };
    const key = await openEnvelopeKey(config.machineKey, binding, terms.machines[0]?.envelopeKey ?? new Uint8Array());
    expect(key).not.toEqual(kept.secret);
    await expect(openDesignSecret(config.machineKey, binding, terms.machines[0]?.envelopeKey ?? key)).rejects.toThrow();
    // A licence with the key of another licence, or with none.
    for (const machines of [terms.machines, terms.machines.map(({ envelopeKey: _, ...entry }) => entry)]) {
      cloud.licence = await cloud.signLicence({ machines });
      expect(await answered()).toMatchObject({
        outcome: 'refused',
        code: expect.stringMatching(/^E_(SEAL|LICENCE_INVALID)$/),
      });
    }
  });

  it('does not fit a material that the licence does not allow', async () => {
    cloud.licence = await cloud.signLicence({ materials: ['PETG'] });
    expect(await answerTo(await work(), { safety: roomy })).toMatchObject({ rules: ['material'] });
    expect(await answerTo(await work(), { safety: roomy, material: 'PETG' })).toMatchObject({ outcome: 'fits' });
  });

  it.each<[string, string, () => Promise<RehearsalWork>]>([
    [
      'asked by somebody else',
      'E_AUTH',
      async () => {
        const stranger = generateUserKey();
        const given = await work({}, {}, stranger);
        const credential = await cloud.register(stranger.publicKey);
        return { ...given, request: { ...given.request, credential } };
      },
    ],
    ['for another machine', 'E_PERMIT', () => work({}, { machine: '00'.repeat(16) })],
    ['for another licence', 'E_PERMIT', () => work({}, { licence: '00'.repeat(16) })],
    [
      'with the envelope of another design',
      'E_SEGMENT',
      () => work({ envelope: designOf('G28\nG1 X1 Y1 Z1 F60\n').manifest.envelope ?? new Uint8Array() }),
    ],
    ['with another design', 'E_PERMIT', () => work({ core: designOf('G28\n').manifest.core })],
    [
      'with a licence that has expired',
      'E_EXPIRED',
      async () => {
        cloud.licence = await cloud.signLicence({ notAfter: Date.now() - 86_400_000 });
        return work();
      },
    ],
    [
      'with a licence of another owner',
      'E_PERMIT',
      async () => {
        const other = generateUserKey();
        cloud.licence = await cloud.signLicence({}, other);
        return work({ licence: { transaction: cloud.licence, credential: await cloud.register(other.publicKey) } });
      },
    ],
  ])('is refused when %s', async (_, code, given) => {
    expect(await answerTo(await given(), { safety: roomy })).toMatchObject({ outcome: 'refused', rules: [], code });
  });

  it('is refused when the licence was rehearsed too often, whoever asks', async () => {
    for (let i = 0; i < MAX_REHEARSALS; i++) await answerTo(await work(), { safety: roomy });
    expect(await answerTo(await work(), { safety: roomy })).toMatchObject({ outcome: 'refused', code: 'E_QUOTA' });
  });

  it('is not answered with documents that are not of it', async () => {
    const given = await work();
    await expect(answerTo({ ...given, rehearsal: '00'.repeat(16) })).rejects.toBeInstanceOf(MillraceError);
    const swapped = { ...given, request: { ...given.request, transaction: cloud.licence } };
    await expect(answerTo(swapped)).rejects.toMatchObject({ code: 'E_PERMIT' });
  });
});
