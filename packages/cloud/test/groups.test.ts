import { systemClock, systemRandom, toHex } from '@millrace/base';
import { generateP256Key, keyName, type MemorySigner, type P256Key } from '@millrace/identity';
import {
  type Machine,
  type Opening,
  readGroup,
  registrationHash,
  SEALED_SECRET_BYTES,
  type TransactionOf,
  type VerifiedOpening,
  verifyOpening,
} from '@millrace/protocol';
import { MemoryRecords } from '@millrace/stores';
import { coreHashOf } from '@millrace/vault';
import { beforeEach, describe, expect, it } from 'vitest';
import { finishInterrupted } from '../src/control/interrupted.ts';
import { signedDocuments } from '../src/control/people-views.ts';
import { callHome } from '../src/control/permits.ts';
import { groupView, licenceView, machineView } from '../src/control/views.ts';
import { keepCounts } from '../src/streaming/admin.ts';
import { ObjectRepository } from '../src/streaming/objects.ts';
import { controlFixture, type GrantOptions } from './control-fixture.ts';
import { peopleFixture } from './people-fixture.ts';
import { signPermitRequest } from './permit-request.ts';

let fixture: Awaited<ReturnType<typeof controlFixture>>;
let people: ReturnType<typeof peopleFixture>;
let bureau: string;
let rival: string;
let operator: MemorySigner;
/** Each statement's number is higher than the one before. */
let number: number;

const codeOf = (attempt: Promise<unknown>) =>
  attempt.then(
    () => 'done',
    (error: { code: string }) => error.code,
  );

beforeEach(async () => {
  fixture = await controlFixture();
  people = peopleFixture(fixture);
  bureau = await people.organisation('Bureau', 'bureau');
  rival = await people.organisation('Rival', 'bureau');
  operator = await people.enrol(bureau, 'operator');
  number = systemClock.now() - 60_000;
});

const assign = (machine: Machine, organisation: string | undefined = bureau, by = fixture.keys.admin, own = ++number) =>
  people
    .sign(by, {
      type: 'machine.assign',
      machine: machine.machine,
      registration: registrationHash(machine),
      ...(organisation === '' ? {} : { organisation }),
      number: own,
    })
    .then(people.take);

/** A machine that the bureau holds, with its key. */
async function held(organisation = bureau): Promise<Machine & { key: P256Key }> {
  const key = generateP256Key();
  const machine = { machine: keyName(key.publicKey), publicKey: key.publicKey, serial: 'SN-1', kind: 'virtual' };
  const registered = { ...machine, profile: { factor: 1 } };
  await fixture.submit('admin', { type: 'machine.register', machine: registered });
  await assign(registered, organisation);
  return { ...registered, key };
}
const plain = ({ key: _key, ...machine }: Machine & { key: P256Key }): Machine => machine;

type Changes = Partial<TransactionOf<'group.set'>>;
async function state(machines: readonly Machine[], changes: Changes = {}, by = operator): Promise<string> {
  const body = { organisation: bureau, group: toHex(systemRandom(16)), kind: 'group' as const, name: 'Fast ones' };
  const members = machines.map(({ machine }) => machine);
  const stated = { type: 'group.set' as const, ...body, machines: members, number: ++number, ...changes };
  await people.take(await people.sign(by, stated));
  return stated.group;
}

describe('the organisation of a machine', () => {
  it('is stated by the administrator, the newest statement counts', async () => {
    const machine = plain(await held());
    const view = async () =>
      machineView(fixture.context, await fixture.context.records.machines.require(machine.machine));
    expect(await view()).toMatchObject({ organisation: bureau, assigned: number });
    expect(await codeOf(assign(machine, bureau, operator))).toBe('E_FORBIDDEN');
    expect(await codeOf(assign(machine, rival, fixture.keys.admin, 1))).toBe('E_CONFLICT');
    expect(await codeOf(assign(machine, rival, fixture.keys.admin, systemClock.now() + 86_400_000))).toBe('E_CLOCK');
    expect(await codeOf(assign(machine, 'ff'.repeat(16)))).toBe('E_NOT_FOUND');
    expect(await codeOf(assign({ ...machine, serial: 'SN-2' }, rival))).toBe('E_MACHINE_UNKNOWN');
    await assign(machine, rival);
    expect(await view()).toMatchObject({ organisation: rival });
    await assign(machine, '');
    expect(await view()).not.toHaveProperty('organisation');
  });

  it('survives that the machine is registered again; the assignment counts for the registration that it names', async () => {
    const { context, submit } = fixture;
    const machine = plain(await held());
    const [organisation, assigned] = [bureau, number];
    const view = async () => machineView(context, await context.records.machines.require(machine.machine));
    await submit('admin', { type: 'machine.register', machine });
    expect(await view()).toMatchObject({ organisation, assigned });
    await submit('admin', { type: 'machine.register', machine: { ...machine, serial: 'SN-2' } });
    expect(await view()).not.toHaveProperty('organisation');
    expect(await view()).toMatchObject({ assigned });
    expect(await codeOf(assign({ ...machine, serial: 'SN-2' }, rival, fixture.keys.admin, 1))).toBe('E_CONFLICT');
    await assign({ ...machine, serial: 'SN-2' });
    expect(await view()).toMatchObject({ organisation, assigned: number });
  });
});

