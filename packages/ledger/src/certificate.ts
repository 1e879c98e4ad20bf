import {
  type Bytes,
  concatBytes,
  decodeCbor,
  encodeCbor,
  equalBytes,
  MillraceError,
  parse,
  toBase64,
  utf8,
} from '@millrace/base';
import { z } from 'zod';
import { type AccountHead, follow } from './accounts.ts';
import { openCheckpoint, type VerifiedCheckpoint } from './checkpoint.ts';
import { decodeEvent, type EventBody, type LoggedEvent } from './event.ts';
import { parseVerifierKey } from './note.ts';
import { HASH_LENGTH, verifyInclusion } from './tree.ts';

/** First bytes of a certificate file; the number is the version. */
const magic: Bytes = utf8('millrace-certificate/1\n');

const MAX_LENGTH = 32 * 1024 * 1024;
/** An audit path in a log of 2^53 entries. */
const MAX_PROOF = 53;

const certificateSchema = z.strictObject({
  object: z.string(),
  checkpoint: z.instanceof(Uint8Array),
  entries: z
    .array(
      z.strictObject({
        index: z.int().min(0),
        entry: z.instanceof(Uint8Array),
        proof: z.array(z.instanceof(Uint8Array).refine((hash) => hash.length === HASH_LENGTH)).max(MAX_PROOF),
      }),
    )
    .min(1),
});

/** What a certificate carries, unverified. */
export type CertificateParts = z.output<typeof certificateSchema>;

export interface CertificateTrust {
  /** Verifier key string of the log. */
  readonly logKey: string;
  /** Verifies the actor's signature of an event that has evidence, by throwing when it does not hold. */
  readonly verifyEvidence?: (event: LoggedEvent) => void | Promise<void>;
  /** Verifier key strings (type 0x04) of witnesses, and how many of them have to have signed (default 0). */
  readonly witnesses?: readonly string[];
  readonly quorum?: number;
}

export interface VerifiedCertificate {
  readonly object: string;
  /** State of the object after its last event here. Later events may exist: a certificate speaks of its checkpoint. */
  readonly state: string;
  readonly events: readonly LoggedEvent[];
  /** The licences that the object's events name. */
  readonly licences: readonly { readonly account: string; readonly events: readonly LoggedEvent[] }[];
  readonly checkpoint: VerifiedCheckpoint;
  /** Events with evidence, and how many of these were verified: 0 without `verifyEvidence`. */
  readonly evidence: { readonly present: number; readonly verified: number };
}

/** The account of the licence that an event of an object names, by the field `licence` of its body. */
export function licenceOf(body: EventBody): string | undefined {
  const licence = Object.hasOwn(body, 'licence') ? body.licence : undefined;
  return typeof licence === 'string' ? licence : undefined;
}

export function encodeCertificate(parts: CertificateParts): Bytes {
  return concatBytes(magic, encodeCbor(parts));
}

/** @throws {MillraceError} E_CERTIFICATE unless the bytes have the form of a certificate, in its one encoding. */
export function decodeCertificate(bytes: Uint8Array): CertificateParts {
  if (bytes.length > MAX_LENGTH) throw malformed('it is too long');
  if (bytes.length < magic.length || !equalBytes(bytes.subarray(0, magic.length), magic)) {
    throw malformed('it does not begin as a certificate of version 1');
  }
  const value = decodeCbor(bytes.subarray(magic.length), 'certificate', 'E_CERTIFICATE');
  return parse(certificateSchema, value, 'certificate', 'E_CERTIFICATE');
}

/**
 * Verifies a certificate offline, with nothing but the log's public key.
 * @throws {MillraceError} E_CERTIFICATE (form, missing or foreign parts), E_LEDGER_CHECKPOINT (not signed by the log
 * or by enough witnesses), E_LEDGER_ENTRY (an event is malformed, does not follow the one before, or its evidence
 * does not verify), E_LEDGER_PROOF (an entry is not in the log of the checkpoint); E_INPUT for a bad key.
 */
