import { join } from 'node:path';
import {
  type Bytes,
  type Clock,
  equalBytes,
  MillraceError,
  type RandomSource,
  toHex,
  wipe,
  writeDurably,
} from '@millrace/base';
import { type Enrolling, type InstallationReference, requestCertificate } from '@millrace/client';
import { makeFolder, readBytes, readBytesIfThere, toJsonFile, writeSecret } from '@millrace/client/node';
import { createTlsKey, generateUserKey, keyName, ownerSealingKey, tlsPublicKey, userKey } from '@millrace/identity';
import { type Credential, createHttpClient, type Directory } from '@millrace/protocol';
import { type Layout, userFiles } from './layout.ts';
import { setUpInstallation } from './set-up.ts';

export interface JoinOptions {
  readonly home: string;
  readonly reference: InstallationReference;
  /** Name of the user on this computer. */
  readonly user: string;
  /** File of a user key to enrol instead of a new one: one key at several clouds. */
  readonly existingKey?: string | undefined;
  /**
   * Enrols the key, by an invitation or a sign-in.
   * @param sealingKey point to which secrets are sealed for the key
   */
  enrol(enrolling: Enrolling, sealingKey: Bytes): Promise<Credential>;
  readonly clock: Clock;
  readonly random: RandomSource;
}

export interface Joined {
  readonly layout: Layout;
  readonly directory: Directory;
  readonly key: string;
  readonly credential: Credential;
}

/**
 * Sets up the folder of an installation that runs on another computer, and enrols a key that is created here. After an
 * interruption it can be repeated with the same invitation; with another invitation or sign-in it renews the key.
 * @throws {MillraceError} E_CONFLICT if the folder belongs to another installation; E_DIRECTORY; as `options.enrol`
 */
export async function joinInstallation(options: JoinOptions): Promise<Joined> {
  const { home, reference, user, existingKey, clock, random } = options;
  const { layout, directory, description } = await setUpInstallation(home, reference, clock);
  const folder = await makeFolder(layout.user(user));
  const [secret, tlsKey] = await ownKeys(folder, random, existingKey);
  const signer = userKey(secret);
  const control = createHttpClient({ addresses: () => [reference.addresses.control], tls: { directory } });
  try {
    const enrolling: Enrolling = { control, directory, signer, clock, random };
    const sealing = ownerSealingKey(secret);
    sealing.close();
    const credential = await options.enrol(enrolling, sealing.publicKey);
    const certificate = await requestCertificate(enrolling, tlsPublicKey(tlsKey));
    await writeDurably(join(folder, userFiles.certificate), certificate, 0o644);
    const entry = { name: user, user: keyName(signer.publicKey), publicKey: toHex(signer.publicKey) };
    await writeDurably(join(folder, userFiles.about), toJsonFile(entry), 0o644);
    const users = [...description.users.filter(({ name }) => name !== user), entry];
    await writeDurably(layout.installation, toJsonFile({ ...description, users }), 0o644);
    return { layout, directory, key: entry.user, credential };
  } finally {
    wipe(secret, tlsKey);
    signer.close();
    control.close();
  }
}

/** The existing keys, or new ones that are written to disk before any node learns of them. */
async function ownKeys(folder: string, random: RandomSource, existing: string | undefined): Promise<[Bytes, Bytes]> {
  const paths = { key: join(folder, userFiles.key), tlsKey: join(folder, userFiles.tlsKey) };
  if (existing !== undefined) await adopt(existing, paths.key);
  if ((await readBytesIfThere(paths.key)) === undefined) {
    const key = generateUserKey(random);
    const secret = key.exportSecret();
    await writeSecret(paths.key, secret).finally(() => wipe(secret));
    key.close();
  }
  if ((await readBytesIfThere(paths.tlsKey)) === undefined) {
    const key = createTlsKey();
    await writeSecret(paths.tlsKey, key).finally(() => wipe(key));
  }
  return [await readBytes(paths.key), await readBytes(paths.tlsKey)];
}

/** @throws {MillraceError} E_CONFLICT if the folder holds another key, E_CONFIG */
async function adopt(from: string, to: string): Promise<void> {
  const secret = await readBytes(from);
  const present = await readBytesIfThere(to);
  try {
    if (present !== undefined && !equalBytes(present, secret))
      throw new MillraceError('E_CONFLICT', `${to} holds another key than ${from}`);
    if (present === undefined) await writeSecret(to, secret);
  } finally {
    wipe(secret, present);
  }
}
