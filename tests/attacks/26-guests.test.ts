import { request } from 'node:https';
import { toBase64 } from '@millrace/base';
import { createOrganisation, inviteMember, signNew } from '@millrace/client';
import {
  createAuthority,
  createTlsKey,
  generateUserKey,
  keyName,
  type TlsIdentity,
  tlsPublicKey,
  userKey,
} from '@millrace/identity';
import { type Address, GUEST_NAME, proveInvitation } from '@millrace/protocol';
import { type HostileInstallation, openHostileInstallation } from '@millrace/testkit/adversary/hostile-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 26: an invited person reaches control without a certificate. So does a stranger, who tries to get more from it.
// Somebody with control's folder tries to misuse the authority for users.

let system: HostileInstallation;
beforeAll(async () => {
  system = await openHostileInstallation();
}, 60_000);
afterAll(() => system?.close());

interface Asking {
  readonly servername?: string;
  readonly identity?: TlsIdentity;
  readonly method?: string;
  readonly body?: string;
}

/** The answer to a request: a status and a code, or 'closed'. */
function ask(
  address: Address,
  path: string,
  { servername = '', identity, method = 'GET', body }: Asking,
): Promise<string> {
  return new Promise((resolve) => {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const tls = identity === undefined ? {} : { cert: identity.certificate, key: Buffer.from(identity.key) };
    const options = { ...address, ...tls, path, method, headers, servername, rejectUnauthorized: false, agent: false };
    const outgoing = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', () => resolve('closed'));
      response.on('end', () => {
        const { code = '' } = JSON.parse(Buffer.concat(chunks).toString()) as { code?: string };
        resolve(`${response.statusCode} ${code}`.trim());
      });
    });
    outgoing.on('error', () => resolve('closed'));
    outgoing.end(body);
  });
}

describe('a stranger without a certificate', () => {
  it('is a guest of control only on request, and gets no access to distribution', async () => {
    const { control, distribution } = system.addresses;
    expect(await ask(control, '/v1/directory', { servername: GUEST_NAME })).toBe('200');
    expect(await ask(control, '/v1/directory', {})).toBe('closed');
    expect(await ask(control, '/v1/directory', { servername: 'localhost' })).toBe('closed');
    expect(await ask(distribution, '/v1/directory', { servername: GUEST_NAME })).toBe('closed');
  });

  it('can read and change nothing else', async () => {
    const { control } = system.addresses;
    const guest = { servername: GUEST_NAME };
    const id = '00'.repeat(16);
    for (const path of [
      'designs',
      'licences',
      'prints',
      'objects',
      'machines',
      'organisations',
      'status',
      'revocations',
      'ledger/checkpoint',
      `keys/${id}`,
      `organisations/${id}/keys`,
      'mailbox?wait=0&consumer=x',
      'deletions',
    ])
      expect(await ask(control, `/v1/${path}`, guest), path).toBe('401 E_AUTH');
    for (const path of ['transactions', 'revocations', 'vault/checks', 'head'])
      expect(await ask(control, `/v1/${path}`, { ...guest, method: 'POST', body: '{}' }), path).toBe('401 E_AUTH');
    expect(await ask(control, `/v1/invitations/${id}`, guest)).toBe('404 E_NOT_FOUND');
    const long = JSON.stringify({ enrolment: 'A'.repeat(100_000) });
    expect(await ask(control, '/v1/enrolments', { ...guest, method: 'POST', body: long })).toMatch(/^413|^closed/);
    expect(await ask(control, '/v1/certificates', { ...guest, method: 'POST', body: '{"request":"AAAA"}' })).toBe(
      '401 E_SIGNATURE',
    );
  });

  it('gets no access with a self-issued certificate', async () => {
    const stranger = await createAuthority('Millrace stranger', Date.now());
    const identity = await stranger.issue({ role: 'user', name: keyName(system.owner.signer.publicKey) });
    expect(await ask(system.addresses.control, '/v1/directory', { servername: GUEST_NAME, identity })).toBe('closed');
  });
});

describe('a thief of an invitation', () => {
  it('cannot use it after its person, nor for the administrator’s or a registered key', {
    timeout: 60_000,
  }, async () => {
    const { admin, owner, installation } = system;
    const organisation = await createOrganisation(admin, { name: 'Brand', kinds: ['brand'] });
    const member = { organisation, name: 'Ada', roles: ['designer' as const] };
    const { secret, invitation } = await inviteMember(admin, member, { days: 1, keyDays: 30 });
    const proving = userKey(secret);
    const enrolment = async (signer: typeof owner.signer) => {
      const proof = await proveInvitation(proving, installation.directory.installation, signer.publicKey);
      const body = { type: 'key.enrol', invitation, publicKey: signer.publicKey, device: 'x', proof } as const;
      const { bytes } = await signNew({ ...owner, signer }, body);
      return JSON.stringify({ enrolment: toBase64(bytes) });
    };
    const post = (body: string) =>
      ask(system.addresses.control, '/v1/enrolments', { servername: GUEST_NAME, method: 'POST', body });
    // Keys registered elsewhere do not use up the invitation.
    expect(await post(await enrolment(owner.signer))).toBe('409 E_CONFLICT');
    expect(await post(await enrolment(admin.signer))).toBe('409 E_CONFLICT');

    const [ada, thief] = [generateUserKey(), generateUserKey()];
    const racing = await Promise.all([post(await enrolment(ada)), post(await enrolment(thief))]);
    expect(racing.sort()).toEqual(['200', '409 E_INVITATION']);
  });
});

describe('an attacker with control’s folder', () => {
  it('can issue certificates for users, but not for machines or nodes', async () => {
    const { distribution } = system.addresses;
    const users = system.nodes.control.context.userAuthority;
    if (users === undefined) throw new Error('no authority of users');
    const made = async (party: Parameters<typeof users.certify>[0]) => {
      const key = createTlsKey();
      const certificate = await users.certify(party, tlsPublicKey(key), Date.now() + 60_000);
      return ask(distribution, '/v1/directory', { identity: { certificate, key } });
    };
    expect(await made({ role: 'user', name: keyName(system.owner.signer.publicKey) })).toBe('200');
    expect(await made({ role: 'machine', name: system.machine })).toBe('401 E_AUTH');
    expect(await made({ role: 'keys', id: 'keys-1' })).toBe('401 E_AUTH');
    expect(await made({ role: 'control', id: 'control-1' })).toBe('401 E_AUTH');
  });
});
