import { type Bytes, bytesOf, concatBytes, hexOf, MillraceError, u32be, utf8, wipe } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { type P256Key, seal, unseal } from '@millrace/identity';
import { SLOT_CONTENT, type Slots } from '@millrace/vault';
import { z } from 'zod';
import { replicaId } from './group.ts';
import type { ReplicatedNode } from './statements.ts';

/** Files of slots whose content every replica has, in the order of their numbers in messages. */
export const slotFiles = ['epoch', 'design', 'mail', 'attachments'] as const;
export type SlotFile = (typeof slotFiles)[number];
export type SlotSets = { readonly [file in SlotFile]: Slots };

/** Intervals of the exchange between replicas, ms. */
export interface ReplicaTimes {
  /** Between looks for messages and answers. */
  readonly pollMs: number;
  /** Between messages while nothing changes: each renews the key of the other replica. */
  readonly pulseMs: number;
  /** After this time without an answer, a replica is no longer in sync. */
  readonly graceMs: number;
  /** Between looks at the group: replicas are enrolled and removed by a command. */
  readonly groupMs: number;
  /** Until a message without an answer is written again. */
  readonly repeatMs: number;
}
export const DEFAULT_TIMES: ReplicaTimes = {
  pollMs: 100,
  pulseMs: 2_000,
  graceMs: 3_000,
  groupMs: 1_000,
  repeatMs: 1_000,
};

const uint = z.number().int().nonnegative();
const digest = bytesOf(32);

/** From the active replica to one on standby. One is under way at a time; the answer names it. */
export const messageSchema = z.strictObject({
  /** Lease of the active replica. */
  token: uint,
  active: replicaId,
  /** Distinguishes messages that are otherwise equal. */
  nonce: bytesOf(16),
  /** Missing when the active replica asks for a point. */
  changes: z
    .strictObject({
      /** The other replica's, since it last asked to begin anew. */
      instance: hexOf(16),
      /** 1, 2, … for each instance. */
      number: z.number().int().positive(),
      /** HPKE to the newest point of the instance: enc(65) ‖ ciphertext ‖ tag(16). */
      sealed: z.instanceof(Uint8Array),
    })
    .optional(),
});
export type ReplicaMessage = z.output<typeof messageSchema>;

/** From a replica on standby to the active one. */
export const answerSchema = z.strictObject({
  /** SHA-256 of the message that it answers. */
  to: digest,
  instance: hexOf(16),
  /** Number of the message that was applied and is durable; 0 if the active replica has to begin anew. */
  number: uint,
  /** P-256 point of a key in memory: the next message is sealed to it. The key before it is erased. */
  point: bytesOf(65),
});
export type ReplicaAnswer = z.output<typeof answerSchema>;

/** A slot, and its content; empty when the slot was erased. */
export type Change = readonly [file: number, slot: number, content: Uint8Array];

export interface Content {
  readonly changes: readonly Change[];
  /** At the end of the whole content: number of slots of each file. Every further slot is erased. */
  readonly counts?: readonly number[] | undefined;
}

/** Who a message is for. */
export interface Recipient {
  readonly of: ReplicatedNode;
  readonly replica: string;
  readonly instance: string;
  readonly number: number;
}

const infoOf = ({ of, replica, instance, number }: Recipient): Bytes =>
  utf8(`millrace/v1/keys-replica/${of.installation}/${of.node}/${replica}/${instance}/${number}`);

export async function sealContent(to: Recipient, point: Uint8Array, content: Content): Promise<Bytes> {
  const plain = encodeContent(content);
  try {
    return await seal(point, infoOf(to), plain);
  } finally {
    wipe(plain);
  }
}

/** The caller wipes the changes. @throws {MillraceError} E_SEAL, E_INPUT */
export async function openContent(to: Recipient, key: P256Key, sealed: Uint8Array): Promise<Content> {
  const plain = await unseal(key, infoOf(to), sealed);
  try {
    return decodeContent(plain);
  } finally {
    wipe(plain);
  }
}

/**
 * hasCounts(u8) ‖ count(u32) of each file, if so ‖ file(u8) ‖ slot(u32) ‖ length(u8) ‖ content of each change. Not CBOR,
 * whose encoder keeps copies of what it has encoded.
 */
function encodeContent({ changes, counts }: Content): Bytes {
  const parts = changes.flatMap(([file, slot, content]) => [
    concatBytes(Uint8Array.of(file), u32be(slot), Uint8Array.of(content.length)),
    content,
  ]);
  return concatBytes(Uint8Array.of(counts === undefined ? 0 : 1), ...(counts ?? []).map(u32be), ...parts);
}

/** @throws {MillraceError} E_INPUT */
function decodeContent(plain: Bytes): Content {
  const view = new DataView(plain.buffer, plain.byteOffset, plain.length);
  const changes: Change[] = [];
  try {
    const counts = plain[0] === 1 ? slotFiles.map((_, file) => view.getUint32(1 + 4 * file)) : undefined;
    if (plain.length === 0 || (plain[0] ?? 0) > 1) throw new RangeError();
    let at = counts === undefined ? 1 : 1 + 4 * counts.length;
    while (at < plain.length) {
      const [file, slot, length] = [view.getUint8(at), view.getUint32(at + 1), view.getUint8(at + 5)];
      at += 6;
      if (file >= slotFiles.length || length > SLOT_CONTENT || at + length > plain.length) throw new RangeError();
      changes.push([file, slot, plain.slice(at, at + length)]);
      at += length;
    }
    return { changes, counts };
  } catch (cause) {
    for (const [, , content] of changes) wipe(content);
    throw new MillraceError('E_INPUT', 'changes of slots do not decode', { cause });
  }
}

export const digestOf = (statement: Uint8Array): Bytes => sha256(statement);
/** Where the messages to a replica, and its answers, are in the collection. */
export const placesOf = (replica: string) => ({ to: `to/${replica}`, from: `from/${replica}` });
