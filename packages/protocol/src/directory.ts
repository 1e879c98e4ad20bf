import { hexOf, parse } from '@millrace/base';
import { z } from 'zod';

/** Clocks of the parties may differ by this much (design: "wall clocks may be an hour off"). */
export const CLOCK_SKEW_MS = 65 * 60_000;

const node = z.strictObject({
  /** SHA-256 of the node's TLS certificate: pinned. */
  fingerprint: hexOf(32),
  /** Its identity, an uncompressed P-256 point: it authenticates mail. */
  identity: hexOf(65),
});

const directorySchema = z.strictObject({
  version: z.literal(1),
  /** 16 random bytes: every signature is bound to them. */
  installation: hexOf(16),
  name: z.string().min(1).max(100),
  /** The installation's own certificate authority, PEM. */
  authority: z.string(),
  nodes: z.strictObject({ control: node, segments: node, keys: node, distribution: node }),
  /** P-256 key with which the control node signs permits. */
  permitKey: hexOf(65),
  /** Verifier key of the ledger ("name+hash+key", C2SP signed-note). */
  logKey: z.string(),
  /** secp256k1 key that registers machines and users. */
  adminKey: hexOf(33),
});

/** What everybody may know of an installation: who its nodes are. Never a secret. */
export type Directory = z.output<typeof directorySchema>;
export type NodeRole = keyof Directory['nodes'];

const address = z.strictObject({ host: z.string().min(1), port: z.number().int().min(1).max(65_535) });
const addressesSchema = z.strictObject({ control: address, distribution: address });

/** Where the passive nodes listen; segments and keys nodes have no address. */
export type Addresses = z.output<typeof addressesSchema>;
export type Address = z.output<typeof address>;

/** @throws {MillraceError} E_CONFIG */
export function parseDirectory(input: unknown): Directory {
  return parse(directorySchema, input, 'directory', 'E_CONFIG');
}

/** @throws {MillraceError} E_CONFIG */
export function parseAddresses(input: unknown): Addresses {
  return parse(addressesSchema, input, 'addresses', 'E_CONFIG');
}
