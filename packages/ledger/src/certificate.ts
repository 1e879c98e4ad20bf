import {
  type Bytes,
  concatBytes,
  copyBytes,
  decodeCbor,
  encodeCbor,
  equalBytes,
  MillraceError,
  parse,
  toBase64,
  utf8,
} from '@millrace/base';
import { z } from 'zod';
import { type AccountHead, type AccountKind, follow } from './accounts.ts';
import { openCheckpoint, type VerifiedCheckpoint } from './checkpoint.ts';
import type { EventBody } from './event.ts';
import { readMapRoot, verifyAccountInMap } from './map-root.ts';
import { MAP_DEPTH } from './map-tree.ts';
import { parseVerifierKey } from './note.ts';
import { decodeOpening, type LoggedEvent, SALT_LENGTH } from './opening.ts';
import { HASH_LENGTH, verifyInclusion } from './tree.ts';

/** First bytes of a certificate file; the number is the version. */
const magic: Bytes = utf8('millrace-certificate/1\n');

const MAX_LENGTH = 32 * 1024 * 1024;
/** Maximum audit path, of a log with 2^53 entries. */
const MAX_PROOF = 53;

const hashes = z.array(z.instanceof(Uint8Array).refine((hash) => hash.length === HASH_LENGTH));

/** A logged root of the map of accounts, and a proof for each account of the certificate, in the order of the log. */
const mapSchema = z.strictObject({
  index: z.int().min(0),
  opening: z.instanceof(Uint8Array),
  proof: hashes.max(MAX_PROOF),
  accounts: z.array(hashes.max(MAP_DEPTH)).min(1),
});

const certificateSchema = z.strictObject({
  object: z.string(),
  checkpoint: z.instanceof(Uint8Array),
  entries: z
    .array(
      z.strictObject({
        index: z.int().min(0),
        opening: z.instanceof(Uint8Array),
        proof: hashes.max(MAX_PROOF),
      }),
    )
    .min(1),
  map: mapSchema.exactOptional(),
});

/** Unverified contents of a certificate. */
export type CertificateParts = z.output<typeof certificateSchema>;

export interface CertificateTrust {
  /** Verifier key string of the log; several if its key was rotated. */
  readonly logKey: string | readonly string[];
  /** Verifier key strings (type 0x04) of witnesses, and the minimum number of their signatures (default 0). */
  readonly witnesses?: readonly string[];
  readonly quorum?: number;
}

/** An account with its events, starting at the first. */
export interface CertifiedAccount {
  readonly account: string;
  readonly events: readonly LoggedEvent[];
}

/** What the log contains. Whether it is true must be proven by its signed documents, which are not checked here. */
export interface VerifiedCertificate {
  readonly object: string;
  /** State of the object after its last event at the checkpoint. Later events may exist. */
  readonly state: string;
  readonly events: readonly LoggedEvent[];
  /** The licences and machines that the object's events name. */
  readonly licences: readonly CertifiedAccount[];
  readonly machines: readonly CertifiedAccount[];
  readonly checkpoint: VerifiedCheckpoint;
  /**
   * Number of entries of the log in which each of these accounts has no other event, by a root of the account map in the
   * log; undefined if the certificate does not prove it of any.
   */
  readonly completeTo: number | undefined;
}

/** Fields of the body of an object's event that name other accounts. */
export const linkedKinds = ['licence', 'machine'] as const satisfies readonly AccountKind[];
export type LinkedKind = (typeof linkedKinds)[number];

/** The account that an object's event names, from the field of its body with the account's kind as its name. */
export function linkOf(body: EventBody, kind: LinkedKind): string | undefined {
  const account = Object.hasOwn(body, kind) ? body[kind] : undefined;
  return typeof account === 'string' ? account : undefined;
}

export function encodeCertificate(parts: CertificateParts): Bytes {
  return concatBytes(magic, encodeCbor(parts));
}

/** @throws {MillraceError} E_CERTIFICATE unless the bytes are a certificate in its canonical encoding */
export function decodeCertificate(bytes: Uint8Array): CertificateParts {
  if (bytes.length > MAX_LENGTH) throw malformed('it is too long');
  if (bytes.length < magic.length || !equalBytes(bytes.subarray(0, magic.length), magic)) {
    throw malformed('it does not begin like a certificate of version 1');
  }
  const value = decodeCbor(bytes.subarray(magic.length), 'certificate', 'E_CERTIFICATE');
  return parse(certificateSchema, value, 'certificate', 'E_CERTIFICATE');
}

/**
 * Verifies offline that the log contains the certificate's events. The holder of the log's key can write anything into
 * the log: an object is genuine only if the documents are valid as well (`@millrace/client`, provenance).
 * @throws {MillraceError} E_CERTIFICATE (form, missing or foreign parts), E_LEDGER_CHECKPOINT (not signed by the log or
 *   by enough witnesses), E_LEDGER_ENTRY (an event is malformed or does not follow the previous one), E_LEDGER_PROOF
 *   (an entry is not in the log of the checkpoint); E_INPUT for an invalid key
 */
