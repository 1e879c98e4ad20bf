import { systemClock, systemRandom, toHex } from '@millrace/base';
import { generateP256Key, keyName, type P256Key } from '@millrace/identity';
import {
  documentName,
  type Machine,
  registrationHash,
  SEALED_SECRET_BYTES,
  type VerifiedOpening,
} from '@millrace/protocol';
import { MemoryRecords } from '@millrace/stores';
import { beforeEach, describe, expect, it } from 'vitest';
import { finishInterrupted } from '../src/control/interrupted.ts';
import { callHome } from '../src/control/permits.ts';
import { licenceView } from '../src/control/views.ts';
import { keepCounts } from '../src/streaming/admin.ts';
import { ObjectRepository } from '../src/streaming/objects.ts';
import { codeOf, controlFixture, type UserName } from './control-fixture.ts';
import { signPermitRequest } from './permit-request.ts';

let fixture: Awaited<ReturnType<typeof controlFixture>>;
let machine: Machine;
let key: P256Key;
let licence: string;

beforeEach(async () => {
  fixture = await controlFixture();
  key = generateP256Key();
  machine = await fixture.addMachine('SN-1', key);
});

const record = () => fixture.context.records.licences.require(licence);
const view = async () => licenceView(fixture.context, await record());
const print = (who: UserName = 'holder', on = machine) => codeOf(fixture.print(licence, on, who));
const approve = async (who: UserName, document?: Uint8Array) => {
  const name = documentName(document ?? (await record()).transaction);
  return codeOf(fixture.submit(who, { type: 'licence.approve', licence, document: name }));
};
const extend = (machines: readonly Machine[], who: UserName = 'owner') => {
  const entries = machines.map((one) => ({
    machine: one.machine,
    registration: registrationHash(one),
    secret: systemRandom(SEALED_SECRET_BYTES),
  }));
  return codeOf(fixture.submit(who, { type: 'licence.extend', licence, machines: entries }));
};
const transfer = (to: 'holder' | 'other' | 'approver', who: UserName = 'holder', number = 1) =>
  codeOf(fixture.submit(who, { type: 'licence.transfer', licence, number, to: fixture.keys[to].publicKey }));
const facts = async () =>
  (await fixture.context.ledger.account(`licence:${licence}`)).map(({ event }) => event.body.fact ?? event.type);

async function home(of: string): Promise<string> {
  const { context } = fixture;
  const request = await signPermitRequest(key, context.directory.installation, {
    print: of,
    issued: systemClock.now(),
  });
  return codeOf(callHome(context, machine.machine, request));
}

describe('a licence of a design that asks for approvals', () => {
  beforeEach(async () => {
    const { keys } = fixture;
    const approvers = [keys.owner.publicKey, keys.approver.publicKey, keys.other.publicKey];
    const prepared = await fixture.prepare(40_000, { needed: 2, approvers });
    licence = await fixture.grant(await fixture.stored(await fixture.addDesign(prepared)), [machine]);
  });

  it('is pending until another approver than the owner has signed it', async () => {
    expect(await view()).toMatchObject({ status: 'pending', approvals: { needed: 2 } });
    expect(await print()).toBe('E_LICENCE_PENDING');
    expect(await approve('holder')).toBe('E_FORBIDDEN');
    expect(await approve('admin')).toBe('E_FORBIDDEN');
    // The owner's approval is the grant itself.
    expect(await approve('owner')).toBe('done');
    expect(await print()).toBe('E_LICENCE_PENDING');
    expect(await approve('approver', systemRandom(9))).toBe('E_LICENCE_INVALID');
    expect(await approve('approver')).toBe('done');
    expect(await approve('approver')).toBe('E_STATE');
    expect(await view()).toMatchObject({ status: 'active' });
    const ordered = await fixture.print(licence, machine);
    expect(await home(ordered)).toBe('done');
    expect(await facts()).toEqual(['licensed', 'approved', 'approved']);
  });

  it('shows a pending licence to its approvers', async () => {
    const { records } = fixture.context;
    for (const who of ['owner', 'holder', 'approver', 'other'] as const) {
      const group = keyName(fixture.keys[who].publicKey);
      expect((await records.licences.page({ index: 'party', group, limit: 9 })).records).toHaveLength(1);
    }
  });

  it('asks for the same approvals of an extension', async () => {
    await approve('approver');
    const more = await fixture.addMachine();
    expect(await extend([more])).toBe('done');
    expect(await view()).toMatchObject({ approvals: { waiting: 1 } });
    expect(await print('holder', more)).toBe('E_LICENCE_INVALID');
    expect(await approve('other', (await record()).amendments?.at(-1)?.transaction)).toBe('done');
    expect(await print('holder', more)).toBe('done');
  });
});

