import { X509Certificate } from 'node:crypto';
import { type Authority, createAuthority, fingerprint, type Party } from '@millrace/identity';
import { type Directory, type DirectoryNode, PROTOCOL, PROTOCOL_HEADER } from '@millrace/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import { callerOf, requireKnownProtocol } from '../src/node/server.ts';

let authority: Authority;
let certificates: Record<string, string>;
beforeAll(async () => {
  authority = await createAuthority('test', Date.now());
  const issue = async (party: Party) => (await authority.issue(party)).certificate;
  certificates = {
    first: await issue({ role: 'segments', id: 'segments-1' }),
    second: await issue({ role: 'segments', id: 'segments-2' }),
    asKeys: await issue({ role: 'keys', id: 'segments-2' }),
    machine: await issue({ role: 'machine', name: '00'.repeat(16) }),
    user: await issue({ role: 'user', name: '00'.repeat(16) }),
  };
});

const entry = (id: string, certificate = ''): DirectoryNode => ({
  id,
  role: 'segments',
  addresses: [],
  fingerprint: fingerprint(certificate),
  identity: '',
});
const callerIn = (nodes: readonly DirectoryNode[], name: string) =>
  callerOf({ nodes } as unknown as Directory, new X509Certificate(certificates[name] ?? ''));
const refused = expect.objectContaining({ code: 'E_AUTH' });

describe('a calling node', () => {
  it('is the one that the directory lists with its certificate', () => {
    const nodes = [entry('segments-1', certificates.first), entry('segments-2', certificates.second)];
    expect(callerIn(nodes, 'first')).toEqual({ role: 'segments', id: 'segments-1' });
    expect(callerIn(nodes, 'second')).toEqual({ role: 'segments', id: 'segments-2' });
  });

  it('is rejected once the directory no longer lists it', () => {
    expect(() => callerIn([entry('segments-1', certificates.first)], 'second')).toThrow(refused);
  });

  it('is rejected with the certificate of another node of its role, or in another role', () => {
    const swapped = [entry('segments-1', certificates.second), entry('segments-2', certificates.first)];
    expect(() => callerIn(swapped, 'first')).toThrow(refused);
    expect(() => callerIn(swapped, 'second')).toThrow(refused);
    expect(() => callerIn([entry('segments-2', certificates.asKeys)], 'asKeys')).toThrow(refused);
  });
});

describe('a caller of another version', () => {
  const check = (name: string | undefined, stated?: string) =>
    requireKnownProtocol(
      stated === undefined ? {} : { [PROTOCOL_HEADER]: stated },
      name === undefined ? undefined : new X509Certificate(certificates[name] ?? ''),
    );

  it('is heard if it is one version away, whoever it is', () => {
    for (const name of ['first', 'machine', 'user', undefined])
      for (const stated of [PROTOCOL - 1, PROTOCOL, PROTOCOL + 1])
        expect(() => check(name, String(stated))).not.toThrow();
  });

  it('is refused if it is further away, whoever it is', () => {
    for (const name of ['first', 'machine', 'user', undefined])
      expect(() => check(name, String(PROTOCOL + 2))).toThrow(expect.objectContaining({ code: 'E_VERSION' }));
    expect(() => check('first', String(PROTOCOL + 2))).toThrow(/segments-1 speaks/);
  });

  it('need not state it if it is a person’s program', () => {
    for (const name of ['user', undefined]) expect(() => check(name)).not.toThrow();
  });
});
