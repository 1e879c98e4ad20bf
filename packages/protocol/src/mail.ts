import {
  type Bytes,
  bytesOf,
  decodeCbor,
  encodeCbor,
  fromHex,
  hexOf,
  MillraceError,
  parse,
  utf8,
} from '@millrace/base';
import type { P256Key } from '@millrace/identity';
import { z } from 'zod';
import { MAX_AMENDMENTS } from './amendments.ts';
import { type BoxSecrets, openFromBox, sealToBox } from './box.ts';
import { type Directory, identitiesOf, type NodeRole, nodeId, nodesOf } from './directory.ts';
import { type BoxKey, machineSchema } from './documents.ts';
import { admissionSchema } from './federation.ts';
import { openBySome } from './sealed-keys.ts';
import { sessionParametersSchema } from './session.ts';
import { MAX_REPAIR, objectName } from './shapes.ts';

const bytes = z.instanceof(Uint8Array);
const design = hexOf(16);
const uint = z.number().int().nonnegative();

export const segmentNumbers = z.array(uint).max(MAX_REPAIR);

/** A user's transaction, and the credential of the key that signed it. */
const attested = { transaction: bytes, credential: bytes };
const amendmentsSchema = z.array(z.strictObject(attested)).max(MAX_AMENDMENTS);

const openingSchema = z.strictObject({
  permit: bytes,
  request: bytes,
  print: bytes,
  licence: bytes,
  licenceSigner: bytes,
  printSigner: bytes,
  amendments: amendmentsSchema,
  machine: machineSchema,
  membership: z.strictObject({ statement: z.strictObject(attested), assignment: bytes }).optional(),
  admission: admissionSchema.optional(),
});

/** A statement of the owner on a licence; the licence, and the credential of the key that signed it. */
const onLicence = { licence: bytes, licenceSigner: bytes, ...attested };

