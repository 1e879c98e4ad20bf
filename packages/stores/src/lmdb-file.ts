import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { arch, endianness } from 'node:os';
import { join } from 'node:path';
import { MillraceError } from '@millrace/base';

// Offsets inside a meta page of the data format that lmdb 3 writes (format 2, 64-bit, little-endian).
const MAGIC_AT = 24;
const MAGIC = 0xbeefc0de;
const FORMAT_AT = 28;
const FORMAT = 2;
const PAGE_SIZE_AT = 48;
const FREE_ROOT_AT = 88;
const MAIN_ROOT_AT = 136;
const NO_PAGE = 0xffff_ffff_ffff_ffffn;
const META_BYTES = 160;

/**
 * Checks the two meta pages, and that the roots of the trees are inside the file, before LMDB maps it. A truncated or
 * foreign file would crash the process.
 * @throws {MillraceError} E_STORE
 */
export function checkLmdbFile(folder: string): void {
  if (endianness() !== 'LE' || !arch().includes('64')) return;
  const path = join(folder, 'data.mdb');
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return; // new, or LMDB reports the error
  }
  try {
    const { size } = fstatSync(file);
    if (size === 0) return;
    const first = readMeta(file, 0, path);
    const pageSize = first.getUint32(PAGE_SIZE_AT, true);
    if (pageSize < 512 || pageSize > 65536 || (pageSize & (pageSize - 1)) !== 0)
      throw damaged(path, 'its page size is wrong');
    for (const meta of [first, readMeta(file, pageSize, path)]) {
      for (const at of [FREE_ROOT_AT, MAIN_ROOT_AT]) {
        const root = meta.getBigUint64(at, true);
        const inside = root === NO_PAGE || (root + 1n) * BigInt(pageSize) <= BigInt(size);
        if (!inside) throw damaged(path, 'it is truncated');
      }
    }
  } finally {
    closeSync(file);
  }
}

function readMeta(file: number, position: number, path: string): DataView {
  const bytes = new Uint8Array(META_BYTES);
  const read = readSync(file, bytes, 0, META_BYTES, position);
  const view = new DataView(bytes.buffer);
  if (read < META_BYTES) throw damaged(path, 'it is truncated');
  if (view.getUint32(MAGIC_AT, true) !== MAGIC) throw damaged(path, 'it is not a store');
  if ((view.getUint32(FORMAT_AT, true) & 0xff) !== FORMAT) throw damaged(path, 'it has another format');
  return view;
}

function damaged(path: string, how: string): MillraceError {
  return new MillraceError('E_STORE', `${path} is damaged: ${how}; restore the data folder`, { data: { path } });
}
