import { endingCodes } from '@millrace/api';
import {
  type Bytes,
  KeyedMutex,
  MillraceError,
  noMetrics,
  noTracer,
  RwLock,
  silentLogger,
  systemRandom,
  toHex,
} from '@millrace/base';
import { keyName } from '@millrace/identity';
import {
  type Machine,
  type MessageOf,
  type Opening,
  type PermitRequest,
  registrationHash,
  signMachineDocument,
  signPermit,
  signTransaction,
} from '@millrace/protocol';
import { MemoryRecords } from '@millrace/stores';
import { createProtocolFixture, registerKey } from '@millrace/testkit/protocol/support';
import { coreHashOf, encodeCore } from '@millrace/vault';
import { beforeEach, describe, expect, it } from 'vitest';
import { announcePermit } from '../src/control/announce-permit.ts';
import type { ControlContext } from '../src/control/context.ts';
import { callHome, countClaims, FINAL } from '../src/control/permits.ts';
import { openRecords, type Records } from '../src/control/records.ts';
import { takeRefusedOpening } from '../src/control/refused-openings.ts';
import { takeReport } from '../src/control/reports.ts';
import { reportRefusedOpening } from '../src/streaming/refused-opening.ts';
import { signPermitRequest } from './permit-request.ts';

const HOUR = 3_600_000;
const BEGIN = 1_800_000_000_000;
const fixture = createProtocolFixture();
const { keys, directory, design } = fixture;
const holder = keyName(keys.holder.publicKey);
const machine: Machine = fixture.machine;

let now = BEGIN;
let records: Records;
let context: ControlContext;
let licence: string;
let print: string;
const run = systemRandom(16);

/** A licence for three objects, valid for 48 hours, and a queued print of it. Ledger and mailbox discard everything. */
beforeEach(async () => {
  now = BEGIN;
  records = openRecords(new MemoryRecords());
  context = {
    directory,
    clock: { now: () => now, monotonic: () => now },
    records,
    permitKey: keys.permit,
    metrics: noMetrics,
    tracer: noTracer,
    ledger: {
      find: async () => undefined,
      account: async () => [],
      append: async () => undefined,
      appendMany: async () => undefined,
    },
    mailbox: { sendOpening: async () => undefined },
    quarantine: new Map(),
    mutexes: new KeyedMutex(),
    settled: new Set(),
    licensing: new RwLock(),
  } as unknown as ControlContext;
  const owner = keyName(keys.owner.publicKey);
  await records.users.create(owner, {
    user: owner,
    name: 'owner',
    publicKey: keys.owner.publicKey,
    document: await registerKey(keys.admin, directory.installation, keys.owner.publicKey),
  });
  await records.users.create(holder, {
    user: holder,
    name: 'holder',
    publicKey: keys.holder.publicKey,
    document: await registerKey(keys.admin, directory.installation, keys.holder.publicKey),
  });
  await records.machines.create(machine.machine, {
    registration: machine,
    hash: registrationHash(machine),
    document: new Uint8Array(1),
  });
  const core = encodeCore({
    ...{ owner: keys.owner.publicKey, custody: 'owner', kind: 'gcode', size: 9 * 16_370, segments: 9 },
    ...{ nonce: new Uint8Array(16), hashRoot: new Uint8Array(32), timesHash: new Uint8Array(32) },
    contentMac: new Uint8Array(32),
  });
  await records.designs.create(design, {
    design,
    owner,
    ownerKey: keys.owner.publicKey,
    name: 'a design',
    core,
    custody: 'owner',
    kind: 'gcode',
    size: 10,
    segments: 9,
    contentMac: new Uint8Array(32),
    transaction: new Uint8Array(1),
    credential: new Uint8Array(1),
    state: 'stored',
  });
  const id = systemRandom(16);
  licence = toHex(id);
  const terms = await signTransaction(keys.owner, directory.installation, {
    type: 'licence.grant',
    id,
    issued: BEGIN,
    expires: BEGIN + HOUR,
    design,
    core: coreHashOf(core),
    objects: 3,
    machines: [{ machine: machine.machine, registration: registrationHash(machine) }],
    materials: [],
    notBefore: BEGIN,
    notAfter: BEGIN + 48 * HOUR,
    holder: keys.holder.publicKey,
    secretHash: new Uint8Array(32),
    telemetryKey: keys.machine.publicKey,
    disclose: [],
  });
  const credential = await registerKey(keys.admin, directory.installation, keys.owner.publicKey);
  const parties = { owner, holder };
  const granted = { objects: 3, credits: [], transaction: terms, credential };
  await records.licences.create(licence, { licence, design, ...parties, ...granted });
  print = await queue();
});

