import { join } from 'node:path';
import { type Bytes, fromHex, type RandomSource, wipe } from '@millrace/base';
import { readBytes } from '@millrace/client/node';
import { userKey } from '@millrace/identity';
import { signTransaction } from '@millrace/protocol';
import { type Layout, userFiles } from './layout.ts';

/** Signs the administrator's registration of control's permit key, on which verifiers of certificates rely. */
export async function signPermitKey(
  layout: Layout,
  made: { installation: string; permitKey: string; now: number; random: RandomSource },
): Promise<Bytes> {
  const secret = await readBytes(join(layout.user('admin'), userFiles.key));
  const admin = userKey(secret);
  try {
    return await signTransaction(admin, made.installation, {
      type: 'permit-key.register',
      id: made.random(16),
      issued: made.now,
      expires: made.now,
      publicKey: fromHex(made.permitKey),
    });
  } finally {
    wipe(secret);
    admin.close();
  }
}
