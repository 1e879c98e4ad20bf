import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MillraceError, removeDurably, writeDurably } from '@millrace/base';
import { nodeFiles } from '../config.ts';
import type { ClusterSettings } from '../settings.ts';

// Where a node's state is, so that a changed `cluster` in its settings does not start it without that state.

/** The place of a node's state, as its folder records it: the keyspace, and where control's mail is, if elsewhere. */
export function placeOf({ keyspace, kafka }: Pick<ClusterSettings, 'keyspace' | 'kafka'>): string {
  return kafka === undefined ? keyspace : `${keyspace} (mail: Kafka, ${kafka.prefix})`;
}

/**
 * Called before a node connects to a keyspace.
 * @throws {MillraceError} E_CONFIG if the folder, or another keyspace, holds the node's state
 */
export async function requireKeyspace(folder: string, keyspace: string): Promise<void> {
  const known = await readKeyspace(folder);
  if (known === keyspace) return;
  if (known !== undefined)
    throw new MillraceError(
      'E_CONFIG',
      `the state of ${folder} is in keyspace ${known}, but cluster in ${nodeFiles.settings} names ${keyspace}: ` +
        `put ${known} back, or remove ${fileIn(folder)} to start without that state`,
    );
  const data = join(folder, nodeFiles.data);
  if (await exists(join(data, 'data.mdb')))
    throw new MillraceError(
      'E_CONFIG',
      `${data} holds the state of this node: remove cluster from ${nodeFiles.settings} and move the state with ` +
        `\`millrace migrate\`, or move ${data} away to start without that state`,
    );
}

/** @throws {MillraceError} E_CONFIG if a keyspace holds the node's state */
export async function requireNoKeyspace(folder: string): Promise<void> {
  const known = await readKeyspace(folder);
  if (known === undefined) return;
  throw new MillraceError(
    'E_CONFIG',
    `the state of ${folder} is in keyspace ${known} of a cluster, but ${nodeFiles.settings} names no cluster: ` +
      `put cluster back, or remove ${fileIn(folder)} to start without that state`,
  );
}

/** Records, durably, which keyspace holds the node's state. @throws as `writeDurably` */
export async function writeKeyspace(folder: string, keyspace: string): Promise<void> {
  if ((await readKeyspace(folder)) !== keyspace) await writeDurably(fileIn(folder), `${keyspace}\n`);
}

/** The state of the node is in its folder again. Durable once it resolves. */
export function removeKeyspace(folder: string): Promise<void> {
  return removeDurably(fileIn(folder));
}

/** Name of the keyspace that holds the node's state; undefined if the folder holds it. @throws {MillraceError} E_CONFIG */
export async function readKeyspace(folder: string): Promise<string | undefined> {
  try {
    return (await readFile(fileIn(folder), 'utf8')).trim();
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw new MillraceError('E_CONFIG', `cannot read ${fileIn(folder)}`, { cause });
  }
}

/** A file that cannot be looked at counts as there. */
function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    (error: unknown) => !isMissing(error),
  );
}

function fileIn(folder: string): string {
  return join(folder, nodeFiles.keyspace);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