describe('a group', () => {
  it('is set by owner-admins and operators of its organisation, of machines that it holds', async () => {
    const [own, foreign] = [await held(), await held(rival)];
    const group = await state([own]);
    const admin = await people.enrol(bureau, 'owner-admin');
    expect(await state([own], { group, name: 'Renamed' }, admin)).toBe(group);
    const record = await fixture.context.records.groups.require(group);
    expect(await groupView(fixture.context, record)).toMatchObject({
      organisationName: 'Bureau',
      name: 'Renamed',
      machines: [own.machine],
      statedBy: { name: 'owner-admin' },
    });
    for (const role of ['designer', 'auditor'] as const)
      expect(await codeOf(state([own], { group }, await people.enrol(bureau, role)))).toBe('E_FORBIDDEN');
    const other = await people.enrol(rival, 'operator');
    expect(await codeOf(state([own], { group }, other))).toBe('E_FORBIDDEN');
    // The rival uses the bureau's identifier of a group, and the bureau lists a machine of the rival.
    expect(await codeOf(state([foreign], { group, organisation: rival }, other))).toBe('E_FORBIDDEN');
    expect(await codeOf(state([own, foreign], { group }))).toBe('E_FORBIDDEN');
    expect(await codeOf(state([own], { group }, fixture.keys.admin))).toBe('E_FORBIDDEN');
    expect(await codeOf(state([own], { group, number: 1 }))).toBe('E_CONFLICT');
    expect(await codeOf(state([own], { group, kind: 'site' }))).toBe('E_CONFLICT');
    expect(await codeOf(state([own], { group, number: Number.MAX_SAFE_INTEGER }))).toBe('E_CLOCK');
    expect((await fixture.context.records.groups.require(group)).machines).toEqual([own.machine]);
  });

  it('of kind site has its machines alone; a machine that was taken away does not prevent its removal', async () => {
    const [one, two] = [await held(), await held()];
    const hall = await state([one, two], { kind: 'site', name: 'Hall 1', address: 'Kai 1' });
    expect(await codeOf(state([one], { kind: 'site', name: 'Hall 2' }))).toBe('E_CONFLICT');
    await assign(plain(one), rival);
    await state([two], { group: hall, kind: 'site', name: 'Hall 1' });
    expect(await codeOf(state([one, two], { group: hall, kind: 'site', name: 'Hall 1' }))).toBe('E_FORBIDDEN');
  });

  it('is among the documents that a revocation can keep, and reaches every proactive node after a crash', async () => {
    const { context } = fixture;
    const machine = await held();
    context.mailbox.send = () => Promise.reject(new Error('killed'));
    const group = toHex(systemRandom(16));
    await codeOf(state([machine], { group }));
    const sent: string[] = [];
    context.mailbox.send = (to, _id, { type }) => {
      sent.push(`${type} to ${'node' in to ? to.node : to.role}`);
      return Promise.resolve();
    };
    const record = await context.records.groups.require(group);
    expect(record.announced).toBe(false);
    await finishInterrupted(context);
    expect((await context.records.groups.require(group)).announced).toBe(true);
    expect(sent).toEqual(['group.set to segments-1', 'group.set to keys-1']);
    const kept = await signedDocuments(context, keyName(operator.publicKey));
    expect(kept.map(({ type, about }) => [type, about])).toEqual([['group.set', group]]);
  });
});

