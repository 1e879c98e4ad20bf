import { parse } from '@millrace/base';
import { z } from 'zod';

/** Clocks of the parties may differ by this much (design: "wall clocks may be an hour off"). */
export const CLOCK_SKEW_MS = 65 * 60_000;

/** What one node is known by: the newest, and what else is accepted while a rotation lasts. */
export interface NodeNames {
  /** SHA-256 of the node's TLS certificate: pinned. */
  readonly fingerprint: string;
  /** Its identity, an uncompressed P-256 point. */
  readonly identity: string;
  readonly former?: { readonly fingerprints: readonly string[]; readonly identities: readonly string[] };
}

/** A key that signed until then, ms since 1970; what it signed before goes on counting. */
export interface FormerKey {
  readonly key: string;
  readonly until: number;
}

export type NodeRole = 'control' | 'segments' | 'keys' | 'distribution';

/**
 * What everybody may know of an installation: who its nodes are. Never a secret. Its document, signed by the administrator,
 * is in directory-document.ts; the fields here are those that count now, so read them when they are used.
 */
export interface Directory {
  readonly version: 1;
  /** 16 random bytes: every signature is bound to them. */
  readonly installation: string;
  readonly name: string;
  /** The installation's own certificate authorities, PEM: the newest, then those that are still accepted. */
  readonly authority: string;
  readonly nodes: { readonly [role in NodeRole]: NodeNames };
  /** P-256 key with which the control node signs permits. */
  readonly permitKey: string;
  /** Verifier key of the ledger ("name+hash+key", C2SP signed-note). */
  readonly logKey: string;
  /** secp256k1 key that registers machines and users, and signs the directory. */
  readonly adminKey: string;
  readonly former?: { readonly permitKeys: readonly FormerKey[]; readonly logKeys: readonly FormerKey[] };
}

/** Fingerprints of the certificates with which a node is believed, the newest first. */
export function fingerprintsOf({ nodes }: Directory, role: NodeRole): readonly string[] {
  const { fingerprint, former } = nodes[role];
  return [fingerprint, ...(former?.fingerprints ?? [])];
}

/** Identities of a node, the newest first. */
export function identitiesOf({ nodes }: Directory, role: NodeRole): readonly string[] {
  const { identity, former } = nodes[role];
  return [identity, ...(former?.identities ?? [])];
}

/** Keys that sign, or signed, checkpoints: the newest first, without those that stopped before `since`. */
export function logKeysOf({ logKey, former }: Directory, since = 0): readonly string[] {
  return [logKey, ...countingSince(former?.logKeys, since)];
}

/** Keys that sign, or signed, permits: the newest first, without those that stopped before `since`. */
export function permitKeysOf({ permitKey, former }: Directory, since = 0): readonly string[] {
  return [permitKey, ...countingSince(former?.permitKeys, since)];
}

function countingSince(keys: readonly FormerKey[] = [], since: number): string[] {
  return keys.flatMap(({ key, until }) => (until >= since ? [key] : []));
}

const address = z.strictObject({ host: z.string().min(1), port: z.number().int().min(1).max(65_535) });
const addressesSchema = z.strictObject({ control: address, distribution: address });

/** Where the passive nodes listen; segments and keys nodes have no address. */
export type Addresses = z.output<typeof addressesSchema>;
export type Address = z.output<typeof address>;

/** @throws {MillraceError} E_CONFIG */
export function parseAddresses(input: unknown): Addresses {
  return parse(addressesSchema, input, 'addresses', 'E_CONFIG');
}
