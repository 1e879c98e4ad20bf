import { equalBytes, systemRandom, toHex } from '@millrace/base';
import { generateP256Key, keyName, type MemorySigner } from '@millrace/identity';
import { createPeople, type TestOrganisation, type TestPerson } from '@millrace/testkit/protocol/people';
import { codeOf, createOpening, createProtocolFixture, dated, NOW } from '@millrace/testkit/protocol/support';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Attested } from '../src/acting.ts';
import { amendLicence } from '../src/amendments.ts';
import { type Machine, signTransaction, type TransactionOf } from '../src/documents.ts';
import type { MachineMembership } from '../src/groups.ts';
import { Revocations } from '../src/index.ts';
import { registrationHash, requireLicensed } from '../src/licensed-machines.ts';
import { type OpeningContext, verifyOpening } from '../src/opening.ts';

const fixture = createProtocolFixture();
const { keys, directory, machine, coreHash } = fixture;
const people = createPeople({ admin: keys.admin, installation: directory.installation, now: () => NOW });

let bureau: TestOrganisation;
let rival: TestOrganisation;
const signers: Record<'operator' | 'admin' | 'designer' | 'rival', TestPerson> = {} as never;
beforeAll(async () => {
  bureau = await people.organisation('Bureau', 'bureau');
  rival = await people.organisation('Rival', 'bureau');
  signers.operator = await people.person(bureau, 'Olga', ['operator']);
  signers.admin = await people.person(bureau, 'Ada', ['owner-admin']);
  signers.designer = await people.person(bureau, 'Dora', ['designer']);
  signers.rival = await people.person(rival, 'Rita', ['owner-admin', 'operator']);
});

const group = toHex(systemRandom(16));
const sign = (signer: MemorySigner, body: Parameters<typeof people.sign>[1]) => people.sign(signer, body);

async function state(
  { key, credential }: TestPerson = signers.operator,
  changes: Partial<TransactionOf<'group.set'>> = {},
): Promise<Attested> {
  const { organisation } = bureau;
  const body = { organisation, group, kind: 'site' as const, name: 'Hall 2', number: 1, machines: [machine.machine] };
  return { transaction: await sign(key, { type: 'group.set', ...body, ...changes }), credential };
}

async function assign(
  changes: Partial<TransactionOf<'machine.assign'>> = {},
  signer: MemorySigner = keys.admin,
): Promise<Uint8Array> {
  const { organisation } = bureau;
  const body = { machine: machine.machine, registration: registrationHash(machine), organisation, number: 1 };
  return sign(signer, { type: 'machine.assign', ...body, ...changes });
}

const membership = async (changes: Partial<MachineMembership> = {}): Promise<MachineMembership> => ({
  statement: await state(),
  assignment: await assign(),
  ...changes,
});

type Terms = Pick<TransactionOf<'licence.grant'>, 'machines' | 'groups'>;
const policy = (changes: Partial<NonNullable<Terms['groups']>[number]> = {}) => ({
  organisation: bureau.organisation,
  group,
  machines: 'any' as const,
  ...changes,
});
const entry = () => ({ machine: machine.machine, registration: registrationHash(machine) });
const any = (): Terms => ({ machines: [], groups: [policy()] });
const named = (): Terms => ({ machines: [{ ...entry(), groups: [group] }], groups: [policy({ machines: 'named' })] });

const check = (terms: Terms, shown: MachineMembership | undefined, which: Machine = machine) =>
  codeOf(() => requireLicensed(which, which.machine, terms, { membership: shown, directory }));

