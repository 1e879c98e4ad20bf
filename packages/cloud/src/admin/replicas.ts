import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Bytes,
  decodeCbor,
  encodeCbor,
  fileExists,
  fromHex,
  hexOf,
  MillraceError,
  parse,
  systemClock,
  toHex,
  wipe,
  writeDurably,
} from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { fingerprint, generateP256Key, isTlsPair, p256Key, seal, unseal } from '@millrace/identity';
import { directoryAt, nodeId, type SignedDirectory, verifySigned } from '@millrace/protocol';
import { z } from 'zod';
import { nodeFiles, readSettings } from '../config.ts';
import { type GroupState, isInSync } from '../keys/replicas/group.ts';
import { withGroup } from '../keys/replicas/offline.ts';
import { type ClusterSettings, clusterSchema, settingsSchema } from '../settings.ts';
import { writeNodeSettings } from './create-node.ts';

// Further replicas of a keys node (docs/adr/0094): a replica is requested on its own host, and enrolled on the host of one
// that runs, which seals the node's keys to the request.

const requestSchema = z.strictObject({
  version: z.literal(1),
  installation: hexOf(16),
  /** Only this administrator is obeyed. */
  adminKey: hexOf(33),
  /** Id of the keys node. */
  node: nodeId,
  /** Id of the new replica of it. */
  replica: nodeId,
  /** P-256 point to which the node's keys are sealed. */
  point: hexOf(65),
});
export type ReplicaRequest = z.output<typeof requestSchema>;

const pendingSchema = z.strictObject({ request: requestSchema, cluster: clusterSchema });

const grantSchema = z.strictObject({
  version: z.literal(1),
  replica: nodeId,
  directory: z.looseObject({}),
  /** HPKE in auth mode, from the node's identity, hexadecimal. */
  sealed: z.string().regex(/^([0-9a-f]{2})+$/),
});
/** What a new replica gets, in one file. Its keys are sealed to the request. */
export type ReplicaGrant = z.output<typeof grantSchema>;

const secret = z.instanceof(Uint8Array);
const keysSchema = z.strictObject({
  identity: secret,
  tlsKey: secret,
  kek: secret,
  certificate: z.string(),
  /** Settings that every replica has. */
  settings: settingsSchema.pick({ maintenance: true, boxes: true, chaffPercent: true, checks: true }),
});

const infoOf = (request: ReplicaRequest): Bytes => encodeCbor({ context: 'millrace/v1/keys-replica-grant', request });

/** SHA-256 of the request in deterministic CBOR, hexadecimal: compared over another channel. */
export function replicaFingerprint(request: ReplicaRequest): string {
  return toHex(sha256(encodeCbor(request)));
}

/** @throws {MillraceError} E_INPUT */
export function parseReplicaRequest(input: unknown): ReplicaRequest {
  return parse(requestSchema, input, 'request of a replica');
}

/** Whether this is the grant of a replica, and not the admission of a node. */
export function isReplicaGrant(input: unknown): boolean {
  return grantSchema.safeParse(input).success;
}

/**
 * Makes the request of a new replica in its folder. Repeated with the same options it returns the same request.
 * @throws {MillraceError} E_CONFLICT if the folder belongs to another node or replica; E_INPUT
 */
export async function requestReplica(
  folder: string,
  of: Pick<ReplicaRequest, 'installation' | 'adminKey' | 'node' | 'replica'>,
  cluster: ClusterSettings,
): Promise<ReplicaRequest> {
  const path = join(folder, nodeFiles.replicaRequest);
  if (await fileExists(path)) {
    const present = await readPending(folder);
    const request = parseReplicaRequest({ version: 1, ...of, point: present.request.point });
    if (JSON.stringify(present) !== JSON.stringify({ request, cluster }))
      throw new MillraceError('E_CONFLICT', `${folder} contains a replica that was requested with other options`);
    return request;
  }
  if ((await fileExists(join(folder, nodeFiles.settings))) || (await fileExists(join(folder, nodeFiles.request))))
    throw new MillraceError('E_CONFLICT', `${folder} already contains a node`);
  if (of.node === of.replica) throw new MillraceError('E_INPUT', `${of.replica} is the node's first replica`);
  await mkdir(join(folder, nodeFiles.data), { recursive: true, mode: 0o700 });
  const key = generateP256Key();
  const exported = key.exportSecret();
  try {
    const request = parseReplicaRequest({ version: 1, ...of, point: toHex(key.publicKey) });
    await writeDurably(join(folder, nodeFiles.replicaKey), exported);
    // Written last: a request that exists has a key that matches it.
    await writeDurably(path, json({ request, cluster }), 0o644);
    return request;
  } finally {
    wipe(exported);
    key.close();
  }
}

