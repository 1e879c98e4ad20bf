import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, type RandomSource, toHex, wipe, writeDurably } from '@millrace/base';
import { createAuthority, createTlsKey, generateP256Key, tlsPublicKey } from '@millrace/identity';
import { ed25519NoteSigner, formatVerifierKey } from '@millrace/ledger';
import type { Address, DirectoryAnchor, NodeRole, SignedDirectory } from '@millrace/protocol';
import { nodeFiles } from '../config.ts';
import type { ClusterSettings } from '../settings.ts';

// Creates the folder of a new node: its keys first and, when the directory lists them, its settings and the directory.

/** Public parts of a node's keys. */
export interface NodeKeys {
  /** SubjectPublicKeyInfo, for the certificate. */
  readonly tlsKey: Bytes;
  /** P-256 point, hexadecimal. */
  readonly identity: string;
}

/** Creates the keys that every node has. */
export async function createNodeKeys(folder: string): Promise<NodeKeys> {
  await mkdir(join(folder, nodeFiles.data), { recursive: true, mode: 0o700 });
  const tls = createTlsKey();
  const tlsKey = tlsPublicKey(tls);
  await writeDurably(join(folder, nodeFiles.tlsKey), tls).finally(() => wipe(tls));
  return { tlsKey, identity: await createP256(join(folder, nodeFiles.identity)) };
}

/** @param certificate PEM, for the key that `createNodeKeys` has made */
export async function writeNodeCertificate(folder: string, certificate: string): Promise<void> {
  await writeDurably(join(folder, nodeFiles.certificate), certificate, 0o644);
}

/** Public parts of the keys that only control has. */
export interface ControlKeys {
  /** P-256 point, hexadecimal. */
  readonly permitKey: string;
  /** Verifier key of the ledger. */
  readonly logKey: string;
  /** Certificate of the authority of users, PEM. It issues certificates to users on other computers. */
  readonly userAuthority: string;
}

/** Creates the keys that only control has. */
export async function createControlKeys(
  folder: string,
  options: { readonly installation: string; readonly random: RandomSource; readonly now: number },
): Promise<ControlKeys> {
  const permitKey = await createP256(join(folder, nodeFiles.permitKey));
  const secret = options.random(32);
  try {
    await writeDurably(join(folder, nodeFiles.logKey), secret);
    const { name, publicKey } = ed25519NoteSigner(`millrace/${options.installation}`, secret);
    const userAuthority = await createUserAuthority(folder, options);
    return { permitKey, logKey: formatVerifierKey(name, publicKey), userAuthority };
  } finally {
    wipe(secret);
  }
}

/** @param document the administrator's signed statement of the permit key */
export async function writePermitKeyDocument(folder: string, document: Uint8Array): Promise<void> {
  await writeDurably(join(folder, nodeFiles.permitKeyDocument), document, 0o644);
}

async function createUserAuthority(
  folder: string,
  { installation, now }: { readonly installation: string; readonly now: number },
): Promise<string> {
  const { identity } = await createAuthority(`Millrace users ${installation.slice(0, 8)}`, now);
  await writeDurably(join(folder, nodeFiles.userAuthority), identity.certificate, 0o644);
  await writeDurably(join(folder, nodeFiles.userAuthorityKey), identity.key).finally(() => wipe(identity.key));
  return identity.certificate;
}

/** Creates the key that wraps every stored key of a keys node. */
export async function createWrappingKey(folder: string, random: RandomSource): Promise<void> {
  const secret = random(32);
  await writeDurably(join(folder, nodeFiles.kek), secret).finally(() => wipe(secret));
}

/** Where a node listens, if not at the addresses that the directory or the supervisor gives it. */
export interface Listeners {
  readonly listen?: Address | undefined;
  /** Control only: the public ledger and the console. */
  readonly ledger?: Address | undefined;
  readonly console?: Address | undefined;
}

export interface NodeFolderSettings extends DirectoryAnchor {
  readonly role: NodeRole;
  readonly id: string;
  readonly listeners?: Listeners | undefined;
  /** Where its state is, if not in its folder. */
  readonly cluster?: ClusterSettings | undefined;
  /** Keys node: name of this replica, if it is not the first. */
  readonly replica?: string | undefined;
  /** Further settings. */
  readonly more?: Readonly<Record<string, unknown>> | undefined;
}

/** Writes the files that the node reads when it starts. */
export async function writeNodeSettings(
  folder: string,
  { role, id, installation, adminKey, listeners = {}, cluster, replica, more }: NodeFolderSettings,
  directory: SignedDirectory,
): Promise<void> {
  await writeDurably(join(folder, nodeFiles.directory), json(directory), 0o644);
  const { listen, ledger, console: pages } = listeners;
  const settings = {
    ...{ role, id, installation, adminKey },
    ...(listen && { listen }),
    ...(ledger && { ledger: { listen: ledger } }),
    ...(pages && { console: { listen: pages } }),
    ...(cluster && { cluster }),
    ...(replica && { replica }),
    ...more,
  };
  // Written last: a folder with settings is a node.
  await writeDurably(join(folder, nodeFiles.settings), json(settings), 0o644);
}

async function createP256(path: string): Promise<string> {
  const key = generateP256Key();
  const secret = key.exportSecret();
  try {
    await writeDurably(path, secret);
    return toHex(key.publicKey);
  } finally {
    wipe(secret);
    key.close();
  }
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