export function verifyCertificate(bytes: Uint8Array, trust: CertificateTrust): VerifiedCertificate {
  const parts = decodeCertificate(bytes);
  const checkpoint = openCheckpoint(parts.checkpoint, {
    logKey: [trust.logKey].flat().map(parseVerifierKey),
    witnesses: (trust.witnesses ?? []).map(parseVerifierKey),
  });
  const quorum = trust.quorum ?? 0;
  if (checkpoint.cosignatures.length < quorum) {
    const message = `the checkpoint is signed by ${checkpoint.cosignatures.length} known witnesses, but ${quorum} are required`;
    throw new MillraceError('E_LEDGER_CHECKPOINT', message);
  }
  const logged = parts.entries.map(({ index, opening }) => decodeOpening(opening, index));
  const accounts = replay(logged);
  const own = accounts.get(parts.object);
  if (own === undefined) throw malformed(`it holds no event of the object ${parts.object}`);
  if (own.head.kind !== 'object') throw malformed(`${parts.object} is a ${own.head.kind}, not an object`);
  const links = requireLinked(own.events, accounts, parts.object);
  for (const [i, entry] of logged.entries()) requireIncluded(entry, parts.entries[i]?.proof ?? [], checkpoint);
  return {
    object: parts.object,
    state: own.head.state,
    events: own.events,
    licences: links.licence,
    machines: links.machine,
    checkpoint,
    completeTo: parts.map && requireComplete(parts.map, accounts, checkpoint),
  };
}

interface Chain {
  head: AccountHead;
  readonly events: LoggedEvent[];
}

/** Account chains, each from its first event without a gap. */
function replay(opened: readonly LoggedEvent[]): Map<string, Chain> {
  if (opened.some(({ index }, i) => index <= (opened[i - 1]?.index ?? -1))) {
    throw malformed('its entries are not in the order of the log');
  }
  const accounts = new Map<string, Chain>();
  for (const logged of opened) {
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

/** Requires exactly the licences and machines that the object names, each recorded before the object names it. */
function requireLinked(
  events: readonly LoggedEvent[],
  accounts: ReadonlyMap<string, Chain>,
  object: string,
): Record<LinkedKind, CertifiedAccount[]> {
  const named = new Map<string, { kind: LinkedKind; index: number }>();
  for (const { event, index } of events) {
    for (const kind of linkedKinds) {
      const account = linkOf(event.body, kind);
      if (account !== undefined && !named.has(account)) named.set(account, { kind, index });
    }
  }
  for (const account of accounts.keys()) {
    if (account !== object && !named.has(account))
      throw malformed(`it holds events of ${account}, which the object does not name`);
  }
  const links: Record<LinkedKind, CertifiedAccount[]> = { licence: [], machine: [] };
  for (const [account, { kind, index }] of named) {
    const chain = accounts.get(account);
    const first = chain?.events[0];
    if (chain === undefined || first === undefined) throw malformed(`it lacks the ${kind} ${account}`);
    if (chain.head.kind !== kind) throw malformed(`${account} is a ${chain.head.kind}, not a ${kind}`);
    if (first.index > index) throw malformed(`the ${kind} ${account} was recorded after the object named it`);
    links[kind].push({ account, events: chain.events });
  }
  return links;
}

/** @returns the number of entries that the map covers */
function requireComplete(
  map: z.output<typeof mapSchema>,
  accounts: ReadonlyMap<string, Chain>,
  checkpoint: VerifiedCheckpoint,
): number {
  const logged = decodeOpening(map.opening, map.index);
  const root = readMapRoot(logged);
  requireIncluded(logged, map.proof, checkpoint);
  if (map.accounts.length !== accounts.size) throw malformed('its map does not have one proof for each account');
  for (const [i, [account, { events }]] of [...accounts].entries()) {
    const newest = events.findLast(({ index }) => index < logged.index);
    const proof = { siblings: (map.accounts[i] ?? []).map(copyBytes) };
    // An account that began after the map has no proof of presence; its absence is not claimed either.
    if (newest === undefined) throw malformed(`its map is older than the account ${account}`);
    const value = { sequence: newest.event.sequence, hash: newest.hash };
    if (verifyAccountInMap(root, account, value, proof)) continue;
    const message = `the map of accounts does not have event ${value.sequence} of ${account} as its newest`;
    throw new MillraceError('E_LEDGER_PROOF', message, { data: { account } });
  }
  return logged.index;
}

function requireIncluded(
  { index, hash }: LoggedEvent,
  proof: readonly Uint8Array[],
  checkpoint: VerifiedCheckpoint,
): void {
  const { size, root } = checkpoint;
  if (verifyInclusion(hash, index, size, proof, root)) return;
  throw new MillraceError('E_LEDGER_PROOF', `the proof of entry ${index} does not match the root of the checkpoint`, {
    data: { index, size },
  });
}

/** A view for people and programs, with bytes in base64. Only the file is proof, not this view. */
export function certificateToJson(bytes: Uint8Array): unknown {
  const parts = decodeCertificate(bytes);
  return {
    format: 'millrace-certificate/1',
    object: parts.object,
    checkpoint: new TextDecoder().decode(parts.checkpoint),
    entries: parts.entries.map(entryToJson),
    ...(parts.map && {
      map: { ...entryToJson(parts.map), accounts: parts.map.accounts.map((siblings) => siblings.map(toBase64)) },
    }),
  };
}

function entryToJson({ index, opening, proof }: CertificateParts['entries'][number]) {
  const { hash, event } = decodeOpening(opening, index);
  const salt = toBase64(opening.subarray(0, SALT_LENGTH));
  return { index, hash: toBase64(hash), salt, event: withoutBytes(event), proof: proof.map(toBase64) };
}

function withoutBytes(value: unknown): unknown {
  if (value instanceof Uint8Array) return { base64: toBase64(value) };
  if (Array.isArray(value)) return value.map(withoutBytes);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withoutBytes(item)]));
}

function malformed(what: string): MillraceError {
  return new MillraceError('E_CERTIFICATE', `the certificate is not valid: ${what}`);
}
