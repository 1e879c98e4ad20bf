import type { Logger } from '@millrace/base';
import { MillraceError } from '@millrace/base/core';
import { ownAddon } from '../engines/native-load.ts';
import { sharedMemory } from '../shared.ts';
import { SecretPool } from './memory.ts';

/** Sizes of arenas. The second fits the 64 KiB that some systems let a process lock. */
const SIZES = [256 * 1024, 64 * 1024];
/** Maximum locked bytes: half of the 8 MiB that most systems let a process lock. */
const MOST = 4 * 1024 * 1024;
export interface SecretState {
  /** Bytes of locked memory that this process has for secrets. */
  readonly locked: number;
  /** Reason why some or all secrets are in ordinary memory. */
  readonly fault: MillraceError | undefined;
}

let fault: MillraceError | undefined;
let pool: SecretPool | undefined;

/**
 * The process's memory for secrets: locked, so that it is never swapped, and excluded from core dumps. Secrets that do
 * not fit, or cannot be locked, use ordinary memory.
 */
export function secretMemory(): SecretPool {
  pool ??= new SecretPool({
    lock: lockArena,
    sizes: SIZES,
    most: MOST,
    onRefused: () => {
      fault ??= new MillraceError('E_MEMORY_LOCK', 'secrets are in ordinary memory: the system locks no more memory');
    },
  });
  return pool;
}

/** Locks memory if none is locked yet, and reports the result. */
export function secretState(): SecretState {
  const memory = secretMemory();
  memory.give(memory.take(1));
  return { locked: memory.locked, fault };
}

function lockArena(bytes: number): Uint8Array | undefined {
  const { addon } = ownAddon();
  if (addon === undefined) {
    fault ??= new MillraceError('E_MEMORY_LOCK', 'secrets are in ordinary memory: the native engine is not available');
    return undefined;
  }
  const all = new Uint8Array(sharedMemory(bytes));
  const found = addon.lockPages(all);
  return found === undefined ? undefined : all.subarray(found[0], found[0] + found[1]);
}

/**
 * Disables core dumps of this process and access to its memory by other processes of the same user (Linux). Setting
 * MILLRACE_DUMPABLE skips this, for a debugger.
 * @returns whether the process is protected
 */
export function forbidLooking(): boolean {
  if (process.env.MILLRACE_DUMPABLE) return false;
  return ownAddon().addon?.forbidLooking() ?? false;
}

/**
 * Protects the process's memory, locks memory for secrets and logs the result. Call once when a process with keys
 * starts.
 */
export function guardSecrets(logger: Pick<Logger, 'info' | 'warn'>): void {
  const unseen = forbidLooking();
  const { locked, fault } = secretState();
  if (fault === undefined) logger.info({ locked, unseen }, 'secrets are in locked memory');
  else logger.warn({ code: fault.code, locked, unseen }, fault.message);
}