/**
 * Enrols a replica, and seals the node's keys to its request. Safe to repeat.
 * @param folder of a replica of the node, which may be running
 * @param shown the fingerprint that the new host has shown
 * @throws {MillraceError} E_AUTH if the request is another one; E_CONFIG if the node's state is not in a cluster
 */
export async function enrolReplica(folder: string, input: unknown, shown: string): Promise<ReplicaGrant> {
  const request = parseReplicaRequest(input);
  const found = replicaFingerprint(request);
  if (found !== shown)
    throw new MillraceError(
      'E_AUTH',
      `the request of ${request.replica} has the fingerprint ${found}, which was not given: compare it with what the host shows`,
    );
  const { role, id, installation, adminKey } = await readSettings(folder);
  if (role !== 'keys' || id !== request.node)
    throw new MillraceError('E_CONFIG', `${folder} contains the ${role} node ${id}, not the keys node ${request.node}`);
  if (request.installation !== installation || request.adminKey !== adminKey)
    throw new MillraceError('E_AUTH', `the request of ${request.replica} is for another installation or administrator`);
  await withGroup(folder, async ({ group }) => {
    await group.change(({ members, ...rest }) => {
      if (members.some((member) => member.id === request.replica)) return undefined;
      if (members.length >= 7) throw new MillraceError('E_STATE', 'a keys node has at most 7 replicas');
      return { ...rest, members: [...members, { id: request.replica, inSync: false }] };
    });
  });
  return sealReplicaKeys(folder, request);
}

/** The keys of the node in this folder, sealed to a request. */
export async function sealReplicaKeys(folder: string, request: ReplicaRequest): Promise<ReplicaGrant> {
  const { maintenance, boxes, chaffPercent, checks } = await readSettings(folder);
  const read = async (name: string) => new Uint8Array(await readFile(join(folder, name)));
  const [identity, tlsKey, kek] = [
    await read(nodeFiles.identity),
    await read(nodeFiles.tlsKey),
    await read(nodeFiles.kek),
  ];
  const sender = p256Key(identity);
  const plain = encodeCbor({
    ...{ identity, tlsKey, kek },
    certificate: await readFile(join(folder, nodeFiles.certificate), 'utf8'),
    settings: JSON.parse(JSON.stringify({ maintenance, boxes, chaffPercent, checks })) as never,
  });
  try {
    const sealed = await seal(fromHex(request.point), infoOf(request), plain, { sender });
    const directory = JSON.parse(await readFile(join(folder, nodeFiles.directory), 'utf8')) as Record<string, unknown>;
    return { version: 1, replica: request.replica, directory, sealed: toHex(sealed) };
  } finally {
    wipe(identity, tlsKey, kek, plain);
    sender.close();
  }
}

/**
 * Installs what another replica has sealed to this folder's request. Everything is verified first. Safe to repeat, at
 * every start: a newer certificate is installed, an older one is not.
 * @throws {MillraceError} E_CONFIG if no request was made here; E_DIRECTORY; E_AUTH, E_SEAL if it was not made for this
 *   request by the node that the directory lists
 */
