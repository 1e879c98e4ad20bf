import { encodeCbor, systemRandom, toHex } from '@millrace/base';
import { generateUserKey, keyName, type MemorySigner } from '@millrace/identity';
import { codeOf, createProtocolFixture, dated, NOW } from '@millrace/testkit/protocol/support';
import { describe, expect, it } from 'vitest';
import {
  CLOCK_SKEW_MS,
  credentialDocuments,
  documentName,
  encodeCredential,
  encodePublished,
  type PersonRole,
  proveInvitation,
  type RevocationEntry,
  Revocations,
  readCredential,
  requireCounting,
  requireRole,
  requireUnrevoked,
  signRevocationList,
  signTransaction,
  type Transaction,
  verifyCredential,
  verifyInvitation,
  withList,
} from '../src/index.ts';

// Every attack here uses the attacker's real keys: owner-admins of another organisation, people without the role,
// devices, and thieves of a revoked key.

const { keys, directory } = createProtocolFixture();
const { installation } = directory;
const DAY = 86_400_000;
const sign = (signer: MemorySigner, document: object) =>
  signTransaction(signer, installation, { ...dated(), ...document } as Transaction);

interface Organisation {
  readonly organisation: string;
  readonly document: Uint8Array;
}

async function organisation(signer = keys.admin): Promise<Organisation> {
  const id = toHex(systemRandom(16));
  const document = await sign(signer, {
    type: 'organisation.register',
    organisation: id,
    name: 'Brand',
    kinds: ['brand'],
  });
  return { organisation: id, document };
}

interface Person {
  readonly key: MemorySigner;
  readonly credential: Uint8Array;
  readonly invitation: MemorySigner;
  readonly document: Uint8Array;
}

interface Inviting {
  /** The signer. Default: the administrator. */
  readonly by?: Person;
  readonly roles?: readonly PersonRole[];
  readonly invite?: object;
  readonly enrol?: object;
  /** The key that proves the secret. */
  readonly secret?: MemorySigner;
  readonly key?: MemorySigner;
  readonly type?: 'member.invite' | 'device.invite';
}

async function enrolled(
  { organisation: id, document: registered }: Organisation,
  options: Inviting = {},
): Promise<Person> {
  const { by, roles = ['designer'], type = 'member.invite', key = generateUserKey() } = options;
  const invitation = generateUserKey();
  const until = NOW + 100 * DAY;
  const member = { organisation: id, person: toHex(systemRandom(16)), name: 'Ada', roles };
  const document = await sign(by?.key ?? keys.admin, {
    type,
    invitation: invitation.publicKey,
    until,
    ...(type === 'member.invite' ? member : {}),
    ...options.invite,
  });
  const enrolment = await sign(key, {
    type: 'key.enrol',
    invitation: keyName(invitation.publicKey),
    publicKey: key.publicKey,
    device: 'laptop',
    proof: await proveInvitation(options.secret ?? invitation, installation, key.publicKey),
    ...options.enrol,
  });
  const signer = by === undefined ? [registered] : credentialDocuments(by.credential);
  return { key, invitation, document, credential: encodeCredential([enrolment, document, ...signer]) };
}

const code = (person: Promise<Person> | Person, held?: Revocations) =>
  codeOf(async () => verifyCredential((await person).credential, { ...directory, revocations: held }));

