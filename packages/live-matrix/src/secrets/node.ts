import type { Logger } from '@millrace/base';
import { MillraceError } from '@millrace/base/core';
import { ownAddon } from '../engines/native-load.ts';
import { sharedMemory } from '../shared.ts';
import { SecretPool } from './memory.ts';

/** Arenas; the second fits the 64 KiB that some systems let a process lock. */
const SIZES = [256 * 1024, 64 * 1024];
/** Half of what most systems let a process lock: 8 MiB. */
const MOST = 4 * 1024 * 1024;
export interface SecretState {
  /** Bytes of locked memory that this process has for secrets. */
  readonly locked: number;
  /** Why secrets (or some of them) lie in ordinary memory. */
  readonly fault: MillraceError | undefined;
}

let fault: MillraceError | undefined;
let pool: SecretPool | undefined;

/**
 * The process's memory for secrets: locked, so that it is never written to a swap, and left out of core dumps. What does not
 * fit, or cannot be locked, lies in ordinary memory.
 */
export function secretMemory(): SecretPool {
  pool ??= new SecretPool({
    lock: lockArena,
    sizes: SIZES,
    most: MOST,
    onRefused: () => {
      fault ??= new MillraceError('E_MEMORY_LOCK', 'secrets lie in ordinary memory: the system locks no more of it');
    },
  });
  return pool;
}

/** Takes locked memory, if there is none yet, to tell whether there is any. */
export function secretState(): SecretState {
  const memory = secretMemory();
  memory.give(memory.take(1));
  return { locked: memory.locked, fault };
}

function lockArena(bytes: number): Uint8Array | undefined {
  const { addon } = ownAddon();
  if (addon === undefined) {
    fault ??= new MillraceError('E_MEMORY_LOCK', 'secrets lie in ordinary memory: the native engine is not here');
    return undefined;
  }
  const all = new Uint8Array(sharedMemory(bytes));
  const found = addon.lockPages(all);
  return found === undefined ? undefined : all.subarray(found[0], found[0] + found[1]);
}

/**
 * No core dumps of this process, and no other process of the same user looks into its memory (Linux). MILLRACE_DUMPABLE
 * leaves it as it is, for a debugger.
 * @returns whether it is so now
 */
export function forbidLooking(): boolean {
  if (process.env.MILLRACE_DUMPABLE) return false;
  return ownAddon().addon?.forbidLooking() ?? false;
}

/** Closes the process to lookers, takes locked memory, and says in one line what came of it. Once, when a process with keys starts. */
export function guardSecrets(logger: Pick<Logger, 'info' | 'warn'>): void {
  const unseen = forbidLooking();
  const { locked, fault } = secretState();
  if (fault === undefined) logger.info({ locked, unseen }, 'secrets lie in locked memory');
  else logger.warn({ code: fault.code, locked, unseen }, fault.message);
}