describe('a licence for a group', () => {
  it('is for a machine that the organisation holds and lists, whichever policy the owner has signed', async () => {
    for (const terms of [any(), named()]) {
      const member = await requireLicensed(machine, machine.machine, terms, {
        membership: await membership(),
        directory,
      });
      expect(member?.group.body.name).toBe('Hall 2');
      expect(member?.group.signatory.member?.organisationName).toBe('Bureau');
      expect(await check(terms, await membership({ statement: await state(signers.admin) }))).toBe('nothing thrown');
    }
  });

  it('is for no machine without a membership, and for a machine that it names alone without one only', async () => {
    expect(await check(any(), undefined)).toBe('E_LICENCE_INVALID');
    expect(await check(named(), undefined)).toBe('E_LICENCE_INVALID');
    const alone = { machines: [entry()], groups: [policy()] };
    expect(await check(alone, undefined)).toBe('nothing thrown');
    expect(await check(alone, await membership())).toBe('E_LICENCE_INVALID');
  });

  it('is for a machine while it is in one of the groups beside its name, and in no other group of the licence', async () => {
    const [second, third] = ['b'.repeat(32), 'c'.repeat(32)];
    const groups = [group, second, third].map((each) => policy({ group: each, machines: 'named' }));
    const terms = { machines: [{ ...entry(), groups: [group, second] }], groups };
    const by = async (of: string) =>
      check(terms, await membership({ statement: await state(signers.operator, { group: of }) }));
    expect(await by(group)).toBe('nothing thrown');
    expect(await by(second)).toBe('nothing thrown');
    expect(await by(third)).toBe('E_LICENCE_INVALID');
    expect(await check(terms, undefined)).toBe('E_LICENCE_INVALID');
  });

  it('is not widened by the organisation beyond the policy that the owner has signed', async () => {
    // A machine that joins later, with an honest membership.
    const key = generateP256Key();
    const later: Machine = { ...machine, machine: keyName(key.publicKey), publicKey: key.publicKey, kind: 'grbl' };
    const shown = {
      statement: await state(signers.operator, { machines: [machine.machine, later.machine] }),
      assignment: await assign({ machine: later.machine, registration: registrationHash(later) }),
    };
    expect(await check(any(), shown, later)).toBe('nothing thrown');
    expect(await check(named(), shown, later)).toBe('E_LICENCE_INVALID');
    const kinds = (...list: string[]) => ({ machines: [], groups: [policy({ kinds: list })] });
    expect(await check(kinds('marlin', 'virtual'), shown, later)).toBe('E_LICENCE_INVALID');
    expect(await check(kinds('grbl'), shown, later)).toBe('nothing thrown');
    // Another registration of a named machine, for example a faster one.
    const faster = { ...machine, profile: { factor: 1_000_000 } };
    const registered = await membership({ assignment: await assign({ registration: registrationHash(faster) }) });
    expect(await check(named(), registered, faster)).toBe('E_LICENCE_INVALID');
    expect(await check(any(), await membership(), faster)).toBe('E_LICENCE_INVALID');
  });

  it('refuses statements of people who do not act for the organisation, or not in the role', async () => {
    const by = async (person: TestPerson, changes = {}) =>
      check(any(), await membership({ statement: await state(person, changes) }));
    expect(await by(signers.designer)).toBe('E_FORBIDDEN');
    // The rival signs for the bureau, with its own or with a stolen credential; then for itself, with the same id.
    expect(await by(signers.rival)).toBe('E_AUTH');
    expect(await by({ ...signers.rival, credential: signers.operator.credential })).toBe('E_AUTH');
    expect(await by(signers.rival, { organisation: rival.organisation })).toBe('E_LICENCE_INVALID');
    const own = { machines: [], groups: [policy({ organisation: rival.organisation })] };
    const foreign = await membership({ statement: await state(signers.rival, { organisation: rival.organisation }) });
    expect(await check(own, foreign)).toBe('E_LICENCE_INVALID');
    // Another group of the same organisation.
    expect(await by(signers.operator, { group: 'f'.repeat(32) })).toBe('E_LICENCE_INVALID');
    expect(await by(signers.operator, { machines: [] })).toBe('E_LICENCE_INVALID');
  });

  it('refuses an assignment that the administrator did not sign for this machine and organisation', async () => {
    const by = async (assignment: Uint8Array) => check(any(), await membership({ assignment }));
    expect(await by(await assign({}, signers.admin.key))).toBe('E_AUTH');
    expect(await by(await assign({ organisation: rival.organisation }))).toBe('E_LICENCE_INVALID');
    expect(await by(await assign({ organisation: undefined }))).toBe('E_LICENCE_INVALID');
    expect(await by(await assign({ machine: 'f'.repeat(32) }))).toBe('E_LICENCE_INVALID');
    expect(await by((await state()).transaction)).toBe('E_AUTH');
  });
});

