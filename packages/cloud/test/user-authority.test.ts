import { systemClock, systemRandom } from '@millrace/base';
import { createAuthority, createTlsKey, isIssuedBy, tlsPublicKey } from '@millrace/identity';
import { signTransaction } from '@millrace/protocol';
import { expect, it } from 'vitest';
import { issueCertificate } from '../src/control/people.ts';
import { controlFixture } from './control-fixture.ts';

it('an expired authority of users issues nothing, and the error says what to do', async () => {
  const { context, keys } = await controlFixture();
  const now = systemClock.now();
  const request = async () => {
    const times = { id: systemRandom(16), issued: now, expires: now + 60_000 };
    const body = { type: 'certificate.request' as const, ...times, tlsKey: tlsPublicKey(createTlsKey()) };
    return signTransaction(keys.owner, context.directory.installation, body);
  };
  const [old, current] = [await createAuthority('old', now - 11 * 366 * 86_400_000), await createAuthority('new', now)];
  await expect(issueCertificate({ ...context, userAuthority: old }, await request())).rejects.toMatchObject({
    code: 'E_CONFIG',
    message: expect.stringContaining('key rotate users'),
  });
  const issued = await issueCertificate({ ...context, userAuthority: current }, await request());
  expect(isIssuedBy(issued, current.identity.certificate)).toBe(true);
});
