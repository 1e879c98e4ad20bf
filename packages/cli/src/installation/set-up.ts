import { type Clock, MillraceError, writeDurably } from '@millrace/base';
import { guestDirectory, type InstallationReference } from '@millrace/client';
import { makeFolder, toJsonFile } from '@millrace/client/node';
import { createHttpClient, verifySigned } from '@millrace/protocol';
import type { Description } from './description.ts';
import { layoutOf } from './layout.ts';
import { type Installation, installationExists, openInstallation } from './open.ts';

/**
 * Opens the folder of an installation that runs on another computer, or creates it. The directory is verified by its
 * signature, so the server that sends it cannot forge it.
 * @throws {MillraceError} E_CONFLICT if the folder belongs to another installation; E_DIRECTORY
 */
export async function setUpInstallation(
  home: string,
  reference: InstallationReference,
  clock: Clock,
): Promise<Installation> {
  if (!(await installationExists(home))) await create(home, reference, clock);
  const installation = await openInstallation(home, clock);
  const { description, directories, layout } = installation;
  if (description.installation !== reference.installation || description.adminKey !== reference.adminKey)
    throw new MillraceError('E_CONFLICT', `${layout.home} belongs to another installation`);
  if (directories.sequence < reference.directory)
    throw new MillraceError('E_DIRECTORY', 'control has answered with a directory that is older than the invitation');
  return installation;
}

async function create(home: string, reference: InstallationReference, clock: Clock): Promise<void> {
  const layout = layoutOf(home);
  const { installation, adminKey, addresses } = reference;
  const guest = createHttpClient({ addresses: () => [addresses.control], tls: { directory: undefined } });
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
