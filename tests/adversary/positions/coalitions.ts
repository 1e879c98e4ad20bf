import type { NodeRole } from '@millrace/protocol';
import type { TestInstallation } from '@millrace/testkit/adversary/coalition';
import type { Position } from '@millrace/testkit/adversary/position';
import { nodes } from './nodes.ts';

/** Coalitions of two nodes, and of all nodes. Single nodes have their own files. */
const together = (first: NodeRole, second: NodeRole): Position<TestInstallation> =>
  nodes(`${first} + ${second}`, 'both nodes: keys, disks, memory, links; code of its own in both', [first, second]);

export const controlAndSegments = together('control', 'segments');
export const controlAndKeys = together('control', 'keys');
export const controlAndDistribution = together('control', 'distribution');
export const segmentsAndKeys = together('segments', 'keys');
export const segmentsAndDistribution = together('segments', 'distribution');
export const keysAndDistribution = together('keys', 'distribution');

export const allNodes = nodes('all nodes', 'the whole cloud: keys, disks, memory, links; code of its own everywhere', [
  'control',
  'segments',
  'keys',
  'distribution',
]);