describe('a credential', () => {
  it('proves a key’s person, organisation and roles to the administrator’s key', async () => {
    const brand = await organisation();
    const ada = await enrolled(brand, { roles: ['owner-admin'] });
    const dora = await enrolled(brand, { by: ada, roles: ['designer', 'auditor'] });
    const phone = await enrolled(brand, { by: dora, type: 'device.invite', invite: { until: NOW + 9_999 * DAY } });
    const verified = await verifyCredential(phone.credential, directory);
    expect(verified).toMatchObject({
      publicKey: phone.key.publicKey,
      name: 'Ada',
      // A device does not extend the membership.
      until: NOW + 100 * DAY,
      member: { organisation: brand.organisation, organisationName: 'Brand', roles: ['designer', 'auditor'] },
    });
    const { member } = await verifyCredential(dora.credential, directory);
    expect(verified.member?.person).toBe(member?.person);
    expect(verified.publicKey).toEqual(phone.key.publicKey);
    requireRole(verified, 'designer');
    const admin = await verifyCredential(ada.credential, directory);
    expect(await codeOf(() => requireRole(admin, 'designer'))).toBe('E_FORBIDDEN');
    expect(readCredential(phone.credential)).toEqual({ publicKey: phone.key.publicKey, name: 'Ada' });
  });

  it('gives every role, and no organisation, to a key that the administrator registered directly', async () => {
    const bytes = await sign(keys.admin, { type: 'user.register', publicKey: keys.owner.publicKey, name: 'owner' });
    const owner = await verifyCredential(bytes, directory);
    expect(owner).toEqual({ publicKey: keys.owner.publicKey, name: 'owner', until: Number.MAX_SAFE_INTEGER });
    requireRole(owner, 'designer');
    expect(await codeOf(() => verifyInvitation(bytes, bytes, directory))).toBe('E_INPUT');
  });

  it('cannot be made by a member who is not owner-admin, or by another organisation', async () => {
    const [brand, other] = [await organisation(), await organisation()];
    const dora = await enrolled(brand);
    const eve = await enrolled(other, { roles: ['owner-admin'] });
    expect(await code(enrolled(brand, { by: dora }))).toBe('E_FORBIDDEN');
    // Eve's chain ends in her own organisation. With the other one's registration her membership does not verify.
    expect(await code(enrolled(brand, { by: eve }))).toBe('E_FORBIDDEN');
    const forged = await enrolled(brand, { by: eve });
    const documents = [...credentialDocuments(forged.credential).slice(0, -1), brand.document];
    expect(await code({ ...forged, credential: encodeCredential(documents) })).toBe('E_FORBIDDEN');
    // Without her enrolment in the chain she would have to be the administrator.
    const short = [...credentialDocuments(forged.credential).slice(0, 2), brand.document];
    expect(await code({ ...forged, credential: encodeCredential(short) })).toBe('E_AUTH');
    expect(await code(enrolled(await organisation(keys.control as never)))).toMatch(/E_SIGNATURE|E_AUTH/);
    expect(await code(enrolled(await organisation(eve.key)))).toBe('E_AUTH');
  });

  it('gives a device no more than the roles of its person', async () => {
    const brand = await organisation();
    const dora = await enrolled(brand);
    const phone = await enrolled(brand, { by: dora, type: 'device.invite' });
    expect((await verifyCredential(phone.credential, directory)).member?.roles).toEqual(['designer']);
    expect(await code(enrolled(brand, { by: phone, roles: ['owner-admin'] }))).toBe('E_FORBIDDEN');
    expect(await code(enrolled(brand, { type: 'device.invite' }))).toBe('E_FORBIDDEN');
  });

  it('needs the secret of the invitation, for exactly this key, before it expires', async () => {
    const brand = await organisation();
    const thief = generateUserKey();
    expect(await code(enrolled(brand, { secret: thief }))).toBe('E_SIGNATURE');
    // A proof recorded on the wire does not enrol another key.
    const dora = await enrolled(brand);
    const seen = await proveInvitation(dora.invitation, installation, dora.key.publicKey);
    const invitation = keyName(dora.invitation.publicKey);
    const enrolment = await sign(thief, {
      ...{ type: 'key.enrol', invitation, publicKey: thief.publicKey, device: 'x', proof: seen },
    });
    const stolen = encodeCredential([enrolment, ...credentialDocuments(dora.credential).slice(1)]);
    expect(await code({ ...dora, credential: stolen })).toBe('E_SIGNATURE');
    // Nobody can enrol a key without its private key.
    const foreign = { publicKey: keys.owner.publicKey };
    expect(await code(enrolled(brand, { enrol: foreign }))).toBe('E_AUTH');
    const late = { issued: NOW + 600_000 + CLOCK_SKEW_MS + 1, expires: NOW + 9e9 };
    expect(await code(enrolled(brand, { enrol: late }))).toBe('E_EXPIRED');
    const other = { invitation: toHex(systemRandom(16)) };
    expect(await code(enrolled(brand, { enrol: other }))).toBe('E_FORBIDDEN');
  });

  it('is rejected when it is not a chain', async () => {
    const brand = await organisation();
    const { credential } = await enrolled(brand);
    const documents = credentialDocuments(credential);
    for (const wrong of [[], documents.slice(1), [...documents, ...documents], documents.slice(0, 2)])
      expect(await codeOf(() => verifyCredential(encodeCbor(wrong as never), directory))).toBe('E_INPUT');
    const another = createProtocolFixture().directory;
    expect(await codeOf(() => verifyCredential(credential, another))).toMatch(/E_AUTH|E_SIGNATURE/);
  });
});

