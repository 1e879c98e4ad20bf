import { type Bytes, compareBytes, utf8 } from '@millrace/base';
import type { BoxRole } from './box.ts';
import { type Directory, type DirectoryNode, type NodeRole, nodeOf, nodesOf } from './directory.ts';
import { sha256 } from './opening.ts';

/**
 * Where mail goes: to one node by its id, or to the node of a role that a partition belongs to. What concerns one design
 * has the design's id as its partition, so that one design stays with one node of each role.
 */
export type Recipient = { readonly node: string } | { readonly role: BoxRole; readonly partition: string };

/**
 * The node of a role that a partition belongs to: the one with the highest SHA-256 of "millrace/v1/placement/" ‖
 * installation ‖ "/" ‖ partition ‖ "/" ‖ id (rendezvous hashing). A node that is added or removed moves only the
 * partitions that it gets or had.
 * @throws {MillraceError} E_DIRECTORY when there is no node of the role
 */
export function chooseNode(
  directory: Pick<Directory, 'installation' | 'nodes'>,
  role: NodeRole,
  partition: string,
): DirectoryNode {
  let chosen = nodeOf(directory, role);
  let highest: Bytes | undefined;
  for (const node of nodesOf(directory, role)) {
    const weight = sha256(utf8(`millrace/v1/placement/${directory.installation}/${partition}/${node.id}`));
    if (highest !== undefined && compareBytes(weight, highest) <= 0) continue;
    [chosen, highest] = [node, weight];
  }
  return chosen;
}

/** @throws {MillraceError} E_DIRECTORY when the directory names no such node */
export function recipientIn(directory: Pick<Directory, 'installation' | 'nodes'>, to: Recipient): DirectoryNode {
  return 'node' in to ? nodeOf(directory, to.node) : chooseNode(directory, to.role, to.partition);
}