export async function acceptReplica(folder: string, input: unknown): Promise<ReplicaRequest> {
  const grant = parse(grantSchema, input, 'grant of a replica');
  const { request, cluster } = await readPending(folder);
  const { installation, adminKey, node, replica } = request;
  if (grant.replica !== replica)
    throw new MillraceError('E_AUTH', `this is ${replica}, the file is for ${grant.replica}`);
  const signed = await newestOf(folder, verifySigned(grant.directory, { installation, adminKey }));
  const entry = directoryAt(signed.directory, systemClock.now()).nodes.find(
    ({ id, role }) => id === node && role === 'keys',
  );
  if (entry === undefined) throw new MillraceError('E_DIRECTORY', `the directory lists no keys node ${node}`);
  const secretKey = new Uint8Array(await readFile(join(folder, nodeFiles.replicaKey)));
  const own = p256Key(secretKey);
  const plain = await unseal(own, infoOf(request), fromHex(grant.sealed), { sender: fromHex(entry.identity) }).finally(
    () => {
      wipe(secretKey);
      own.close();
    },
  );
  const keys = parse(keysSchema, decodeCbor(plain, 'keys of a replica'), 'keys of a replica');
  try {
    const isNode = await fileExists(join(folder, nodeFiles.settings));
    if (
      !isTlsPair({ certificate: keys.certificate, key: keys.tlsKey }) ||
      entry.fingerprint !== fingerprint(keys.certificate)
    ) {
      if (isNode) return request; // an older grant, given again after the certificate was renewed
      throw new MillraceError('E_AUTH', `the directory lists another certificate of ${node} than the file`);
    }
    const write = (name: string, content: Uint8Array | string, mode?: number) =>
      writeDurably(join(folder, name), content, mode);
    await write(nodeFiles.kek, keys.kek);
    await write(nodeFiles.identity, keys.identity);
    await write(nodeFiles.tlsKey, keys.tlsKey);
    await write(nodeFiles.certificate, keys.certificate, 0o644);
    if (isNode) return request;
    const node_ = { role: 'keys', id: node, installation, adminKey, cluster, replica, more: keys.settings } as const;
    await writeNodeSettings(folder, node_, signed);
    return request;
  } finally {
    wipe(plain, keys.identity, keys.tlsKey, keys.kek);
  }
}

/** The replicas of the keys node in this folder, which may be running. */
export function listReplicas(folder: string): Promise<GroupState> {
  return withGroup(folder, async ({ group }) => {
    const state = await group.read();
    if (state === undefined) throw new MillraceError('E_STATE', 'the keys node has not run with this keyspace yet');
    return state;
  });
}

/**
 * Removes a replica that is lost for good. Its disk has to be destroyed: what it holds is no longer counted.
 * @param folder of another replica, which may be running
 * @throws {MillraceError} E_NOT_FOUND; E_STATE if no other replica has everything, or for the replica of this folder
 */
export function removeReplica(folder: string, id: string): Promise<GroupState> {
  return withGroup(folder, ({ group, own }) => group.change((state) => withoutReplica(state, own, id)));
}

/** @param own the replica whose folder it is @throws {MillraceError} E_NOT_FOUND, E_STATE */
export function withoutReplica(state: GroupState, own: string, id: string): GroupState {
  const members = state.members.filter((member) => member.id !== id);
  if (members.length === state.members.length)
    throw new MillraceError('E_NOT_FOUND', `the keys node has no replica ${id}`);
  if (id === own)
    throw new MillraceError('E_STATE', `${id} is the replica of this folder: remove it on the host of another one`);
  if (!members.some((member) => isInSync(state, member.id)))
    throw new MillraceError(
      'E_STATE',
      `no other replica than ${id} has the newest keys: start it, or restore a backup`,
    );
  if (state.active === id)
    throw new MillraceError('E_STATE', `${id} was active last: another replica has to become active first`);
  return { ...state, members };
}

/** The directory that came with the grant, or the newer one that is here. */
async function newestOf(folder: string, granted: SignedDirectory): Promise<SignedDirectory> {
  const path = join(folder, nodeFiles.directory);
  if (!(await fileExists(path))) return granted;
  const { installation, adminKey, sequence } = granted.directory;
  const present = verifySigned(JSON.parse(await readFile(path, 'utf8')), { installation, adminKey });
  return present.directory.sequence > sequence ? present : granted;
}

async function readPending(folder: string): Promise<z.output<typeof pendingSchema>> {
  const path = join(folder, nodeFiles.replicaRequest);
  if (!(await fileExists(path)))
    throw new MillraceError('E_CONFIG', `${folder} contains no request of a replica: make one with \`node create\``);
  try {
    return parse(pendingSchema, JSON.parse(await readFile(path, 'utf8')), path, 'E_CONFIG');
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${path} is damaged`, { cause });
  }
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
