import { type EventEmitter, once } from 'node:events';
import { type FileHandle, mkdir, open, readdir } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { MillraceError, wipe } from '@millrace/base';
import { hasSystemCode } from '@millrace/client/node';
import { Decrypter, Encrypter } from 'age-encryption';
import { type Extract, type Pack, extract as tarExtract, pack as tarPack } from 'tar-stream';

// A backup is a tar archive in an age file (spec/vault.md, section 9). This module holds only a few chunks of it in
// memory.

const CHUNK = 65_536;
const AGE_LINE = 'age-encryption.org/v1\n';
/**
 * Limit for the header. With one recipient it has about 200 bytes; without a limit, an endless header would be read
 * into memory.
 */
const HEADER_LIMIT = 16_384;

const failed = (what: string, cause?: unknown) => new MillraceError('E_BACKUP', what, { cause });

/** Relative paths of files below `root`, without LMDB's lock file, which LMDB recreates. */
export async function filesBelow(root: string, folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) found.push(...(await filesBelow(root, path)));
    else if (entry.isFile() && entry.name !== 'lock.mdb') found.push(path);
  }
  return found.sort();
}

/** Files of the archive: their names in it are relative to `root`. */
export interface Source {
  readonly root: string;
  readonly files: readonly string[];
}

/**
 * Writes an encrypted archive; durable once it resolves.
 * @param options.recipient age1…
 * @throws {MillraceError} E_CONFIG if `path` cannot be created, E_CONFLICT if a file changes in the meantime
 */
export async function writeArchive(
  path: string,
  options: { recipient: string; sources: readonly Source[] },
): Promise<void> {
  const out = await open(path, 'wx', 0o600).catch((cause: unknown) => {
    throw new MillraceError('E_CONFIG', `cannot create ${path}`, { cause });
  });
  const tar = tarPack();
  try {
    const filling = fill(tar, options.sources).catch((error: unknown) => tar.destroy(error as Error));
    const encrypter = new Encrypter();
    encrypter.addRecipient(options.recipient);
    for await (const part of await encrypter.encrypt(streamOf(tar as AsyncIterable<Uint8Array>)))
      await out.writeFile(part);
    await filling;
    await out.sync();
  } finally {
    tar.destroy(null);
    await out.close();
  }
}

async function fill(tar: Pack, sources: readonly Source[]): Promise<void> {
  const part = new Uint8Array(CHUNK);
  const paths = sources.flatMap(({ root, files }) => files.map((file) => [file, join(root, file)] as const));
  for (const [file, path] of paths) {
    const source = await open(path, 'r');
    try {
      const { size, mtime } = await source.stat();
      const entry = tar.entry({ name: file.split(sep).join('/'), size, mtime, mode: 0o600 });
      for (let at = 0; at < size; ) {
        const { bytesRead } = await source.read(part, 0, Math.min(CHUNK, size - at), at);
        if (bytesRead === 0) throw new MillraceError('E_CONFLICT', `${path} changed while it was read`);
        await writeTo(entry, tar, Buffer.from(part.subarray(0, bytesRead)));
        at += bytesRead;
      }
      entry.end(null);
    } finally {
      await source.close();
    }
  }
  wipe(part);
  tar.finalize();
}

/**
 * Extracts the archive below `target`: only files and folders with plain relative names, and no more bytes than the
 * backup has. Once it resolves, the whole backup has been authenticated.
 * @param identities AGE-SECRET-KEY-1…; the one that opens the backup is used
 * @throws {MillraceError} E_BACKUP; the target is then incomplete and must be removed. E_NOT_FOUND
 */
export async function readArchive(
  path: string,
  identities: readonly string[],
  target: string,
): Promise<{ identity: string; files: number }> {
  const source = await open(path, 'r').catch((cause: unknown) => {
    throw new MillraceError('E_NOT_FOUND', `cannot read ${path}`, { cause });
  });
  const tar = tarExtract();
  try {
    const { size } = await source.stat();
    const { identity, plain } = await opened(source, identities);
    const feeding = feed(plain, tar);
    const files = await extractInto(tar, target, size);
    await feeding;
    return { identity, files };
  } catch (error) {
    // A full disk is not a defect of the backup.
    if (error instanceof MillraceError || (error instanceof Error && 'syscall' in error)) throw error;
    throw failed(`${path} is damaged`, error);
  } finally {
    tar.destroy(null);
    await source.close();
  }
}

