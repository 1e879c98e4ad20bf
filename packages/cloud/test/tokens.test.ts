import { type Action, actions } from '@millrace/api';
import { systemClock, systemRandom, toHex } from '@millrace/base';
import { generateUserKey, keyName } from '@millrace/identity';
import { formatToken, personRoles, type TokenScope, tokenHash, tokenScopes } from '@millrace/protocol';
import { outcomeOf } from '@millrace/testkit/protocol/support';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TokenCallers } from '../src/control/tokens.ts';
import { FailureLimit } from '../src/node/failure-limit.ts';
import { type Actor, authorize, permits, userActor } from '../src/node/policy.ts';
import { type ApiFixture, apiFixture } from './api-fixture.ts';

// API tokens at control: every scope against every action, then each way in which a token stops working.

let system: ApiFixture;
let callers: TokenCallers;
beforeAll(async () => {
  system = await apiFixture();
  callers = new TokenCallers(system.context);
});
afterAll(() => system?.close());

interface Made {
  readonly token: string;
  readonly text: string;
}

/** A token of `owner`. The id of the transaction is the token's. */
async function made(
  scopes: TokenScope[],
  { until = systemClock.now() + 60_000, who = 'owner' as 'owner' | 'holder' } = {},
): Promise<Made> {
  const id = systemRandom(16);
  const text = formatToken(toHex(id), systemRandom(32));
  const body = { type: 'token.create' as const, name: 'ci', scopes, hash: tokenHash(text), until };
  const { token = '' } = await system.submit(who, body, {}, id);
  return { token, text };
}

const as = (text: string, address = '10.0.0.1', header = 'authorization') =>
  callers.actorOf({
    headers: { [header]: header === 'authorization' ? `Bearer ${text}` : text },
    socket: { remoteAddress: address },
  } as never);

describe('scopes', () => {
  /** The actions that each scope allows to a person who may do everything. */
  const table: Readonly<Record<TokenScope, readonly Action[]>> = {
    'designs:read': ['design.list', 'design.read', 'design.open'],
    'licences:read': ['licence.list', 'licence.read', 'usage.list', 'usage.read'],
    'prints:read': ['print.list', 'print.read', 'print.readInFull', 'object.read'],
    'machines:read': ['machine.read', 'group.list', 'material.list'],
    'ledger:read': ['ledger.read'],
    'people:read': ['organisation.list', 'member.list', 'key.read', 'token.list', 'token.listAll', 'session.list'],
    'status:read': ['status.read', 'status.readDamaged', 'metrics.read', 'usage.total'],
    'vault:check': ['vault.check'],
  };
  const every: readonly Action[] = ['api.read', 'directory.read', 'token.readCurrent', 'event.read'];
  const name = 'cc'.repeat(16);
  const organisation = 'aa'.repeat(16);
  const own = { owner: name, holder: name, signer: name, organisation };
  const person = { role: 'user' as const, name, admin: true, member: { organisation, roles: [...personRoles] } };

  it.each(tokenScopes)('%s allows its actions and no other', (scope) => {
    const actor: Actor = { ...person, token: { id: name, scopes: [scope] } };
    const allowed = actions.filter((action) => permits(actor, action, own));
    expect(allowed.sort()).toEqual([...every, ...table[scope]].sort());
  });

  it('never allow what a signature decides, nor more than the person may do', () => {
    const all: Actor = { ...person, token: { id: name, scopes: [...tokenScopes] } };
    for (const action of ['transaction.submit', 'design.upload', 'key.enrol', 'certificate.issue', 'token.create'])
      expect(permits(all, action as Action, own), action).toBe(false);
    const plain: Actor = { role: 'user', name, admin: false, token: { id: name, scopes: [...tokenScopes] } };
    expect(permits(plain, 'vault.check')).toBe(false);
    expect(permits(plain, 'design.read', { owner: 'dd'.repeat(16) })).toBe(false);
    expect(() => authorize(all, 'transaction.submit', own)).toThrow(expect.objectContaining({ code: 'E_SCOPE' }));
    expect(() => authorize(plain, 'vault.check')).toThrow(expect.objectContaining({ code: 'E_FORBIDDEN' }));
  });
});

