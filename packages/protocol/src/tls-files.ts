import { readFile } from 'node:fs/promises';
import { MillraceError, wipe } from '@millrace/base';
import { isTlsPair, type TlsIdentity } from '@millrace/identity';
import { stampOf } from './file-stamp.ts';

/** The certificate and key of a party, in two files that are replaced at renewal. */
export interface TlsFiles {
  /** The certificate and key read last. */
  readonly identity: TlsIdentity;
  /** Reads the files again. @returns whether they were replaced */
  refresh(): Promise<boolean>;
  /** Wipes the key. */
  close(): void;
}

/** @throws {MillraceError} E_CONFIG with the name of the unreadable file */
export async function openTlsFiles(paths: { readonly certificate: string; readonly key: string }): Promise<TlsFiles> {
  const read = async (path: string) => {
    try {
      return new Uint8Array(await readFile(path));
    } catch (cause) {
      throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
    }
  };
  const readCertificate = async () => new TextDecoder().decode(await read(paths.certificate));
  let identity: TlsIdentity = { certificate: await readCertificate(), key: await read(paths.key) };
  let stamp: string | undefined;
  return {
    get identity() {
      return identity;
    },
    refresh: async () => {
      const newest = await stampOf(paths.certificate);
      if (newest !== undefined && newest === stamp) return false;
      const certificate = await readCertificate();
      if (certificate === identity.certificate) {
        stamp = newest;
        return false;
      }
      const renewed = { certificate, key: await read(paths.key) };
      // During a replacement, certificate and key may not match.
      if (!isTlsPair(renewed)) return false;
      wipe(identity.key);
      identity = renewed;
      return true;
    },
    close: () => wipe(identity.key),
  };
}
