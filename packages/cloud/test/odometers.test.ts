import { MillraceError, systemClock, systemRandom } from '@millrace/base';
import { generateP256Key, type P256Key } from '@millrace/identity';
import { type Machine, machineAccount, type Odometer, type SpoolProof, signMachineDocument } from '@millrace/protocol';
import { codeOf } from '@millrace/testkit/protocol/support';
import { beforeEach, describe, expect, it } from 'vitest';
import { callHome } from '../src/control/permits.ts';
import { takeReport } from '../src/control/reports.ts';
import { controlFixture } from './control-fixture.ts';
import { signPermitRequest } from './permit-request.ts';

let system: Awaited<ReturnType<typeof controlFixture>>;
let key: P256Key;
let machine: Machine;
let licence: string;
beforeEach(async () => {
  system = await controlFixture();
  key = generateP256Key();
  machine = await system.addMachine('SN-1', key);
  const design = await system.stored(await system.addDesign(await system.prepare()));
  licence = await system.grant(design, [machine], { objects: 20 });
});

const at = (started: number, ended: number, metres: number): Odometer => ({
  ...{ started, ended, metres, minutes: 10 * metres, grams: 3 * metres },
});

/** The machine asks for a new print. @returns the code of the refusal, or the run of the permitted object */
async function ask(
  odometer: Odometer | undefined,
  spool?: SpoolProof,
): Promise<{ run: Uint8Array; print: string } | string> {
  const print = await system.print(licence, machine).catch((error: MillraceError) => error.code);
  const run = systemRandom(16);
  const request = await signPermitRequest(key, system.context.directory.installation, {
    ...{ print, issued: systemClock.now(), run, ...(odometer && { odometer }), ...(spool && { spool }) },
  });
  try {
    await callHome(system.context, machine.machine, request);
    return { run, print };
  } catch (error) {
    if (error instanceof MillraceError) return error.code;
    throw error;
  }
}

/** Makes an object, from the permit to its end. */
async function make(
  before: Odometer,
  after: Odometer | undefined,
  { used, proof }: { used?: { spool: string; grams: number }; proof?: SpoolProof } = {},
) {
  const asked = await ask(before, proof);
  if (typeof asked === 'string') throw new Error(asked);
  const { object = '' } = await system.context.records.prints.require(asked.print);
  const now = systemClock.now();
  const report = await signMachineDocument(key, system.context.directory.installation, {
    ...{ type: 'report', id: systemRandom(16), issued: now, expires: now + 1e6, object, run: asked.run as never },
    ...{ event: 'failed', facts: { serial: 'SN-1', material: 'PLA', segments: 0, code: 'E_MACHINE' } },
    ...(after && { odometer: after }),
    ...(used && { used: { ...used, metres: 1 } }),
  });
  for (let times = 0; times < 2; times++) await takeReport(system.context, machine.machine, report);
}

/** A licence of the owner for another machine. */
async function elsewhere(): Promise<string> {
  const design = await system.stored(await system.addDesign(await system.prepare()));
  return system.grant(design, [await system.addMachine()]);
}

const record = () => system.context.records.odometers.require(machine.machine);
const alarms = async () =>
  (await system.context.ledger.account(machineAccount(machine.machine)))
    .filter(({ event }) => event.type !== 'machine')
    .map(({ event }) => [event.type, event.body.reason ?? event.body.fact]);

it('an odometer that fits is kept with the counts of the reports, each report once', async () => {
  await make(at(0, 0, 0), at(1, 1, 4));
  await make(at(1, 1, 4), at(2, 2, 9));
  expect(await record()).toMatchObject({ last: at(2, 2, 9), running: false, counted: { ended: 2 } });
  // A metre was purged at a change of filament.
  expect(typeof (await ask({ ...at(2, 2, 9), metres: 10 }))).toBe('object');
  expect(await alarms()).toEqual([]);
});

it('an odometer that advanced without a permit raises an alarm, until the owner clears it', async () => {
  await make(at(0, 0, 0), at(1, 1, 4));
  expect(await ask(at(1, 1, 30))).toBe('E_ALARM');
  expect(await ask(at(1, 1, 30))).toBe('E_ALARM');
  expect(await alarms()).toEqual([['alarmed', 'advanced from 40 to 300 minutes without a permit']]);
  const { alarm } = await record();
  expect(alarm).toMatchObject({ before: at(1, 1, 4), after: at(1, 1, 30) });
  const clear = { type: 'odometer.clear', machine: machine.machine, licence, alarm: alarm?.alarm ?? '' } as const;
  expect(await codeOf(() => system.submit('holder', clear))).toBe('E_FORBIDDEN');
  expect(await codeOf(() => system.submit('owner', { ...clear, alarm: 'ab'.repeat(16) }))).toBe('E_STATE');
  // An owner whose licence does not name the machine writes nothing into its account.
  expect(await codeOf(async () => system.submit('owner', { ...clear, licence: await elsewhere() }))).toBe(
    'E_LICENCE_INVALID',
  );
  await system.submit('owner', clear);
  expect(await codeOf(() => system.submit('owner', clear))).toBe('E_STATE');
  expect(typeof (await ask(at(1, 1, 30)))).toBe('object');
  expect(await alarms()).toEqual([expect.anything(), ['inspected', 'odometer cleared']]);
});

it('a spindle that went back, or turned without a permit, raises an alarm', async () => {
  await make({ ...at(0, 0, 0), spindle: 10 }, { ...at(1, 1, 1), spindle: 20 });
  expect(await ask({ ...at(1, 1, 1), spindle: 19 })).toBe('E_ALARM');
  expect(await alarms()).toEqual([['alarmed', 'went back from 20 to 19 minutes of the spindle']]);
  await ask({ ...at(1, 1, 1), spindle: 60 });
  expect((await alarms()).at(-1)).toEqual([
    'alarmed',
    'advanced from 19 to 60 minutes of the spindle without a permit',
  ]);
});

