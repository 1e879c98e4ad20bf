import { systemRandom, toHex } from '@millrace/base';
import { generateUserKey, keyName, type MemorySigner } from '@millrace/identity';
import {
  codeOf,
  createOpening,
  createProtocolFixture,
  dated,
  NOW,
  registerKey,
} from '@millrace/testkit/protocol/support';
import { describe, expect, it } from 'vitest';
import {
  CLOCK_SKEW_MS,
  documentName,
  encodeCredential,
  encodePublished,
  holderParty,
  ignoringRevocations,
  ownerParty,
  type Party,
  type PersonRole,
  partyName,
  partyOf,
  proveInvitation,
  Revocations,
  requireChainCounting,
  sameParty,
  signRevocationList,
  signTransaction,
  type Transaction,
  verifyCredential,
  verifyFor,
  verifyOpening,
  withList,
} from '../src/index.ts';

const fixture = createProtocolFixture();
const { keys, directory } = fixture;
const { installation } = directory;
const HOUR = 3_600_000;
const sign = (signer: MemorySigner, document: object) =>
  signTransaction(signer, installation, { ...dated(), ...document } as Transaction);

interface Organisation {
  readonly id: string;
  readonly document: Uint8Array;
}

async function organisation(): Promise<Organisation> {
  const id = toHex(systemRandom(16));
  const document = await sign(keys.admin, {
    type: 'organisation.register',
    organisation: id,
    name: 'O',
    kinds: ['brand'],
  });
  return { id, document };
}

interface Member {
  readonly key: MemorySigner;
  readonly credential: Uint8Array;
  readonly invitation: MemorySigner;
}

async function member(of: Organisation, roles: readonly PersonRole[], until = NOW + HOUR): Promise<Member> {
  const [key, invitation] = [generateUserKey(), generateUserKey()];
  const invited = await sign(keys.admin, {
    type: 'member.invite',
    organisation: of.id,
    person: toHex(systemRandom(16)),
    name: 'Ada',
    roles,
    invitation: invitation.publicKey,
    until,
  });
  const enrolled = await sign(key, {
    type: 'key.enrol',
    invitation: keyName(invitation.publicKey),
    publicKey: key.publicKey,
    device: 'laptop',
    proof: await proveInvitation(invitation, installation, key.publicKey),
  });
  return { key, invitation, credential: encodeCredential([enrolled, invited, of.document]) };
}

const [brand, bureau] = [await organisation(), await organisation()];
const cancel = (key: MemorySigner, more: object = {}) =>
  sign(key, { type: 'print.cancel', print: '1'.repeat(32), ...more });
const verdict = async (
  party: Party,
  role: PersonRole,
  { key, credential }: Pick<Member, 'key' | 'credential'>,
  { more = {}, now, revocations }: { more?: object; now?: number; revocations?: Revocations } = {},
) => {
  const attested = { transaction: await cancel(key, more), credential };
  return codeOf(() => verifyFor(party, role, attested, { ...directory, revocations }, now));
};