export async function verifyCertificate(bytes: Uint8Array, trust: CertificateTrust): Promise<VerifiedCertificate> {
  const parts = decodeCertificate(bytes);
  const checkpoint = openCheckpoint(parts.checkpoint, {
    logKey: parseVerifierKey(trust.logKey),
    witnesses: (trust.witnesses ?? []).map(parseVerifierKey),
  });
  const quorum = trust.quorum ?? 0;
  if (checkpoint.cosignatures.length < quorum) {
    const message = `the checkpoint is signed by ${checkpoint.cosignatures.length} known witnesses, ${quorum} are asked for`;
    throw new MillraceError('E_LEDGER_CHECKPOINT', message);
  }
  const accounts = replay(parts);
  const own = accounts.get(parts.object);
  if (own === undefined) throw malformed(`it holds no event of the object ${parts.object}`);
  if (own.head.kind !== 'object') throw malformed(`${parts.object} is a ${own.head.kind}, not an object`);
  const licences = requireLicences(own.events, accounts, parts.object);
  for (const { index, entry, proof } of parts.entries) verifyEntry(index, entry, proof, checkpoint);
  const withEvidence = [...accounts.values()].flatMap(({ events }) =>
    events.filter((e) => e.event.evidence !== undefined),
  );
  if (trust.verifyEvidence !== undefined) {
    for (const logged of withEvidence) await verifyEvidence(logged, trust.verifyEvidence);
  }
  return {
    object: parts.object,
    state: own.head.state,
    events: own.events,
    licences,
    checkpoint,
    evidence: { present: withEvidence.length, verified: trust.verifyEvidence === undefined ? 0 : withEvidence.length },
  };
}

interface Chain {
  head: AccountHead;
  readonly events: LoggedEvent[];
}

/** Account chains, each from its first event without a gap. */
function replay(parts: CertificateParts): Map<string, Chain> {
  if (parts.entries.some(({ index }, i) => index <= (parts.entries[i - 1]?.index ?? -1))) {
    throw malformed('its entries are not in the order of the log');
  }
  const accounts = new Map<string, Chain>();
  for (const { index, entry } of parts.entries) {
    const logged = decodeEvent(entry, index);
    const chain = accounts.get(logged.event.account);
    const head = follow(chain?.head, logged);
    if (chain === undefined) accounts.set(head.account, { head, events: [logged] });
    else {
      chain.head = head;
      chain.events.push(logged);
    }
  }
  return accounts;
}

/** Exactly the licences that the object names, each granted before the object names it. */
function requireLicences(
  events: readonly LoggedEvent[],
  accounts: ReadonlyMap<string, Chain>,
  object: string,
): { account: string; events: readonly LoggedEvent[] }[] {
  const named = new Map<string, number>();
  for (const { event, index } of events) {
    const licence = licenceOf(event.body);
    if (licence !== undefined && !named.has(licence)) named.set(licence, index);
  }
  for (const account of accounts.keys()) {
    if (account !== object && !named.has(account))
      throw malformed(`it holds events of ${account}, which the object does not name`);
  }
  return [...named].map(([account, index]) => {
    const licence = accounts.get(account);
    const first = licence?.events[0];
    if (licence === undefined || first === undefined) throw malformed(`it lacks the licence ${account}`);
    if (licence.head.kind !== 'licence') throw malformed(`${account} is a ${licence.head.kind}, not a licence`);
    if (first.index > index) throw malformed(`the licence ${account} was recorded after the object named it`);
    return { account, events: licence.events };
  });
}

function verifyEntry(
  index: number,
  entry: Uint8Array,
  proof: readonly Uint8Array[],
  checkpoint: VerifiedCheckpoint,
): void {
  const { hash } = decodeEvent(entry, index);
  if (verifyInclusion(hash, index, checkpoint.size, proof, checkpoint.root)) return;
  throw new MillraceError('E_LEDGER_PROOF', `the proof of entry ${index} does not lead to the root of the checkpoint`, {
    data: { index, size: checkpoint.size },
  });
}

async function verifyEvidence(
  logged: LoggedEvent,
  verify: (event: LoggedEvent) => void | Promise<void>,
): Promise<void> {
  try {
    await verify(logged);
  } catch (cause) {
    const { type, actor } = logged.event;
    const reason = cause instanceof MillraceError ? `: ${cause.message}` : '';
    throw new MillraceError(
      'E_LEDGER_ENTRY',
      `entry ${logged.index} (${type} by ${actor}): its evidence does not verify${reason}`,
      {
        data: { index: logged.index, type },
        cause,
      },
    );
  }
}

/** A view for people and programs: bytes in base64. It proves nothing; the file does. */
export function certificateToJson(bytes: Uint8Array): unknown {
  const parts = decodeCertificate(bytes);
  return {
    format: 'millrace-certificate/1',
    object: parts.object,
    checkpoint: new TextDecoder().decode(parts.checkpoint),
    entries: parts.entries.map(({ index, entry, proof }) => ({
      index,
      hash: toBase64(decodeEvent(entry, index).hash),
      event: withoutBytes(decodeEvent(entry, index).event),
      proof: proof.map(toBase64),
    })),
  };
}

function withoutBytes(value: unknown): unknown {
  if (value instanceof Uint8Array) return { base64: toBase64(value) };
  if (Array.isArray(value)) return value.map(withoutBytes);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withoutBytes(item)]));
}

function malformed(what: string): MillraceError {
  return new MillraceError('E_CERTIFICATE', `the certificate is not whole: ${what}`);
}
