import { statfsSync } from 'node:fs';
import { MillraceError } from '@millrace/base';

const FULL = new Set<unknown>([28, 122, 27, -30792, 'ENOSPC', 'EDQUOT', 'EFBIG']); // values of errno, and MDB_MAP_FULL
const READ_ONLY = new Set<unknown>([30, 13, 1, 'EROFS', 'EACCES', 'EPERM']);
const EIO = 5;
/** With less free space than this, bytes, "input/output error" from LMDB is reported as a full disk. */
const NEARLY_FULL = 1 << 20;

/** Converts errors of LMDB and the system to coded errors. */
export function storeError(error: unknown, path: string, what: string): MillraceError {
  if (error instanceof MillraceError) return error;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const text = error instanceof Error ? error.message : String(error);
  // LMDB reports every short write as EIO.
  const full =
    FULL.has(code) || /ENOSPC|No space left|MDB_MAP_FULL|quota/i.test(text) || (code === EIO && nearlyFull(path));
  if (full)
    return new MillraceError('E_DISK_FULL', `${what}: no space left for ${path}`, { data: { path }, cause: error });
  const readOnly = READ_ONLY.has(code) || /Read-only|Permission denied|not permitted/i.test(text);
  return new MillraceError(readOnly ? 'E_READ_ONLY' : 'E_STORE', `${what}: ${text}`, { data: { path }, cause: error });
}

function nearlyFull(path: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize < NEARLY_FULL;
  } catch {
    return false;
  }
}