describe('a licence for a group', () => {
  let design: string;
  beforeEach(async () => {
    design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
  });
  const policy = (group: string, changes: object = {}) => ({
    organisation: bureau,
    group,
    machines: 'any' as const,
    ...changes,
  });
  const grant = (terms: NonNullable<GrantOptions['terms']>) => fixture.grant(design, [], { terms });
  const custody = () => fixture.context.records.designs.update(design, (record) => ({ ...record, custody: 'keys' }));
  const named = (machine: Machine, ...groups: string[]) => ({
    machine: machine.machine,
    registration: registrationHash(machine),
    secret: systemRandom(SEALED_SECRET_BYTES),
    groups,
  });

  async function home(print: string, { key, machine }: { key: P256Key; machine: string }, changes = {}) {
    const { context } = fixture;
    const asked = { print, issued: systemClock.now(), ...changes };
    const request = await signPermitRequest(key, context.directory.installation, asked);
    return { request, answer: await callHome(context, machine, request) };
  }

  it('is for its members at that time; a machine that is removed cannot begin, and finishes what it began', async () => {
    const machine = await held();
    const group = await state([machine]);
    const licence = await grant({
      machines: [named(plain(machine), group)],
      groups: [policy(group, { machines: 'named' })],
    });
    const view = await licenceView(fixture.context, await fixture.context.records.licences.require(licence));
    expect(view.groups).toEqual([{ ...policy(group, { machines: 'named' }), kind: 'group', name: 'Fast ones' }]);
    const [begun, waiting] = [await fixture.print(licence, machine), await fixture.print(licence, machine)];
    const { answer } = await home(begun, machine);
    expect(answer.membership).toBeDefined();
    await state([], { group });
    expect(await codeOf(fixture.print(licence, machine))).toBe('E_LICENCE_INVALID');
    expect(await codeOf(home(waiting, machine))).toBe('E_LICENCE_INVALID');
    expect(await fixture.context.records.prints.require(waiting)).toMatchObject({ state: 'refused' });
    const { answer: resumed } = await home(begun, machine, { from: 1 });
    expect(resumed.membership).toEqual(answer.membership);
  });

  it('lets a machine finish what it began as a member, also when the owner has named it alone since', async () => {
    const { context, keys } = fixture;
    const machine = await held();
    const group = await state([machine]);
    const groups = [policy(group, { machines: 'named' })];
    const licence = await grant({ machines: [named(plain(machine), group)], groups });
    const begun = await fixture.print(licence, machine);
    expect((await home(begun, machine)).answer.membership).toBeDefined();
    const { groups: _none, ...alone } = named(plain(machine));
    await fixture.submit('owner', { type: 'licence.extend', licence, machines: [alone] });
    const { request, answer } = await home(begun, machine, { from: 1 });
    const { core } = await context.records.designs.require(design);
    const opening: Opening = { ...answer, request };
    const verified = await verifyOpening(opening, {
      directory: context.directory,
      now: systemClock.now(),
      designOf: async () => ({ owner: keys.owner.publicKey, coreHash: coreHashOf(core) }),
      begun: async () => true,
      credits: async () => 0,
    });
    expect(verified.member).toBeUndefined();
    const { object = '' } = await context.records.prints.require(begun);
    const logged = (await context.ledger.account(object)).find(({ event }) => event.type === 'permitted');
    expect(logged?.event.evidence).toHaveLength(6); // as it began: with the three documents of the membership
    // And it begins others without a membership, whatever the bureau states.
    await state([], { group });
    expect((await home(await fixture.print(licence, machine), machine)).answer.membership).toBeUndefined();
  });

  it('is for a machine of two of its groups while it is in either, and while either’s statement counts', async () => {
    const { context } = fixture;
    const machine = await held();
    const second = await people.enrol(bureau, 'operator');
    const hall = await state([machine]);
    const fast = await state([machine], {}, second);
    const groups = [policy(hall, { machines: 'named' }), policy(fast, { machines: 'named' })];
    const licence = await grant({ machines: [named(plain(machine), hall, fast)], groups, objects: 20 });
    const shownGroup = async () => {
      const { answer } = await home(await fixture.print(licence, machine), machine);
      return answer.membership && readGroup(answer.membership.statement.transaction).group;
    };
    expect(await shownGroup()).toBe(hall);
    await state([], { group: hall });
    expect(await shownGroup()).toBe(fast);
    await state([machine], { group: hall });
    const revoked = keyName(operator.publicKey);
    const of = (name: string) => (name === revoked ? [{ name, at: 1, kept: new Set<string>() }] : []);
    Object.assign(context.directory, { revocations: { of } });
    expect(await shownGroup()).toBe(fast);
    await state([], { group: fast }, second);
    expect(await codeOf(fixture.print(licence, machine))).toBe('E_REVOKED');
    await state([], { group: hall }, second);
    expect(await codeOf(fixture.print(licence, machine))).toBe('E_LICENCE_INVALID');
  });

  it('keeps the number of a print whose permit was interrupted after the claim', async () => {
    const { context } = fixture;
    const machine = await held();
    const group = await state([machine]);
    const groups = [policy(group, { machines: 'named' })];
    const licence = await grant({ machines: [named(plain(machine), group)], groups, objects: 1 });
    const print = await fixture.print(licence, machine);
    await context.records.claims.create(`${licence}/1`, { print });
    await finishInterrupted(context);
    const { answer } = await home(print, machine);
    expect(answer.membership).toBeDefined();
    expect(await context.records.prints.require(print)).toMatchObject({ state: 'permitted', number: 1 });
  });

  it('is for a machine that joins later only if the owner has signed that, and if its design allows it', async () => {
    const [first, later] = [await held(), await held()];
    const group = await state([first]);
    expect(await codeOf(grant({ groups: [policy(group)] }))).toBe('E_LICENCE_INVALID');
    await custody();
    const open = await grant({ groups: [policy(group)] });
    const kinds = await grant({ groups: [policy(group, { kinds: ['marlin'] })] });
    const closed = await grant({
      machines: [named(plain(first), group)],
      groups: [policy(group, { machines: 'named' })],
    });
    await state([first, later], { group });
    expect(await codeOf(fixture.print(closed, later))).toBe('E_LICENCE_INVALID');
    expect(await codeOf(fixture.print(kinds, later))).toBe('E_LICENCE_INVALID');
    const { answer } = await home(await fixture.print(open, later), later);
    expect(answer.membership).toBeDefined();
    // The owner extends the licence to the machine, with the secret sealed to it.
    const extension = { type: 'licence.extend' as const, licence: closed, machines: [named(plain(later), group)] };
    await fixture.submit('owner', extension);
    expect(await codeOf(fixture.print(closed, later))).toBe('done');
    // The machine leaves the organisation.
    await assign(plain(later), rival);
    for (const licence of [open, closed]) expect(await codeOf(fixture.print(licence, later))).toBe('E_LICENCE_INVALID');
  });

  it('names a group that exists, of the organisation that it names, and a machine', async () => {
    await custody();
    const group = await state([await held()]);
    expect(await codeOf(grant({ groups: [policy('ff'.repeat(16))] }))).toBe('E_NOT_FOUND');
    expect(await codeOf(grant({ groups: [policy(group, { organisation: rival })] }))).toBe('E_LICENCE_INVALID');
    expect(await codeOf(grant({ groups: [policy(group, { machines: 'named' })] }))).toBe('E_LICENCE_INVALID');
    expect(await codeOf(grant({ machines: [named(plain(await held()), group)] }))).toBe('E_LICENCE_INVALID');
  });

  describe('at a proactive node', () => {
    let machine: Machine & { key: P256Key };
    let group: string;
    let licence: string;
    beforeEach(async () => {
      await custody();
      machine = await held();
      group = await state([machine]);
      licence = await grant({ groups: [policy(group)], objects: 20 });
    });

    /** The opening that control would mail for a print of the machine, verified as the node does. */
    async function opened(): Promise<VerifiedOpening> {
      const { context, keys } = fixture;
      const print = await fixture.print(licence, machine);
      const { request, answer } = await home(print, machine);
      const opening: Opening = { ...answer, request };
      const { core } = await context.records.designs.require(design);
      return verifyOpening(opening, {
        directory: context.directory,
        now: systemClock.now(),
        designOf: async () => ({ owner: keys.owner.publicKey, coreHash: coreHashOf(core) }),
        begun: async () => false,
        credits: async () => 0,
      });
    }
    const statementOf = async () => {
      const { transaction, credential } = await fixture.context.records.groups.require(group);
      return { type: 'group.set' as const, transaction, credential };
    };
    const use = (node: ObjectRepository, opening: VerifiedOpening) =>
      codeOf(node.use(opening, toHex(opening.permit.id)));

    it('a machine that was removed begins nothing, whatever older statement control shows', async () => {
      const [older, second] = [await opened(), await opened()];
      const { directory } = fixture.context;
      const node = new ObjectRepository(new MemoryRecords());
      await state([], { group });
      const removal = await statementOf();
      await node.setGroup(removal, directory, systemClock.now());
      expect(await use(node, older)).toBe('E_LICENCE_INVALID');
      const fresh = new ObjectRepository(new MemoryRecords());
      expect(await use(fresh, older)).toBe('done');
      await fresh.setGroup(removal, directory, systemClock.now());
      expect(await use(fresh, second)).toBe('E_LICENCE_INVALID');
    });

    it('an unrelated change of the group refuses no opening that was under way', async () => {
      const older = await opened();
      const node = new ObjectRepository(new MemoryRecords());
      await state([machine, await held()], { group });
      await node.setGroup(await statementOf(), fixture.context.directory, systemClock.now());
      expect(await use(node, older)).toBe('done');
    });

    it('a machine that has moved to another organisation begins nothing for the former one', async () => {
      const [one, two] = [await opened(), await opened()];
      const node = new ObjectRepository(new MemoryRecords());
      expect(await use(node, one)).toBe('done');
      await assign(plain(machine), rival);
      const { assignment } = await fixture.context.records.machines.require(machine.machine);
      const message = { type: 'machine.assign' as const, transaction: assignment?.transaction ?? new Uint8Array() };
      await node.assignMachine(message as never, fixture.context.directory, systemClock.now());
      expect(await use(node, two)).toBe('E_LICENCE_INVALID');
    });

    it('a statement whose number is far ahead is refused, so that a later removal counts', async () => {
      const { directory } = fixture.context;
      const node = new ObjectRepository(new MemoryRecords());
      const opening = await opened();
      const now = systemClock.now();
      const { credential } = await statementOf();
      const body = { organisation: bureau, group, kind: 'group' as const, name: 'Fast ones', number: now + 86_400_000 };
      const transaction = await people.sign(operator, { type: 'group.set', ...body, machines: [machine.machine] });
      const message = { type: 'group.set' as const, transaction: transaction as never, credential };
      expect(await codeOf(node.setGroup(message, directory, now))).toBe('E_CLOCK');
      const ahead = await people.sign(fixture.keys.admin, {
        type: 'machine.assign',
        machine: machine.machine,
        registration: registrationHash(plain(machine)),
        number: Number.MAX_SAFE_INTEGER,
      });
      const assigned = { type: 'machine.assign' as const, transaction: ahead as never };
      expect(await codeOf(node.assignMachine(assigned, directory, now))).toBe('E_CLOCK');
      await state([], { group });
      await node.setGroup(await statementOf(), directory, now);
      expect(await use(node, opening)).toBe('E_LICENCE_INVALID');
    });

    it('another organisation cannot set the group, and the records are kept when a backup is restored', async () => {
      const [one, two] = [await opened(), await opened()];
      const { directory } = fixture.context;
      const store = new MemoryRecords();
      const node = new ObjectRepository(store);
      const other = await people.enrol(rival, 'operator');
      const { credential } = await statementOf();
      const body = {
        organisation: rival,
        group,
        kind: 'group' as const,
        name: 'Mine',
        number: number + 9,
        machines: [],
      };
      const transaction = await people.sign(other, { type: 'group.set', ...body });
      const users = fixture.context.records.users;
      const own = (await users.require(keyName(other.publicKey))).document;
      const sent = { type: 'group.set' as const, transaction };
      await node.setGroup({ ...sent, credential: own as never }, directory, systemClock.now());
      const forged = await people.sign(other, { type: 'group.set', ...body, organisation: bureau });
      expect(
        await codeOf(
          node.setGroup({ ...sent, transaction: forged, credential: own as never }, directory, systemClock.now()),
        ),
      ).toBe('E_AUTH');
      expect(
        await codeOf(node.setGroup({ ...sent, transaction: forged, credential }, directory, systemClock.now())),
      ).toBe('E_AUTH');
      expect(await use(node, one)).toBe('done');
      await state([], { group });
      await node.setGroup(await statementOf(), directory, systemClock.now());
      const restored = new MemoryRecords();
      await keepCounts(store, restored);
      expect(await use(new ObjectRepository(restored), two)).toBe('E_LICENCE_INVALID');
    });
  });
});
