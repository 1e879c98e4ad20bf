import {
  type Bytes,
  concatBytes,
  encodeCbor,
  equalBytes,
  fromHex,
  hexOf,
  MillraceError,
  parse,
  toHex,
  utf8,
} from '@millrace/base';
import { keyId, parseSign1, type Signer, sign1, verifySign1, verifySignature } from '@millrace/identity';
import { z } from 'zod';
import { addressSchema, type Directory, nodeAddresses, nodeId, nodeRoles } from './directory.ts';
import { sha256 } from './opening.ts';

const time = z.number().int().nonnegative();

/** List with the newest entry first. Every other entry has the time until which it is accepted. */
function dated<T extends { until?: number | undefined }>(entry: z.ZodType<T>, most: number) {
  return z
    .array(entry)
    .min(1)
    .max(most)
    .refine((list) => list.every(({ until }, i) => (until === undefined) === (i === 0)), {
      error: 'the first entry has no end, every other entry has one',
    });
}

const times = { since: time, until: time.optional() };
const key = (text: z.ZodType<string>) => z.strictObject({ key: text, ...times });

/** Maximum length of a list whose former entries expire. */
export const MAX_ACCEPTED = 8;
/** Maximum length of the lists of permit and checkpoint keys. Former keys stay listed to verify old certificates. */
const MAX_KEPT = 200;

const MAX_NODES = 256;
/** Maximum number of recognised clouds. */
const MAX_CLOUDS = 16;

const node = z.strictObject({
  id: nodeId,
  role: z.enum(nodeRoles),
  addresses: nodeAddresses,
  fingerprints: dated(z.strictObject({ fingerprint: hexOf(32), ...times }), MAX_ACCEPTED),
  identities: dated(key(hexOf(65)), MAX_ACCEPTED),
});

export type NodeEntry = z.output<typeof node>;

/**
 * Several nodes may have the same role. Ids, certificates and identities are unique, so that no node can act as
 * another.
 */
const nodes = z
  .array(node)
  .max(MAX_NODES)
  .refine((list) => areDistinct(list.map(({ id }) => id)), { error: 'two nodes have the same id' })
  .refine((list) => nodeRoles.every((role) => list.some((one) => one.role === role)), {
    error: 'expected a node of each role',
  })
  .refine(
    (list) =>
      areDistinct(list.flatMap(({ fingerprints }) => fingerprints.map(({ fingerprint }) => fingerprint))) &&
      areDistinct(list.flatMap(({ identities }) => identities.map(({ key }) => key))),
    { error: 'a certificate or an identity is listed twice' },
  );

function areDistinct(list: readonly string[]): boolean {
  return new Set(list).size === list.length;
}

const cloudSchema = z.strictObject({
  version: z.literal(2),
  /** Increases with every change. */
  sequence: z.number().int().min(1),
  issued: time,
  installation: hexOf(16),
  name: z.string().min(1).max(100),
  authorities: dated(z.strictObject({ certificate: z.string().max(8_192), ...times }), MAX_ACCEPTED),
  nodes,
  permitKeys: dated(key(hexOf(65)), MAX_KEPT),
  logKeys: dated(key(z.string().max(300)), MAX_KEPT),
  adminKey: hexOf(33),
});

/** Another cloud's directory without its own recognitions, as this administrator has verified it. */
export type CloudDescription = z.output<typeof cloudSchema>;

const recognitionSchema = z.strictObject({
  /** `cloud.recognise`, signed by the administrator. */
  recognition: z
    .string()
    .max(2_048)
    .regex(/^([0-9a-f]{2})+$/),
  distribution: addressSchema.optional(),
  since: time,
  cloud: cloudSchema,
});
export type Recognition = z.output<typeof recognitionSchema>;

const documentSchema = z.strictObject({
  ...cloudSchema.shape,
  userAuthorities: dated(z.strictObject({ certificate: z.string().max(8_192), ...times }), MAX_ACCEPTED).optional(),
  recognised: z
    .array(recognitionSchema)
    .max(MAX_CLOUDS)
    .refine((list) => areDistinct(list.map(({ cloud }) => cloud.installation)), { error: 'a cloud is listed twice' })
    .optional(),
});

/** Another cloud's directory for `recognised`. */
export function describeCloud(document: DirectoryDocument): CloudDescription {
  const { userAuthorities: _own, recognised: _others, ...cloud } = document;
  return cloud;
}

/** The directory as the administrator signs it: every key with its times (spec/protocol.md, section 1.1). */
export type DirectoryDocument = z.output<typeof documentSchema>;

const signedSchema = z.strictObject({ directory: documentSchema, signature: z.string().max(1_024) });
export type SignedDirectory = z.output<typeof signedSchema>;

/** The trust anchor of a process: everything that it trusts before it has read a directory. */
export interface DirectoryAnchor {
  readonly installation: string;
  readonly adminKey: string;
}

