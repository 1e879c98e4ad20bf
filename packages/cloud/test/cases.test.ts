import { type Bytes, copyBytes, sleep, systemClock, systemRandom, toHex } from '@millrace/base';
import { generateP256Key, keyName, type P256Key } from '@millrace/identity';
import {
  type Machine,
  type MachineReport,
  objectId,
  sha256,
  signMachineDocument,
  signTransaction,
  type VerifiedOpening,
} from '@millrace/protocol';
import { MemoryRecords } from '@millrace/stores';
import { beforeEach, describe, expect, it } from 'vitest';
import { suspendLicences } from '../src/control/admin.ts';
import { finishInterrupted } from '../src/control/interrupted.ts';
import { callHome } from '../src/control/permits.ts';
import { takeReport } from '../src/control/reports.ts';
import { keepCounts } from '../src/streaming/admin.ts';
import { ObjectRepository } from '../src/streaming/objects.ts';
import { codeOf, controlFixture } from './control-fixture.ts';
import { signPermitRequest } from './permit-request.ts';

let fixture: Awaited<ReturnType<typeof controlFixture>>;
let machine: Machine;
let key: P256Key;
let design: string;
let licence: string;

async function begin(objects: number): Promise<void> {
  fixture = await controlFixture();
  key = generateP256Key();
  machine = await fixture.addMachine('SN-1', key);
  design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
  licence = await fixture.grant(design, [machine], { objects });
}

const name = (number: number): string => objectId(licence, number);
const installation = () => fixture.context.directory.installation;

/** Requests a print and calls home for it. @returns its print and run */
async function permitted(): Promise<{ print: string; run: Bytes }> {
  const print = await fixture.print(licence, machine);
  const run = systemRandom(16);
  await home(print, run);
  return { print, run };
}

async function home(print: string, run: Bytes, from = 0) {
  const issued = systemClock.now();
  return callHome(
    fixture.context,
    machine.machine,
    await signPermitRequest(key, installation(), { print, issued, run, from }),
  );
}

async function ends(
  number: number,
  run: Bytes,
  event: MachineReport['event'] = 'failed',
  facts: Partial<MachineReport['facts']> = {},
): Promise<void> {
  const issued = systemClock.now();
  const report = await signMachineDocument(key, installation(), {
    type: 'report',
    id: systemRandom(16),
    issued,
    expires: issued + 60_000,
    object: name(number),
    run,
    event,
    facts: { serial: 'SN-1', material: 'PLA', segments: 1, ...facts },
  });
  await takeReport(fixture.context, machine.machine, report);
}

async function failed(number: number): Promise<{ print: string; run: Bytes }> {
  const made = await permitted();
  await ends(number, made.run);
  return made;
}

const report = (number: number, who: 'owner' | 'holder' | 'admin' = 'holder', evidence?: Bytes) =>
  fixture.submit(
    who,
    { type: 'case.report', object: name(number), reason: 'adhesion', evidence: evidence && sha256(evidence) },
    evidence === undefined ? {} : { evidence },
  );

async function decide(number: number, credit = true, who: 'owner' | 'holder' | 'admin' = 'owner') {
  const known = await fixture.context.records.cases.get(name(number));
  const on = known === undefined ? new Uint8Array(32) : sha256(copyBytes(known.report.transaction));
  return fixture.submit(who, { type: 'case.decide', object: name(number), report: on, credit });
}

const typesOf = async (account: string) =>
  (await fixture.context.ledger.account(account)).map(({ event }) => event.body.fact ?? event.type);

