import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  fileExists,
  fromHex,
  MillraceError,
  parse,
  type RandomSource,
  toHex,
  wipe,
  writeDurably,
} from '@millrace/base';
import { fingerprint, isTlsPair, type P256Key, p256Key } from '@millrace/identity';
import {
  addressSchema,
  type DirectoryDocument,
  type NodeAdmission,
  type NodeRequest,
  type SignedDirectory,
  type SignedNodeRequest,
  seenSequence,
  signNodeRequest,
  verifyNodeRequest,
  verifySigned,
} from '@millrace/protocol';
import { z } from 'zod';
import { nodeFiles } from '../config.ts';
import { type ClusterSettings, clusterSchema } from '../settings.ts';
import {
  createControlKeys,
  createNodeKeys,
  createWrappingKey,
  type Listeners,
  writeNodeCertificate,
  writeNodeSettings,
  writePermitKeyDocument,
} from './create-node.ts';

// A node on a host of its own: its keys are made there and stay there (docs/adr/0079). Until it is admitted, the folder
// holds its keys and the request; `node.json`, which makes it a node, is written last.

const pendingSchema = z.strictObject({
  signed: z.looseObject({}),
  listeners: z.strictObject({
    listen: addressSchema.optional(),
    ledger: addressSchema.optional(),
    console: addressSchema.optional(),
  }),
  cluster: clusterSchema.optional(),
});

export type RequestedNode = Pick<NodeRequest, 'installation' | 'adminKey' | 'role' | 'id' | 'addresses'>;

/**
 * Makes the keys of a new node in its folder, and its request. Repeated with the same options it returns the same
 * request, also after a crash.
 * @throws {MillraceError} E_CONFLICT if the folder belongs to another node; E_INPUT
 */