/** A print that its holder signed at BEGIN, for 24 hours. */
async function queue(): Promise<string> {
  const id = systemRandom(16);
  const transaction = await signTransaction(keys.holder, directory.installation, {
    type: 'print.request',
    id,
    issued: BEGIN,
    expires: BEGIN + 24 * HOUR,
    licence,
    machine: machine.machine,
  });
  const common = {
    licence,
    design,
    machine: machine.machine,
    owner: keyName(keys.owner.publicKey),
    holder,
    created: BEGIN,
    startBy: BEGIN + 24 * HOUR,
  };
  const credential = await registerKey(keys.admin, directory.installation, keys.holder.publicKey);
  await records.prints.create(toHex(id), { print: toHex(id), ...common, state: 'queued', transaction, credential });
  return toHex(id);
}

async function call(from: number, changes: Partial<PermitRequest> = {}): Promise<string> {
  return send(await requestFor(from, changes));
}

const send = (request: Bytes): Promise<string> =>
  callHome(context, machine.machine, request).then(
    () => 'permitted',
    ({ code }) => code,
  );

function requestFor(from: number, changes: Partial<PermitRequest> = {}): Promise<Bytes> {
  const wanted = {
    print,
    issued: now,
    expires: now + 600_000,
    serial: machine.serial,
    run,
    from,
    tableMs: 10,
    ...changes,
  };
  return signPermitRequest(keys.machine, directory.installation, wanted);
}

