import type { ErrorCode } from './codes.ts';
import { MillraceError } from './errors.ts';

const FULL = new Set<unknown>(['ENOSPC', 'EDQUOT', 'EFBIG']);
const READ_ONLY = new Set<unknown>(['EROFS', 'EPERM', 'EACCES']);

/** Which of our codes an error of the file system is; both kinds of fault pass when somebody looks after the disk. */
export function diskCode(error: unknown): Extract<ErrorCode, 'E_DISK_FULL' | 'E_READ_ONLY' | 'E_STORE'> {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (FULL.has(code)) return 'E_DISK_FULL';
  return READ_ONLY.has(code) ? 'E_READ_ONLY' : 'E_STORE';
}

/** Whether to wait for somebody to look after the disk, however long it takes. */
export function isDiskFault(error: unknown): boolean {
  return error instanceof MillraceError && (error.code === 'E_DISK_FULL' || error.code === 'E_READ_ONLY');
}

/** What to say of it: "no space left for PATH". */
export function diskText(error: unknown, path: string): string {
  const code = diskCode(error);
  if (code === 'E_DISK_FULL') return `no space left for ${path}`;
  return code === 'E_READ_ONLY' ? `${path} cannot be written` : `cannot use ${path}`;
}