describe('a failure case', () => {
  beforeEach(() => begin(2));

  it('is opened by the holder when the object has ended, once, with the evidence that was signed', async () => {
    const { run } = await permitted();
    expect(await codeOf(report(1))).toBe('E_STATE');
    await ends(1, run);
    for (const who of ['owner', 'admin'] as const) expect(await codeOf(report(1, who))).toBe('E_FORBIDDEN');
    expect(await codeOf(report(2))).toBe('E_NOT_FOUND');
    const evidence = systemRandom(500);
    const body = { type: 'case.report', object: name(1), reason: 'other', evidence: sha256(evidence) } as const;
    expect(await codeOf(fixture.submit('holder', body))).toBe('E_INPUT');
    expect(await codeOf(fixture.submit('holder', body, { evidence: systemRandom(500) }))).toBe('E_INPUT');
    const large = systemRandom(2_100_000);
    expect(await codeOf(fixture.submit('holder', { ...body, evidence: sha256(large) }, { evidence: large }))).toBe(
      'E_TOO_LARGE',
    );
    expect(await codeOf(report(1, 'holder', evidence))).toBe('done');
    expect(await codeOf(report(1, 'holder', systemRandom(9)))).toBe('E_CONFLICT');
    expect(copyBytes((await fixture.context.records.evidence.require(name(1))).sealed)).toEqual(evidence);
    expect(await typesOf(name(1))).toEqual(['ordered', 'permitted', 'failed', 'failure reported']);
  });

  it('of an object that its machine reported as completed may be credited too', async () => {
    const { run } = await permitted();
    const { contentMac } = await fixture.context.records.designs.require(design);
    await ends(1, run, 'completed', { contentMac: copyBytes(contentMac) });
    await report(1);
    await decide(1);
    expect(await typesOf(name(1))).toEqual(['ordered', 'permitted', 'completed', 'failure reported', 'credited']);
  });

  it('is decided once, by the owner, on the report that the owner has read', async () => {
    await failed(1);
    expect(await codeOf(decide(1))).toBe('E_NOT_FOUND');
    await report(1);
    for (const who of ['holder', 'admin'] as const) expect(await codeOf(decide(1, true, who))).toBe('E_FORBIDDEN');
    const other = { type: 'case.decide', object: name(1), report: new Uint8Array(32), credit: true } as const;
    expect(await codeOf(fixture.submit('owner', other))).toBe('E_INPUT');
    expect(await codeOf(decide(1, false))).toBe('done');
    for (const credit of [true, false]) expect(await codeOf(decide(1, credit))).toBe('E_STATE');
    expect(await typesOf(name(1))).toEqual(['ordered', 'permitted', 'failed', 'failure reported', 'credit denied']);
    expect(await typesOf(`licence:${licence}`)).toEqual(['licensed']);
  });

  it('credited: exactly one more object, made in place of the failed one, which is final', async () => {
    const first = await failed(1);
    await failed(2);
    expect(await codeOf(permitted())).toBe('E_LICENCE_EXHAUSTED');
    await report(1);
    await decide(1);
    const { print } = await permitted();
    expect(await fixture.context.records.prints.require(print)).toMatchObject({ object: name(3) });
    expect(await codeOf(permitted())).toBe('E_LICENCE_EXHAUSTED');
    expect(await codeOf(home(first.print, first.run, 1))).toBe('E_STATE');
    const [ordered] = await fixture.context.ledger.account(name(3));
    expect(ordered?.event.body).toMatchObject({ number: 3, replaces: name(1) });
    expect(await typesOf(`licence:${licence}`)).toEqual(['licensed', 'credited']);
    // A machine that reports a completion later changes nothing.
    const { contentMac } = await fixture.context.records.designs.require(design);
    expect(await codeOf(ends(1, first.run, 'completed', { contentMac: copyBytes(contentMac) }))).toBe('E_STATE');
    expect(await fixture.context.records.prints.require(first.print)).toMatchObject({ state: 'failed' });
    expect((await fixture.context.ledger.head(name(1)))?.state).toBe('credited');
  });

  it('is not credited by a decision that the owner signed before the statement of the objects left', async () => {
    await failed(1);
    await report(1);
    const known = await fixture.context.records.cases.require(name(1));
    const on = { object: name(1), report: sha256(copyBytes(known.report.transaction)) };
    const credit = await fixture.sign('owner', { type: 'case.decide', ...on, credit: true });
    for (const signed = systemClock.now(); systemClock.now() <= signed; ) await sleep(1);
    const restore = toHex(systemRandom(16));
    await suspendLicences(fixture.store, restore);
    const state = (objects: number) => fixture.submit('owner', { type: 'licence.resume', licence, restore, objects });
    await state(1);
    expect(await codeOf(fixture.submitSigned('owner', credit))).toBe('E_STATE');
    expect(await codeOf(decide(1))).toBe('done');
    await state(2);
    for (let i = 0; i < 2; i++) expect(await codeOf(permitted())).toBe('done');
    expect(await codeOf(permitted())).toBe('E_LICENCE_EXHAUSTED');
  });

  it('credited after a restore lets the next object begin when the owner has stated how many are left', async () => {
    for (const number of [1, 2]) await failed(number);
    for (const number of [1, 2]) await report(number);
    const restore = toHex(systemRandom(16));
    await suspendLicences(fixture.store, restore);
    expect(await codeOf(permitted())).toBe('E_LICENCE_EXHAUSTED');
    const state = (objects: number) => fixture.submit('owner', { type: 'licence.resume', licence, restore, objects });
    expect(await codeOf(state(0))).toBe('E_STATE');
    await decide(1);
    expect(await codeOf(permitted())).toBe('E_LICENCE_SUSPENDED');
    expect(await codeOf(state(2))).toBe('E_INPUT');
    await state(1);
    await permitted();
    expect(await codeOf(permitted())).toBe('E_LICENCE_EXHAUSTED');
    // The object that this credit allows was made before.
    await decide(2);
    await state(0);
    expect(await codeOf(permitted())).toBe('E_LICENCE_EXHAUSTED');
    expect(await typesOf(`licence:${licence}`)).toEqual(['licensed', 'credited', 'resumed', 'credited', 'resumed']);
  });

  it('is credited by the policy of the licence only on the machine that the owner has named, as it was then', async () => {
    const creditPolicy = { below: 10, most: 1 };
    licence = await fixture.grant(design, [machine], { objects: 2, terms: { creditPolicy } });
    const { submit, context } = fixture;
    const first = await permitted();
    await submit('admin', { type: 'machine.register', machine: { ...machine, profile: { factor: 2 } } });
    expect(await codeOf(ends(1, first.run, 'failed', { lines: 0 }))).toBe('done');
    expect(await context.records.prints.require(first.print)).toMatchObject({ state: 'failed' });
    expect(await context.records.cases.get(name(1))).toBeUndefined();
    await submit('admin', { type: 'machine.register', machine });
    const second = await permitted();
    await ends(2, second.run, 'failed', { lines: 0 });
    expect(await context.records.cases.get(name(2))).toMatchObject({ state: 'credited', byPolicy: true });
    expect(await typesOf(`licence:${licence}`)).toEqual(['licensed', 'failed early']);
  });

  it('is completed at the next start when the process was killed between two of its steps', async () => {
    await failed(1);
    await failed(2);
    const { context } = fixture;
    const { send } = context.mailbox;
    await report(1);
    for (const sent of [0, 1]) {
      let left = sent;
      context.mailbox.send = (...mail) =>
        left-- > 0 ? send.apply(context.mailbox, mail) : Promise.reject(new Error('killed'));
      if (sent === 0) await expect(decide(1)).rejects.toThrow('killed');
      else await finishInterrupted(context);
      expect(await codeOf(permitted())).toBe('E_LICENCE_EXHAUSTED');
    }
    context.mailbox.send = send;
    await finishInterrupted(context);
    await finishInterrupted(context);
    expect(await codeOf(permitted())).toBe('done');
    expect(await codeOf(permitted())).toBe('E_LICENCE_EXHAUSTED');
    expect(await typesOf(`licence:${licence}`)).toEqual(['licensed', 'credited']);
    for (const node of ['segments-1', 'keys-1']) {
      const mail = await fixture.queue.claim(node, { consumer: 'test', limit: 100, leaseMs: 1_000 });
      expect(mail.filter(({ id }) => id.includes('credit/'))).toHaveLength(1);
    }
  });
});