/** @throws {MillraceError} E_BACKUP if it is not an age file, or none of the identities opens it */
async function opened(
  source: FileHandle,
  identities: readonly string[],
): Promise<{ identity: string; plain: AsyncIterable<Uint8Array> }> {
  const start = Buffer.alloc(HEADER_LIMIT);
  const { bytesRead } = await source.read(start, 0, HEADER_LIMIT, 0);
  const header = start.toString('latin1', 0, bytesRead);
  if (!header.startsWith(AGE_LINE) || !header.includes('\n--- ')) throw failed('it is not a backup: not an age file');
  let cause: unknown;
  for (const identity of identities) {
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    try {
      return { identity, plain: await decrypter.decrypt(streamOf(partsOf(source))) };
    } catch (error) {
      cause = error;
    }
  }
  throw failed('no key in the key file opens the backup: its key was destroyed, or is in another file', cause);
}

async function* partsOf(source: FileHandle): AsyncGenerator<Uint8Array> {
  for (let at = 0; ; ) {
    const part = new Uint8Array(CHUNK);
    const { bytesRead } = await source.read(part, 0, CHUNK, at);
    if (bytesRead === 0) return;
    yield part.subarray(0, bytesRead);
    at += bytesRead;
  }
}

/** Ends the archive only after the last chunk of the age file was authenticated. */
async function feed(plain: AsyncIterable<Uint8Array>, tar: Extract): Promise<void> {
  try {
    for await (const part of plain) await writeTo(tar, tar, part);
    tar.end(null);
  } catch (cause) {
    tar.destroy(failed('the backup does not open: it was altered or truncated', cause));
  }
}

async function extractInto(tar: Extract, target: string, limit: number): Promise<number> {
  let files = 0;
  let total = 0;
  for await (const entry of tar) {
    const { name, type, size = 0 } = entry.header;
    const path = join(target, ...namesIn(name, type));
    if (type === 'directory') {
      await makeFolderAt(path);
      entry.resume();
      continue;
    }
    total += size;
    if (total > limit) throw failed('the backup lists files that are larger than the backup itself');
    await makeFolderAt(dirname(path));
    await writeEntry(entry as AsyncIterable<Uint8Array>, path, size);
    files++;
  }
  return files;
}

/** @throws {MillraceError} E_BACKUP for links, devices, absolute names, and names that lead outside the target */
function namesIn(name: string, type: string | null | undefined): string[] {
  if (type !== 'file' && type !== 'directory') throw failed(`${JSON.stringify(name)} in the backup is not a file`);
  const names = name.replace(/\/$/, '').split('/');
  const plain = names.every((part) => part !== '' && part !== '.' && part !== '..' && !/[\\\0]/.test(part));
  if (!plain) throw failed(`${JSON.stringify(name)} in the backup is not a plain relative path`);
  return names;
}

async function makeFolderAt(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 }).catch((error: unknown) => refuseName(path, error));
}

function refuseName(path: string, error: unknown): never {
  if (!hasSystemCode(error, 'EEXIST', 'ENOTDIR', 'EISDIR', 'ENAMETOOLONG')) throw error;
  throw failed(`${path} cannot be created: the backup has it twice, or its name is not valid here`, error);
}

async function writeEntry(entry: AsyncIterable<Uint8Array>, path: string, size: number): Promise<void> {
  const out = await open(path, 'wx', 0o600).catch((error: unknown) => refuseName(path, error));
  try {
    let written = 0;
    for await (const part of entry) {
      await out.writeFile(part);
      written += part.length;
    }
    if (written !== size) throw failed(`${path} is incomplete in the backup`);
    await out.sync();
  } finally {
    await out.close();
  }
}

type Sink = ReturnType<Pack['entry']> | Extract;

/** Waits while `sink` is full. @param whole the archive; it is closed if the other side has given up */
async function writeTo(sink: Sink, whole: Pack | Extract, bytes: Uint8Array): Promise<void> {
  if (sink.write(bytes)) return;
  if (whole.destroying) throw new Error('the archive was closed');
  const settled = new AbortController();
  const { signal } = settled;
  const closed = once(whole as unknown as EventEmitter, 'close', { signal }).then(() => {
    throw new Error('the archive was closed');
  });
  try {
    await Promise.race([once(sink as unknown as EventEmitter, 'drain', { signal }), closed]);
  } finally {
    settled.abort();
  }
}

function streamOf(parts: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = parts[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const { done, value } = await iterator.next();
        if (done === true) controller.close();
        else controller.enqueue(value);
      },
      cancel: async () => {
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}