export async function requestNode(
  folder: string,
  node: RequestedNode,
  options: {
    readonly listeners: Listeners;
    /** Where its state is, if not in its folder. */
    readonly cluster?: ClusterSettings | undefined;
    readonly random: RandomSource;
    readonly now: number;
    /** A control node that gets the keys that only control has from the one that made them. */
    readonly joins?: boolean | undefined;
  },
): Promise<SignedNodeRequest> {
  const { listeners, cluster, random, now, joins = false } = options;
  const { installation, adminKey, role, id, addresses } = node;
  const present = await readPending(folder);
  if (present !== undefined) {
    if (JSON.stringify(present.cluster) !== JSON.stringify(cluster))
      throw new MillraceError('E_CONFLICT', `${folder} contains a node, requested with another cluster`);
    return requireSame(present.signed, { ...node, joins }, folder);
  }
  if (await fileExists(join(folder, nodeFiles.settings)))
    throw new MillraceError('E_CONFLICT', `${folder} already contains a node`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { tlsKey, identity } = await createNodeKeys(folder);
  const makes = role === 'control' && !joins;
  const control = makes ? await createControlKeys(folder, { installation, random, now }) : undefined;
  if (role === 'keys') await createWrappingKey(folder, random);
  const signer = await openIdentity(folder);
  try {
    const signed = await signNodeRequest(signer, {
      ...{ version: 1, installation, adminKey, role, id, addresses, identity, tlsKey: toHex(tlsKey) },
      ...(control && { control }),
    });
    // Written after the keys: a request that exists has keys that match it.
    await writeDurably(join(folder, nodeFiles.request), json({ signed, listeners, cluster }), 0o644);
    return signed;
  } finally {
    signer.close();
  }
}

/**
 * Installs what the administrator has sent. Everything is verified first: nothing is written if anything is wrong. Safe
 * to repeat, at every start: an admission that was installed before changes nothing.
 * @throws {MillraceError} E_CONFIG if no request was made here; E_DIRECTORY, E_AUTH if the admission is of another node
 *   or administrator, or the node was retired
 */
export async function acceptAdmission(folder: string, admission: NodeAdmission): Promise<NodeRequest> {
  const pending = await readPending(folder);
  if (pending === undefined)
    throw new MillraceError('E_CONFIG', `${folder} contains no request of a node: make one with \`node create\``);
  const request = verifyNodeRequest(pending.signed);
  const { installation, adminKey, role, id } = request;
  const signed = verifySigned(admission.directory, { installation, adminKey });
  const newest = await newestOf(folder, signed);
  await requireOwn(folder, request, admission, newest.directory);
  const installed = await readIfThere(join(folder, nodeFiles.certificate));
  const isNode = await fileExists(join(folder, nodeFiles.settings));
  const entry = newest.directory.nodes.find((node) => node.id === id);
  if (entry?.fingerprints[0]?.fingerprint !== fingerprint(admission.certificate)) {
    // An older admission, given again after the certificate was renewed.
    if (isNode && installed !== undefined) return request;
    throw new MillraceError('E_AUTH', `the directory lists another certificate of ${id} than the admission`);
  }
  if (installed !== admission.certificate) await writeNodeCertificate(folder, admission.certificate);
  if (admission.permitKeyDocument !== undefined && !isNode)
    await writePermitKeyDocument(folder, fromHex(admission.permitKeyDocument));
  if (isNode) await writeDurably(join(folder, nodeFiles.directory), json(newest), 0o644);
  else await writeNodeSettings(folder, { role, id, installation, adminKey, ...pending }, newest);
  return request;
}

/** The directory of the admission, or the newer one that the node has accepted. @throws {MillraceError} E_DIRECTORY */
async function newestOf(folder: string, admitted: SignedDirectory): Promise<SignedDirectory> {
  const { installation, adminKey, sequence } = admitted.directory;
  const seen = (await seenSequence(folder)) ?? 0;
  if (seen <= sequence) return admitted;
  const text = await readFile(join(folder, nodeFiles.directory), 'utf8');
  const present = verifySigned(JSON.parse(text), { installation, adminKey });
  if (present.directory.sequence < seen)
    throw new MillraceError('E_DIRECTORY', `${folder} has accepted directory number ${seen}, which is missing`);
  return present;
}

/** Requires that certificate and directory are for the keys of this folder. @throws {MillraceError} E_AUTH */
async function requireOwn(
  folder: string,
  request: NodeRequest,
  { id, certificate, permitKeyDocument }: NodeAdmission,
  directory: DirectoryDocument,
): Promise<void> {
  const refuse = (why: string) => new MillraceError('E_AUTH', `the admission is not of this node: ${why}`);
  if (id !== request.id) throw refuse(`it is of ${id}, this is ${request.id}`);
  const entry = directory.nodes.find((node) => node.id === id && node.role === request.role);
  if (entry === undefined) throw refuse(`the directory names no ${request.role} node ${id}`);
  if (entry.identities[0]?.key !== request.identity) throw refuse('the directory lists another identity');
  const key = new Uint8Array(await readFile(join(folder, nodeFiles.tlsKey)));
  try {
    if (!isTlsPair({ certificate, key })) throw refuse('the certificate is for another key');
  } finally {
    wipe(key);
  }
  const { control } = request;
  if (control === undefined) return;
  if (directory.permitKeys[0]?.key !== control.permitKey || directory.logKeys[0]?.key !== control.logKey)
    throw refuse('the directory lists another permit key or log key');
  if (permitKeyDocument === undefined) throw refuse('it lacks the statement of the permit key');
}

async function readIfThere(path: string): Promise<string | undefined> {
  return (await fileExists(path)) ? readFile(path, 'utf8') : undefined;
}

function requireSame(
  signed: SignedNodeRequest,
  node: RequestedNode & { readonly joins: boolean },
  folder: string,
): SignedNodeRequest {
  const fields = ({ installation, adminKey, role, id, addresses }: RequestedNode) =>
    JSON.stringify([installation, adminKey, role, id, addresses]);
  const { role, control } = signed.request;
  if (fields(signed.request) !== fields(node) || (role === 'control' && (control === undefined) !== node.joins))
    throw new MillraceError(
      'E_CONFLICT',
      `${folder} contains the ${signed.request.role} node ${signed.request.id}, requested with other options`,
    );
  return signed;
}

async function readPending(
  folder: string,
): Promise<{ signed: SignedNodeRequest; listeners: Listeners; cluster?: ClusterSettings | undefined } | undefined> {
  const path = join(folder, nodeFiles.request);
  if (!(await fileExists(path))) return undefined;
  try {
    const { signed, listeners, cluster } = parse(
      pendingSchema,
      JSON.parse(await readFile(path, 'utf8')),
      nodeFiles.request,
    );
    verifyNodeRequest(signed);
    return { signed: signed as SignedNodeRequest, listeners, cluster };
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${path} is damaged`, { cause });
  }
}

async function openIdentity(folder: string): Promise<P256Key> {
  const secret = new Uint8Array(await readFile(join(folder, nodeFiles.identity)));
  try {
    return p256Key(secret);
  } finally {
    wipe(secret);
  }
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
