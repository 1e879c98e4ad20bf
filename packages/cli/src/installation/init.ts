import { readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Clock, MillraceError, type RandomSource, toHex, wipe } from '@millrace/base';
import { hasSystemCode, makeFolder, readBytes, toJsonFile, writePublic, writeSecret } from '@millrace/client/node';
import {
  createControlKeys,
  createNodeKeys,
  createWrappingKey,
  writeNodeCertificate,
  writeNodeSettings,
  writePermitKeyDocument,
} from '@millrace/cloud/admin';
import { type Authority, createAuthority, fingerprint, generateUserKey, keyName, userKey } from '@millrace/identity';
import { writeMachineDirectory } from '@millrace/machine/admin';
import {
  type Directory,
  type DirectoryAnchor,
  type DirectoryNode,
  directoryAt,
  firstDocument,
  GUEST_NAME,
  type NodeRole,
  type SignedDirectory,
  signDirectory,
} from '@millrace/protocol';
import { type Description, machineToJson, type UserEntry } from './description.ts';
import { type Layout, layoutOf, nodeIdOf, nodeRoles, userFiles } from './layout.ts';
import { writeMachine } from './machine.ts';
import { signPermitKey } from './permit-key.ts';

/** Host names of the passive nodes, included in their certificates. */
const HOSTS = ['127.0.0.1', 'localhost', '::1'] as const;
const DEFAULT_NAME = 'Millrace';
/** Validity of a node's certificate, ms. */
export const CERTIFICATE_MS = 365 * 86_400_000;

/**
 * Host names in the certificate of a party, in addition to its own name.
 * @param reached where others reach a node on a host of its own
 */
export function hostsOf(role: NodeRole | 'user' | 'machine', reached: readonly string[] = HOSTS): readonly string[] {
  // With the name for guests, other programs can verify control's certificate when they use an API token.
  if (role === 'control') return [...reached, GUEST_NAME];
  return role === 'distribution' ? reached : [];
}

/** The first machine: a virtual printer that runs this many times faster than real time, as stated in its profile. */
export const FIRST_MACHINE = { name: 'virtual-1', factor: 240, material: 'PLA' } as const;

export interface InitOptions {
  readonly home: string;
  readonly name?: string;
  /** Speed of the virtual machine relative to real time. */
  readonly factor?: number;
  /** Users whom the administrator registers directly. They belong to no organisation and have every role. */
  readonly users?: readonly string[];
  /** Whether `millrace up` enrols the first organisations and their people. Default: no. */
  readonly firstPeople?: boolean;
  readonly clock: Clock;
  readonly random: RandomSource;
}

export interface Installed {
  readonly layout: Layout;
  readonly directory: Directory;
  readonly description: Description;
}

/**
 * Creates an installation with its nodes in its own folder, all or nothing: it is built in an adjacent folder and then
 * renamed.
 * @throws {MillraceError} E_CONFLICT if the folder exists and is not empty
 */
export async function initInstallation(options: InitOptions): Promise<Installed> {
  const { layout, ...made } = await whole(options, (staging) => build(staging, options));
  return { layout, ...made };
}

/**
 * Creates the administrator's part of an installation whose nodes are on hosts of their own: its authority, its
 * administrator and no directory yet. `admitNodes` signs the first one. All or nothing, as `initInstallation`.
 * @throws {MillraceError} E_CONFLICT if the folder exists and is not empty
 */
export async function initWithoutNodes(
  options: Omit<InitOptions, 'factor' | 'firstPeople' | 'users'>,
): Promise<Omit<Installed, 'directory'>> {
  return whole(options, async (staging) => {
    const { authority, anchor, users, now } = await buildFoundation(staging, options);
    wipe(authority.identity.key);
    const description = describe(options, { anchor, users, now, machines: [] });
    await writePublic(staging.installation, toJsonFile(description));
    return { description };
  });
}

