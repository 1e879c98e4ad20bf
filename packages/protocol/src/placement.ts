import { type Bytes, compareBytes, utf8 } from '@millrace/base';
import type { BoxRole } from './box.ts';
import { type Directory, type DirectoryNode, type NodeRole, nodeOf, nodesOf } from './directory.ts';
import { sha256 } from './opening.ts';

/**
 * Recipient of mail: one node by its id, or the node of a role that is responsible for a partition. Mail about a design
 * has the design's id as its partition, so that one node of each role handles all mail of a design.
 */
export type Recipient = { readonly node: string } | { readonly role: BoxRole; readonly partition: string };

/**
 * The node of a role that is responsible for a partition: the one with the highest SHA-256 of "millrace/v1/placement/"
 * ‖ installation ‖ "/" ‖ partition ‖ "/" ‖ id (rendezvous hashing). Adding or removing a node moves only the partitions
 * of that node.
 * @throws {MillraceError} E_DIRECTORY if no node has the role
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

/** @throws {MillraceError} E_DIRECTORY if the directory contains no such node */
export function recipientIn(directory: Pick<Directory, 'installation' | 'nodes'>, to: Recipient): DirectoryNode {
  return 'node' in to ? nodeOf(directory, to.node) : chooseNode(directory, to.role, to.partition);
}
