import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { discardStaged, fileExists, replaceByStaged, stagedPath, stageFile, wipe } from '@millrace/base';
import type { TlsIdentity } from '@millrace/identity';

// A certificate and its key that will replace those in a folder. The certificate is staged last and put in its place
// last: where a staged certificate is, its key is staged or in its place.

/** Names of the files in the folder. */
export interface TlsFileNames {
  readonly certificate: string;
  readonly tlsKey: string;
}

/** Wipes the key. */
export async function stageTls(folder: string, files: TlsFileNames, tls: TlsIdentity): Promise<void> {
  await discardStaged(join(folder, files.certificate));
  await stageFile(join(folder, files.tlsKey), tls.key);
  wipe(tls.key);
  await stageFile(join(folder, files.certificate), tls.certificate, 0o644);
}

/** The staged certificate, PEM; undefined when there is none. */
export async function readStagedCertificate(folder: string, files: TlsFileNames): Promise<string | undefined> {
  const path = stagedPath(join(folder, files.certificate));
  return (await fileExists(path)) ? readFile(path, 'utf8') : undefined;
}

/** Discards what is staged, unless it is complete and its certificate is accepted. */
export async function discardStagedTls(
  folder: string,
  files: TlsFileNames,
  isAccepted: (certificate: string) => boolean,
): Promise<void> {
  const certificate = await readStagedCertificate(folder, files);
  if (certificate !== undefined && isAccepted(certificate)) return;
  await discardStaged(join(folder, files.certificate), join(folder, files.tlsKey));
}

/** Puts what is staged in its place. Safe to repeat. @returns whether anything was staged */
export async function replaceTls(folder: string, files: TlsFileNames): Promise<boolean> {
  const key = await replaceByStaged(join(folder, files.tlsKey));
  return (await replaceByStaged(join(folder, files.certificate))) || key;
}
