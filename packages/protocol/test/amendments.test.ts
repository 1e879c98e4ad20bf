import { type Bytes, copyBytes, systemRandom, toHex } from '@millrace/base';
import { generateUserKey, keyName, type MemorySigner, parseSign1 } from '@millrace/identity';
import {
  codeOf,
  createOpening,
  createProtocolFixture,
  dated,
  NOW,
  registerKey,
} from '@millrace/testkit/protocol/support';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Attested, holderParty, partyName } from '../src/acting.ts';
import {
  type Amendment,
  type AmendmentRules,
  amendLicence,
  requireApproved,
  verifyAmendments,
} from '../src/amendments.ts';
import { readTransaction, signTransaction, type TransactionOf } from '../src/documents.ts';
import { registrationHash } from '../src/licensed-machines.ts';
import { type OpeningContext, verifyOpening } from '../src/opening.ts';
import { documentName } from '../src/revoked.ts';

const fixture = createProtocolFixture();
const { keys, directory, coreHash } = fixture;
const [first, second, third] = [generateUserKey(), generateUserKey(), generateUserKey()];
const approvals = { needed: 2, approvers: [keys.owner.publicKey, first.publicKey, second.publicKey] };
const id = systemRandom(16);
const licence = toHex(id);
const machine = (name: string) => ({ machine: name.repeat(32), registration: registrationHash(fixture.machine) });

type Body<T = Amendment> = T extends Amendment ? Omit<T, 'id' | 'issued' | 'expires'> : never;
/** Signed, with the signer's credential. */
async function sign(body: Body, signer: MemorySigner): Promise<Attested> {
  const document = { ...body, ...dated() } as Amendment;
  const transaction = await signTransaction(signer, directory.installation, document);
  return { transaction, credential: await registerKey(keys.admin, directory.installation, signer.publicKey) };
}
const approve = (document: Uint8Array, signer: MemorySigner, on = licence) =>
  sign({ type: 'licence.approve', licence: on, document: documentName(document) }, signer);
const extend = (names: string, signer: MemorySigner = keys.owner) =>
  sign({ type: 'licence.extend', licence, machines: [...names].map(machine) }, signer);
const transfer = (number: number, to: MemorySigner, signer: MemorySigner) =>
  sign({ type: 'licence.transfer', licence, number, to: to.publicKey }, signer);

type Transfer = TransactionOf<'licence.grant'>['transfer'];
async function granted(policy?: Transfer): Promise<Bytes> {
  const change = policy === undefined ? {} : { transfer: policy };
  return new Uint8Array((await createOpening(fixture, { licence: { id, ...change } })).licence);
}

const rules = (changes: Partial<AmendmentRules> = {}): AmendmentRules => ({
  owner: { key: keys.owner.publicKey },
  approvals: undefined,
  counts: () => true,
  byDesigner: (approval) => toHex(parseSign1(approval).keyId) === keyName(keys.owner.publicKey),
  ...changes,
});
const machinesOf = (grant: Uint8Array, amendments: readonly Attested[], own = rules()) =>
  amendLicence(grant, amendments, own).terms.machines.map(({ machine: name }) => name[0]);

describe('approvals', () => {
  let grant: Bytes;
  beforeAll(async () => {
    grant = await granted();
  });
  const missing = (amendments: readonly Attested[], own = rules({ approvals })) =>
    codeOf(() => requireApproved(amendLicence(grant, amendments, own)));

  it('of different approvers count once each; the owner’s grant is one if the owner is an approver', async () => {
    const mine = await approve(grant, first);
    expect(await missing([])).toBe('E_LICENCE_PENDING');
    expect(await missing([mine])).toBe('nothing thrown');
    const strangers = rules({ approvals: { needed: 2, approvers: [first.publicKey, second.publicKey] } });
    expect(await missing([mine], strangers)).toBe('E_LICENCE_PENDING');
    expect(await missing([mine, mine, await approve(grant, first)], strangers)).toBe('E_LICENCE_PENDING');
    expect(await missing([mine, await approve(grant, second)], strangers)).toBe('nothing thrown');
  });

  it('count only for the document that they name', async () => {
    const other = await granted();
    expect(await missing([await approve(other, first)])).toBe('E_LICENCE_PENDING');
    expect(await missing([await approve(grant, first, 'f'.repeat(32))])).toBe('E_LICENCE_INVALID');
  });

  it('of a revoked key do not count, unless the revocation keeps them', async () => {
    const mine = await approve(grant, first);
    const own = (counts: AmendmentRules['counts']) => rules({ approvals, counts });
    expect(
      await missing(
        [mine],
        own((document) => document !== mine.transaction),
      ),
    ).toBe('E_LICENCE_PENDING');
  });

  it('by somebody else, or under a forged signature, are refused', async () => {
    expect(await missing([await approve(grant, third)])).toBe('E_LICENCE_INVALID');
    const verify = (amendments: readonly Attested[]) =>
      codeOf(async () => {
        const own = { owner: { key: keys.owner.publicKey }, approvals, directory };
        requireApproved(await verifyAmendments(grant, amendments, own));
      });
    expect(await verify([await approve(grant, third)])).toBe('E_LICENCE_INVALID');
    const real = await approve(grant, first);
    const transaction = copyBytes(real.transaction);
    transaction[transaction.length - 1] = (transaction.at(-1) ?? 0) ^ 1;
    const forged = { ...real, transaction };
    // The credential of an approver under somebody else's signature.
    expect(await verify([{ ...(await approve(grant, third)), credential: real.credential }])).toBe('E_AUTH');
    expect(await verify([forged])).toBe('E_SIGNATURE');
    expect(await verify([await approve(grant, first)])).toBe('nothing thrown');
    expect(await verify(Array.from({ length: 65 }, () => forged))).toBe('E_LICENCE_INVALID');
  });
});