describe('amendments of groups', () => {
  const licence = toHex(new Uint8Array(16).fill(7));
  const extend = async (terms: Terms): Promise<Attested> => ({
    transaction: await signTransaction(keys.owner, directory.installation, {
      type: 'licence.extend',
      ...dated(),
      licence,
      ...terms,
    }),
    credential: await sign(keys.admin, { type: 'user.register', publicKey: keys.owner.publicKey, name: 'owner' }),
  });
  const termsOf = async (amendments: readonly Attested[], granted: Partial<TransactionOf<'licence.grant'>> = {}) => {
    const changes = { licence: { id: new Uint8Array(16).fill(7), ...granted } };
    const grant = new Uint8Array((await createOpening(fixture, changes)).licence);
    const owner = { key: keys.owner.publicKey };
    return amendLicence(grant, amendments, { owner, approvals: undefined, counts: () => true, byDesigner: () => false })
      .terms;
  };

  it('join to the same terms in any order', async () => {
    const all = [
      await extend({ machines: [], groups: [policy({ kinds: ['grbl'] })] }),
      await extend({ machines: [], groups: [policy({ machines: 'named' })] }),
      await extend({ machines: [], groups: [policy({ kinds: ['marlin', 'grbl'] })] }),
    ];
    for (const order of [all, all.toReversed()])
      expect((await termsOf(order)).groups).toEqual([policy({ kinds: ['grbl', 'marlin'] })]);
    const wide = await extend({ machines: [], groups: [policy()] });
    for (const order of [
      [...all, wide],
      [wide, ...all],
    ])
      expect((await termsOf(order)).groups).toEqual([policy()]);
    const asMember = await extend({ machines: [{ ...entry(), groups: [group] }], groups: [policy()] });
    const alone = await extend({ machines: [entry()] });
    for (const order of [
      [asMember, alone],
      [alone, asMember],
    ])
      expect((await termsOf(order, { machines: [] })).machines).toEqual([entry()]);
    const second = 'b'.repeat(32);
    const elsewhere = await extend({
      machines: [{ ...entry(), groups: [second] }],
      groups: [policy({ group: second })],
    });
    const both = [{ ...entry(), groups: [group, second].sort() }];
    for (const order of [
      [asMember, elsewhere],
      [elsewhere, asMember],
    ])
      expect((await termsOf(order, { machines: [] })).machines).toEqual(both);
    // Another registration of the machine is not licensed in the groups of this one.
    const registration = new Uint8Array(32).fill(5);
    const other = await extend({
      machines: [{ ...entry(), registration, groups: [second] }],
      groups: [policy({ group: second })],
    });
    expect((await termsOf([asMember, other], { machines: [] })).machines).toEqual([{ ...entry(), groups: [group] }]);
  });

  it('name each group of a machine, as the group of one organisation', async () => {
    const unnamed = await extend({ machines: [{ ...entry(), machine: 'a'.repeat(32), groups: [group] }] });
    expect(await codeOf(() => termsOf([unnamed]))).toBe('E_LICENCE_INVALID');
    expect(await codeOf(() => termsOf([unnamed], { groups: [policy({ machines: 'named' })] }))).toBe('nothing thrown');
    const other = await extend({ machines: [], groups: [policy({ organisation: rival.organisation })] });
    expect(await codeOf(() => termsOf([other], { groups: [policy()] }))).toBe('E_LICENCE_INVALID');
  });
});

describe('an opening on a member of a group', () => {
  const context = (changes: Partial<OpeningContext> = {}): OpeningContext => ({
    directory,
    now: NOW,
    designOf: async () => ({ owner: keys.owner.publicKey, coreHash }),
    begun: async () => false,
    credits: async () => 0,
    ...changes,
  });

  it('needs the membership, to which the session is bound', async () => {
    const plain = await createOpening(fixture, { licence: any() });
    expect(await codeOf(() => verifyOpening(plain, context()))).toBe('E_LICENCE_INVALID');
    const [one, two] = [
      { ...plain, membership: await membership() },
      { ...plain, membership: await membership() },
    ];
    const verified = await verifyOpening(one, context());
    expect(verified.member?.group.body.group).toBe(group);
    expect(equalBytes(verified.hash, (await verifyOpening(two, context())).hash)).toBe(false);
  });

  it('does not begin by a statement whose number is far ahead: no later one would count', async () => {
    const plain = await createOpening(fixture, { licence: any() });
    const shown = async (statement: Attested, assignment: Uint8Array) =>
      codeOf(() => verifyOpening({ ...plain, membership: { statement, assignment } }, context()));
    const [ahead, near] = [{ number: NOW + 86_400_000 }, { number: NOW + 2 * 3_600_000 }];
    expect(await shown(await state(signers.operator, near), await assign(near))).toBe('nothing thrown');
    expect(await shown(await state(signers.operator, ahead), await assign())).toBe('E_CLOCK');
    expect(await shown(await state(), await assign(ahead))).toBe('E_CLOCK');
    const opening = { ...plain, membership: await membership({ assignment: await assign(ahead) }) };
    expect(await codeOf(() => verifyOpening(opening, context({ begun: async () => true })))).toBe('nothing thrown');
  });

  it('does not begin by the statement of a revoked key, but is finished', async () => {
    const opening = { ...(await createOpening(fixture, { licence: any() })), membership: await membership() };
    const entries = { key: keyName(signers.operator.key.publicKey), name: 'Olga', at: NOW, kept: [] };
    const list = { type: 'revocations' as const, ...dated(), sequence: 1, entries: [entries] };
    const held = { published: new Uint8Array(), document: new Uint8Array(), list };
    const revoked = { ...directory, revocations: new Revocations(new Map([['', held]])) };
    expect(await codeOf(() => verifyOpening(opening, context({ directory: revoked })))).toBe('E_REVOKED');
    await verifyOpening(opening, context({ directory: revoked, begun: async () => true }));
  });
});
