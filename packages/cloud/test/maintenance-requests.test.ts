import { type Bytes, systemRandom, toHex } from '@millrace/base';
import { generateUserKey, type Signer } from '@millrace/identity';
import { signTransaction } from '@millrace/protocol';
import { registerKey } from '@millrace/testkit/protocol/support';
import { describe, expect, it } from 'vitest';
import { verifyMaintenanceRequest } from '../src/keys/maintenance-requests.ts';

const installation = toHex(systemRandom(16));
const [design, another] = [toHex(systemRandom(16)), toHex(systemRandom(16))];
const [admin, owner] = [generateUserKey(), generateUserKey()];
const directory = { installation, adminKey: toHex(admin.publicKey) };
const common = () => ({ id: systemRandom(16), issued: 1_000, expires: 2_000 });
const request = (signer: Signer, about = design, where = installation) =>
  signTransaction(signer, where, { type: 'design.maintenance', ...common(), design: about, mode: 'delta' });
const verify = async (transaction: Bytes, signer: Signer = owner) => {
  const credential = await registerKey(admin, installation, signer.publicKey);
  return verifyMaintenanceRequest({ design, transaction, credential }, { owner: owner.publicKey }, directory);
};

describe('a maintenance mode request at the keys node', () => {
  it('is accepted from the owner, however long it was in the mailbox', async () => {
    expect(await verify(await request(owner))).toMatchObject({ mode: 'delta', issued: 1_000 });
  });

  it('is rejected when of another signer, design, installation or type, or altered', async () => {
    const refused = (bytes: Bytes, code: string, signer?: Signer) =>
      expect(verify(bytes, signer)).rejects.toMatchObject({ code });
    const other = generateUserKey();
    await refused(await request(other), 'E_AUTH', other);
    await refused(await request(other), 'E_AUTH');
    await refused(await request(owner, another), 'E_FORBIDDEN');
    await refused(await request(owner, design, toHex(systemRandom(16))), 'E_SIGNATURE');
    await refused(
      await signTransaction(owner, installation, { type: 'design.delete', ...common(), design }),
      'E_FORBIDDEN',
    );
    const altered = await request(owner);
    altered[altered.length - 1] = (altered.at(-1) ?? 0) ^ 1;
    await refused(altered, 'E_SIGNATURE');
  });
});
