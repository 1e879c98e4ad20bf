import { freemem } from 'node:os';

type MemorySource = Pick<typeof process, 'availableMemory'>;

/**
 * Bytes that this process may still allocate: the rest of its cgroup's limit, if Node knows it (20.13, 22 and later),
 * otherwise the free memory of the computer.
 */
export function availableMemory(source: Partial<MemorySource> = process): number {
  return typeof source.availableMemory === 'function' ? source.availableMemory() : freemem();
}
