import type { Bytes } from '@millrace/base';
import type { P256Key } from '@millrace/identity';
import { type PermitRequest, signMachineDocument } from '@millrace/protocol';
import { permitRequest } from '@millrace/testkit/permit-request.mjs';

type Needed = Pick<PermitRequest, 'print' | 'issued'>;

/** A permit request as a machine with the serial number SN-1 signs it, valid for a minute from the first segment. */
export function signPermitRequest(
  key: P256Key,
  installation: string,
  changes: Needed & Partial<PermitRequest>,
): Promise<Bytes> {
  const usual = { expires: changes.issued + 60_000, serial: 'SN-1', run: new Uint8Array(16), tableMs: 1 };
  return signMachineDocument(key, installation, permitRequest({ ...usual, ...changes }));
}
