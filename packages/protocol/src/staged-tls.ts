import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { discardStaged, fileExists, replaceByStaged, stagedPath, stageFile, wipe } from '@millrace/base';
import type { TlsIdentity } from '@millrace/identity';

// Stages a certificate and its key to replace those in a folder. The certificate is both staged and moved last: if a
// certificate is staged, its key is either staged or already in place.

/** File names in the folder. */
export interface TlsFileNames {
  readonly certificate: string;
  readonly tlsKey: string;
}

/** Writes the staged files, then wipes the key. */
export async function stageTls(folder: string, files: TlsFileNames, tls: TlsIdentity): Promise<void> {
  await discardStaged(join(folder, files.certificate));
  await stageFile(join(folder, files.tlsKey), tls.key);
  wipe(tls.key);
  await stageFile(join(folder, files.certificate), tls.certificate, 0o644);
}

/** The staged certificate, PEM; undefined if none is staged. */
export async function readStagedCertificate(folder: string, files: TlsFileNames): Promise<string | undefined> {
  const path = stagedPath(join(folder, files.certificate));
  return (await fileExists(path)) ? readFile(path, 'utf8') : undefined;
}

/** Discards staged files, unless they are complete and the certificate is accepted. */
export async function discardStagedTls(
  folder: string,
  files: TlsFileNames,
  isAccepted: (certificate: string) => boolean,
): Promise<void> {
  const certificate = await readStagedCertificate(folder, files);
  if (certificate !== undefined && isAccepted(certificate)) return;
  await discardStaged(join(folder, files.certificate), join(folder, files.tlsKey));
}

/** Moves staged files into place. Safe to repeat. @returns whether any file was staged */
export async function replaceTls(folder: string, files: TlsFileNames): Promise<boolean> {
  const key = await replaceByStaged(join(folder, files.tlsKey));
  return (await replaceByStaged(join(folder, files.certificate))) || key;
}
