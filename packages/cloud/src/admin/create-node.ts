import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, type RandomSource, toHex, wipe, writeDurably } from '@millrace/base';
import { createAuthority, generateP256Key, type TlsIdentity } from '@millrace/identity';
import { ed25519NoteSigner, formatVerifierKey } from '@millrace/ledger';
import type { DirectoryAnchor, NodeRole, SignedDirectory } from '@millrace/protocol';
import { nodeFiles } from '../config.ts';

// Creates the folder of a new node: its keys first and, when the directory lists them, its settings and the directory.

/** Wipes the TLS key. @returns the node's identity, a P-256 point in hexadecimal */
export async function createNodeKeys(folder: string, tls: TlsIdentity): Promise<string> {
  await mkdir(join(folder, nodeFiles.data), { recursive: true, mode: 0o700 });
  await writeDurably(join(folder, nodeFiles.certificate), tls.certificate, 0o644);
  await writeDurably(join(folder, nodeFiles.tlsKey), tls.key);
  wipe(tls.key);
  return createP256(join(folder, nodeFiles.identity));
}

/**
 * Creates the keys that only control has.
 * @param sign the administrator's statement of the permit key
 * @returns the permit key (P-256 point, hexadecimal) and the verifier key of the ledger
 */
export async function createControlKeys(
  folder: string,
  options: {
    readonly installation: string;
    readonly random: RandomSource;
    readonly sign: (permitKey: string) => Promise<Bytes>;
  },
): Promise<{ readonly permitKey: string; readonly logKey: string }> {
  const permitKey = await createP256(join(folder, nodeFiles.permitKey));
  await writeDurably(join(folder, nodeFiles.permitKeyDocument), await options.sign(permitKey), 0o644);
  const secret = options.random(32);
  try {
    await writeDurably(join(folder, nodeFiles.logKey), secret);
    const { name, publicKey } = ed25519NoteSigner(`millrace/${options.installation}`, secret);
    return { permitKey, logKey: formatVerifierKey(name, publicKey) };
  } finally {
    wipe(secret);
  }
}

/**
 * Creates the certificate authority of users in control's folder. It issues certificates to users on other computers.
 * @returns its certificate, PEM, for the directory
 */
export async function createUserAuthority(
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

/** Writes the files that the node reads when it starts. */
export async function writeNodeSettings(
  folder: string,
  settings: { readonly role: NodeRole; readonly id: string } & DirectoryAnchor,
  directory: SignedDirectory,
): Promise<void> {
  const { role, id, installation, adminKey } = settings;
  await writeDurably(join(folder, nodeFiles.settings), json({ role, id, installation, adminKey }), 0o644);
  await writeDurably(join(folder, nodeFiles.directory), json(directory), 0o644);
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