describe('a proactive node', () => {
  const opening = (number: number, run = systemRandom(16), from = 0) => {
    const permit = {
      object: name(number),
      print: toHex(systemRandom(16)),
      number,
      licence,
      design,
      machine: machine.machine,
    };
    return { permit, request: { run, from }, transfers: [] } as unknown as VerifiedOpening;
  };
  const options = () => ({
    directory: fixture.context.directory,
    ownerOf: () => ({ owner: fixture.keys.owner.publicKey }),
  });
  /** Mail of control with a decision on an object, signed by this party. */
  async function creditMail(object: string, credit = true, by: 'owner' | 'holder' = 'owner') {
    const issued = systemClock.now();
    const body = { type: 'case.decide', object, report: new Uint8Array(32), credit } as const;
    const times = { id: systemRandom(16), issued, expires: issued + 60_000 };
    const transaction = await signTransaction(fixture.keys[by], installation(), { ...body, ...times });
    const { users, licences } = fixture.context.records;
    const { document } = await users.require(keyName(fixture.keys[by].publicKey));
    const { transaction: grant, credential: licenceSigner } = await licences.require(licence);
    const of = { licence: copyBytes(grant), licenceSigner: copyBytes(licenceSigner) };
    return { type: 'case.credit' as const, ...of, transaction, credential: copyBytes(document) };
  }
  const credit = async (store: MemoryRecords, mail: ReturnType<typeof creditMail>) =>
    codeOf(new ObjectRepository(store).credit(await mail, options()));
  beforeEach(() => begin(2));

  it('counts each credited object once, and neither begins, resumes nor delivers it any more', async () => {
    const store = new MemoryRecords();
    const objects = new ObjectRepository(store);
    const first = opening(1);
    const permit = toHex(systemRandom(16));
    expect(await objects.use(first, permit)).toBe(true);
    for (let i = 0; i < 3; i++) expect(await credit(store, creditMail(name(1)))).toBe('done');
    expect(await objects.credits(licence)).toBe(1);
    const resumed = { ...first, request: { ...first.request, from: 2 } } as VerifiedOpening;
    expect(await codeOf(objects.use(resumed, toHex(systemRandom(16))))).toBe('E_CREDITED');
    const delivery = { from: 1, to: 2, acked: 1, segments: 9, window: 4 };
    expect(await codeOf(objects.give(name(1), permit, delivery))).toBe('E_CREDITED');
    expect(await credit(store, creditMail(name(2)))).toBe('done');
    expect(await codeOf(objects.use(opening(2), toHex(systemRandom(16))))).toBe('E_CREDITED');
    expect(await objects.credits(licence)).toBe(2);
    // Also after the node was restored from an older backup.
    const restored = new MemoryRecords();
    await keepCounts(store, restored);
    expect(await new ObjectRepository(restored).credits(licence)).toBe(2);
  });

  it('accepts no denial, no credit of another signer and none of another licence', async () => {
    const store = new MemoryRecords();
    expect(await credit(store, creditMail(name(1), false))).toBe('E_FORBIDDEN');
    expect(await credit(store, creditMail(name(1), true, 'holder'))).toBe('E_AUTH');
    expect(await credit(store, creditMail(objectId(toHex(systemRandom(16)), 1)))).toBe('E_FORBIDDEN');
    expect(await new ObjectRepository(store).credits(licence)).toBe(0);
  });
});