/** Builds in an adjacent folder, which is then renamed. */
async function whole<T extends object>(
  options: Pick<InitOptions, 'home' | 'random'>,
  make: (staging: Layout) => Promise<T>,
): Promise<T & { readonly layout: Layout }> {
  const { home } = layoutOf(options.home);
  await refuseExisting(home);
  await makeParent(home);
  const staging = join(dirname(home), `.${basename(home)}.init-${toHex(options.random(6))}`);
  try {
    await makeFolder(staging);
    const made = await make(layoutOf(staging));
    await publish(staging, home);
    return { ...made, layout: layoutOf(home) };
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

async function refuseExisting(home: string): Promise<void> {
  let entries: string[];
  try {
    entries = await readdir(home);
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT')) return;
    if (hasSystemCode(error, 'ENOTDIR')) throw new MillraceError('E_CONFLICT', `${home} exists and is not a folder`);
    throw new MillraceError('E_CONFIG', `cannot read ${home}`, { cause: error });
  }
  if (entries.includes('installation.json'))
    throw new MillraceError('E_CONFLICT', `${home} already contains an installation`);
  if (entries.length > 0) throw new MillraceError('E_CONFLICT', `${home} exists and is not empty`);
}

async function makeParent(home: string): Promise<void> {
  try {
    await makeFolder(dirname(home));
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `cannot create ${dirname(home)}`, { cause });
  }
}

async function publish(staging: string, home: string): Promise<void> {
  try {
    await rename(staging, home);
  } catch (cause) {
    if (hasSystemCode(cause, 'ENOTEMPTY', 'EEXIST', 'ENOTDIR', 'EPERM')) {
      throw new MillraceError('E_CONFLICT', `another process has created ${home} meanwhile`, { cause });
    }
    throw cause;
  }
}

/** The certificate authority and the users whom the administrator registers. */
async function buildFoundation(layout: Layout, options: InitOptions) {
  const now = options.clock.now();
  const installation = toHex(options.random(16));
  const authority = await createAuthority(`Millrace ${installation.slice(0, 8)}`, now);
  await makeFolder(layout.authority.folder);
  await writePublic(layout.authority.certificate, authority.identity.certificate);
  await writeSecret(layout.authority.key, authority.identity.key);

  const users: UserEntry[] = [];
  for (const name of ['admin', ...(options.users ?? [])]) users.push(await createUser(layout, authority, name));
  const admin = users.find((user) => user.name === 'admin');
  if (admin === undefined) throw new MillraceError('E_INTERNAL', 'no admin was created');
  return { now, authority, users, anchor: { installation, adminKey: admin.publicKey } };
}

function describe(
  { name, firstPeople }: Pick<InitOptions, 'name' | 'firstPeople'>,
  { anchor, now, ...made }: Pick<Description, 'users' | 'machines'> & { anchor: DirectoryAnchor; now: number },
): Description {
  return {
    version: 1,
    ...anchor,
    name: name ?? DEFAULT_NAME,
    created: new Date(now).toISOString(),
    ...(firstPeople === true && { firstPeople: true }),
    ...made,
  };
}

async function build(layout: Layout, options: InitOptions) {
  const { now, authority, users, anchor } = await buildFoundation(layout, options);
  const { installation, adminKey } = anchor;
  const { random } = options;
  const nodes: DirectoryNode[] = [];
  for (const role of nodeRoles) nodes.push(await createNode(layout, authority, role, now));
  const folder = layout.node('control');
  const { permitKey, logKey, userAuthority } = await createControlKeys(folder, { installation, random, now });
  await writePermitKeyDocument(folder, await signPermitKey(layout, { installation, permitKey, now, random }));
  await createWrappingKey(layout.node('keys'), random);

  const names: Directory = {
    version: 2,
    installation,
    name: options.name ?? DEFAULT_NAME,
    authority: authority.identity.certificate,
    nodes,
    permitKey,
    logKey,
    adminKey,
    userAuthority,
  };
  const signed = await signAs(layout, names, now);
  const directory = directoryAt(signed.directory, now);
  for (const role of nodeRoles)
    await writeNodeSettings(layout.node(role), { role, id: nodeIdOf(role), ...anchor }, signed);
  const machine = await writeMachine(layout, authority, anchor, {
    ...FIRST_MACHINE,
    kind: 'virtual',
    profile: { factor: options.factor ?? FIRST_MACHINE.factor },
    driver: {},
  });
  await writeMachineDirectory(layout.machine(FIRST_MACHINE.name), signed);
  const { name, material } = FIRST_MACHINE;
  const machines = [{ name, material, registration: machineToJson(machine) }];
  const description = describe(options, { anchor, users, now, machines });
  await writePublic(layout.installation, toJsonFile(description));
  await writePublic(layout.directory, toJsonFile(signed));
  wipe(authority.identity.key);
  return { directory, description };
}

async function signAs(layout: Layout, names: Directory, now: number): Promise<SignedDirectory> {
  const secret = await readBytes(join(layout.user('admin'), userFiles.key));
  const admin = userKey(secret);
  try {
    return await signDirectory(admin, firstDocument(names, now));
  } finally {
    wipe(secret);
    admin.close();
  }
}

async function createUser(layout: Layout, authority: Authority, name: string): Promise<UserEntry> {
  const folder = await makeFolder(layout.user(name));
  const key = generateUserKey();
  const secret = key.exportSecret();
  const user = keyName(key.publicKey);
  const entry = { name, user, publicKey: toHex(key.publicKey) };
  try {
    await writeSecret(join(folder, userFiles.key), secret);
    const tls = await authority.issue({ role: 'user', name: user });
    await writePublic(join(folder, userFiles.certificate), tls.certificate);
    await writeSecret(join(folder, userFiles.tlsKey), tls.key);
    wipe(tls.key);
    await writePublic(join(folder, userFiles.about), toJsonFile(entry));
  } finally {
    wipe(secret);
    key.close();
  }
  return entry;
}

async function createNode(layout: Layout, authority: Authority, role: NodeRole, now: number): Promise<DirectoryNode> {
  const id = nodeIdOf(role);
  const folder = await makeFolder(layout.node(role));
  const { tlsKey, identity } = await createNodeKeys(folder);
  const certificate = await authority.certify({ role, id }, tlsKey, now + CERTIFICATE_MS, hostsOf(role));
  await writeNodeCertificate(folder, certificate);
  return {
    id,
    role,
    // `millrace up` chooses the ports.
    addresses: [],
    fingerprint: fingerprint(certificate),
    identity,
  };
}
