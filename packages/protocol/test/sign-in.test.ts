import { readFileSync } from 'node:fs';
import { fromHex, systemRandom, toHex } from '@millrace/base';
import { generateUserKey, keyName, type MemorySigner } from '@millrace/identity';
import { codeOf, createProtocolFixture, dated, NOW } from '@millrace/testkit/protocol/support';
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  credentialDocuments,
  documentName,
  encodeCredential,
  encodePublished,
  type ProviderKey,
  proveInvitation,
  providerKeyThumbprint,
  type RevocationEntry,
  Revocations,
  readCredential,
  requireChainCounting,
  signInNonce,
  signInPerson,
  signRevocationList,
  signTransaction,
  type Transaction,
  verifyCredential,
  withList,
} from '../src/index.ts';

// Credentials by company sign-in. Forged ID tokens are signed with the provider's real key unless a test says otherwise.

const { keys, directory } = createProtocolFixture();
const { installation } = directory;
const DAY = 86_400_000;
const sealingKey = keys.control.publicKey;
const ISSUER = 'https://login.example.com';
const CLIENT = 'millrace';
const sign = (signer: MemorySigner, document: object) =>
  signTransaction(signer, installation, { ...dated(), ...document } as Transaction);

interface Issuer {
  readonly key: ProviderKey;
  issue(claims: JWTPayload): Promise<string>;
}
async function issuer(alg = 'RS256'): Promise<Issuer> {
  const { privateKey, publicKey } = await generateKeyPair(alg);
  const { kty, crv, n, e, x, y } = await exportJWK(publicKey);
  const key = JSON.parse(JSON.stringify({ kty, crv, n, e, x, y })) as ProviderKey;
  return { key, issue: (claims) => new SignJWT(claims).setProtectedHeader({ alg }).sign(privateKey) };
}

let provider: Issuer;
let brand: { organisation: string; document: Uint8Array };
let ada: { key: MemorySigner; credential: Uint8Array };
beforeAll(async () => {
  provider = await issuer();
  brand = await register();
  ada = await invited(brand, ['owner-admin']);
});

async function register() {
  const organisation = toHex(systemRandom(16));
  const document = await sign(keys.admin, {
    type: 'organisation.register',
    organisation,
    name: 'Brand',
    kinds: ['brand'],
  });
  return { organisation, document };
}

/** A person whom the administrator invited. */
async function invited({ organisation, document }: typeof brand, roles: string[]) {
  const [invitation, key] = [generateUserKey(), generateUserKey()];
  const person = toHex(systemRandom(16));
  const member = { organisation, person, name: 'Ada', roles, invitation: invitation.publicKey, until: NOW + 100 * DAY };
  const proof = await proveInvitation(invitation, installation, key.publicKey);
  const enrolment = { invitation: keyName(invitation.publicKey), publicKey: key.publicKey, device: 'x', proof };
  return {
    key,
    credential: encodeCredential([
      await sign(key, { type: 'key.enrol', ...enrolment }),
      await sign(keys.admin, { type: 'member.invite', ...member }),
      document,
    ]),
  };
}

const terms = (changes: object = {}) => ({
  ...{ type: 'organisation.signin', id: systemRandom(16), organisation: brand.organisation },
  ...{
    issuer: ISSUER,
    clientId: CLIENT,
    claim: 'groups',
    domains: ['example.com'],
    keyMs: 7 * DAY,
    until: NOW + 90 * DAY,
  },
  mapping: [
    { group: 'makers', roles: ['designer'] },
    { group: 'floor', roles: ['operator', 'auditor'] },
  ],
  ...changes,
});

interface Options {
  readonly terms?: object;
  readonly by?: typeof ada | 'admin';
  readonly claims?: object;
  readonly enrol?: object;
  readonly from?: Issuer;
  readonly key?: MemorySigner;
  readonly idToken?: string;
  /** The key to which the nonce commits. */
  readonly committed?: Uint8Array;
}

async function signedIn(options: Options = {}) {
  const { by = ada, from = provider, key = generateUserKey(), committed = key.publicKey } = options;
  const document = { keys: [await providerKeyThumbprint(provider.key)], ...terms(options.terms) };
  const signIn = await sign(by === 'admin' ? keys.admin : by.key, document);
  const random = systemRandom(32);
  const seconds = NOW / 1_000;
  const claims = {
    ...{ iss: ISSUER, aud: CLIENT, sub: 'dora', iat: seconds, exp: seconds + 600 },
    ...{ email: 'dora@example.com', email_verified: true, groups: ['makers'] },
    nonce: signInNonce(installation, brand.organisation, committed, random),
    ...options.claims,
  };
  const enrolment = await sign(key, {
    ...{ type: 'key.signin', organisation: brand.organisation, signIn: toHex(document.id) },
    ...{ publicKey: key.publicKey, sealingKey, device: 'laptop', random, providerKey: from.key },
    idToken: options.idToken ?? (await from.issue(claims as JWTPayload)),
    ...options.enrol,
  });
  const chain = by === 'admin' ? [brand.document] : credentialDocuments(by.credential);
  return {
    key,
    signIn,
    id: toHex(document.id),
    enrolment,
    credential: encodeCredential([enrolment, signIn, ...chain]),
  };
}