/** Every message that one node can send to another through the mailbox. */
const messageSchema = z.discriminatedUnion('type', [
  // control → keys and segments
  z.strictObject({
    type: z.literal('design.add'),
    ...attested,
    manifest: bytes,
    keys: bytes.optional(),
  }),
  z.strictObject({ type: z.literal('design.uploaded'), design }),
  z.strictObject({ type: z.literal('design.delete'), design, ...attested }),
  z.strictObject({ type: z.literal('design.maintenance'), design, ...attested }),
  z.strictObject({ type: z.literal('alarm.clear'), object: objectName, ...attested }),
  z.strictObject({ type: z.literal('design.repair'), design, repair: hexOf(16), segments: segmentNumbers }),
  z.strictObject({ type: z.literal('licence.grant'), ...attested, secret: bytes }),
  z.strictObject({ type: z.literal('licence.resume'), ...onLicence }),
  /** The owner suspends, reinstates or revokes a licence. */
  z.strictObject({ type: z.literal('licence.status'), ...onLicence }),
  /** The owner credits a failed object: it is final, and one more object of the licence is possible. */
  z.strictObject({ type: z.literal('case.credit'), ...onLicence }),
  /** A licence was transferred. */
  z.strictObject({
    type: z.literal('licence.amend'),
    licence: bytes,
    licenceSigner: bytes,
    amendments: amendmentsSchema,
  }),
  /** An organisation has set the members of a group. */
  z.strictObject({ type: z.literal('group.set'), ...attested }),
  /** The administrator has stated which organisation holds a machine. */
  z.strictObject({ type: z.literal('machine.assign'), transaction: bytes }),
  /**
   * `segments`: id of the node that streams, for the keys node, if there are several. `distribution`: id of the node over
   * which the machine has asked, if there are several.
   */
  z.strictObject({
    type: z.literal('stream.open'),
    opening: openingSchema,
    segments: nodeId.optional(),
    distribution: nodeId.optional(),
  }),
  z.strictObject({ type: z.literal('vault.check'), check: hexOf(16), deep: z.boolean() }),
  /** Every message that may be sealed to an older key of the recipient was delivered before this message. */
  z.strictObject({ type: z.literal('box.drained'), use: z.enum(['mail', 'attachments']), below: uint }),
  // keys → control
  /** The licence's secret cannot be opened: it is sealed to a key that the keys node has erased. */
  z.strictObject({ type: z.literal('licence.refused'), licence: hexOf(16), code: z.string(), reason: z.string() }),
  z.strictObject({ type: z.literal('design.deleted'), design }),
  z.strictObject({ type: z.literal('design.maintained'), design, transaction: hexOf(16), mode: z.string() }),
  // segments → keys and control
  z.strictObject({ type: z.literal('design.stored'), design }),
  z.strictObject({ type: z.literal('design.refused'), design, code: z.string(), reason: z.string() }),
  z.strictObject({
    type: z.literal('design.repaired'),
    design,
    repair: hexOf(16),
    /** Segments that were stored again; empty if the repair failed. */
    segments: segmentNumbers,
    code: z.string().optional(),
    reason: z.string().optional(),
  }),
  z.strictObject({
    type: z.literal('stream.alarm'),
    object: objectName,
    permitId: hexOf(16),
    acked: uint,
    by: z.enum(['segments', 'keys']),
    reason: z.string().max(300),
  }),
  /** The node will never stream this object for this print. */
  z.strictObject({
    type: z.literal('stream.refused'),
    object: objectName,
    permitId: hexOf(16),
    code: z.string().max(40),
    reason: z.string().max(300),
  }),
  z.strictObject({ type: z.literal('slice.missing'), session: hexOf(16), segments: z.array(uint) }),
  // keys → segments
  z.strictObject({
    type: z.literal('stream.session'),
    session: bytesOf(16),
    permitId: hexOf(16),
    seed: bytesOf(32),
    parameters: sessionParametersSchema,
  }),
  z.strictObject({
    type: z.literal('stream.slices'),
    /** Each slice belongs to one stream; a stream may have several. */
    slices: z
      .array(
        z.strictObject({
          session: hexOf(16),
          cells: z.array(z.strictObject({ segment: uint, index: bytesOf(20) })).max(256),
        }),
      )
      .max(256),
  }),
  z.strictObject({ type: z.literal('stream.mix'), session: hexOf(16), revision: uint, secret: bytesOf(32) }),
  z.strictObject({ type: z.literal('stream.close'), session: hexOf(16) }),
  // vault: storing, maintenance and checks; encoded by packages/vault
  // segments → keys
  z.strictObject({ type: z.literal('vault'), message: bytes }),
  /**
   * The segments node's newest key for `vault.sealed`: an uncompressed P-256 point. It is in memory only. `started`: the
   * node has lost all earlier ones.
   */
  z.strictObject({ type: z.literal('vault.key'), point: bytesOf(65), started: z.boolean() }),
  /** The node is still working on a message of the vault. */
  z.strictObject({ type: z.literal('vault.working') }),
  // keys → segments
  /** `sealed` is a message of the vault, sealed to `point` (vault-seal.ts). */
  z.strictObject({ type: z.literal('vault.sealed'), point: bytesOf(65), sealed: bytes }),
  /** Make a new key and state it. */
  z.strictObject({ type: z.literal('vault.renew') }),
  /** No later message is sealed to a key before this one: erase them. */
  z.strictObject({ type: z.literal('vault.renewed'), point: bytesOf(65) }),
  z.strictObject({ type: z.literal('check.result'), check: hexOf(16), report: bytes }),
]);
export type Message = z.output<typeof messageSchema>;
export type MessageOf<T extends Message['type']> = Extract<Message, { type: T }>;

type Route = `${NodeRole}>${NodeRole}`;

/**
 * Permitted senders and recipients of each message (spec/protocol.md, section 4). Every node refuses all other
 * messages.
 */
