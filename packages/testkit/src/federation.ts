import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep, systemClock, systemRandom } from '@millrace/base';
import {
  type Installation,
  type InstallationSession,
  openInstallation,
  openSession,
  userFiles,
} from '@millrace/cli/parts';
import { type Session, signNew } from '@millrace/client';
import { keyName, openAuthority, userKey } from '@millrace/identity';
import { type Addresses, seenSequence } from '@millrace/protocol';
import { addUser } from './adversary/parties.ts';
import { cli } from './cli/helpers.ts';

/** One of two clouds. Its nodes may run or not. */
export interface Cloud {
  readonly installation: Installation;
  readonly addresses: Addresses;
}

async function must(argv: readonly string[]): Promise<void> {
  const { exit, stderr } = await cli(argv);
  if (exit !== 0) throw new Error(stderr);
}

/** Makes `cloud` recognise `other`, and waits until each of these folders has accepted the new directory. */
export async function recognise(cloud: Cloud, other: Cloud, folders: readonly string[] = []): Promise<void> {
  const { layout, description } = other.installation;
  const { host, port } = other.addresses.distribution;
  const home = ['--home', cloud.installation.layout.home];
  const about = ['--admin-key', description.adminKey, '--distribution', `${host}:${port}`];
  await must(['cloud', 'recognise', layout.directory, ...about, ...home]);
  await taken(cloud, folders);
}

export async function withdraw(cloud: Cloud, other: Cloud, folders: readonly string[] = []): Promise<void> {
  const { layout } = cloud.installation;
  await must(['cloud', 'withdraw', other.installation.description.installation, '--home', layout.home]);
  await taken(cloud, folders);
}

async function taken({ installation: { layout } }: Cloud, folders: readonly string[]): Promise<void> {
  const installation = await openInstallation(layout.home);
  const { sequence } = installation.directories;
  for (const folder of folders) while (((await seenSequence(folder)) ?? 0) < sequence) await sleep(20);
  if (!folders.includes(layout.node('control'))) return;
  // A node notes a directory on its disk a moment before it uses it.
  const { api, close } = await openSession({
    installation,
    user: 'admin',
    clock: systemClock,
    random: systemRandom,
  });
  while ((await api.newerDirectory(sequence - 1)) === undefined) await sleep(20);
  close();
}

/**
 * Registers the key of a user of `from` at `to` as well. @returns the user's session at `to`; the caller closes it
 * @param admin the administrator of `to`
 */
export async function shareUser(from: Cloud, name: string, to: Cloud, admin: Session): Promise<InstallationSession> {
  const { layout } = to.installation;
  const { authority } = layout;
  const identity = {
    certificate: await readFile(authority.certificate, 'utf8'),
    key: new Uint8Array(await readFile(authority.key)),
  };
  const secret = new Uint8Array(await readFile(join(from.installation.layout.user(name), userFiles.key)));
  const key = userKey(secret);
  const { publicKey } = key;
  const user = `visiting-${name}`;
  await addUser(layout, await openAuthority(identity, systemClock.now), user, key);
  await admin.api.submit((await signNew(admin, { type: 'user.register', publicKey, name: user })).bytes);
  const installation = await openInstallation(layout.home);
  const session = await openSession({ installation, user, clock: systemClock, random: systemRandom });
  if (keyName(session.signer.publicKey) !== keyName(publicKey)) throw new Error('another key');
  return session;
}