const code = async (options: Options) =>
  codeOf(async () => verifyCredential((await signedIn(options)).credential, directory));

describe('a credential by sign-in', () => {
  it('proves person, e-mail address and roles to the administrator’s key, for a short time', async () => {
    for (const by of [ada, 'admin'] as const) {
      const { credential, key } = await signedIn({ by, claims: { groups: ['floor', 'others'] } });
      expect(await verifyCredential(credential, directory)).toMatchObject({
        ...{ publicKey: key.publicKey, name: 'dora@example.com', until: NOW + 7 * DAY, sealingKey },
        member: {
          ...{ organisation: brand.organisation, roles: ['operator', 'auditor'], device: 'laptop' },
          person: signInPerson(brand.organisation, ISSUER, 'dora'),
        },
      });
      expect(readCredential(credential)).toEqual({ publicKey: key.publicKey, name: 'dora@example.com' });
    }
    const short = await signedIn({ terms: { until: NOW + DAY }, claims: { groups: 'makers' } });
    expect(await verifyCredential(short.credential, directory)).toMatchObject({ until: NOW + DAY });
  });

  it('works with keys on P-256 and Ed25519', async () => {
    for (const alg of ['ES256', 'EdDSA', 'PS256']) {
      const from = await issuer(alg);
      const thumbprints = { keys: [await providerKeyThumbprint(from.key)] };
      expect(await code({ from, terms: thumbprints }), alg).toBe('nothing thrown');
    }
  });

  it('needs an ID token for exactly this key, organisation and installation', async () => {
    const other = generateUserKey().publicKey;
    expect(await code({ committed: other })).toBe('E_SIGN_IN');
    expect(await code({ claims: { nonce: 'x' } })).toBe('E_SIGN_IN');
    expect(await code({ claims: { nonce: undefined } })).toBe('E_SIGN_IN');
    const thief = generateUserKey();
    // A whole enrolment that was seen, with the thief's key put in and signed by it, or signed by the thief only.
    const seen = await signedIn();
    const [enrolment] = credentialDocuments(seen.credential);
    expect(enrolment).toEqual(seen.enrolment);
    expect(await code({ enrol: { publicKey: thief.publicKey } })).toMatch(/E_AUTH|E_SIGNATURE/);
    const key = generateUserKey();
    const random = systemRandom(32);
    for (const [where, organisation] of [
      [toHex(systemRandom(16)), brand.organisation],
      [installation, toHex(systemRandom(16))],
    ] as const) {
      const nonce = signInNonce(where, organisation, key.publicKey, random);
      expect(await code({ key, enrol: { random }, claims: { nonce } })).toBe('E_SIGN_IN');
    }
  });

  it.each([
    ['another audience', { aud: 'wiki' }],
    ['several audiences of which another is authorised', { aud: [CLIENT, 'wiki'], azp: 'wiki' }],
    ['several audiences without an authorised party', { aud: [CLIENT, 'wiki'] }],
    ['another issuer', { iss: 'https://login.example.com/' }],
    ['an unverified e-mail address', { email_verified: false }],
    ['an e-mail address that is verified by a text', { email_verified: 'true' }],
    ['no e-mail address', { email: undefined }],
    ['an e-mail address of another domain', { email: 'dora@example.org' }],
    ['an e-mail address of a subdomain', { email: 'dora@mail.example.com' }],
    ['an e-mail address with two domains', { email: 'dora@example.org@example.com' }],
    ['groups without a role', { groups: ['others'] }],
    ['no groups', { groups: undefined }],
    ['groups of another type', { groups: { makers: true } }],
    ['no subject', { sub: '' }],
    ['no expiry', { exp: undefined }],
  ])('is refused for %s', async (_what, claims) => {
    expect(await code({ claims })).toBe('E_SIGN_IN');
  });

  it('is refused when the ID token had expired, and an old one gives no longer membership', async () => {
    const seconds = NOW / 1_000;
    expect(await code({ claims: { iat: seconds - 9_000, exp: seconds - 8_000 } })).toBe('E_EXPIRED');
    const old = await signedIn({ claims: { iat: seconds - 3_600, exp: seconds + 60 } });
    expect((await verifyCredential(old.credential, directory)).until).toBe(NOW - 3_600_000 + 7 * DAY);
  });

  it('is refused for a key that is not pinned, and for a token that another key, or none, has signed', async () => {
    const stranger = await issuer();
    expect(await code({ from: stranger })).toBe('E_SIGN_IN');
    expect(await code({ from: stranger, enrol: { providerKey: provider.key } })).toBe('E_SIGNATURE');
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const claims = part({ iss: ISSUER, aud: CLIENT });
    expect(await code({ idToken: `${part({ alg: 'none' })}.${claims}.AA` })).toBe('E_SIGNATURE');
    // The public key used as the secret of a symmetric algorithm.
    const secret = new TextEncoder().encode(JSON.stringify(provider.key));
    const idToken = await new SignJWT({}).setProtectedHeader({ alg: 'HS256' }).sign(secret);
    expect(await code({ idToken })).toBe('E_SIGNATURE');
    expect(await code({ idToken: 'e30.e30.e30' })).toBe('E_SIGNATURE');
  });

  it('depends on a sign-in that an owner-admin of the organisation or the administrator has set', async () => {
    const dora = await invited(brand, ['designer']);
    expect(await code({ by: dora })).toBe('E_FORBIDDEN');
    const other = await register();
    const eve = await invited(other, ['owner-admin']);
    expect(await code({ by: eve })).toBe('E_FORBIDDEN');
    // Her own organisation's sign-in for a person of the brand.
    expect(await code({ by: eve, terms: { organisation: other.organisation } })).toBe('E_SIGN_IN');
    expect(await code({ enrol: { signIn: toHex(systemRandom(16)) } })).toBe('E_SIGN_IN');
    // Somebody who signed in cannot set it: the roles do not include owner-admin, and no mapping can.
    expect(await code({ terms: { mapping: [{ group: 'makers', roles: ['owner-admin'] }] } })).toBe('E_INPUT');
    const maker = await signedIn();
    expect(await code({ by: maker as never })).toBe('E_FORBIDDEN');
    const { credential } = await signedIn();
    const [enrolment, , ...rest] = credentialDocuments(credential);
    const mixed = encodeCredential([enrolment as Uint8Array, credentialDocuments(ada.credential)[1] as never, ...rest]);
    expect(await codeOf(() => verifyCredential(mixed, directory))).toMatch(/E_AUTH|E_INPUT|E_SIGNATURE/);
  });

  it('is valid for 7 days at most', async () => {
    expect(await code({ terms: { keyMs: 7 * DAY + 1 } })).toBe('E_INPUT');
  });
});

