import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, fileExists, MillraceError, systemClock, wipe } from '@millrace/base';
import { findUser, type User } from '@millrace/client';
import { readBytes, readJson, readJsonIfThere } from '@millrace/client/node';
import { type MemorySigner, type TlsIdentity, userKey } from '@millrace/identity';
import {
  type Addresses,
  type Directory,
  type DirectoryFile,
  nodeOf,
  openDirectory,
  openTlsFiles,
  parseAddresses,
} from '@millrace/protocol';
import { commandName } from '../output/command-name.ts';
import { type Description, parseDescription } from './description.ts';
import { type Layout, layoutOf, userFiles } from './layout.ts';

/** An installation, as seen by its users. */
export interface Installation {
  readonly layout: Layout;
  /** Its fields always reflect the newest directory. */
  readonly directory: Directory;
  readonly directories: DirectoryFile;
  readonly description: Description;
}

export async function installationExists(home: string): Promise<boolean> {
  try {
    await access(layoutOf(home).directory);
    return true;
  } catch {
    return false;
  }
}

/** @throws {MillraceError} E_CONFIG if it does not exist, or a file is invalid; E_DIRECTORY */
export async function openInstallation(home: string, clock: Clock = systemClock): Promise<Installation> {
  const layout = layoutOf(home);
  if (!(await installationExists(home))) {
    if (await fileExists(layout.installation))
      throw new MillraceError('E_STATE', `no node of ${layout.home} was admitted yet: \`${commandName} node admit\``);
    throw new MillraceError('E_CONFIG', `there is no installation in ${layout.home}`);
  }
  const description = parseDescription(await readJson(layout.installation));
  const directories = await openDirectory({ path: layout.directory, folder: layout.home, anchor: description, clock });
  return { layout, directory: directories.directory, directories, description };
}

/**
 * Where the passive nodes were started here or, for nodes on hosts of their own, where the directory says they are.
 * @throws {MillraceError} E_UNAVAILABLE if nothing was started here
 */
export async function readAddresses({
  layout,
  directory,
}: Pick<Installation, 'layout' | 'directory'>): Promise<Addresses> {
  const json = await readJsonIfThere(layout.run.addresses);
  if (json !== undefined) return parseAddresses(json);
  const [control] = nodeOf(directory, 'control').addresses;
  const [distribution] = nodeOf(directory, 'distribution').addresses;
  if (control === undefined || distribution === undefined)
    throw new MillraceError('E_UNAVAILABLE', `nothing runs in ${layout.home}: start it with \`${commandName} up\``);
  return { control, distribution };
}

/** A user of this installation, with the contents of the user's folder. */
export interface InstallationUser extends User {
  readonly folder: string;
  /** The identity as last read from the folder. */
  readonly tls: TlsIdentity;
  /** Reloads the certificate. */
  refresh(): Promise<boolean>;
  /** Wipes the keys. */
  close(): void;
}

/** @throws {MillraceError} E_NOT_FOUND for an unknown user, E_CONFIG for a missing file */
export async function openUser(
  installation: Pick<Installation, 'layout' | 'description'>,
  name: string,
): Promise<InstallationUser> {
  const entry = findUser(installation.description, name);
  const folder = installation.layout.user(entry.name);
  const secret = await readBytes(join(folder, userFiles.key));
  let signer: MemorySigner;
  try {
    signer = userKey(secret);
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${join(folder, userFiles.key)} is not a user’s key`, { cause });
  } finally {
    wipe(secret);
  }
  const tls = await openTlsFiles({
    certificate: join(folder, userFiles.certificate),
    key: join(folder, userFiles.tlsKey),
  });
  return {
    name: entry.name,
    folder,
    signer,
    get tls() {
      return tls.identity;
    },
    refresh: () => tls.refresh(),
    close: () => {
      signer.close();
      tls.close();
    },
  };
}
