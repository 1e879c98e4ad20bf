import { join } from 'node:path';
import { type Bytes, type Clock, MillraceError, type RandomSource, toHex, wipe, writeDurably } from '@millrace/base';
import { type Enrolling, enrol, guestDirectory, type Invitation, requestCertificate } from '@millrace/client';
import { makeFolder, readBytes, readBytesIfThere, toJsonFile, writeSecret } from '@millrace/client/node';
import { createTlsKey, generateUserKey, keyName, tlsPublicKey, userKey } from '@millrace/identity';
import { type Credential, createHttpClient, type Directory, verifySigned } from '@millrace/protocol';
import type { Description } from './description.ts';
import { type Layout, layoutOf, userFiles } from './layout.ts';
import { installationExists, openInstallation } from './open.ts';

export interface JoinOptions {
  readonly home: string;
  readonly invitation: Invitation;
  /** Name of the user on this computer. */
  readonly user: string;
  readonly device: string;
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
 * interruption it can be repeated with the same invitation; with another invitation it renews the key.
 * @throws {MillraceError} E_CONFLICT if the folder belongs to another installation; E_DIRECTORY; as `enrol`
 */
export async function joinInstallation(options: JoinOptions): Promise<Joined> {
  const { home, invitation, user, device, clock, random } = options;
  const layout = layoutOf(home);
  if (!(await installationExists(home))) await setUp(layout, invitation, clock);
  const { directory, directories, description } = await openInstallation(home, clock);
  if (description.installation !== invitation.installation || description.adminKey !== invitation.adminKey)
    throw new MillraceError('E_CONFLICT', `${layout.home} belongs to another installation than the invitation`);
  if (directories.sequence < invitation.directory)
    throw new MillraceError('E_DIRECTORY', 'control has answered with a directory that is older than the invitation');
  const folder = await makeFolder(layout.user(user));
  const [secret, tlsKey] = await ownKeys(folder, random);
  const signer = userKey(secret);
  const control = createHttpClient({ address: () => invitation.addresses.control, tls: { directory } });
  try {
    const enrolling: Enrolling = { control, directory, signer, clock, random };
    const credential = await enrol(enrolling, invitation.secret, device);
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
async function ownKeys(folder: string, random: RandomSource): Promise<[Bytes, Bytes]> {
  const paths = { key: join(folder, userFiles.key), tlsKey: join(folder, userFiles.tlsKey) };
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

/** The directory is verified by its signature, so the server that sends it cannot forge it. */
async function setUp(layout: Layout, invitation: Invitation, clock: Clock): Promise<void> {
  const { installation, adminKey, addresses } = invitation;
  const guest = createHttpClient({ address: () => addresses.control, tls: { directory: undefined } });
  try {
    const signed = verifySigned(await guestDirectory(guest), { installation, adminKey });
    await makeFolder(layout.run.folder);
    await writeDurably(layout.run.addresses, toJsonFile(addresses), 0o644);
    const created = new Date(clock.now()).toISOString();
    const description: Description = { version: 1, installation, adminKey, created, users: [], machines: [] };
    await writeDurably(layout.installation, toJsonFile(description), 0o644);
    // Write this last: a folder with a directory is an installation.
    await writeDurably(layout.directory, toJsonFile(signed), 0o644);
  } finally {
    guest.close();
  }
}