describe('a document signed for an organisation', () => {
  it('is accepted from every key with the role, and from no other', async () => {
    for (const role of ['designer', 'operator', 'auditor', 'owner-admin'] as const) {
      const own = await member(brand, [role]);
      const expected = role === 'designer' ? 'nothing thrown' : 'E_FORBIDDEN';
      expect(await verdict({ organisation: brand.id }, 'designer', own), role).toBe(expected);
      expect(await verdict({ organisation: bureau.id }, 'designer', own), role).toBe('E_AUTH');
    }
  });

  it('needs the credential of its signer, which leads to the administrator', async () => {
    const [ada, bea] = [await member(brand, ['designer']), await member(brand, ['designer'])];
    const party = { organisation: brand.id };
    expect(await verdict(party, 'designer', { key: bea.key, credential: ada.credential })).toBe('E_AUTH');
    const alone = await registerKey(keys.admin, installation, ada.key.publicKey);
    expect(await verdict(party, 'designer', { key: ada.key, credential: alone })).toBe('E_AUTH');
    const forged = await registerKey(generateUserKey(), installation, keys.owner.publicKey);
    expect(await verdict({ key: keys.owner.publicKey }, 'designer', { key: keys.owner, credential: forged })).toBe(
      'E_AUTH',
    );
  });

  it('must not be dated after its key expired; a deadline checks the own clock too', async () => {
    const late = NOW + CLOCK_SKEW_MS + HOUR + 1;
    const ada = await member(brand, ['designer']);
    const party = { organisation: brand.id };
    expect(await verdict(party, 'designer', ada, { more: { issued: late } })).toBe('E_EXPIRED');
    expect(await verdict(party, 'designer', ada, { more: { issued: late - 1 } })).toBe('nothing thrown');
    const more = { expires: late + HOUR };
    expect(await verdict(party, 'designer', ada, { more, now: late - 1 })).toBe('nothing thrown');
    expect(await verdict(party, 'designer', ada, { more, now: late })).toBe('E_EXPIRED');
  });

  it('does not count once the key, or the invitation’s key, is revoked, unless the revocation keeps it', async () => {
    const ada = await member(brand, ['designer']);
    const party = { organisation: brand.id };
    const attested = { transaction: await cancel(ada.key), credential: ada.credential };
    const revoking = async (key: string, kept: readonly Uint8Array[]) => {
      const list = {
        ...{ type: 'revocations' as const, ...dated(), sequence: 1 },
        entries: [{ key, name: 'Ada', at: NOW, kept: kept.map(documentName) }],
      };
      const published = encodePublished(await signRevocationList(keys.admin, installation, list));
      const revocations = (await withList(new Revocations(), published, directory)) as Revocations;
      return { ...directory, revocations };
    };
    const check = async (key: string, kept: readonly Uint8Array[]) => {
      const held = await revoking(key, kept);
      expect(await codeOf(() => verifyFor(party, 'designer', attested, ignoringRevocations(held)))).toBe(
        'nothing thrown',
      );
      return codeOf(() => verifyFor(party, 'designer', attested, held));
    };
    const [own, invitation] = [keyName(ada.key.publicKey), keyName(ada.invitation.publicKey)];
    expect(await check(own, [])).toBe('E_REVOKED');
    expect(await check(own, [attested.transaction])).toBe('nothing thrown');
    expect(await codeOf(async () => requireChainCounting(ada.credential, await revoking(own, [])))).toBe(
      'nothing thrown',
    );
    expect(await check(invitation, [])).toBe('E_REVOKED');
    expect(await codeOf(async () => requireChainCounting(ada.credential, await revoking(invitation, [])))).toBe(
      'E_REVOKED',
    );
    requireChainCounting(ada.credential, directory);
  });
});

describe('a party', () => {
  it('is the organisation, or a key that acts alone', async () => {
    const ada = await member(brand, ['designer']);
    expect(partyOf(await verifyCredential(ada.credential, directory))).toEqual({ organisation: brand.id });
    const owner = keys.owner.publicKey;
    expect([ownerParty({ owner }), ownerParty({ owner, organisation: brand.id })]).toEqual([
      { key: owner },
      { organisation: brand.id },
    ]);
    expect([partyName(holderParty(owner)), partyName(holderParty(brand.id))]).toEqual([keyName(owner), brand.id]);
    expect(sameParty({ key: owner }, { key: new Uint8Array(owner) })).toBe(true);
    for (const other of [{ organisation: brand.id }, { key: keys.holder.publicKey }])
      expect(sameParty({ key: owner }, other)).toBe(false);
    expect(sameParty({ organisation: brand.id }, { organisation: bureau.id })).toBe(false);
  });
});

describe('an opening between organisations', () => {
  const owner = { owner: keys.owner.publicKey, organisation: brand.id, coreHash: fixture.coreHash };
  const open = async (designer: Member, operator: Member, begun = false) => {
    const opening = await createOpening(fixture, {
      licence: { holder: bureau.id },
      signLicence: designer.key,
      signPrint: operator.key,
    });
    const { body: _, ...signed } = opening;
    const credentials = { licenceSigner: designer.credential, printSigner: operator.credential };
    const context = {
      directory,
      now: NOW,
      designOf: async () => owner,
      begun: async () => begun,
      credits: async () => 0,
    };
    return codeOf(() => verifyOpening({ ...signed, ...credentials }, context));
  };

  it('is accepted for a designer of the owner and an operator of the holder only', async () => {
    const designer = await member(brand, ['designer']);
    const operator = await member(bureau, ['operator']);
    expect(await open(designer, operator)).toBe('nothing thrown');
    expect(await open(await member(brand, ['operator']), operator)).toBe('E_FORBIDDEN');
    expect(await open(await member(bureau, ['designer']), operator)).toBe('E_AUTH');
    expect(await open(designer, await member(bureau, ['designer', 'auditor']))).toBe('E_FORBIDDEN');
    expect(await open(designer, await member(brand, ['operator']))).toBe('E_AUTH');
    const expired = await member(bureau, ['operator'], NOW - CLOCK_SKEW_MS - 1);
    expect(await open(designer, expired)).toBe('E_EXPIRED');
  });
});