describe('a token', () => {
  it('acts as its person in both headers, and its time of use is recorded once a minute', async () => {
    const { token, text } = await made(['designs:read']);
    const expected = { ...userActor(system.context.directory, keyName(system.keys.owner.publicKey)) };
    for (const header of ['authorization', 'x-api-key'])
      expect(await as(text, '10.0.0.1', header)).toEqual({
        ...expected,
        member: undefined,
        token: { id: token, scopes: ['designs:read'] },
      });
    await expect.poll(async () => (await system.context.records.tokens.require(token)).lastUsed).toBeGreaterThan(0);
    const before = await system.context.records.tokens.require(token);
    await as(text);
    expect(await system.context.records.tokens.require(token)).toEqual(before);
  });

  it('is refused with a wrong secret, in pieces, under another scheme and in two headers', async () => {
    const { token, text } = await made(['designs:read']);
    const other = await made(['designs:read']);
    const mixed = formatToken(token, systemRandom(32));
    for (const wrong of [mixed, text.slice(0, -1), `${text}A`, other.text.replace(other.token, token), 'mr_x', ''])
      expect(await outcomeOf(() => as(wrong)), wrong).toBe('E_TOKEN');
    const headers = { authorization: `Basic ${text}` };
    expect(await outcomeOf(() => callers.actorOf({ headers, socket: {} } as never))).toBe('E_TOKEN');
    const two = { authorization: `Bearer ${text}`, 'x-api-key': text };
    expect(await outcomeOf(() => callers.actorOf({ headers: two, socket: {} } as never))).toBe('E_TOKEN');
    expect(await callers.actorOf({ headers: {}, socket: {} } as never)).toBeUndefined();
  });

  it('is not stored: the records have its hash only', async () => {
    const { token, text } = await made(['designs:read']);
    const record = await system.context.records.tokens.require(token);
    expect(record.hash).toEqual(tokenHash(text));
    expect(JSON.stringify(record)).not.toContain(text.slice(-43));
  });

  it('is valid for a year at most and cannot be made expired', async () => {
    const day = 86_400_000;
    expect(await outcomeOf(() => made(['designs:read'], { until: systemClock.now() + 400 * day }))).toBe('E_INPUT');
    expect(await outcomeOf(() => made(['designs:read'], { until: systemClock.now() - 1 }))).toBe('E_INPUT');
  });

  it('is revoked by its person and the administrator, not by others, for good', async () => {
    const { token, text } = await made(['designs:read']);
    expect(await outcomeOf(() => system.submit('holder', { type: 'token.revoke', token }))).toBe('E_FORBIDDEN');
    expect(await outcomeOf(() => as(text))).toBe('accepted');
    await system.submit('admin', { type: 'token.revoke', token });
    const { revoked } = await system.context.records.tokens.require(token);
    await system.submit('owner', { type: 'token.revoke', token });
    expect((await system.context.records.tokens.require(token)).revoked).toEqual(revoked);
    expect(await outcomeOf(() => as(text))).toBe('E_TOKEN');
  });

  it('ends with its key when that is revoked', async () => {
    const { text } = await made(['designs:read'], { who: 'holder' });
    const key = keyName(system.keys.holder.publicKey);
    const revocations = { of: (name: string) => (name === key ? [{ name, at: 1, kept: new Set<string>() }] : []) };
    const revoking = new TokenCallers({
      ...system.context,
      directory: { ...system.context.directory, revocations: revocations as never },
    });
    const request = { headers: { 'x-api-key': text }, socket: {} } as never;
    expect(await outcomeOf(() => revoking.actorOf(request))).toBe('E_REVOKED');
  });
});

