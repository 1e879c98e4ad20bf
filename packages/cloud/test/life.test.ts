import { type Bytes, copyBytes, fromBase64, systemClock, systemRandom } from '@millrace/base';
import { generateP256Key, keyName, type MemorySigner, type P256Key } from '@millrace/identity';
import { type Machine, objectId, sha256, signMachineDocument, type Transaction } from '@millrace/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { requireNoAlarm, takeAlarm } from '../src/control/alarms.ts';
import { finishInterrupted } from '../src/control/interrupted.ts';
import { lifeView } from '../src/control/life.ts';
import { printOf } from '../src/control/object-prints.ts';
import { callHome } from '../src/control/permits.ts';
import { takeReport } from '../src/control/reports.ts';
import { objectsPage } from '../src/control/views.ts';
import { userActor } from '../src/node/policy.ts';
import { controlFixture, type UserName } from './control-fixture.ts';
import { peopleFixture } from './people-fixture.ts';
import { signPermitRequest } from './permit-request.ts';

type Body<T> = T extends Transaction ? Omit<T, 'id' | 'issued' | 'expires'> : never;

let fixture: Awaited<ReturnType<typeof controlFixture>>;
let machine: Machine;
let key: P256Key;
let design: string;
let licence: string;
let object: string;

/** An object that its machine has completed, or that has only begun. */
async function make(completed = true): Promise<void> {
  const { context } = fixture;
  const print = await fixture.print(licence, machine);
  const run = systemRandom(16);
  const issued = systemClock.now();
  const { installation } = context.directory;
  await callHome(context, machine.machine, await signPermitRequest(key, installation, { print, issued, run, from: 0 }));
  object = (await context.records.prints.require(print)).object ?? '';
  if (!completed) return;
  const { contentMac } = await context.records.designs.require(design);
  const report = {
    ...{ type: 'report' as const, id: systemRandom(16), issued, expires: issued + 60_000, object, run },
    event: 'completed' as const,
    facts: { serial: 'SN-1', material: 'PLA', segments: 1, contentMac: copyBytes(contentMac) },
  };
  await takeReport(context, machine.machine, await signMachineDocument(key, installation, report));
}

beforeEach(async () => {
  fixture = await controlFixture();
  key = generateP256Key();
  machine = {
    machine: keyName(key.publicKey),
    publicKey: key.publicKey,
    serial: 'SN-1',
    kind: 'virtual',
    profile: { factor: 1 },
  };
  await fixture.submit('admin', { type: 'machine.register', machine });
  design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
  licence = await fixture.grant(design, [machine], { objects: 2 });
});

const codeOf = (attempt: Promise<unknown>) =>
  attempt.then(
    () => 'done',
    (error: { code?: string }) => error.code ?? String(error),
  );

const life = async () => lifeView(await printOf(fixture.context, object));
const newest = async (): Promise<{ after?: Bytes }> => {
  const { newest } = await life();
  return newest === undefined ? {} : { after: fromBase64(newest) };
};
const keyOf = (who: UserName) => fixture.keys[who].publicKey;
const transfer = async (to: UserName, who: UserName = 'holder', after?: { after?: Bytes }) =>
  codeOf(fixture.submit(who, { type: 'object.transfer', object, to: keyOf(to), ...(after ?? (await newest())) }));
async function accept(who: UserName): Promise<string> {
  const { offer } = await life();
  const offered = sha256(offer === undefined ? new Uint8Array() : fromBase64(offer.transaction));
  return codeOf(fixture.submit(who, { type: 'object.accept', object, transfer: offered }));
}
const inspect = async (who: UserName) =>
  codeOf(fixture.submit(who, { type: 'object.inspect', object, result: 'passed', ...(await newest()) }));
const appoint = async (inspectors: (Bytes | string)[], who: UserName = 'holder') =>
  codeOf(fixture.submit(who, { type: 'object.appoint', object, inspectors, ...(await newest()) }));
const retire = async (who: UserName = 'holder') =>
  codeOf(fixture.submit(who, { type: 'object.retire', object, reason: 'worn', ...(await newest()) }));
const raise = () => {
  const alarm = { type: 'stream.alarm', object, acked: 1, permitId: 'ab'.repeat(16), reason: 'x' } as const;
  return takeAlarm(fixture.context, alarm as never, 'keys');
};
const logged = async () => (await fixture.context.ledger.account(object)).slice(3).map(({ event }) => event);
const kinds = async () => (await logged()).map(({ type, body }) => body.fact ?? type);
const seesObject = async (who: UserName) => {
  const actor = userActor(fixture.context.directory, keyName(keyOf(who)));
  return (await objectsPage(fixture.context, actor, { limit: 10 })).items.some((view) => view.object === object);
};