describe('revocation', () => {
  const list = async (entries: RevocationEntry[]) =>
    (await withList(
      new Revocations(),
      encodePublished(
        await signRevocationList(ada.key, installation, {
          ...{ type: 'revocations', ...dated(), sequence: 1, organisation: brand.organisation, entries },
        }),
        ada.credential,
      ),
      directory,
    )) as Revocations;
  const verified = (credential: Uint8Array, revocations: Revocations) =>
    codeOf(() => verifyCredential(credential, { ...directory, revocations }));

  it('of a person refuses every key that the person enrols by signing in, except those that it keeps', async () => {
    const [first, second, other] = [await signedIn(), await signedIn(), await signedIn({ claims: { sub: 'emil' } })];
    const person = signInPerson(brand.organisation, ISSUER, 'dora');
    const entry = { key: person, name: 'dora', at: NOW, credential: new Uint8Array(first.credential) };
    const held = await list([{ ...entry, kept: [documentName(first.enrolment)] }]);
    expect(await verified(first.credential, held)).toBe('nothing thrown');
    expect(await verified(second.credential, held)).toBe('E_REVOKED');
    // So does a process that verified the credentials before.
    const known = (credential: Uint8Array) => codeOf(() => requireChainCounting(credential, { revocations: held }));
    expect([await known(first.credential), await known(second.credential)]).toEqual(['nothing thrown', 'E_REVOKED']);
    expect(await verified(other.credential, held)).toBe('nothing thrown');
    const foreign = signInPerson(brand.organisation, ISSUER, 'emil');
    expect(await codeOf(() => list([{ ...entry, key: foreign, kept: [] }]))).toBe('E_FORBIDDEN');
  });

  it('of the sign-in refuses every key that was enrolled by it', async () => {
    const { credential, signIn, id } = await signedIn();
    const other = await signedIn();
    const proof = { invitation: [new Uint8Array(signIn), new Uint8Array(ada.credential)] };
    const held = await list([{ key: id, name: 'sign-in', at: NOW, kept: [], ...proof }]);
    expect(await verified(credential, held)).toBe('E_REVOKED');
    expect(await verified(other.credential, held)).toBe('nothing thrown');
  });
});

describe('vectors of sign-ins', () => {
  // Computed by hand; the thumbprints are those of RFC 7638, 3.1, and RFC 8037, A.3.
  const vectors = JSON.parse(
    readFileSync(new URL('../../../vectors/protocol/sign-in.json', import.meta.url), 'utf8'),
  ) as Record<
    'installation' | 'organisation' | 'publicKey' | 'random' | 'nonce' | 'issuer' | 'subject' | 'person',
    string
  > & {
    keys: { key: ProviderKey; thumbprint: string }[];
  };

  it('give the nonce, the person and the thumbprints', async () => {
    const { organisation, publicKey, random, nonce, issuer: at, subject, person } = vectors;
    expect(signInNonce(vectors.installation, organisation, fromHex(publicKey), fromHex(random))).toBe(nonce);
    expect(signInPerson(organisation, at, subject)).toBe(person);
    for (const { key, thumbprint } of vectors.keys)
      expect(Buffer.from(await providerKeyThumbprint(key)).toString('base64url')).toBe(thumbprint);
  });
});
