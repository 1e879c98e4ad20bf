import { compareBytes, utf8 } from '@millrace/base';
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
  return nodesInOrder(directory, role, partition)[0] ?? nodeOf(directory, role);
}

/** The nodes of a role, the one that `chooseNode` chooses first: who takes over from whom. */
export function nodesInOrder(
  directory: Pick<Directory, 'installation' | 'nodes'>,
  role: NodeRole,
  partition: string,
): readonly DirectoryNode[] {
  const weighted = nodesOf(directory, role).map((node) => ({
    node,
    weight: sha256(utf8(`millrace/v1/placement/${directory.installation}/${partition}/${node.id}`)),
  }));
  return weighted.sort((a, b) => compareBytes(b.weight, a.weight)).map(({ node }) => node);
}

/** @throws {MillraceError} E_DIRECTORY if the directory contains no such node */
export function recipientIn(directory: Pick<Directory, 'installation' | 'nodes'>, to: Recipient): DirectoryNode {
  return 'node' in to ? nodeOf(directory, to.node) : chooseNode(directory, to.role, to.partition);
}