describe('records written by somebody who can write to the keyspace', () => {
  it('make no token, and change none: what the person has signed decides', async () => {
    const { tokens } = system.context.records;
    const own = await made(['designs:read']);
    const [kept, foreign] = [await tokens.require(own.token), await made([...tokenScopes], { who: 'holder' })];
    const id = toHex(systemRandom(16));
    const text = formatToken(id, systemRandom(32));
    const base = { ...kept, token: id, hash: tokenHash(text), scopes: [...tokenScopes] };
    const admin = keyName(system.keys.admin.publicKey);
    const { document } = await tokens.require(foreign.token);
    const signed = await system.sign('other', {
      type: 'token.create',
      ...{ name: 'ci', scopes: [...tokenScopes], hash: base.hash, until: kept.until },
    });
    const forgeries = [
      base, // with the document of another token of the same person
      { ...base, key: admin },
      { ...base, key: admin, document: new Uint8Array(9) },
      { ...base, document }, // of another person
      { ...base, document: signed }, // for this very secret, by another person
    ];
    for (const forged of forgeries) {
      await tokens.put(id, forged);
      expect(await outcomeOf(() => as(text, `10.1.0.${forgeries.indexOf(forged)}`))).toBe('E_TOKEN');
    }
    // A person whom the attacker has enrolled, too.
    const attacker = generateUserKey();
    const key = keyName(attacker.publicKey);
    const { users } = system.context.records;
    const genuine = await users.require(keyName(system.keys.owner.publicKey));
    await users.put(key, { ...genuine, user: key, publicKey: attacker.publicKey });
    await tokens.put(id, { ...base, key, document: signed });
    expect(await outcomeOf(() => as(text, '10.1.1.1'))).toBe('E_AUTH');

    // A token that exists: more scopes, a longer life, another person, another secret.
    const other = formatToken(own.token, systemRandom(32));
    expect(await outcomeOf(() => as(own.text, '10.1.1.2'))).toBe('accepted');
    for (const change of [{ scopes: [...tokenScopes] }, { until: kept.until + 9e9 }, { key: foreignKey() }]) {
      await tokens.put(own.token, { ...kept, ...change });
      expect(await outcomeOf(() => as(own.text, '10.1.1.3'))).toBe('E_TOKEN');
    }
    await tokens.put(own.token, { ...kept, hash: tokenHash(other) });
    expect(await outcomeOf(() => as(other, '10.1.1.4'))).toBe('E_TOKEN');
    await tokens.put(own.token, kept);
    expect(await outcomeOf(() => as(own.text, '10.1.1.5'))).toBe('accepted');
  });

  it('can undo that a token was revoked (a limit): revoke the key then, which is in signed lists', async () => {
    const { tokens } = system.context.records;
    const { token, text } = await made(['designs:read']);
    const before = await tokens.require(token);
    await system.submit('owner', { type: 'token.revoke', token });
    expect(await outcomeOf(() => as(text, '10.1.2.1'))).toBe('E_TOKEN');
    await tokens.put(token, before);
    expect(await outcomeOf(() => as(text, '10.1.2.1'))).toBe('accepted');
  });

  const foreignKey = () => keyName(system.keys.holder.publicKey);
});

describe('wrong tokens', () => {
  it('from one address are refused after some attempts, not from others', async () => {
    const { text } = await made(['designs:read']);
    const wrong = formatToken('00'.repeat(16), systemRandom(32));
    const codes = new Set<string>();
    for (let i = 0; i < 40; i++) codes.add(await outcomeOf(() => as(wrong, '10.0.0.9')));
    expect(codes).toEqual(new Set(['E_TOKEN', 'E_RATE']));
    expect(await outcomeOf(() => as(text, '10.0.0.9'))).toBe('E_RATE');
    expect(await outcomeOf(() => as(text, '10.0.0.8'))).toBe('accepted');
  });

  it('are forgotten with time', () => {
    let now = 0;
    const limit = new FailureLimit({ now: () => now, monotonic: () => now }, 'too many');
    for (let i = 0; i < 20; i++) limit.failed('a');
    expect(() => limit.require('a')).toThrow(expect.objectContaining({ code: 'E_RATE' }));
    limit.require('b');
    now = 3_000;
    limit.require('a');
    limit.failed('a');
    expect(() => limit.require('a')).toThrow(expect.objectContaining({ code: 'E_RATE' }));
  });
});