function contextOf(installation: string): Bytes {
  return concatBytes(utf8('millrace/v1/directory/'), fromHex(installation));
}

/** SHA-256 of the document in deterministic CBOR. The administrator signs this hash. */
export function documentHash(document: DirectoryDocument): Bytes {
  return sha256(encodeCbor(document));
}

export async function signDirectory(admin: Signer, document: DirectoryDocument): Promise<SignedDirectory> {
  const directory = parse(documentSchema, document, 'directory', 'E_CONFIG');
  const context = contextOf(directory.installation);
  const signature = await sign1(admin, keyId(admin.publicKey), documentHash(directory), context);
  return { directory, signature: toHex(signature) };
}

/**
 * Verifies the administrator's signature.
 * @returns the document
 * @throws {MillraceError} E_DIRECTORY
 */
export function verifyDirectory(input: unknown, anchor: DirectoryAnchor): DirectoryDocument {
  return verifySigned(input, anchor).directory;
}

/** Like `verifyDirectory`, but returns the document with its signature. @throws {MillraceError} E_DIRECTORY */
export function verifySigned(input: unknown, { installation, adminKey }: DirectoryAnchor): SignedDirectory {
  const { directory, signature } = parse(signedSchema, input, 'directory', 'E_DIRECTORY');
  const refuse = (why: string, cause?: unknown) => new MillraceError('E_DIRECTORY', `the directory ${why}`, { cause });
  if (directory.installation !== installation) throw refuse('belongs to another installation');
  if (directory.adminKey !== adminKey) throw refuse('names another administrator');
  try {
    const signed = parseSign1(fromHex(signature));
    verifySign1(signed, 'ES256K', fromHex(adminKey), contextOf(installation), verifySignature);
    if (!equalBytes(signed.payload, documentHash(directory))) throw refuse('was changed after it was signed');
  } catch (cause) {
    if (cause instanceof MillraceError && cause.code === 'E_DIRECTORY') throw cause;
    throw refuse('is not signed by the administrator', cause);
  }
  return { directory, signature };
}

const joined = (list: readonly { readonly certificate: string }[]): string =>
  list.map(({ certificate }) => certificate.trim()).join('\n');

/** The entries of the document that are in force at a time. */
export function directoryAt(document: DirectoryDocument, now: number): Directory {
  const accepted = <T extends { until?: number | undefined }>(list: readonly T[]) =>
    list.filter(({ until }) => until === undefined || until > now);
  const former = <T extends { until?: number | undefined }>(list: readonly T[]) => accepted(list).slice(1);
  const newest = <T>([first]: readonly T[]): T => {
    if (first === undefined) throw new MillraceError('E_DIRECTORY', 'the directory lacks a key');
    return first;
  };
  const kept = (list: DirectoryDocument['logKeys']) =>
    list.flatMap(({ key, until }) => (until === undefined ? [] : [{ key, until }]));
  const nodes = document.nodes.map(({ id, role, addresses, fingerprints, identities }) => ({
    id,
    role,
    addresses,
    fingerprint: newest(fingerprints).fingerprint,
    identity: newest(identities).key,
    former: {
      fingerprints: former(fingerprints).map(({ fingerprint }) => fingerprint),
      identities: former(identities).map(({ key }) => key),
    },
  }));
  const { version, installation, name, authorities, permitKeys, logKeys, adminKey, userAuthorities } = document;
  const recognised = document.recognised?.map(({ recognition, distribution, cloud }) => ({
    installation: cloud.installation,
    adminKey: cloud.adminKey,
    recognition,
    distribution,
    directory: directoryAt(cloud, now),
  }));
  return {
    version,
    installation,
    name,
    authority: joined(accepted(authorities)),
    nodes,
    permitKey: newest(permitKeys).key,
    logKey: newest(logKeys).key,
    adminKey,
    former: { permitKeys: kept(permitKeys), logKeys: kept(logKeys) },
    ...(userAuthorities === undefined ? {} : { userAuthority: joined(accepted(userAuthorities)) }),
    ...(recognised === undefined ? {} : { recognised }),
  };
}

/** The document of a new installation: one key of each kind. */
export function firstDocument(
  directory: Omit<Directory, 'former' | 'revocations' | 'recognised'>,
  now: number,
): DirectoryDocument {
  const { version, installation, name, adminKey, userAuthority } = directory;
  return {
    version,
    sequence: 1,
    issued: now,
    installation,
    name,
    authorities: [{ certificate: directory.authority, since: now }],
    nodes: directory.nodes.map(({ id, role, addresses, fingerprint, identity }) => ({
      id,
      role,
      addresses: [...addresses],
      fingerprints: [{ fingerprint, since: now }],
      identities: [{ key: identity, since: now }],
    })),
    permitKeys: [{ key: directory.permitKey, since: now }],
    logKeys: [{ key: directory.logKey, since: now }],
    adminKey,
    ...(userAuthority === undefined ? {} : { userAuthorities: [{ certificate: userAuthority, since: now }] }),
  };
}
