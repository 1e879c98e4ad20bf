import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Bytes,
  discardStaged,
  eraseFile,
  fileExists,
  type RandomSource,
  replaceByStaged,
  stagedPath,
  stageFile,
  toHex,
  wipe,
  writeDurably,
} from '@millrace/base';
import { createAuthority, generateP256Key, p256Key, type TlsIdentity } from '@millrace/identity';
import { ed25519NoteSigner, formatVerifierKey } from '@millrace/ledger';
import {
  type Directory,
  discardStagedTls,
  logKeysOf,
  readStagedCertificate,
  replaceTls,
  stageTls,
} from '@millrace/protocol';
import { nodeFiles } from '../config.ts';

// New keys of a node. They are staged next to the present keys until the directory lists them, and then replace the
// present keys. Each step is safe to repeat after a crash. `folder` is the node's.

/** Public parts of the keys that are staged. */
export interface StagedKeys {
  /** PEM. */
  readonly certificate?: string | undefined;
  /** P-256 point, hexadecimal. */
  readonly identity?: string | undefined;
  /** P-256 point, hexadecimal. */
  readonly permitKey?: string | undefined;
  /** C2SP verifier key. */
  readonly logKey?: string | undefined;
  /** Certificate of the authority of users, PEM. */
  readonly userAuthority?: string | undefined;
}

/** Wipes the key. */
export function stageCertificate(folder: string, tls: TlsIdentity): Promise<void> {
  return stageTls(folder, nodeFiles, tls);
}

export async function stageIdentity(folder: string): Promise<void> {
  await stageP256(join(folder, nodeFiles.identity));
}

/**
 * @param sign the administrator's statement of the new permit key (a P-256 point, hexadecimal), which certificates of
 * objects carry
 */
export async function stagePermitKey(folder: string, sign: (permitKey: string) => Promise<Bytes>): Promise<void> {
  const document = join(folder, nodeFiles.permitKeyDocument);
  await discardStaged(document);
  const permitKey = await stageP256(join(folder, nodeFiles.permitKey));
  await stageFile(document, await sign(permitKey), 0o644);
}

export async function stageLogKey(folder: string, random: RandomSource): Promise<void> {
  const secret = random(32);
  await stageFile(join(folder, nodeFiles.logKey), secret).finally(() => wipe(secret));
}

/** Control's new authority of users. Its name is distinct, because the issuer of a certificate is looked up by name. */
export async function stageUserAuthority(
  folder: string,
  { installation, now, random }: { readonly installation: string; readonly now: number; readonly random: RandomSource },
): Promise<void> {
  const name = `Millrace users ${installation.slice(0, 8)} ${toHex(random(4))}`;
  const { identity } = await createAuthority(name, now);
  await stageFile(join(folder, nodeFiles.userAuthorityKey), identity.key).finally(() => wipe(identity.key));
  // Staged last: the directory lists a certificate whose key is there.
  await stageFile(join(folder, nodeFiles.userAuthority), identity.certificate, 0o644);
}

/** @param installation 16 bytes, hexadecimal */
export async function readStagedKeys(folder: string, installation: string): Promise<StagedKeys> {
  return {
    certificate: await readStagedCertificate(folder, nodeFiles),
    identity: await readStaged(join(folder, nodeFiles.identity), pointOf),
    permitKey: await readStaged(join(folder, nodeFiles.permitKey), pointOf),
    logKey: await readStaged(join(folder, nodeFiles.logKey), (secret) => verifierKeyOf(secret, installation)),
    userAuthority: await readStaged(join(folder, nodeFiles.userAuthority), (pem) => new TextDecoder().decode(pem)),
  };
}

/**
 * Discards the staged keys that the directory does not list: a rotation was interrupted before they came into force.
 */
export async function discardUnlistedKeys(
  folder: string,
  installation: string,
  isListed: { readonly [kind in keyof StagedKeys]-?: (key: string) => boolean },
): Promise<void> {
  const { identity, permitKey, logKey, userAuthority } = await readStagedKeys(folder, installation);
  await discardStagedTls(folder, nodeFiles, isListed.certificate);
  if (identity !== undefined && !isListed.identity(identity)) await discardStaged(join(folder, nodeFiles.identity));
  if (permitKey !== undefined && !isListed.permitKey(permitKey))
    await discardStaged(join(folder, nodeFiles.permitKeyDocument), join(folder, nodeFiles.permitKey));
  if (logKey !== undefined && !isListed.logKey(logKey)) await discardStaged(join(folder, nodeFiles.logKey));
  if (userAuthority === undefined || !isListed.userAuthority(userAuthority))
    await discardStaged(join(folder, nodeFiles.userAuthority), join(folder, nodeFiles.userAuthorityKey));
}

/**
 * Replaces the present keys by the staged ones. The node must be restarted afterwards.
 * @returns whether any keys were staged
 */
export async function replaceKeys(folder: string): Promise<boolean> {
  const { identity, permitKey, permitKeyDocument, logKey, userAuthority, userAuthorityKey } = nodeFiles;
  let replaced = false;
  if (await fileExists(stagedPath(join(folder, logKey)))) await keepFormerLogKey(folder);
  // A document that names a key is moved after the key: while the document is staged, the key may be staged too.
  for (const name of [logKey, permitKey, permitKeyDocument, userAuthorityKey, userAuthority, identity])
    replaced = (await replaceByStaged(join(folder, name))) || replaced;
  return (await replaceTls(folder, nodeFiles)) || replaced;
}

/** Keeps the previous log key, which also signs while the directory lists it. */
async function keepFormerLogKey(folder: string): Promise<void> {
  await withSecret(join(folder, nodeFiles.logKey), (secret) =>
    writeDurably(join(folder, nodeFiles.formerLogKey), secret),
  );
}

/** Erases control's previous log key once the directory no longer lists it. */
export async function eraseFormerLogKey(folder: string, directory: Directory, now: number): Promise<void> {
  const path = join(folder, nodeFiles.formerLogKey);
  if (!(await fileExists(path))) return;
  const key = await withSecret(path, (secret) => verifierKeyOf(secret, directory.installation));
  if (!logKeysOf(directory, now).includes(key)) await eraseFile(path);
}

async function stageP256(path: string): Promise<string> {
  const key = generateP256Key();
  const secret = key.exportSecret();
  try {
    await stageFile(path, secret);
    return toHex(key.publicKey);
  } finally {
    wipe(secret);
    key.close();
  }
}

async function readStaged<T>(path: string, read: (secret: Uint8Array) => T): Promise<T | undefined> {
  return (await fileExists(stagedPath(path))) ? withSecret(stagedPath(path), read) : undefined;
}

async function withSecret<T>(path: string, use: (secret: Uint8Array) => T | Promise<T>): Promise<T> {
  const secret = new Uint8Array(await readFile(path));
  try {
    return await use(secret);
  } finally {
    wipe(secret);
  }
}

function pointOf(secret: Uint8Array): string {
  const key = p256Key(secret);
  try {
    return toHex(key.publicKey);
  } finally {
    key.close();
  }
}

function verifierKeyOf(secret: Uint8Array, installation: string): string {
  const { name, publicKey } = ed25519NoteSigner(`millrace/${installation}`, secret);
  return formatVerifierKey(name, publicKey);
}
