import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, type Clock, type Closable, equalBytes, MillraceError, toHex, wipe } from '@millrace/base';
import { type P256Key, p256Key } from '@millrace/identity';
import { permitKeysOf, verifyPermitKey } from '@millrace/protocol';
import { type NodeConfig, nodeFiles } from '../config.ts';

/** The key that signs permits, and `permit-key.register`, which the administrator signed for it. */
export interface PermitKey {
  readonly key: P256Key;
  readonly document: Bytes;
}

/** @throws {MillraceError} E_CONFIG when the directory does not list the key or its document does not verify */
export async function openPermitKey(config: NodeConfig, clock: Clock): Promise<PermitKey & Closable> {
  const secret = await config.secret('permitKey');
  const key = p256Key(secret);
  wipe(secret);
  try {
    if (!permitKeysOf(config.directory, clock.now()).includes(toHex(key.publicKey)))
      throw new MillraceError('E_CONFIG', 'the permit key is not the directory’s');
    return { key, document: await readPermitKeyDocument(config, key.publicKey), close: () => key.close() };
  } catch (error) {
    key.close();
    throw error;
  }
}

/** Certificates contain this document, so it must be valid before the first permit is signed. */
async function readPermitKeyDocument({ folder, directory }: NodeConfig, permitKey: Uint8Array): Promise<Bytes> {
  const path = join(folder, nodeFiles.permitKeyDocument);
  try {
    const document = new Uint8Array(await readFile(path));
    if (!equalBytes(await verifyPermitKey(document, directory), permitKey))
      throw new MillraceError('E_CONFIG', 'it is about another key');
    return document;
  } catch (cause) {
    const reason = cause instanceof Error ? `: ${cause.message}` : '';
    throw new MillraceError('E_CONFIG', `${path} is not the administrator’s signature for the permit key${reason}`, {
      cause,
    });
  }
}
