import { type Bytes, concatBytes, equalBytes, fromHex, MillraceError, u64be } from '@millrace/base';
import { keyId, type P256Key, seal, unseal } from '@millrace/identity';
import { type Directory, identitiesOf, type NodeRole } from './directory.ts';
import { type BoxKey, verifyBoxKey } from './documents.ts';

/** Roles whose nodes have a mailbox. */
export type BoxRole = Exclude<NodeRole, 'distribution'>;
export type BoxUse = BoxKey['use'];

const NUMBER_BYTES = 8;

/** The secret keys that a node still holds for one use. */
export interface BoxSecrets {
  /** Undefined if the key never existed or was erased. */
  keyOf(number: number): P256Key | undefined;
}

/**
 * Verifies that this node made the key for this use.
 * @param now 'any time' if the caller remembers the newest key number it has seen; otherwise old keys must be refused
 * @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT, E_EXPIRED, E_CLOCK
 */
export async function readBoxKey(
  directory: Directory,
  { node, use }: { node: string; use: BoxUse },
  document: Uint8Array,
  now: number | 'any time',
): Promise<BoxKey> {
  const identities = identitiesOf(directory, node).map(fromHex);
  const lookup = (id: Bytes) => identities.find((identity) => equalBytes(id, keyId(identity)));
  const { body } = await verifyBoxKey(document, directory.installation, lookup, now);
  if (body.node !== node || body.use !== use)
    throw new MillraceError('E_INPUT', `a box key of ${body.node} for ${body.use}, not of ${node} for ${use}`);
  return body;
}

/** Seals to a box key; with `sender`, in auth mode. Output: number(u64) ‖ enc(65) ‖ ciphertext ‖ tag(16). */
export async function sealToBox(
  box: Pick<BoxKey, 'number' | 'point'>,
  info: Uint8Array,
  plaintext: Uint8Array,
  options: { sender?: P256Key } = {},
): Promise<Bytes> {
  return concatBytes(u64be(BigInt(box.number)), await seal(box.point, info, plaintext, options));
}

/** Number of the key to which a message is sealed. @throws {MillraceError} E_SEAL */
export function boxNumberOf(sealed: Uint8Array): number {
  if (sealed.length < NUMBER_BYTES) throw new MillraceError('E_SEAL', 'the sealed message is truncated');
  const number = Number(new DataView(sealed.buffer, sealed.byteOffset).getBigUint64(0));
  if (!Number.isSafeInteger(number)) throw new MillraceError('E_SEAL', 'the sealed message names no key');
  return number;
}

/** @throws {MillraceError} E_BOX_KEY if its key was erased, E_SEAL if it cannot be opened */
export async function openFromBox(
  secrets: BoxSecrets,
  info: Uint8Array,
  sealed: Uint8Array,
  options: { sender?: Uint8Array } = {},
): Promise<Bytes> {
  const number = boxNumberOf(sealed);
  const key = secrets.keyOf(number);
  if (key === undefined) throw new MillraceError('E_BOX_KEY', `the box key ${number} is erased`, { data: { number } });
  return unseal(key, info, sealed.subarray(NUMBER_BYTES), options);
}
