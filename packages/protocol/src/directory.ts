import { MillraceError, parse } from '@millrace/base';
import { z } from 'zod';

/** Maximum difference between the parties' clocks (design: "wall clocks may be an hour off"). */
export const CLOCK_SKEW_MS = 65 * 60_000;

export const nodeRoles = ['control', 'distribution', 'segments', 'keys'] as const;
export type NodeRole = (typeof nodeRoles)[number];

/** Name of a node, unique in its installation. It never equals the name of a role, so an address may contain either. */
export const nodeId = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,31}$/, { error: 'expected a node id: lower-case letters, digits and hyphens' })
  .refine((id) => !nodeRoles.some((role) => role === id), { error: 'a role is not a node id' });

export const addressSchema = z.strictObject({
  host: z.string().min(1).max(255),
  port: z.number().int().min(1).max(65_535),
});
const addressesSchema = z.strictObject({
  control: addressSchema,
  distribution: addressSchema,
  /** Address of the public ledger. Absent if public access is switched off. */
  ledger: addressSchema.optional(),
  /** Address of the console. Absent if it is switched off. */
  console: addressSchema.optional(),
  /** Address of distribution's listener for browsers. Absent if it is switched off. */
  browsers: addressSchema.optional(),
});

/** Addresses of the passive nodes. Segments and keys nodes have no address. */
export type Addresses = z.output<typeof addressesSchema>;
export type Address = z.output<typeof addressSchema>;

/**
 * Addresses of a node. Empty for a node that opens no port, or whose address is configured at the start of a process.
 */
export const nodeAddresses = z.array(addressSchema).max(8);

/** One node: its newest keys, and older keys that are still accepted during a rotation. */
export interface DirectoryNode {
  readonly id: string;
  readonly role: NodeRole;
  readonly addresses: readonly Address[];
  /** SHA-256 of the node's TLS certificate, for pinning. */
  readonly fingerprint: string;
  /** The node's identity, an uncompressed P-256 point. */
  readonly identity: string;
  readonly former?: { readonly fingerprints: readonly string[]; readonly identities: readonly string[] };
}

/** A key that was valid until this time, ms since 1970. Signatures made before remain valid. */
export interface FormerKey {
  readonly key: string;
  readonly until: number;
}

/**
 * The public description of an installation: its nodes and their keys. The document that the administrator signs is in
 * directory-document.ts. These fields change with the document and the time: read them when needed, do not copy them.
 */
export interface Directory {
  readonly version: 2;
  /** 16 random bytes. Every signature includes them. */
  readonly installation: string;
  readonly name: string;
  /** The installation's own certificate authorities, PEM: the newest first, then older ones that are still accepted. */
  readonly authority: string;
  /** Several nodes may have the same role. */
  readonly nodes: readonly DirectoryNode[];
  /** P-256 key with which the control node signs permits. */
  readonly permitKey: string;
  /** Verifier key of the ledger ("name+hash+key", C2SP signed-note). */
  readonly logKey: string;
  /** secp256k1 key that registers machines and users, and signs the directory. */
  readonly adminKey: string;
  readonly former?: { readonly permitKeys: readonly FormerKey[]; readonly logKeys: readonly FormerKey[] };
  /**
   * Certificate authority for user certificates only, PEM. Control holds its key. Replaced ones follow while they are
   * accepted.
   */
  readonly userAuthority?: string | undefined;
  /** Clouds that the administrator recognises. */
  readonly recognised?: readonly RecognisedCloud[] | undefined;
  /** Revoked keys of users, as far as this process has learned of them (revocations.ts). */
  readonly revocations?: RevokedKeys | undefined;
}

/** Another cloud whose machines may make objects of this one, and the reverse. */
export interface RecognisedCloud {
  readonly installation: string;
  /** The other administrator's key, secp256k1. */
  readonly adminKey: string;
  /** `cloud.recognise` as the administrator signed it, hexadecimal: evidence for certificates. */
  readonly recognition: string;
  /** Where visiting machines connect, if designs are streamed from there. */
  readonly distribution?: Address | undefined;
  /** Its keys and nodes when it was recognised, or when the recognition was renewed. */
  readonly directory: Directory;
}

/** One revocation of a key, prepared for look-up. */
export interface Revoked {
  readonly name: string;
  readonly at: number;
  /** The organisation that revoked the key; absent if the administrator did. */
  readonly organisation?: string | undefined;
  /** Names of this key's documents that still count. */
  readonly kept: ReadonlySet<string>;
}

export interface RevokedKeys {
  /** Every revocation of the key: none, one, or one by an organisation and one by the administrator. */
  of(key: string): readonly Revoked[];
}

/** The nodes of a role, or the node with this id; empty if the directory contains none. */
export function nodesOf({ nodes }: Pick<Directory, 'nodes'>, name: string): readonly DirectoryNode[] {
  return nodes.filter(({ id, role }) => id === name || role === name);
}

/** The first node of a role, or the node with this id. @throws {MillraceError} E_DIRECTORY if there is none */
export function nodeOf(directory: Pick<Directory, 'nodes'>, name: string): DirectoryNode {
  const [node] = nodesOf(directory, name);
  if (node === undefined) throw new MillraceError('E_DIRECTORY', `the directory names no node ${name}`);
  return node;
}

/**
 * Where a node, or the nodes of a role, can be reached: every node's first address, then its others, or the configured
 * address if the directory lists none. A newer directory can therefore move or add a node without a restart of the other nodes.
 */
export function addressesOf(
  directory: Pick<Directory, 'nodes'>,
  name: string,
  bootstrap: (() => Address) | undefined,
): readonly Address[] {
  const lists = nodesOf(directory, name).map(({ addresses }) => addresses);
  const listed = [...lists.flatMap(([first]) => first ?? []), ...lists.flatMap(([, ...others]) => others)];
  return listed.length > 0 || bootstrap === undefined ? listed : [bootstrap()];
}

/** SHA-256 fingerprints of the accepted certificates of a node, or of all nodes of a role; each node's newest first. */
export function fingerprintsOf(directory: Pick<Directory, 'nodes'>, name: string): readonly string[] {
  return nodesOf(directory, name).flatMap(({ fingerprint, former }) => [fingerprint, ...(former?.fingerprints ?? [])]);
}

/** Identities of a node, or of every node of a role; each node's newest first. */
export function identitiesOf(directory: Pick<Directory, 'nodes'>, name: string): readonly string[] {
  return nodesOf(directory, name).flatMap(({ identity, former }) => [identity, ...(former?.identities ?? [])]);
}

/** Present and former checkpoint keys, newest first, without those that ended before `since`. */
export function logKeysOf({ logKey, former }: Directory, since = 0): readonly string[] {
  return [logKey, ...countingSince(former?.logKeys, since)];
}

/** Present and former permit keys, newest first, without those that ended before `since`. */
export function permitKeysOf({ permitKey, former }: Directory, since = 0): readonly string[] {
  return [permitKey, ...countingSince(former?.permitKeys, since)];
}

function countingSince(keys: readonly FormerKey[] = [], since: number): string[] {
  return keys.flatMap(({ key, until }) => (until >= since ? [key] : []));
}

/** @throws {MillraceError} E_CONFIG */
export function parseAddresses(input: unknown): Addresses {
  return parse(addressesSchema, input, 'addresses', 'E_CONFIG');
}
