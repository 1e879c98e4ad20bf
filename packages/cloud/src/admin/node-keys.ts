import { copyFile, open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isTlsPair } from '@millrace/identity';
import { directoryFiles, type NodeRole } from '@millrace/protocol';
import { nodeFiles } from '../config.ts';

const nodeRoles = ['control', 'distribution', 'segments', 'keys'] as const satisfies readonly NodeRole[];

/** Files with a node's identity keys and the directory that lists them. They may have been rotated since the backup. */
const own = [nodeFiles.certificate, nodeFiles.tlsKey, nodeFiles.identity, nodeFiles.directory, directoryFiles.seen];
const ofControl = [nodeFiles.permitKey, nodeFiles.permitKeyDocument, nodeFiles.logKey, nodeFiles.formerLogKey];
const optional: readonly string[] = [nodeFiles.formerLogKey, directoryFiles.seen];

/**
 * Gives restored nodes the present keys where those are complete: keys in the backup may have been replaced because
 * they were stolen. Changes only the copy in the staged state.
 * @param nodes folder of the present nodes
 * @param staged folder of the nodes from the backup
 * @returns the nodes that have the backup's keys
 */
export async function keepKeys(nodes: string, staged: string): Promise<NodeRole[]> {
  const older: NodeRole[] = [];
  for (const role of nodeRoles) {
    const names = role === 'control' ? [...own, ...ofControl] : own;
    const [from, to] = [join(nodes, role), join(staged, role)];
    if (!(await isComplete(from, names))) {
      older.push(role);
      continue;
    }
    for (const name of names) {
      if (!(await hasContent(join(from, name)))) continue;
      await copyFile(join(from, name), join(to, name));
      const file = await open(join(to, name), 'r');
      await file.sync().finally(() => file.close());
    }
  }
  return older;
}

async function isComplete(folder: string, names: readonly string[]): Promise<boolean> {
  for (const name of names) if (!optional.includes(name) && !(await hasContent(join(folder, name)))) return false;
  const certificate = await readFile(join(folder, nodeFiles.certificate), 'utf8');
  return isTlsPair({ certificate, key: new Uint8Array(await readFile(join(folder, nodeFiles.tlsKey))) });
}

async function hasContent(path: string): Promise<boolean> {
  return stat(path).then(
    ({ size }) => size > 0,
    () => false,
  );
}