describe('extensions', () => {
  it('add machines in any order, any number of times, and nothing else', async () => {
    const grant = await granted();
    const all = [await extend('ab'), await extend('bc'), await extend('d')];
    const before = amendLicence(grant, [], rules()).terms;
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray([...all, ...all], { minLength: 3 }), async (some) => {
        const { terms } = amendLicence(grant, some, rules());
        expect({ ...terms, machines: before.machines }).toEqual(before);
        const names = new Set(
          some.flatMap(({ transaction }) =>
            (readTransaction(transaction) as TransactionOf<'licence.extend'>).machines.map((one) => one.machine),
          ),
        );
        expect(terms.machines).toHaveLength(names.size + 1);
      }),
      { numRuns: 30 },
    );
  });

  it('need the owner’s signature, and the approvals that the design asks for', async () => {
    const grant = await granted();
    expect(
      await codeOf(() => machinesOf(grant, [{ transaction: new Uint8Array(), credential: new Uint8Array() }])),
    ).toBe('E_SIGNATURE');
    const foreign = await extend('a', keys.holder);
    expect(await codeOf(() => machinesOf(grant, [foreign]))).toBe('E_LICENCE_INVALID');
    const own = await extend('a');
    const [base] = machinesOf(grant, [own], rules({ approvals }));
    expect(machinesOf(grant, [own], rules({ approvals }))).toEqual([base]);
    expect(machinesOf(grant, [await approve(own.transaction, second), own], rules({ approvals }))).toEqual([base, 'a']);
  });

  it('add at most so many machines', async () => {
    const grant = await granted();
    const name = (n: number) => n.toString(16).padStart(32, '0');
    const many = Array.from({ length: 200 }, (_, n) => ({ ...machine('a'), machine: name(n) }));
    const large = await sign({ type: 'licence.extend', licence, machines: many }, keys.owner);
    expect(await codeOf(() => machinesOf(grant, [large]))).toBe('E_LICENCE_INVALID');
  });
});

describe('transfers', () => {
  const holders = (grant: Uint8Array, amendments: readonly Attested[]) =>
    codeOf(() => amendLicence(grant, amendments, rules()));

  it('form a chain, each signed by the holder before', async () => {
    const grant = await granted('alone');
    const chain = [await transfer(1, first, keys.holder), await transfer(2, second, first)];
    const amended = amendLicence(grant, chain, rules());
    expect(amended.holders.map((holder) => partyName(holderParty(holder)))).toEqual(
      [keys.holder, first, second].map(({ publicKey }) => keyName(publicKey)),
    );
    expect(partyName(holderParty(amended.terms.holder))).toBe(keyName(second.publicKey));
    for (const wrong of [
      chain.toReversed(),
      chain.slice(1),
      [...chain, await transfer(3, third, first)],
      [...chain, await transfer(3, keys.owner, keys.owner)],
      [...chain, await transfer(1, third, keys.holder)],
    ])
      expect(await holders(grant, wrong)).toBe('E_LICENCE_INVALID');
  });

  it('are allowed by the terms only, and wait for the owner’s approval where the terms ask for it', async () => {
    const given = await transfer(1, first, keys.holder);
    expect(await holders(await granted(), [given])).toBe('E_LICENCE_INVALID');
    const grant = await granted('with-approval');
    expect(amendLicence(grant, [given], rules())).toMatchObject({ transfers: [], pending: [given.transaction] });
    const approved = [given, await approve(given.transaction, keys.owner)];
    expect(amendLicence(grant, approved, rules()).transfers).toEqual([toHex(documentName(given.transaction))]);
    // An approver of the design does not approve for the owner.
    const own = rules({ approvals: { needed: 1, approvers: [first.publicKey] } });
    expect(amendLicence(grant, [given, await approve(given.transaction, first)], own).transfers).toEqual([]);
  });
});

describe('an opening', () => {
  const context = (changes: Partial<OpeningContext> = {}, demand?: AmendmentRules['approvals']): OpeningContext => ({
    directory,
    now: NOW,
    designOf: async () => ({ owner: keys.owner.publicKey, coreHash, approvals: demand }),
    begun: async () => false,
    credits: async () => 0,
    ...changes,
  });

  it('needs the approvals that the design asks for', async () => {
    const opening = await createOpening(fixture, { licence: { id } });
    expect(await codeOf(() => verifyOpening(opening, context({}, approvals)))).toBe('E_LICENCE_PENDING');
    const approved = { ...opening, amendments: [await approve(opening.licence, first)] };
    const verified = await verifyOpening(approved, context({}, approvals));
    // The session is bound to the amendments as well.
    const plain = await verifyOpening(opening, context());
    expect(toHex(verified.hash)).not.toBe(toHex(plain.hash));
  });

  it('of a transferred licence begins by order of the new holder, and is finished for the former', async () => {
    const terms = { id, transfer: 'alone' as const };
    const amendments = [await transfer(1, first, keys.holder)];
    const former = await createOpening(fixture, { licence: terms, amendments });
    expect(await codeOf(() => verifyOpening(former, context()))).toBe('E_AUTH');
    await verifyOpening(former, context({ begun: async () => true }));
    const present = await createOpening(fixture, { licence: terms, amendments, signPrint: first });
    expect((await verifyOpening(present, context())).transfers).toHaveLength(1);
  });
});
