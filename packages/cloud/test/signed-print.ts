import { type Bytes, systemRandom } from '@millrace/base';
import type { Signer } from '@millrace/identity';
import { signTransaction } from '@millrace/protocol';

/** A holder's signed order of one object. */
export function signedPrint(
  key: Signer,
  installation: string,
  { licence, machine }: { licence: string; machine: string },
): Promise<Bytes> {
  const body = { type: 'print.request', id: systemRandom(16), issued: 0, expires: 1, licence, machine } as const;
  return signTransaction(key, installation, body);
}