const entryOf = (person: Person, kept: Uint8Array[] = []): RevocationEntry => ({
  key: keyName(person.key.publicKey),
  name: 'Ada',
  at: NOW,
  kept: kept.map((document) => documentName(document)),
  credential: new Uint8Array(person.credential),
});

async function list(
  entries: readonly RevocationEntry[],
  by: Person | 'admin',
  { sequence = 1, organisation: scope }: { sequence?: number; organisation?: string } = {},
): Promise<Uint8Array> {
  const signer = by === 'admin' ? keys.admin : by.key;
  const document = await signRevocationList(signer, installation, {
    ...{ type: 'revocations', ...dated(), sequence, entries: [...entries] },
    ...(scope === undefined ? {} : { organisation: scope }),
  });
  return encodePublished(document, by === 'admin' ? undefined : by.credential);
}

const accept = async (held: Revocations, published: Uint8Array): Promise<Revocations> =>
  (await withList(held, published, directory)) ?? held;
const refused = (held: Revocations, published: Promise<Uint8Array>) =>
  codeOf(async () => withList(held, await published, directory));

describe('a revocation list', () => {
  it('ends what a key signs, whatever its date, except for the documents that it keeps', async () => {
    const brand = await organisation();
    const [ada, dora] = [await enrolled(brand, { roles: ['owner-admin'] }), await enrolled(brand)];
    const old = await sign(dora.key, { type: 'alarm.clear', object: `${'1'.repeat(32)}-1` });
    const backdated = await sign(dora.key, {
      type: 'alarm.clear',
      object: `${'1'.repeat(32)}-1`,
      issued: 1,
      expires: 2,
    });
    const { organisation: scope } = brand;
    const held = await accept(new Revocations(), await list([entryOf(dora, [old])], ada, { organisation: scope }));
    const name = keyName(dora.key.publicKey);
    const revocations = { revocations: held };
    expect(() => requireCounting(revocations, name, old)).not.toThrow();
    expect(await codeOf(() => requireCounting(revocations, name, backdated))).toBe('E_REVOKED');
    expect(await codeOf(() => requireUnrevoked(revocations, name))).toBe('E_REVOKED');
    expect(() => requireCounting(revocations, keyName(ada.key.publicKey), backdated)).not.toThrow();
    // The key is on two lists: both must keep the document.
    const both = await accept(held, await list([{ ...entryOf(dora), credential: undefined } as never], 'admin'));
    expect(await codeOf(() => requireCounting({ revocations: both }, name, old))).toBe('E_REVOKED');
  });

  it('revokes the invitations of a stolen key, except those that it names', async () => {
    const brand = await organisation();
    const { organisation: scope } = brand;
    const [ada, bob] = [
      await enrolled(brand, { roles: ['owner-admin'] }),
      await enrolled(brand, { roles: ['owner-admin'] }),
    ];
    const friend = await enrolled(brand, { by: ada });
    const held = await accept(
      new Revocations(),
      await list([entryOf(ada, [friend.document])], bob, { organisation: scope }),
    );
    expect(await code(friend, held)).toBe('nothing thrown');
    // The thief makes a backdated invitation.
    const rogue = await enrolled(brand, { by: ada, invite: { issued: NOW - DAY } });
    expect(await code(rogue, held)).toBe('E_REVOKED');
    // Without the first owner-admin's key she cannot revoke anyone either.
    const own = await list([entryOf(ada, [friend.document]), entryOf(bob)], ada, { organisation: scope, sequence: 2 });
    expect(await codeOf(() => withList(held, own, directory))).toBe('E_REVOKED');
    // An unused invitation is revoked by the name of its key.
    const open = await enrolled(brand, { by: bob });
    const entry = {
      ...{ key: keyName(open.invitation.publicKey), name: 'Ada', at: NOW, kept: [] },
      invitation: [new Uint8Array(open.document), new Uint8Array(bob.credential)],
    };
    const more = await list([entryOf(ada, [friend.document]), entry], bob, { organisation: scope, sequence: 2 });
    expect(await code(open, await accept(held, more))).toBe('E_REVOKED');
  });

  it('is replaced only by a newer list that contains all its entries', async () => {
    const brand = await organisation();
    const scope = { organisation: brand.organisation };
    const ada = await enrolled(brand, { roles: ['owner-admin'] });
    const [dora, emil] = [await enrolled(brand), await enrolled(brand)];
    const first = await list([entryOf(dora)], ada, { ...scope, sequence: 5 });
    const held = await accept(new Revocations(), first);
    expect(await withList(held, first, directory)).toBeUndefined();
    expect(await refused(held, list([entryOf(dora), entryOf(emil)], ada, { ...scope, sequence: 4 }))).toBe(
      'E_CONFLICT',
    );
    expect(await refused(held, list([entryOf(dora), entryOf(emil)], ada, { ...scope, sequence: 5 }))).toBe(
      'E_CONFLICT',
    );
    expect(await refused(held, list([entryOf(emil)], ada, { ...scope, sequence: 6 }))).toBe('E_CONFLICT');
    const next = await accept(held, await list([entryOf(dora), entryOf(emil)], ada, { ...scope, sequence: 6 }));
    expect(next.digest()).not.toBe(held.digest());
    // A verifier without a list takes all of them in the order of publication.
    let fresh = new Revocations();
    for (const published of next.published()) fresh = await accept(fresh, published);
    expect(fresh.digest()).toBe(next.digest());
  });

  it('is signed by an owner-admin for the same organisation, or by the administrator', async () => {
    const [brand, other] = [await organisation(), await organisation()];
    const [ada, eve] = [
      await enrolled(brand, { roles: ['owner-admin'] }),
      await enrolled(other, { roles: ['owner-admin'] }),
    ];
    const dora = await enrolled(brand);
    const none = new Revocations();
    const scope = { organisation: brand.organisation };
    expect(await refused(none, list([entryOf(ada)], dora, scope))).toBe('E_FORBIDDEN');
    expect(await refused(none, list([entryOf(dora)], eve, scope))).toBe('E_FORBIDDEN');
    // Nor in the name of her own organisation, or of the installation.
    expect(await refused(none, list([entryOf(dora)], eve, { organisation: other.organisation }))).toBe('E_FORBIDDEN');
    expect(await refused(none, list([entryOf(dora)], eve))).toBe('E_FORBIDDEN');
    const named = { ...entryOf(eve), key: keyName(dora.key.publicKey) };
    expect(await refused(none, list([named], eve, { organisation: other.organisation }))).toBe('E_FORBIDDEN');
    const bare = { key: keyName(dora.key.publicKey), name: 'x', at: NOW, kept: [] };
    expect(await refused(none, list([bare], ada, scope))).toBe('E_INPUT');
    const admin = { ...bare, key: keyName(keys.admin.publicKey) };
    expect(await refused(none, list([admin], 'admin'))).toBe('E_FORBIDDEN');
    expect(await codeOf(async () => accept(none, await list([bare], 'admin')))).toBe('nothing thrown');
  });
});