describe('a permit whose announcement was interrupted', () => {
  /** Events by id, as the ledger takes them; the first `failures` pieces of mail are lost. */
  const losing = (failures: number) => {
    const events = new Map<string, { event: { evidence: Uint8Array[] } }>();
    const take = async ({ eventId, ...event }: { eventId: string; evidence: Uint8Array[] }) => {
      if (!events.has(eventId)) events.set(eventId, { event });
    };
    const mail: string[] = [];
    context = {
      ...context,
      ledger: {
        find: async (id: string) => events.get(id),
        append: take,
        appendMany: async (all: Parameters<typeof take>[0][]) => {
          for (const one of all) await take(one);
        },
      },
      mailbox: {
        sendOpening: async (id: string) => {
          if (failures-- > 0) throw new MillraceError('E_UNAVAILABLE', 'killed here');
          mail.push(id);
        },
      },
    } as unknown as ControlContext;
    return { events, mail };
  };

  it.each([1, 2])('is completed when the machine repeats its request, after %i failed mails', async (failures) => {
    const { events, mail } = losing(failures);
    const request = await requestFor(0);
    for (let i = 0; i < failures; i++) expect(await send(request)).toBe('E_UNAVAILABLE');
    expect(await send(request)).toBe('permitted');
    expect([...events.keys()]).toEqual([`ordered/${print}`, `permitted/${print}`]);
    expect(new Set(mail).size).toBe(1); // one permit
  });

  it('is completed when control starts again, and both ways together', async () => {
    const { events } = losing(1);
    const request = await requestFor(0);
    expect(await send(request)).toBe('E_UNAVAILABLE');
    await Promise.all([announcePermit(context, print), send(request)]);
    await announcePermit(context, print);
    expect([...events.keys()]).toEqual([`ordered/${print}`, `permitted/${print}`]);
    expect(await claims()).toBe(1);
  });

  it('lets the odometer advance, whoever completes it', async () => {
    const last = { minutes: 1, metres: 1, grams: 1, started: 1, ended: 1 };
    const counted = { ended: 1, metres: 1, grams: 1 };
    const known = { machine: machine.machine, counted, cleared: [], last, at: BEGIN, running: false };
    for (const complete of [send, () => announcePermit(context, print)]) {
      losing(0);
      await records.odometers.put(machine.machine, known);
      const { ledger } = context;
      // Killed before the entry, which shares a commit with the odometer's state.
      Object.assign(context, { ledger: { ...ledger, appendMany: () => Promise.reject(new Error('killed here')) } });
      const { put } = records.odometers;
      records.odometers.put = async () => {};
      const request = await requestFor(0, { odometer: last });
      await send(request);
      records.odometers.put = put;
      Object.assign(context, { ledger });
      await complete(request);
      expect(await records.odometers.require(machine.machine)).toMatchObject({ running: true });
      print = await queue();
    }
    // An object that has ended no longer explains an advance.
    losing(1);
    await send(await requestFor(0, { odometer: last }));
    await records.prints.update(print, (current) => ({ ...current, state: 'completed' }));
    await records.odometers.put(machine.machine, known);
    await announcePermit(context, print);
    expect(await records.odometers.require(machine.machine)).toMatchObject({ running: false });
  });

  it('of a resumed stream is completed as well', async () => {
    expect(await call(0)).toBe('permitted');
    const { events } = losing(1);
    const request = await requestFor(3);
    expect(await send(request)).toBe('E_UNAVAILABLE');
    expect(await send(request)).toBe('permitted');
    expect([...events.keys()]).toEqual([expect.stringMatching(/^resumed\//)]);
  });
});

it('every code that ends a print has its own next step', () => {
  for (const code of FINAL) expect(endingCodes, code).toContain(code);
});

const claims = async () => countClaims(context, await records.licences.require(licence));

describe('a queued print', () => {
  it('starts within its 24 hours; later it is refused without taking an object', async () => {
    now = BEGIN + 23 * HOUR;
    expect(await call(0)).toBe('permitted');
    print = await queue();
    now = BEGIN + 24 * HOUR + 1;
    expect(await call(0)).toBe('E_EXPIRED');
    expect(await claims()).toBe(1);
    expect(await records.prints.require(print)).toMatchObject({ state: 'refused', code: 'E_EXPIRED' });
  });

  it('that has taken an object starts, also when control was killed meanwhile', async () => {
    await records.claims.create(`${licence}/1`, { print });
    await records.prints.update(print, (current) => ({ ...current, number: 1 }));
    now = BEGIN + 24 * HOUR + 1;
    expect(await call(0)).toBe('permitted');
    expect(await claims()).toBe(1);
  });
});

describe('a request', () => {
  it('that was refused is used up: it gets no permit later, when the reason is gone', async () => {
    await records.designs.update(design, (current) => ({ ...current, state: 'storing' }));
    const request = await requestFor(0);
    const refused = await send(request);
    expect(refused).not.toBe('permitted');
    expect(await records.prints.require(print)).toMatchObject({ state: 'queued' });
    await records.designs.update(design, (current) => ({ ...current, state: 'stored' }));
    expect(await send(request)).toBe('E_REPLAY');
    expect(await claims()).toBe(0);
    expect(await call(0)).toBe('permitted');
  });

  it('that is used meanwhile takes one object, and the print keeps it', async () => {
    const request = await requestFor(0);
    const { create } = records.seen;
    records.seen.create = async (...entry) => {
      records.seen.create = create;
      await create.apply(records.seen, entry);
      return create.apply(records.seen, entry);
    };
    expect(await send(request)).toBe('E_REPLAY');
    expect(await records.prints.require(print)).toMatchObject({ state: 'queued', number: 1 });
    expect(await call(0)).toBe('permitted');
    expect(await claims()).toBe(1);
  });
});

describe('a print that has claimed an object and got no permit', () => {
  it('keeps that object when the permit could not be signed', async () => {
    const { permitKey } = context;
    const sign = () => Promise.reject(new MillraceError('E_UNAVAILABLE', 'the key does not answer'));
    context = { ...context, permitKey: { publicKey: permitKey.publicKey, sign } as unknown as typeof permitKey };
    expect(await call(0)).toBe('E_UNAVAILABLE');
    expect(await records.prints.require(print)).toMatchObject({ state: 'queued', number: 1 });
    context = { ...context, permitKey };
    expect(await call(0)).toBe('permitted');
    expect(await claims()).toBe(1);
  });

  it('keeps that object when the claim of a control node that was active before arrives late', async () => {
    await records.claims.create(`${licence}/1`, { print });
    expect(await call(0)).toBe('permitted');
    expect(await records.prints.require(print)).toMatchObject({ number: 1 });
    expect(await claims()).toBe(1);
  });

  it('keeps that object although its number could not be recorded, and nobody claims after it before it is', async () => {
    const { update } = records.prints;
    records.prints.update = () => Promise.reject(new MillraceError('E_STORE', 'the disk refuses the write'));
    expect(await call(0)).toBe('E_STORE');
    records.prints.update = update;
    expect(await records.prints.require(print)).not.toHaveProperty('number');
    // Another print of the licence; the first one was cancelled, so that a start does not complete it.
    await records.prints.update(print, (current) => ({ ...current, state: 'cancelled' }));
    const first = print;
    print = await queue();
    expect(await call(0)).toBe('permitted');
    expect(await records.prints.require(first)).toMatchObject({ number: 1 });
    expect(await records.prints.require(print)).toMatchObject({ number: 2 });
  });

  it('keeps that object when it was cancelled meanwhile', async () => {
    const create = records.claims.create.bind(records.claims);
    records.claims.create = async (...claim) => {
      await records.prints.update(print, (current) => ({ ...current, state: 'cancelled' }));
      return create(...claim);
    };
    expect(await call(0)).toBe('E_STATE');
    expect(await records.prints.require(print)).toMatchObject({ state: 'cancelled', number: 1 });
    expect(await claims()).toBe(1);
  });
});

describe('a permitted print whose agent died before it started', () => {
  it('starts if the agent returns in time, not later; the next object needs a new request', async () => {
    expect(await call(0)).toBe('permitted');
    now = BEGIN + 24 * HOUR;
    expect(await call(0)).toBe('permitted');
    now++;
    expect(await call(0)).toBe('E_EXPIRED');
    expect(await records.prints.require(print)).toMatchObject({ state: 'failed', code: 'E_EXPIRED' });
    for (const from of [0, 1]) expect(await call(from)).toBe('E_STATE');
    expect(await claims()).toBe(1);
  });
});

describe('a started print', () => {
  it('can be resumed at any time, also after it and its licence have expired', async () => {
    expect(await call(0)).toBe('permitted');
    now = BEGIN + 30 * HOUR;
    expect(await call(4)).toBe('permitted');
    now = BEGIN + 50 * HOUR;
    expect(await call(6)).toBe('permitted');
    expect(await claims()).toBe(1);
  });

  it('cannot be resumed from an earlier segment', async () => {
    expect(await call(0)).toBe('permitted');
    expect(await call(0)).toBe('permitted'); // the machine had not moved
    expect(await call(5)).toBe('permitted');
    expect(await call(4)).toBe('E_REPLAY');
    expect(await call(0)).toBe('E_REPLAY');
    expect(await call(5)).toBe('permitted');
  });

  it('cannot start again once its machine has reported motion', async () => {
    expect(await call(0)).toBe('permitted');
    await records.prints.update(print, (current) => ({ ...current, state: 'running' }));
    expect(await call(0)).toBe('E_REPLAY');
    expect(await call(1)).toBe('permitted');
  });
});

describe('a permitted object that a proactive node refuses', () => {
  const told = async (changes: Partial<MessageOf<'stream.refused'>> = {}) => {
    const { object = '', permit } = await records.prints.require(print);
    const permitId = permit?.permitId ?? '';
    const message = { object, permitId, code: 'E_LICENCE_EXHAUSTED', reason: 'made already', ...changes };
    return takeRefusedOpening(context, { type: 'stream.refused', ...message }, 'keys');
  };
  beforeEach(async () => {
    context = { ...context, logger: silentLogger };
    expect(await call(0)).toBe('permitted');
  });

  it('gets no other permit: its machine learns the code and the reason', async () => {
    await told();
    expect(await call(0)).toBe('E_LICENCE_EXHAUSTED');
    expect(await records.prints.require(print)).toMatchObject({
      state: 'permitted', // until the machine reports
      refusal: { code: 'E_LICENCE_EXHAUSTED', reason: 'made already (refused by the keys node)' },
    });
    expect(await claims()).toBe(1);
  });

  it('goes on if the refusal is of an earlier permit, or has no known code', async () => {
    await told({ permitId: '0'.repeat(32) });
    await expect(told({ code: 'E_NONE' })).rejects.toMatchObject({ code: 'E_INPUT' });
    await expect(told({ object: `${licence}-2` })).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    expect(await call(0)).toBe('permitted');
  });
});

describe('a report that control logged before it was killed', () => {
  it('is completed when the machine repeats it, and an older one changes nothing', async () => {
    const events = new Map<string, object>();
    const ledger = {
      ...context.ledger,
      find: async (id: string) => events.get(id),
      append: async ({ eventId }: { eventId: string }) => void events.set(eventId, {}),
    };
    context = { ...context, ledger, progress: new Map() } as unknown as ControlContext;
    expect(await call(0)).toBe('permitted');
    const { object = '' } = await records.prints.require(print);
    const report = (event: 'started' | 'failed') =>
      signMachineDocument(keys.machine, directory.installation, {
        ...{ type: 'report', id: systemRandom(16), issued: now, expires: now + HOUR, object, run, event },
        facts: {
          serial: machine.serial,
          material: 'PLA',
          segments: 0,
          ...(event === 'failed' && { code: 'E_MACHINE' }),
        },
      });
    const killed = { ...records, prints: { ...records.prints, require: records.prints.require.bind(records.prints) } };
    const dying = { ...context, records: killed } as unknown as ControlContext; // cannot update a print
    const [started, failed] = [await report('started'), await report('failed')];
    for (const [bytes, state] of [
      [started, 'running'],
      [failed, 'failed'],
    ] as const) {
      await expect(takeReport(dying, machine.machine, bytes)).rejects.toThrow();
      await takeReport(context, machine.machine, bytes);
      expect(await records.prints.require(print)).toMatchObject({ state });
    }
    await takeReport(context, machine.machine, started);
    expect(await records.prints.require(print)).toMatchObject({ state: 'failed', code: 'E_MACHINE' });
    expect([...events.keys()].filter((id) => id.startsWith('report/'))).toHaveLength(2);
  });
});

it('a node tells control only of refusals that are final', async () => {
  const permit = await signPermit(keys.permit, directory.installation, {
    ...{ type: 'permit', id: new Uint8Array(16), issued: BEGIN, expires: BEGIN + 1, print, licence, number: 1 },
    ...{ object: `${licence}-1`, design, machine: machine.machine, request: new Uint8Array(32), count: 1 },
  });
  const sent: unknown[] = [];
  const mail = { send: async (...given: unknown[]) => void sent.push(given) };
  for (const code of ['E_CLOCK', 'E_EXPIRED', 'E_LICENCE_SUSPENDED', 'E_REPLAY'] as const) {
    const error = new MillraceError(code, 'x'.repeat(400));
    await reportRefusedOpening(mail, { opening: { permit } as Opening, by: 'segments', error });
  }
  await reportRefusedOpening(mail, { opening: { permit } as Opening, by: 'keys', error: new Error('no code') });
  const permitId = '0'.repeat(32);
  expect(sent).toEqual([
    [
      { role: 'control', partition: design },
      { type: 'stream.refused', object: `${licence}-1`, permitId, code: 'E_REPLAY', reason: 'x'.repeat(300) },
      `refused/segments/${permitId}`,
    ],
  ]);
});
