import { request } from 'node:https';
import { systemClock, systemRandom, toBase64, toHex } from '@millrace/base';
import { createApi, createToken, revokeToken, type Session, signNew, verifyOwnToken } from '@millrace/client';
import { generateUserKey, keyName } from '@millrace/identity';
import {
  createHttpClient,
  formatToken,
  GUEST_NAME,
  type HttpClient,
  type TokenScope,
  tokenHash,
  tokenScopes,
} from '@millrace/protocol';
import { licensed, outcomeOf } from '@millrace/testkit/adversary/honest';
import { type HostileInstallation, openHostileInstallation } from '@millrace/testkit/adversary/hostile-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 28: a thief has an API token of a designer. The baseline is what the token allows; everything else is refused,
// also to a thief who knows documents that the designer has signed.

let system: HostileInstallation;
let design: string;
let licence: string;
beforeAll(async () => {
  system = await openHostileInstallation();
  ({ design, licence } = await licensed(system, 1));
}, 60_000);
afterAll(() => system?.close());

const clients: HttpClient[] = [];
afterAll(() => {
  for (const client of clients) client.close();
});
/** The thief: no certificate, only the token. */
function thief(token: string): HttpClient {
  const { directory } = system.installation;
  const client = createHttpClient({ addresses: () => [system.addresses.control], tls: { directory, token } });
  clients.push(client);
  return client;
}

/** The distribution node's answer to a token: its status, or 'closed'. */
function atDistribution(token: string): Promise<string> {
  return new Promise((resolve) => {
    const outgoing = request({
      ...system.addresses.distribution,
      ...{ path: '/v1/directory?after=0', headers: { 'x-api-key': token } },
      ...{ servername: GUEST_NAME, rejectUnauthorized: false, agent: false },
    });
    outgoing.on('response', ({ statusCode }) => resolve(String(statusCode)));
    outgoing.on('error', () => resolve('closed'));
    outgoing.end();
  });
}

const tokenOf = (session: Session, ...scopes: TokenScope[]) => createToken(session, { name: 'ci', scopes, days: 1 });

describe('baseline: a token of the designer', () => {
  it('reads what its scopes allow', async () => {
    const { text } = await tokenOf(system.owner, 'designs:read');
    expect((await thief(text).call('GET', `/v1/designs/${design}`)).status).toBe(200);
  });
});

