import type { Progress } from '@millrace/api';
import { systemClock, systemRandom, toHex } from '@millrace/base';
import { generateUserKey } from '@millrace/identity';
import { type Disclosure, signTransaction } from '@millrace/protocol';
import { MemoryRecords } from '@millrace/stores';
import { describe, expect, it } from 'vitest';
import { Changes } from '../src/control/changes.ts';
import type { ControlContext, TimedProgress } from '../src/control/context.ts';
import { takeProgress } from '../src/control/progress.ts';
import { openRecords, type PrintRecord } from '../src/control/records.ts';
import { printView } from '../src/control/views.ts';
import { signedPrint } from './signed-print.ts';

const id = (letter: string) => letter.repeat(32);
const [owner, holder, design, licence, print] = ['0', '1', 'd', 'a', 'b'].map(id) as [string, ...string[]];
const object = `${licence}-1`;
const told: Progress = {
  acked: 12,
  revision: 3,
  matrix: { order: 16, suite: 'keccak256', revisionMs: 1_000 },
  machine: { state: 'running', temperatures: { hotend: 215, bed: 60 }, buffer: 31.4, wire: 1_000, hints: 500 },
  owner: { session: id('5'), sealed: 'c2VhbGVk' },
};

/** The records of one print in memory, and the parts of the control node that read them. */
async function fixture(disclose: Disclosure[], state: PrintRecord['state'] = 'running') {
  const records = openRecords(new MemoryRecords());
  await records.designs.create(design ?? '', {
    design: design ?? '',
    owner,
    ownerKey: new Uint8Array(33),
    name: 'a design',
    core: new Uint8Array(1),
    custody: 'owner',
    kind: 'gcode',
    size: 10,
    segments: 40,
    contentMac: new Uint8Array(32),
    transaction: new Uint8Array(1),
    credential: new Uint8Array(1),
    state: 'stored',
  });
  const transaction = await signTransaction(generateUserKey(), id('f'), {
    type: 'licence.grant',
    id: systemRandom(16),
    issued: 0,
    expires: 1,
    design: design ?? '',
    core: new Uint8Array(32),
    objects: 1,
    machines: [{ machine: id('e'), registration: new Uint8Array(32) }],
    materials: [],
    notBefore: 0,
    notAfter: 1,
    holder: new Uint8Array(33),
    secretHash: new Uint8Array(32),
    telemetryKey: new Uint8Array(65),
    disclose,
  });
  const of = { licence: licence ?? '', design: design ?? '', holder: holder ?? '' };
  await records.licences.create(licence ?? '', {
    ...of,
    credits: [],
    owner,
    objects: 1,
    transaction,
    credential: new Uint8Array(1),
  });
  const base = {
    ...of,
    print: print ?? '',
    machine: id('e'),
    owner,
    created: 0,
    startBy: 4_000_000_000_000,
    transaction: await signedPrint(generateUserKey(), id('f'), { licence: of.licence, machine: id('e') }),
    credential: new Uint8Array(1),
  };
  await records.prints.create(print ?? '', { ...base, state, number: 1, object });
  await records.claims.create(`${licence}/1`, { print: print ?? '' });
  const directory = { adminKey: toHex(generateUserKey().publicKey) };
  const changes = new Changes(systemClock, systemRandom);
  const progress = new Map<string, TimedProgress>();
  const context = { records, directory, progress, changes, clock: systemClock } as unknown as ControlContext;
  const view = async (user: string | undefined) => {
    const actor = { role: 'user', name: user ?? '', admin: false } as const;
    return printView(context, await records.prints.require(print ?? ''), actor);
  };
  return { context, records, view };
}

describe('live telemetry at control', () => {
  it('is the newest of a running print, and is kept until newer telemetry arrives', async () => {
    const { context, view } = await fixture([]);
    let now = 1_000_000;
    Object.assign(context, { clock: { now: () => now, monotonic: () => now } });
    await takeProgress(context, object, told);
    now += 20_000;
    await takeProgress(context, object, { acked: 13, revision: 3 });
    now += 3_000;
    expect((await view(owner)).progress).toEqual({
      ...{ ...told, acked: 13, matrix: undefined },
      // Each figure has its own age: the machine has said nothing since.
      ...{ age: 3_000, machineAge: 23_000 },
    });
  });

  it.each(['completed', 'failed', 'alarmed'] as const)('of a print that is %s is not kept', async (state) => {
    const { context } = await fixture([], state);
    await takeProgress(context, object, told);
    expect(context.progress.size).toBe(0);
  });

  it('of an unknown object is not kept', async () => {
    const { context } = await fixture([]);
    for (const name of [`${licence}-2`, 'x', '__proto__'])
      await expect(takeProgress(context, name, told)).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    expect(context.progress.size).toBe(0);
  });

  it('that arrives while a print ends is dropped with it', async () => {
    const { context, records } = await fixture([]);
    const taking = takeProgress(context, object, told);
    // The order of reports.ts: the record first, then the telemetry.
    await records.prints.update(print ?? '', (now) => ({ ...now, state: 'completed' }));
    context.progress.delete(object);
    await taking;
    expect(context.progress.size).toBe(0);
  });

  it('is shown to the holder as far as the licence discloses it', async () => {
    const shown = async (...disclose: Disclosure[]) => {
      const { context, view } = await fixture(disclose);
      await takeProgress(context, object, told);
      const ages = { age: expect.any(Number), machineAge: expect.any(Number) };
      expect((await view(owner)).progress).toEqual({ ...told, ...ages });
      return (await view(holder)).progress;
    };
    const { acked, revision, matrix } = told;
    expect(await shown()).toEqual({ machine: {} });
    expect(await shown('position')).toEqual({ machine: {} });
    const [age, machineAge] = [expect.any(Number), expect.any(Number)];
    const counts = { wire: 1_000, hints: 500 };
    expect(await shown('progress')).toEqual({ acked, revision, matrix, machine: counts, age, machineAge });
    expect(await shown('temperatures')).toEqual({ machine: { temperatures: { hotend: 215, bed: 60 } }, machineAge });
    expect(await shown('state', 'buffer')).toEqual({ machine: { state: 'running', buffer: 31.4 }, machineAge });
  });
});
