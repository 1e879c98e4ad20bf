import { copyBytes, systemClock, systemRandom, toBase64 } from '@millrace/base';
import {
  createOrganisation,
  enrol,
  enrolBySignIn,
  inviteMember,
  readSignIn,
  type Session,
  setSignIn,
  signInCommitment,
  signNew,
} from '@millrace/client';
import { signInAtProvider } from '@millrace/client/node';
import { generateP256Key, generateUserKey, keyName, type MemorySigner } from '@millrace/identity';
import {
  createHttpClient,
  encodeCredential,
  type HttpClient,
  type ProviderKey,
  requireRole,
  verifyCredential,
} from '@millrace/protocol';
import { discoverProvider } from '@millrace/protocol/provider';
import { outcomeOf } from '@millrace/testkit/adversary/honest';
import { type HostileInstallation, openHostileInstallation } from '@millrace/testkit/adversary/hostile-installation';
import { CLIENT, OTHER_CLIENT, startProvider, type TestProvider } from '@millrace/testkit/sign-in-provider';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 28: company sign-in against a real provider. The attackers: another application of the same provider, a person
// without a role, the provider of another organisation, a thief on the network, and control with its real keys.

const rules = { loopback: true };
const sealingKey = generateP256Key().publicKey;
let system: HostileInstallation;
let provider: TestProvider;
let evil: TestProvider;
let guest: HttpClient;
let brand: string;
let bureau: string;
beforeAll(async () => {
  system = await openHostileInstallation();
  const dora = { email: 'dora@example.com', email_verified: true, groups: ['makers'] };
  provider = await startProvider({
    dora,
    mallory: { ...dora, email_verified: false },
    visitor: { ...dora, groups: ['visitors'] },
  });
  evil = await startProvider({ dora: { ...dora, groups: ['makers', 'owners'] } });
  guest = createHttpClient({
    addresses: () => [system.addresses.control],
    tls: { directory: system.installation.directory },
  });
  brand = await withSignIn('Brand', provider);
  bureau = await withSignIn('Bureau', evil);
}, 60_000);
afterAll(async () => {
  guest?.close();
  await Promise.all([provider?.close(), evil?.close(), system?.close()]);
});

/** An organisation whose people sign in at this provider. */
async function withSignIn(name: string, at: TestProvider): Promise<string> {
  const { admin } = system;
  const organisation = await createOrganisation(admin, { name, kinds: ['brand'] });
  const { keys } = await discoverProvider(at.issuer, CLIENT, rules);
  const until = systemClock.now() + 3_600_000;
  const mapping = [{ group: 'makers', roles: ['designer' as const] }];
  const terms = { organisation, issuer: at.issuer, clientId: CLIENT, claim: 'groups', mapping };
  await setSignIn(admin, { ...terms, domains: ['example.com'], keyMs: 60_000, until }, keys);
  return organisation;
}

const { now, monotonic } = systemClock;
const enrolling = (signer: MemorySigner) => ({
  ...{
    control: guest,
    directory: system.installation.directory,
    signer,
    random: systemRandom,
    clock: { now, monotonic },
  },
});

interface Attempt {
  readonly organisation?: string;
  readonly at?: TestProvider;
  readonly person?: string;
  readonly clientId?: string;
  /** The key to which the nonce commits. */
  readonly committed?: MemorySigner;
}

/** Signs in as a person, for a key. */
async function attempt(signer: MemorySigner, options: Attempt = {}) {
  const { organisation = brand, at = provider, person = 'dora', clientId = CLIENT, committed = signer } = options;
  at.person = person;
  const { random, nonce } = signInCommitment(enrolling(committed), organisation);
  const { keys } = await discoverProvider(at.issuer, clientId, rules);
  const signIn = await readSignIn(guest, system.installation.directory, organisation);
  const pinned = { issuer: at.issuer, clientId, keys: signIn.terms.keys };
  const token = await (at.issuer === signIn.terms.issuer
    ? signInAtProvider({ signIn: pinned, rules, nonce, show: (address) => void at.browse(address) })
    : { idToken: await at.issue({ ...claims(nonce), iss: at.issuer }), keys: keys as readonly ProviderKey[] });
  return { signIn, token: { ...token, random, device: { name: 'laptop', sealingKey } } };
}