export const mailRoutes: Readonly<Record<Message['type'], readonly Route[]>> = {
  'design.add': ['control>keys', 'control>segments'],
  'design.uploaded': ['control>segments'],
  'design.delete': ['control>keys', 'control>segments'],
  'design.maintenance': ['control>keys'],
  'alarm.clear': ['control>keys', 'control>segments'],
  'design.repair': ['control>segments'],
  'licence.grant': ['control>keys'],
  'licence.resume': ['control>keys', 'control>segments'],
  'licence.status': ['control>keys', 'control>segments'],
  'case.credit': ['control>keys', 'control>segments'],
  'licence.amend': ['control>keys', 'control>segments'],
  'group.set': ['control>keys', 'control>segments'],
  'machine.assign': ['control>keys', 'control>segments'],
  'stream.open': ['control>keys', 'control>segments'],
  'vault.check': ['control>keys'],
  'box.drained': ['control>control', 'control>keys', 'control>segments'],
  'licence.refused': ['keys>control'],
  'design.deleted': ['keys>control'],
  'design.maintained': ['keys>control'],
  'design.stored': ['segments>control'],
  'design.refused': ['keys>control', 'segments>control'],
  'design.repaired': ['segments>control'],
  'stream.alarm': ['segments>control', 'segments>keys', 'keys>control'],
  'stream.refused': ['segments>control', 'keys>control'],
  'slice.missing': ['segments>keys'],
  'stream.session': ['keys>segments'],
  'stream.slices': ['keys>segments'],
  'stream.mix': ['keys>segments'],
  'stream.close': ['keys>segments'],
  vault: ['segments>keys'],
  'vault.key': ['segments>keys'],
  'vault.working': ['segments>keys'],
  'vault.sealed': ['keys>segments'],
  'vault.renew': ['keys>segments'],
  'vault.renewed': ['keys>segments'],
  'check.result': ['keys>control'],
};

/** @throws {MillraceError} E_FORBIDDEN */
export function requireRoute(type: Message['type'], sender: NodeRole, recipient: NodeRole): void {
  if (!mailRoutes[type].includes(`${sender}>${recipient}`))
    throw new MillraceError('E_FORBIDDEN', `the ${recipient} node takes no ${type} from ${sender}`);
}

/** Whether `sender` may send any message to `recipient`. The mailbox can check no more, because messages are sealed. */
export function mayWrite(sender: NodeRole, recipient: NodeRole): boolean {
  return Object.values(mailRoutes).some((routes) => routes.includes(`${sender}>${recipient}`));
}

/** Largest message before sealing, bytes. Larger content is sent in several messages. */
export const MAX_MESSAGE = 32 * 1024 * 1024;

/** A message before it is sealed; the caller wipes it. @throws {MillraceError} E_TOO_LARGE */
export function encodeMail(message: Message): Bytes {
  const plain = encodeCbor(message as never);
  if (plain.length > MAX_MESSAGE)
    throw new MillraceError('E_TOO_LARGE', `message ${message.type}: ${plain.length} bytes`);
  return plain;
}

/** Reads the output of `encodeMail`. @throws {MillraceError} E_INPUT */
export function readMessage(plain: Uint8Array): Message {
  return parse(messageSchema, decodeCbor(plain, 'message'), 'message');
}

/**
 * Seals the output of `encodeMail`, authenticated as the sender (HPKE auth mode), so that the mailbox can neither read
 * nor forge it.
 */
export function sealMail(
  directory: Directory,
  sender: { id: string; identity: P256Key },
  box: BoxKey,
  plain: Uint8Array,
): Promise<Bytes> {
  return sealToBox(box, infoOf(directory, sender.id, box.node), plain, { sender: sender.identity });
}

/**
 * @param sender id of the sending node
 * @throws {MillraceError} E_AUTH if the directory does not contain them
 * @throws {MillraceError} E_SEAL if it is not from `sender` to this node, E_BOX_KEY if its key is erased, E_INPUT if it
 *   is not a known message, E_FORBIDDEN if the sender may not send it
 */
export async function openMessage(
  directory: Directory,
  recipient: { id: string; boxes: BoxSecrets },
  sender: string,
  sealed: Uint8Array,
): Promise<Message> {
  const [from, to] = [nodesOf(directory, sender), nodesOf(directory, recipient.id)].map(([node]) => node);
  if (from?.id !== sender || to?.id !== recipient.id)
    throw new MillraceError('E_AUTH', `the directory does not name ${sender} and ${recipient.id}`);
  const info = infoOf(directory, sender, recipient.id);
  const senders = identitiesOf(directory, sender).map(fromHex);
  const plain = await openBySome(senders, (sender) => openFromBox(recipient.boxes, info, sealed, { sender }));
  const message = readMessage(plain);
  requireRoute(message.type, from.role, to.role);
  return message;
}

/** Includes both ids, so that a message to or from one node is never accepted as that of another node of the role. */
function infoOf(directory: Pick<Directory, 'installation'>, sender: string, recipient: string): Bytes {
  return utf8(`millrace/v1/mail/${directory.installation}/${sender}/${recipient}`);
}
