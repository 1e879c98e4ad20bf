import { createCipheriv, createDecipheriv } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, stat } from 'node:fs/promises';
import { dirname, join, normalize, sep } from 'node:path';
import { type Bytes, concatBytes, copyBytes, hkdf, MillraceError, u32be, utf8, wipe } from '@millrace/base';

// An encrypted archive (spec/vault.md, section 9): header ‖ chunks. Chunk n is AES-256-GCM of at most 64 KiB under a key of
// this backup alone, nonce = 7 zero bytes ‖ u32be(n) ‖ 01 for the last chunk, else 00; the header is associated data. Cut
// short, reordered, altered or under another key, it does not open. Inside: for each file u32be(length) ‖ path ‖ u32be ‖ u32be
// (size, high and low) ‖ content.

const MAGIC = utf8('millrace-backup/1\n');
export const ID_BYTES = 16;
const HEADER_BYTES = MAGIC.length + ID_BYTES;
const CHUNK = 65_536;
const TAG = 16;

const failed = (what: string, cause?: unknown) => new MillraceError('E_BACKUP', what, { cause });

function keyOf(secret: Uint8Array, header: Uint8Array): Bytes {
  return hkdf([secret], header, utf8('millrace/v1/backup'));
}

function nonceOf(number: number, last: boolean): Bytes {
  return concatBytes(new Uint8Array(7), u32be(number), Uint8Array.of(last ? 1 : 0));
}

/** Files below `root`, relative; what LMDB makes anew is left out. */
export async function filesBelow(root: string, folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) found.push(...(await filesBelow(root, path)));
    else if (entry.isFile() && entry.name !== 'lock.mdb') found.push(path);
  }
  return found.sort();
}

/** Writes an archive; durable when it resolves. @param files relative to `root` */
export async function writeArchive(
  path: string,
  options: { id: Uint8Array; secret: Uint8Array; root: string; files: readonly string[] },
): Promise<void> {
  const header = concatBytes(MAGIC, options.id);
  const key = keyOf(options.secret, header);
  const out = await open(path, 'wx', 0o600).catch((cause: unknown) => {
    throw new MillraceError('E_CONFIG', `cannot create ${path}`, { cause });
  });
  try {
    await out.writeFile(header);
    const buffer = new Uint8Array(CHUNK);
    let filled = 0;
    let number = 0;
    const flush = async (last: boolean) => {
      const cipher = createCipheriv('aes-256-gcm', key, nonceOf(number++, last));
      cipher.setAAD(header);
      await out.writeFile(concatBytes(cipher.update(buffer.subarray(0, filled)), cipher.final(), cipher.getAuthTag()));
      filled = 0;
    };
    const put = async (bytes: Uint8Array) => {
      for (let at = 0; at < bytes.length; ) {
        if (filled === CHUNK) await flush(false);
        const part = bytes.subarray(at, at + CHUNK - filled);
        buffer.set(part, filled);
        filled += part.length;
        at += part.length;
      }
    };
    for (const file of options.files) {
      const name = utf8(file.split(sep).join('/'));
      const { size } = await stat(join(options.root, file));
      await put(concatBytes(u32be(name.length), name, u32be(Math.floor(size / 2 ** 32)), u32be(size % 2 ** 32)));
      await copyInto(join(options.root, file), size, put);
    }
    await flush(true);
    wipe(buffer);
    await out.sync();
  } finally {
    wipe(key);
    await out.close();
  }
}

async function copyInto(path: string, size: number, put: (bytes: Uint8Array) => Promise<void>): Promise<void> {
  const source = await open(path, 'r');
  const part = new Uint8Array(CHUNK);
  try {
    for (let at = 0; at < size; ) {
      const { bytesRead } = await source.read(part, 0, Math.min(CHUNK, size - at), at);
      if (bytesRead === 0) throw new MillraceError('E_CONFLICT', `${path} changed while it was read`);
      await put(part.subarray(0, bytesRead));
      at += bytesRead;
    }
  } finally {
    wipe(part);
    await source.close();
  }
}

/** @throws {MillraceError} E_BACKUP when it is no backup */
export async function backupId(path: string): Promise<Bytes> {
  const file = await openArchive(path);
  try {
    return (await headerOf(file)).slice(MAGIC.length);
  } finally {
    await file.close();
  }
}

/** Writes what the archive holds below `target`. @throws {MillraceError} E_BACKUP; the target then holds a part and is to be removed */
export async function readArchive(path: string, secret: Uint8Array, target: string): Promise<number> {
  const source = await openArchive(path);
  let out: FileHandle | undefined;
  const key = new Uint8Array(32);
  try {
    const header = await headerOf(source);
    key.set(keyOf(secret, header));
    const { size } = await source.stat();
    let at = HEADER_BYTES;
    let number = 0;
    let pending: Uint8Array = new Uint8Array();
    const fill = async (): Promise<boolean> => {
      if (at >= size) return false;
      const sealed = new Uint8Array(Math.min(CHUNK + TAG, size - at));
      await source.read(sealed, 0, sealed.length, at);
      at += sealed.length;
      pending = concatBytes(pending, openChunk(key, header, sealed, number++, at >= size));
      return true;
    };
    const take = async (length: number): Promise<Uint8Array> => {
      while (pending.length < length) if (!(await fill())) throw failed(`${path} is cut short`);
      const part = pending.subarray(0, length);
      pending = pending.subarray(length);
      return part;
    };
    const number32 = async () => Number.parseInt(Buffer.from(await take(4)).toString('hex'), 16);
    let files = 0;
    while (pending.length > 0 || (await fill())) {
      if (pending.length === 0) continue;
      const name = new TextDecoder().decode(await take(await number32()));
      const place = normalize(name);
      if (place.startsWith('..') || place.startsWith(sep)) throw failed('a path in the backup leads out of it');
      let left = (await number32()) * 2 ** 32 + (await number32());
      await mkdir(dirname(join(target, place)), { recursive: true, mode: 0o700 });
      out = await open(join(target, place), 'wx', 0o600);
      while (left > 0) {
        const part = await take(Math.min(left, CHUNK));
        await out.writeFile(part);
        left -= part.length;
      }
      await out.sync();
      await out.close();
      out = undefined;
      files++;
    }
    return files;
  } finally {
    wipe(key);
    await out?.close();
    await source.close();
  }
}

function openChunk(key: Uint8Array, header: Uint8Array, sealed: Uint8Array, number: number, last: boolean): Bytes {
  if (sealed.length < TAG) throw failed('a backup is cut short');
  const decipher = createDecipheriv('aes-256-gcm', key, nonceOf(number, last), { authTagLength: TAG });
  decipher.setAAD(header);
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG));
  const plain = decipher.update(sealed.subarray(0, sealed.length - TAG));
  try {
    decipher.final();
    return copyBytes(plain);
  } catch (cause) {
    throw failed(`chunk ${number} of the backup does not open: altered, cut short, or of another key`, cause);
  }
}

async function openArchive(path: string): Promise<FileHandle> {
  return open(path, 'r').catch((cause: unknown) => {
    throw new MillraceError('E_NOT_FOUND', `cannot read ${path}`, { cause });
  });
}

async function headerOf(file: FileHandle): Promise<Bytes> {
  const header = new Uint8Array(HEADER_BYTES);
  const { bytesRead } = await file.read(header, 0, HEADER_BYTES, 0);
  if (bytesRead < HEADER_BYTES || !Buffer.from(header.subarray(0, MAGIC.length)).equals(MAGIC))
    throw failed('it is not a backup of Millrace');
  return header;
}
