import { type Bytes, systemRandom } from '@millrace/base';
import { generateP256Key, type P256Key } from '@millrace/identity';
import { type PermitRequest, signMachineDocument } from '@millrace/protocol';

type Needed = Pick<PermitRequest, 'print' | 'issued'>;

/** A permit request as a machine with the serial number SN-1 signs it, valid for a minute from the first segment. */
export function signPermitRequest(
  key: P256Key,
  installation: string,
  changes: Needed & Partial<PermitRequest>,
): Promise<Bytes> {
  return signMachineDocument(key, installation, {
    type: 'permit.request',
    id: systemRandom(16),
    expires: changes.issued + 60_000,
    serial: 'SN-1',
    material: 'PLA',
    ephemeral: generateP256Key().publicKey,
    run: new Uint8Array(16),
    from: 0,
    order: 16,
    suite: 'keccak256',
    hints: 'dense',
    tableMs: 1,
    ...changes,
  });
}