describe('a stolen token', () => {
  it('reads nothing beyond its scopes and nothing of another tenant', async () => {
    const { text } = await tokenOf(system.owner, 'designs:read');
    for (const path of [`licences/${licence}`, 'licences', 'prints', 'objects', 'machines', 'organisations', 'status'])
      expect(await outcomeOf(thief(text).call('GET', `/v1/${path}`)), path).toBe('E_SCOPE');
    const other = await tokenOf(system.tenant, ...tokenScopes);
    expect(await outcomeOf(thief(other.text).call('GET', `/v1/designs/${design}`))).toBe('E_FORBIDDEN');
    expect(await outcomeOf(thief(other.text).call('GET', `/v1/licences/${licence}`))).toBe('E_FORBIDDEN');
    expect((await thief(other.text).call('GET', '/v1/designs')).json()).toEqual({ items: [] });
  });

  it('signs nothing: neither new documents nor those that its person has signed already', async () => {
    const { text } = await tokenOf(system.owner, ...tokenScopes);
    const client = thief(text);
    const submit = (transaction: Uint8Array) =>
      outcomeOf(client.call('POST', '/v1/transactions', { json: { transaction: toBase64(transaction) } }));
    const held = await signNew(system.owner, { type: 'design.delete', design });
    expect(await submit(held.bytes)).toBe('E_SCOPE');
    const own = { ...system.owner, signer: generateUserKey() };
    expect(await submit((await signNew(own, { type: 'design.delete', design })).bytes)).not.toBe('accepted');
    expect(await outcomeOf(client.call('GET', `/v1/designs/${design}/ticket`))).toBe('E_SCOPE');
    expect(await outcomeOf(client.call('POST', `/v1/designs/${design}/uploaded`, { json: {} }))).toBe('E_SCOPE');
    expect(await outcomeOf(client.call('POST', '/v1/revocations', { body: new Uint8Array(9) }))).toBe('E_SCOPE');
    expect(await outcomeOf(client.call('POST', '/v1/certificates', { json: { request: 'AAAA' } }))).toBe('E_SCOPE');
    expect(await outcomeOf(client.call('POST', '/v1/vault/checks', { json: { deep: false } }))).toBe('E_FORBIDDEN');
    expect((await system.owner.api.design(design)).state).toBe('stored');
  });

  it('makes no tokens, and does not open the way to other nodes and routes', async () => {
    const { text } = await tokenOf(system.owner, ...tokenScopes);
    expect(await atDistribution(text)).toBe('closed');
    for (const path of ['mailbox?wait=0&consumer=x', 'deletions'])
      expect(await outcomeOf(thief(text).call('GET', `/v1/${path}`)), path).toBe('E_AUTH');
    expect(await outcomeOf(thief(text).call('POST', '/v1/head', { json: { epoch: 1 } }))).toBe('E_AUTH');
  });

  it('does not get the answer that its person got for an idempotency key', async () => {
    const { text } = await tokenOf(system.admin, 'status:read');
    const request = { json: { deep: false }, headers: { 'idempotency-key': 'known' } };
    const first = await system.call('control', 'admin', { method: 'POST', path: '/v1/vault/checks', ...request });
    expect(first.status).toBe(200);
    expect(await outcomeOf(thief(text).call('POST', '/v1/vault/checks', request))).toBe('E_SCOPE');
  });

  it('ends when it is revoked, and its creation cannot be submitted again', async () => {
    const id = systemRandom(16);
    const text = formatToken(toHex(id), systemRandom(32));
    const until = systemClock.now() + 3_600_000;
    const body = { type: 'token.create' as const, name: 'ci', hash: tokenHash(text), until };
    const created = await signNew(system.owner, { ...body, scopes: ['designs:read'] }, id);
    await system.owner.api.submit(created.bytes);
    const client = thief(text);
    expect(await outcomeOf(client.call('GET', '/v1/designs'))).toBe('accepted');
    await revokeToken(system.owner, toHex(id));
    // On the connection that was open before, too.
    expect(await outcomeOf(client.call('GET', '/v1/designs'))).toBe('E_TOKEN');
    const again = system.call('control', 'owner', {
      method: 'POST',
      path: '/v1/transactions',
      json: { transaction: toBase64(created.bytes) },
    });
    expect((await again).error?.code).toBe('E_REPLAY');
    expect(await outcomeOf(thief(text).call('GET', '/v1/designs'))).toBe('E_TOKEN');
  });

  it('cannot be prolonged or widened: the scopes are those that its person signed', async () => {
    const made = await tokenOf(system.owner, 'designs:read');
    const tenant = createApi({
      transports: { control: thief(made.text), distribution: thief(made.text) },
      clock: systemClock,
    });
    const { records } = system.nodes.control.context;
    const before = await records.tokens.require(made.token);
    expect(await outcomeOf(revokeToken({ ...system.tenant, api: tenant }, made.token))).toBe('E_SCOPE');
    expect(await outcomeOf(revokeToken(system.tenant, made.token))).toBe('E_FORBIDDEN');
    const widened = await signNew(system.tenant, {
      type: 'token.create',
      ...{ name: 'ci', scopes: [...tokenScopes], hash: before.hash, until: before.until },
    });
    // The tenant's token with the same hash has another id and acts for the tenant.
    await system.tenant.api.submit(widened.bytes);
    expect(await outcomeOf(thief(made.text).call('GET', '/v1/licences'))).toBe('E_SCOPE');
    expect(before.key).toBe(keyName(system.owner.signer.publicKey));
  });
});

describe('a hostile control node', () => {
  it('cannot list a token as made by a person who did not sign it', async () => {
    const made = await tokenOf(system.owner, 'designs:read');
    const [view] = (await system.owner.api.tokens()).filter(({ token }) => token === made.token);
    if (view === undefined) throw new Error('the token is not listed');
    await verifyOwnToken(system.owner, view);
    const id = toHex(systemRandom(16));
    for (const forged of [
      { ...view, scopes: [...tokenScopes] },
      { ...view, token: id },
      { ...view, until: view.until + 1 },
    ])
      expect(await outcomeOf(verifyOwnToken(system.owner, forged))).toBe('E_AUTH');
    const other = await signNew(system.tenant, {
      type: 'token.create',
      ...{ name: view.name, scopes: view.scopes, hash: systemRandom(32), until: view.until },
    });
    const document = toBase64(other.bytes);
    expect(await outcomeOf(verifyOwnToken(system.owner, { ...view, token: other.id, document }))).toBe('E_AUTH');
  });
});
