import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, equalBytes, MillraceError } from '@millrace/base';
import { verifyPermitKey } from '@millrace/protocol';
import { type NodeConfig, nodeFiles } from '../config.ts';

/**
 * The administrator's signed word for the permit key. Certificates carry it, so it has to hold before a permit is given.
 * @throws {MillraceError} E_CONFIG
 */
export async function readPermitKeyDocument(
  { folder, directory }: Pick<NodeConfig, 'folder' | 'directory'>,
  permitKey: Uint8Array,
): Promise<Bytes> {
  const path = join(folder, nodeFiles.permitKeyDocument);
  try {
    const document = new Uint8Array(await readFile(path));
    if (!equalBytes(await verifyPermitKey(document, directory), permitKey))
      throw new MillraceError('E_CONFIG', 'it names another key');
    return document;
  } catch (cause) {
    const reason = cause instanceof Error ? `: ${cause.message}` : '';
    throw new MillraceError('E_CONFIG', `${path} is not the administrator’s word for the permit key${reason}`, {
      cause,
    });
  }
}
