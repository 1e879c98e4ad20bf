import { freemem } from 'node:os';

type MemorySource = Pick<typeof process, 'availableMemory'>;

/**
 * Bytes that this process may still take: in a container what its cgroup leaves, where Node knows it (20.13, 22 and later);
 * elsewhere what is free on the computer.
 */
export function availableMemory(source: Partial<MemorySource> = process): number {
  return typeof source.availableMemory === 'function' ? source.availableMemory() : freemem();
}