describe('an extension', () => {
  beforeEach(async () => {
    const design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
    licence = await fixture.grant(design, [machine], { objects: 2 });
  });

  it('adds machines, not objects; only the owner signs one', async () => {
    const more = await fixture.addMachine();
    expect(await print('holder', more)).toBe('E_LICENCE_INVALID');
    for (const who of ['holder', 'admin', 'other'] as const) expect(await extend([more], who)).toBe('E_FORBIDDEN');
    expect(await extend([{ ...more, serial: 'another' }])).toBe('E_LICENCE_INVALID');
    expect(await extend([more])).toBe('done');
    expect(await view()).toMatchObject({ objects: 2, machines: [machine.machine, more.machine] });
    expect([await print('holder', more), await print(), await print()]).toEqual([
      'done',
      'done',
      'E_LICENCE_EXHAUSTED',
    ]);
  });

  it('of a revoked licence is refused', async () => {
    await fixture.submit('owner', { type: 'licence.revoke', licence, number: 1, stop: false });
    expect(await extend([await fixture.addMachine()])).toBe('E_LICENCE_REVOKED');
  });

  it('is completed at the next start if a process was killed half-way', async () => {
    const { ledger } = fixture.context;
    const { append } = ledger;
    const other = await fixture.addMachine();
    ledger.append = () => Promise.reject(new Error('killed'));
    await extend([other]);
    ledger.append = append;
    expect(await facts()).toEqual(['licensed']);
    // Otherwise the ledger could show an object on the new machine before the extension.
    expect(await print('holder', other)).toBe('E_UNAVAILABLE');
    await finishInterrupted(fixture.context);
    expect(await facts()).toEqual(['licensed', 'extended']);
    expect(await print('holder', other)).toBe('done');
  });
});

describe('a transfer', () => {
  const granted = async (policy?: 'alone' | 'with-approval') => {
    const design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
    licence = await fixture.grant(design, [machine], { objects: 3, terms: policy ? { transfer: policy } : {} });
  };

  it('is refused unless the terms allow it', async () => {
    await granted();
    expect(await transfer('other')).toBe('E_LICENCE_INVALID');
    expect(await print()).toBe('done');
  });

  it('gives the remaining objects to the new holder: the former orders nothing more', async () => {
    await granted('alone');
    const begun = await fixture.print(licence, machine);
    const waiting = await fixture.print(licence, machine);
    expect(await home(begun)).toBe('done');
    for (const who of ['owner', 'other', 'admin'] as const) expect(await transfer('other', who)).toBe('E_FORBIDDEN');
    expect(await transfer('holder')).toBe('E_STATE');
    expect(await transfer('other', 'holder', 2)).toBe('E_LICENCE_INVALID');
    expect(await transfer('other')).toBe('done');
    expect(await fixture.context.records.prints.require(waiting)).toMatchObject({
      state: 'refused',
      code: 'E_LICENCE_INVALID',
    });
    expect(await print()).toBe('E_FORBIDDEN');
    // The object that had begun is finished under the former holder's order.
    const { run, number } = await fixture.context.records.prints.require(begun);
    const again = { print: begun, run: run ?? systemRandom(16), from: 1, issued: systemClock.now() };
    const request = await signPermitRequest(key, fixture.context.directory.installation, again);
    expect(await codeOf(callHome(fixture.context, machine.machine, request))).toBe('done');
    expect(number).toBe(1);
    expect([await print('other'), await print('other'), await print('other')]).toEqual([
      'done',
      'done',
      'E_LICENCE_EXHAUSTED',
    ]);
    expect(await transfer('approver', 'holder', 2)).toBe('E_FORBIDDEN');
    expect(await transfer('approver', 'other', 2)).toBe('done');
    expect(await facts()).toEqual(['licensed', 'transferred', 'transferred']);
  });

  it('waits for the owner where the terms ask for it', async () => {
    await granted('with-approval');
    expect(await transfer('other')).toBe('done');
    expect(await print('other')).toBe('E_FORBIDDEN');
    expect(await print()).toBe('done');
    expect(await transfer('approver')).toBe('E_STATE');
    const given = (await record()).amendments?.at(-1)?.transaction;
    expect(await approve('holder', given)).toBe('E_FORBIDDEN');
    expect(await approve('owner', given)).toBe('done');
    expect((await record()).amendments?.map(({ byDesigner }) => byDesigner)).toEqual([undefined, true]);
    expect([await print(), await print('other')]).toEqual(['E_FORBIDDEN', 'done']);
    const mail = await fixture.queue.claim('keys-1', { consumer: 'test', limit: 100, leaseMs: 1_000 });
    expect(mail.filter(({ id }) => id.includes('amend/'))).toHaveLength(1);
  });
});

describe('the chain of transfers at a proactive node', () => {
  const hex = () => toHex(systemRandom(16));
  const [a, b, c] = [hex(), hex(), hex()];
  const of = hex();
  const opening = (number: number, transfers: readonly string[]) =>
    ({
      permit: { object: `${of}-${number}`, print: hex(), machine: hex(), licence: of, design: hex(), number },
      request: { run: systemRandom(16), from: 0 },
      transfers,
    }) as unknown as VerifiedOpening;

  it('only grows, also after the node was restored', async () => {
    let store = new MemoryRecords();
    let book = new ObjectRepository(store);
    const use = (verified: VerifiedOpening) => codeOf(book.use(verified, hex()));
    const begun = opening(1, []);
    expect(await use(begun)).toBe('done');
    expect(await use(opening(2, [a, b]))).toBe('done');
    for (const chain of [[], [a], [c], [a, c], [a, c, b]])
      expect(await use(opening(3, chain))).toBe('E_LICENCE_INVALID');
    expect(await use(begun)).toBe('done');
    const restored = new MemoryRecords();
    await keepCounts(store, restored);
    store = restored;
    book = new ObjectRepository(store);
    expect(await use(opening(4, [a]))).toBe('E_LICENCE_INVALID');
    expect(await use(opening(5, [a, b, c]))).toBe('done');
  });
});