const claims = (nonce: string) => ({
  ...{ aud: CLIENT, sub: 'dora', nonce, iat: Math.floor(now() / 1_000), exp: Math.floor(now() / 1_000) + 600 },
  ...{ email: 'dora@example.com', email_verified: true, groups: ['makers'] },
});

/** Sends an enrolment to control as an attacker writes it, without the checks of an honest client. */
async function post(signer: MemorySigner, { signIn, token }: Awaited<ReturnType<typeof attempt>>, change: object = {}) {
  const [providerKey] = token.keys;
  const body = {
    ...{ type: 'key.signin' as const, organisation: signIn.terms.organisation, signIn: signIn.signIn },
    ...{
      publicKey: copyBytes(signer.publicKey),
      sealingKey,
      device: 'x',
      idToken: token.idToken,
      random: token.random,
    },
    ...{ providerKey: providerKey as ProviderKey, ...change },
  };
  const { bytes } = await signNew(enrolling(signer), body);
  const enrolled = await outcomeOf(guest.call('POST', '/v1/enrolments', { json: { enrolment: toBase64(bytes) } }));
  // What every other party thinks of the same documents, whatever control says.
  const credential = encodeCredential([bytes, signIn.document, signIn.signer]);
  const { directory } = system.nodes.keys.parts.config;
  return { enrolled, elsewhere: await outcomeOf(verifyCredential(credential, directory)) };
}

describe('baseline: a person signs in', () => {
  it('gets a key with the roles of the groups, again with the same key, and not for another person', async () => {
    const key = generateUserKey();
    const first = await attempt(key);
    const credential = await enrolBySignIn(enrolling(key), first.signIn, first.token);
    expect(credential).toMatchObject({
      name: 'dora@example.com',
      member: { organisation: brand, roles: ['designer'] },
    });
    requireRole(credential, 'designer');
    const again = await attempt(key);
    expect((await enrolBySignIn(enrolling(key), again.signIn, again.token)).member).toEqual(credential.member);
    const user = await system.nodes.control.context.records.users.require(keyName(key.publicKey));
    expect(user.member).toMatchObject({ invitation: first.signIn.signIn, organisation: brand });
  });
});

