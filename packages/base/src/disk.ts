import type { ErrorCode } from './codes.ts';
import { MillraceError } from './errors.ts';

const FULL = new Set<unknown>(['ENOSPC', 'EDQUOT', 'EFBIG']);
const READ_ONLY = new Set<unknown>(['EROFS', 'EPERM', 'EACCES']);

/** Maps a file system error to an error code. A full or read-only disk is temporary: an operator can fix it. */
export function diskCode(error: unknown): Extract<ErrorCode, 'E_DISK_FULL' | 'E_READ_ONLY' | 'E_STORE'> {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (FULL.has(code)) return 'E_DISK_FULL';
  return READ_ONLY.has(code) ? 'E_READ_ONLY' : 'E_STORE';
}

/** Whether to wait indefinitely until an operator has fixed the disk. */
export function isDiskFault(error: unknown): boolean {
  return error instanceof MillraceError && (error.code === 'E_DISK_FULL' || error.code === 'E_READ_ONLY');
}

/** Text of a file system error, such as "no space left for PATH". */
export function diskText(error: unknown, path: string): string {
  const code = diskCode(error);
  if (code === 'E_DISK_FULL') return `no space left for ${path}`;
  return code === 'E_READ_ONLY' ? `${path} cannot be written` : `cannot use ${path}`;
}