it('an odometer that went back, or is missing, raises an alarm', async () => {
  await make(at(0, 0, 0), at(1, 1, 4));
  await make(at(1, 1, 4), at(2, 2, 8));
  // The disk of the agent was restored to the time before the second object.
  expect(await ask(at(1, 1, 4))).toBe('E_ALARM');
  expect(await alarms()).toEqual([['alarmed', 'went back from 80 to 40 minutes']]);
  const { alarm } = await record();
  await system.submit('owner', {
    type: 'odometer.clear',
    machine: machine.machine,
    licence,
    alarm: alarm?.alarm ?? '',
  });
  expect(await ask(undefined)).toBe('E_ALARM');
  expect((await alarms()).at(-1)).toEqual(['alarmed', 'is missing from its request']);
});

it('an object begun without the knowledge of control shows in the count of objects', async () => {
  await make(at(0, 0, 0), at(1, 1, 4));
  expect(await ask({ ...at(1, 1, 4), started: 2 })).toBe('E_ALARM');
});

it('while an object is being made the odometer may advance, but not go back', async () => {
  expect(typeof (await ask(at(0, 0, 0)))).toBe('object');
  // The agent was replaced before it could report.
  expect(typeof (await ask(at(1, 0, 50)))).toBe('object');
  expect(await ask(at(1, 0, 49))).toBe('E_ALARM');
});

describe('the report of an end', () => {
  const reportOf = async (run: Uint8Array, object: string, odometer: Odometer) => {
    const now = systemClock.now();
    return signMachineDocument(key, system.context.directory.installation, {
      ...{ type: 'report', id: systemRandom(16), issued: now, expires: now + 1e6, object, run: run as never },
      ...{ event: 'failed', facts: { serial: 'SN-1', material: 'PLA', segments: 0, code: 'E_MACHINE' }, odometer },
    });
  };
  const begun = async () => {
    const asked = await ask(at(0, 0, 0));
    if (typeof asked === 'string') throw new Error(asked);
    const { object = '' } = await system.context.records.prints.require(asked.print);
    return { ...asked, object };
  };

  it('that comes with the next request hides no alarm', async () => {
    const { run, object } = await begun();
    await takeReport(system.context, machine.machine, await reportOf(run, object, at(1, 1, 4)));
    const second = await ask(at(1, 1, 4));
    if (typeof second === 'string') throw new Error(second);
    const { object: next = '' } = await system.context.records.prints.require(second.print);
    const report = await reportOf(second.run, next, at(2, 2, 8));
    // Control gets the request while it counts the report.
    const { odometers } = system.context.records;
    const { put } = odometers;
    let asked: Promise<unknown> | undefined;
    Object.assign(odometers, {
      put: async (...of: Parameters<typeof put>) => {
        Object.assign(odometers, { put });
        asked = ask(at(1, 1, 3));
        await new Promise((resolve) => setTimeout(resolve, 200));
        return put.apply(odometers, of);
      },
    });
    await takeReport(system.context, machine.machine, report);
    expect(await asked).toBe('E_ALARM');
    expect(await record()).toMatchObject({ alarm: expect.anything(), last: at(1, 1, 3) });
  });

  it('counts once for an object, so that another one does not explain an odometer that advanced', async () => {
    const { run, object } = await begun();
    await takeReport(system.context, machine.machine, await reportOf(run, object, at(1, 1, 4)));
    const second = await reportOf(run, object, at(1, 1, 30));
    expect(await codeOf(() => takeReport(system.context, machine.machine, second))).toBe('E_STATE');
    expect(await record()).toMatchObject({ last: at(1, 1, 4), counted: { ended: 1 } });
    expect(await ask(at(1, 1, 30))).toBe('E_ALARM');
  });
});

describe('the grams of a report', () => {
  /** A spool that the holder's operator has loaded on the machine, of 100 g; 7 g were used. */
  const loaded = async () => {
    const description = { name: 'PLA', grams: 100 };
    const load = { type: 'spool.load', machine: machine.machine, number: systemClock.now(), description } as const;
    const { spool = '' } = await system.submit('holder', load);
    return system.context.records.spools.update(spool, (record) => ({ ...record, used: 7 }));
  };
  const used = async (spool: string) => (await system.context.records.spools.require(spool)).used;

  it('are taken from the spool of the request once', async () => {
    const { spool, load, operator } = await loaded();
    await make(at(0, 0, 0), at(1, 1, 4), { used: { spool, grams: 12 }, proof: { load, operator } });
    expect(await used(spool)).toBe(19);
    expect((await record()).counted).toEqual({ ended: 1, metres: 1, grams: 12 });
  });

  it('of a hostile machine use up no spool that it did not state in its request', async () => {
    const { spool, load, operator, ...known } = await loaded();
    const foreign = 'cd'.repeat(16);
    const { machine: _, ...elsewhere } = { ...known, load, operator, spool: foreign };
    await system.context.records.spools.create(foreign, elsewhere);
    await make(at(0, 0, 0), at(1, 1, 4), { used: { spool: foreign, grams: 1_000 }, proof: { load, operator } });
    await make(at(1, 1, 4), at(2, 2, 4), { used: { spool: foreign, grams: 1_000 } });
    expect([await used(foreign), await used(spool)]).toEqual([7, 7]);
    expect((await record()).counted).toEqual({ ended: 2, metres: 0, grams: 0 });
  });
});