describe('a forged sign-in', () => {
  it('by another application of the same provider is refused', async () => {
    const key = generateUserKey();
    const token = await attempt(key, { clientId: OTHER_CLIENT });
    expect(await post(key, token)).toEqual({ enrolled: 'E_SIGN_IN', elsewhere: 'E_SIGN_IN' });
  });

  it('without a verified e-mail address or a group with a role is refused', async () => {
    for (const person of ['mallory', 'visitor']) {
      const key = generateUserKey();
      const token = await attempt(key, { person });
      expect(await post(key, token), person).toEqual({ enrolled: 'E_SIGN_IN', elsewhere: 'E_SIGN_IN' });
    }
  });

  it('with the ID token of another key is refused, to a thief and to control', async () => {
    const [victim, thief] = [generateUserKey(), generateUserKey()];
    // The thief has seen the whole enrolment, as control does.
    const seen = await attempt(victim);
    expect(await post(thief, seen)).toEqual({ enrolled: 'E_SIGN_IN', elsewhere: 'E_SIGN_IN' });
    const other = { random: systemRandom(32) };
    expect(await post(thief, seen, other)).toEqual({ enrolled: 'E_SIGN_IN', elsewhere: 'E_SIGN_IN' });
    expect(await post(victim, seen)).toEqual({ enrolled: 'accepted', elsewhere: 'accepted' });
  });

  it('by the provider of another organisation is refused', async () => {
    const key = generateUserKey();
    const token = await attempt(key, { at: evil });
    expect(await post(key, token)).toEqual({ enrolled: 'E_SIGN_IN', elsewhere: 'E_SIGN_IN' });
    // It claims the issuer of the other organisation, with its own key or with that of the other provider.
    const { random, nonce } = signInCommitment(enrolling(key), brand);
    const idToken = await evil.issue({ ...claims(nonce), iss: provider.issuer });
    const { signIn } = await attempt(key);
    const forged = {
      signIn,
      token: { idToken, random, device: { name: 'x', sealingKey }, keys: [evil.key as ProviderKey] },
    };
    expect(await post(key, forged)).toEqual({ enrolled: 'E_SIGN_IN', elsewhere: 'E_SIGN_IN' });
    const named = { providerKey: provider.key as ProviderKey };
    expect(await post(key, forged, named)).toEqual({ enrolled: 'E_SIGNATURE', elsewhere: 'E_SIGNATURE' });
    // In its own organisation it may say what it likes.
    const own = await attempt(key, { organisation: bureau, at: evil });
    expect(await post(key, own)).toEqual({ enrolled: 'accepted', elsewhere: 'accepted' });
  });

  it('after the ID token has expired is refused', async () => {
    const key = generateUserKey();
    const { signIn, token } = await attempt(key);
    const { random, nonce } = signInCommitment(enrolling(key), brand);
    const past = Math.floor(now() / 1_000) - 1_000;
    const idToken = await provider.issue({ ...claims(nonce), iss: provider.issuer, iat: past - 60, exp: past });
    const expired = { signIn, token: { ...token, idToken, random } };
    expect((await post(key, expired)).enrolled).toBe('E_EXPIRED');
  });
});

describe('a hostile control node', () => {
  it('cannot set a sign-in of its own: only owner-admins and the administrator can', async () => {
    const key = generateUserKey();
    const { keys } = await discoverProvider(evil.issuer, CLIENT, rules);
    const { signIn } = await attempt(key);
    const { issuer, clientId, claim, mapping, domains, keyMs, until } = signIn.terms;
    const terms = { organisation: brand, clientId, claim, mapping, domains, keyMs, until };
    const api = { ...system.tenant.api, submit: async (bytes: Uint8Array) => void sent.push(copyBytes(bytes)) };
    const sent: Uint8Array[] = [];
    const tenant: Session = { ...system.tenant, api };
    const id = await setSignIn(tenant, { ...terms, issuer: evil.issuer }, keys);
    expect(await outcomeOf(setSignIn(system.tenant, { ...terms, issuer: evil.issuer }, keys))).toBe('E_FORBIDDEN');
    // Control serves the tenant's document as the brand's, and stores it.
    const { records } = system.nodes.control.context;
    const honest = await records.signIns.require(brand);
    await records.signIns.put(brand, { ...honest, signIn: id, document: sent[0] as Uint8Array<ArrayBuffer> });
    expect(await outcomeOf(readSignIn(guest, system.installation.directory, brand))).toMatch(/E_AUTH|E_SIGNATURE/);
    await records.signIns.put(brand, honest);
    expect(issuer).toBe(provider.issuer);
  });

  it('cannot keep people out: invitations work while the provider is down', async () => {
    await provider.close();
    expect(await outcomeOf(discoverProvider(provider.issuer, CLIENT, rules))).toBe('E_UNAVAILABLE');
    const member = { organisation: brand, name: 'Emil', roles: ['designer' as const] };
    const { secret } = await inviteMember(system.admin, member, { days: 1, keyDays: 30 });
    const key = generateUserKey();
    expect((await enrol(enrolling(key), secret, { name: 'laptop', sealingKey })).member?.roles).toEqual(['designer']);
  });
});
