import { readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Clock, MillraceError, type RandomSource, toHex, wipe } from '@millrace/base';
import { hasSystemCode, makeFolder, readBytes, toJsonFile, writePublic, writeSecret } from '@millrace/client/node';
import {
  createControlKeys,
  createNodeKeys,
  createUserAuthority,
  createWrappingKey,
  writeNodeSettings,
} from '@millrace/cloud/admin';
import { type Authority, createAuthority, fingerprint, generateUserKey, keyName, userKey } from '@millrace/identity';
import { writeMachineDirectory } from '@millrace/machine/admin';
import {
  type Directory,
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
const PASSIVE: readonly NodeRole[] = ['control', 'distribution'];

/** Host names in the certificate of a party, in addition to its own name. */
export function hostsOf(role: NodeRole | 'user' | 'machine'): readonly string[] {
  // With the name for guests, other programs can verify control's certificate when they use an API token.
  const guests = role === 'control' ? [GUEST_NAME] : [];
  return PASSIVE.some((passive) => passive === role) ? [...HOSTS, ...guests] : [];
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
 * Creates an installation, all or nothing: it is built in an adjacent folder and then renamed.
 * @throws {MillraceError} E_CONFLICT if the folder exists and is not empty
 */
export async function initInstallation(options: InitOptions): Promise<Installed> {
  const { home } = layoutOf(options.home);
  await refuseExisting(home);
  await makeParent(home);
  const staging = join(dirname(home), `.${basename(home)}.init-${toHex(options.random(6))}`);
  try {
    await makeFolder(staging);
    const { directory, description } = await build(layoutOf(staging), options);
    await publish(staging, home);
    return { layout: layoutOf(home), directory, description };
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
  if (entries.includes('directory.json'))
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

async function build(layout: Layout, options: InitOptions) {
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

  const nodes: DirectoryNode[] = [];
  for (const role of nodeRoles) nodes.push(await createNode(layout, authority, role));
  const { random } = options;
  const { permitKey, logKey } = await createControlKeys(layout.node('control'), {
    installation,
    random,
    sign: (permitKey) => signPermitKey(layout, { installation, permitKey, now, random }),
  });
  await createWrappingKey(layout.node('keys'), random);
  const userAuthority = await createUserAuthority(layout.node('control'), { installation, now });

  const names: Directory = {
    version: 2,
    installation,
    name: options.name ?? 'Millrace',
    authority: authority.identity.certificate,
    nodes,
    permitKey,
    logKey,
    adminKey: admin.publicKey,
    userAuthority,
  };
  const signed = await signAs(layout, names, now);
  const directory = directoryAt(signed.directory, now);
  const anchor = { installation, adminKey: admin.publicKey };
  for (const role of nodeRoles)
    await writeNodeSettings(layout.node(role), { role, id: nodeIdOf(role), ...anchor }, signed);
  const machine = await writeMachine(layout, authority, anchor, {
    ...FIRST_MACHINE,
    kind: 'virtual',
    profile: { factor: options.factor ?? FIRST_MACHINE.factor },
    driver: {},
  });
  await writeMachineDirectory(layout.machine(FIRST_MACHINE.name), signed);
  const description: Description = {
    version: 1,
    ...anchor,
    created: new Date(now).toISOString(),
    ...(options.firstPeople === true && { firstPeople: true }),
    users,
    machines: [{ name: FIRST_MACHINE.name, material: FIRST_MACHINE.material, registration: machineToJson(machine) }],
  };
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

async function createNode(layout: Layout, authority: Authority, role: NodeRole): Promise<DirectoryNode> {
  const id = nodeIdOf(role);
  const folder = await makeFolder(layout.node(role));
  const tls = await authority.issue({ role, id }, hostsOf(role));
  const { certificate } = tls;
  return {
    id,
    role,
    // `millrace up` chooses the ports.
    addresses: [],
    fingerprint: fingerprint(certificate),
    identity: await createNodeKeys(folder, tls),
  };
}