describe('a part', () => {
  it('begins with its holder, when it is made, and changes hands by two signatures that are one event', async () => {
    await make(false);
    expect(await transfer('other')).toBe('E_STATE');
    object = objectId(licence, 2);
    expect(await codeOf(fixture.submit('holder', { type: 'object.retire', object, reason: 'worn' }))).toBe(
      'E_NOT_FOUND',
    );
    await make();
    for (const who of ['owner', 'admin', 'other'] as const) expect(await transfer('other', who)).toBe('E_FORBIDDEN');
    expect(await transfer('holder')).toBe('E_STATE');
    expect(await accept('other')).toBe('E_FORBIDDEN');
    expect(await seesObject('other')).toBe(false);

    expect(await transfer('other')).toBe('done');
    expect(await logged()).toEqual([]);
    expect(await seesObject('other')).toBe(true);
    for (const who of ['owner', 'admin', 'holder'] as const) expect(await accept(who)).toBe('E_FORBIDDEN');
    expect(await accept('other')).toBe('done');
    const [holder, other] = [keyName(keyOf('holder')), keyName(keyOf('other'))];
    const [event] = await logged();
    expect(event).toMatchObject({ type: 'transferred', actor: holder, body: { owner: other, acceptedBy: other } });
    expect(event?.evidence).toHaveLength(4);

    // The former owner has nothing left to give, whatever the document says it follows.
    for (const after of [undefined, {}]) expect(await transfer('approver', 'holder', after)).toBe('E_FORBIDDEN');
    for (const act of [inspect, retire]) expect(await act('holder')).toBe('E_FORBIDDEN');
    expect(await transfer('approver', 'other')).toBe('done');
    expect(await accept('approver')).toBe('done');
    expect((await life()).owner).toBe(keyName(keyOf('approver')));
    expect([await seesObject('other'), await seesObject('holder'), await seesObject('owner')]).toEqual([
      false,
      true,
      true,
    ]);
  });

  it('takes only the document that follows the newest one; every later document ends an offer', async () => {
    await make();
    expect(await inspect('holder')).toBe('done');
    expect(await transfer('other', 'holder', {})).toBe('E_CONFLICT');
    expect(await transfer('other', 'holder', { after: systemRandom(32) })).toBe('E_CONFLICT');
    expect(await transfer('other')).toBe('done');
    const { offer } = await life();
    expect(await transfer('approver')).toBe('done');
    const first = { type: 'object.accept' as const, object, transfer: sha256(fromBase64(offer?.transaction ?? '')) };
    expect(await codeOf(fixture.submit('other', first))).toBe('E_FORBIDDEN');
    expect(await codeOf(fixture.submit('approver', first))).toBe('E_INPUT');
    expect(await inspect('holder')).toBe('done');
    expect((await life()).offer).toBeUndefined();
    expect(await accept('approver')).toBe('E_FORBIDDEN');
  });

  it('is inspected by its owner and by those whom it has named, until it changes hands', async () => {
    await make();
    expect(await inspect('approver')).toBe('E_FORBIDDEN');
    expect(await appoint([keyOf('approver')], 'other')).toBe('E_FORBIDDEN');
    expect(await appoint([systemRandom(33)])).toBe('E_NOT_FOUND');
    expect(await appoint([keyOf('approver')])).toBe('done');
    expect(await seesObject('approver')).toBe(true);
    expect(await inspect('approver')).toBe('done');
    expect(await transfer('other', 'approver')).toBe('E_FORBIDDEN');
    expect(await appoint([])).toBe('done');
    expect(await inspect('approver')).toBe('E_FORBIDDEN');
    await appoint([keyOf('approver')]);
    await transfer('other');
    await accept('other');
    expect(await inspect('approver')).toBe('E_FORBIDDEN');
    expect(await kinds()).toEqual([
      'inspectors named',
      'inspection',
      'inspectors named',
      'inspectors named',
      'transferred',
    ]);
  });

  it('is inspected for an organisation by its certifiers only', async () => {
    await make();
    const people = peopleFixture(fixture);
    const lab = await people.organisation('Lab', 'auditor');
    const [certifier, operator] = [await people.enrol(lab, 'certifier'), await people.enrol(lab, 'operator')];
    expect(await appoint([certifier.publicKey])).toBe('E_INPUT');
    expect(await appoint([lab])).toBe('done');
    const by = async (who: MemorySigner) => {
      const body: Body<Transaction> = { type: 'object.inspect', object, result: 'failed', ...(await newest()) };
      return codeOf(people.take(await people.sign(who, body)));
    };
    expect(await by(operator)).toBe('E_FORBIDDEN');
    expect(await by(certifier)).toBe('done');
  });

  it('ends with its retirement: nothing follows, not even an alarm or a case', async () => {
    await make();
    expect(await retire('owner')).toBe('E_FORBIDDEN');
    expect(await retire()).toBe('done');
    for (const after of [transfer('other'), inspect('holder'), appoint([]), retire()])
      expect(await after).toBe('E_STATE');
    const report = fixture.submit('holder', { type: 'case.report', object, reason: 'other' });
    expect(await codeOf(report)).toBe('E_STATE');
    await raise();
    expect(await kinds()).toEqual(['retired']);
  });

  it.each(['before', 'after', 'during'])(
    'that raised an alarm %s its retirement blocks until it is cleared',
    async (when) => {
      await make();
      if (when === 'during') await Promise.all([retire(), raise()]);
      else for (const act of when === 'before' ? [raise, retire] : [retire, raise]) await act();
      const { context } = fixture;
      const { print } = await printOf(context, object);
      await expect(requireNoAlarm(context, await context.records.prints.require(print))).rejects.toThrow(object);
      expect((await context.records.prints.require(print)).state).toBe('alarmed');
      const cleared: string[] = [];
      context.mailbox.send = async (_to, _id, { type }) => void cleared.push(type);
      expect(await codeOf(fixture.submit('owner', { type: 'alarm.clear', object }))).toBe('done');
      expect(cleared).toEqual(['alarm.clear', 'alarm.clear']);
      await requireNoAlarm(context, await context.records.prints.require(print));
      expect((await kinds()).filter((kind) => kind === 'retired')).toHaveLength(1);
      expect((await kinds()).at(-1)).toBe('retired');
      await raise(); // the message is delivered again
      await requireNoAlarm(context, await context.records.prints.require(print));
    },
  );

  it('in dispute stays where it is; a part of another party has no case', async () => {
    await make();
    await fixture.submit('holder', { type: 'case.report', object, reason: 'warping' });
    for (const act of [transfer('other'), retire()]) expect(await act).toBe('E_STATE');
    expect(await inspect('holder')).toBe('done');
    const { report } = await fixture.context.records.cases.require(object);
    const decision = { type: 'case.decide' as const, object, report: sha256(copyBytes(report.transaction)) };
    await fixture.submit('owner', { ...decision, credit: false });
    expect(await transfer('other')).toBe('done');
    await make();
    await transfer('other');
    await accept('other');
    expect(await codeOf(fixture.submit('holder', { type: 'case.report', object, reason: 'other' }))).toBe('E_STATE');
  });

  it('that was credited has no life after it', async () => {
    await make();
    await fixture.submit('holder', { type: 'case.report', object, reason: 'warping' });
    const { report } = await fixture.context.records.cases.require(object);
    const decision = { type: 'case.decide' as const, object, report: sha256(copyBytes(report.transaction)) };
    await fixture.submit('owner', { ...decision, credit: true });
    for (const act of [transfer('other'), retire(), inspect('holder')]) expect(await act).toBe('E_STATE');
  });
});

describe('a change of a part’s life', () => {
  it('that was interrupted before the ledger had it is completed at the next start', async () => {
    await make();
    await transfer('other');
    const { context } = fixture;
    const dead = { ...context.ledger, append: () => Promise.reject(new Error('killed')) };
    const { offer } = await life();
    const body = { type: 'object.accept' as const, object, transfer: sha256(fromBase64(offer?.transaction ?? '')) };
    const { ledger } = context;
    Object.assign(context, { ledger: { ...dead, head: ledger.head.bind(ledger) } });
    await expect(fixture.submit('other', body)).rejects.toThrow('killed');
    Object.assign(context, { ledger });
    expect(await logged()).toEqual([]);
    await finishInterrupted(context);
    await finishInterrupted(context);
    expect(await kinds()).toEqual(['transferred']);
    expect((await printOf(context, object)).life?.pending).toBeUndefined();
    expect(await transfer('approver', 'other')).toBe('done');
  });

  it('is one of two concurrent ones', async () => {
    await make();
    const codes = await Promise.all([retire(), inspect('holder')]);
    expect(codes.filter((code) => code === 'done')).toHaveLength(1);
    expect(await kinds()).toHaveLength(1);
  });
});
