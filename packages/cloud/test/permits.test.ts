import { endingCodes } from '@millrace/api';
import { type Bytes, KeyedMutex, MillraceError, RwLock, systemRandom, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { type Machine, type PermitRequest, registrationHash, signTransaction } from '@millrace/protocol';
import { MemoryRecords } from '@millrace/stores';
import { createProtocolFixture } from '@millrace/testkit/protocol/support';
import { beforeEach, describe, expect, it } from 'vitest';
import type { ControlContext } from '../src/control/context.ts';
import { announcePermit, callHome, countClaims, FINAL } from '../src/control/permits.ts';
import { openRecords, type Records } from '../src/control/records.ts';
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
    ledger: { find: async () => undefined, append: async () => undefined, appendMany: async () => undefined },
    mailbox: { send: async () => undefined },
    quarantine: new Map(),
    mutexes: new KeyedMutex(),
    licensing: new RwLock(),
  } as unknown as ControlContext;
  const owner = keyName(keys.owner.publicKey);
  await records.users.create(owner, {
    user: owner,
    name: 'owner',
    publicKey: keys.owner.publicKey,
    document: new Uint8Array(1),
  });
  await records.users.create(holder, {
    user: holder,
    name: 'holder',
    publicKey: keys.holder.publicKey,
    document: new Uint8Array(1),
  });
  await records.machines.create(machine.machine, {
    registration: machine,
    hash: registrationHash(machine),
    document: new Uint8Array(1),
  });
  await records.designs.create(design, {
    design,
    owner,
    ownerKey: keys.owner.publicKey,
    name: 'a design',
    core: new Uint8Array(1),
    custody: 'owner',
    kind: 'gcode',
    size: 10,
    segments: 9,
    contentMac: new Uint8Array(32),
    transaction: new Uint8Array(1),
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
    core: fixture.coreHash,
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
  await records.licences.create(licence, { licence, design, owner, holder, objects: 3, transaction: terms });
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
  await records.prints.create(toHex(id), { print: toHex(id), ...common, state: 'queued', transaction });
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
        send: async (_to: unknown, id: string) => {
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
    expect(new Set(mail).size).toBe(1); // one permit, to both nodes
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
