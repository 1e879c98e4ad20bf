import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { flush, MillraceError, type RandomSource, toHex } from '@millrace/base';

// The key file is an ordinary age identity file: `age --decrypt -i FILE` accepts it. An identity is destroyed by
// overwriting it in place. A backup whose key is destroyed can never be opened again, nor can any copy of it. Added
// identities use slots of 128 bytes, so that no write crosses a sector: a comment that names the backup, then the
// identity.

const SLOT_BYTES = 128;
const IDENTITY_BYTES = 74;
const COMMENT_BYTES = SLOT_BYTES - IDENTITY_BYTES - 2;
const MAX_FILE_BYTES = 1 << 20;
const DESTROYED = `#${'-'.repeat(IDENTITY_BYTES - 1)}`;

/** The key of one backup. */
export interface BackupKey {
  /** Identifies the backup in messages. */
  readonly id: string;
  /** AGE-SECRET-KEY-1… */
  readonly identity: string;
}

interface StoredKey extends BackupKey {
  /** Offset of the identity in the file. */
  readonly offset: number;
}

/** Keys of backups. Keep them apart from the backups: both together open a backup. */
export interface BackupKeys {
  /** Durable once it resolves. */
  add(key: BackupKey): Promise<void>;
  list(): Promise<BackupKey[]>;
  /** Overwrites every key except `kept`. @returns the number of destroyed keys */
  destroy(kept?: BackupKey): Promise<number>;
  close(): Promise<void>;
}

/**
 * Creates a key for one backup. The recipient is stored in no file, not even in the backup: anyone who knows it can
 * make a backup that this key opens.
 */
export async function newBackupKey(random: RandomSource): Promise<BackupKey & { readonly recipient: string }> {
  const { generateX25519Identity, identityToRecipient } = await import('age-encryption');
  const identity = await generateX25519Identity();
  return { id: toHex(random(8)), identity, recipient: await identityToRecipient(identity) };
}

/** Creates the file if missing. @throws {MillraceError} E_CONFIG if it is not an age identity file */
export async function openBackupKeys(path: string): Promise<BackupKeys> {
  const file = await openOrCreate(path);
  return {
    add: async ({ id, identity }) => {
      const text = await read(file, path);
      const comment = `# backup ${id}, ${new Date().toISOString().slice(0, 19)}Z`.padEnd(COMMENT_BYTES);
      const { offset, filler } = freeSlot(text);
      await overwrite(file, `${filler}${comment}\n${identity}\n`, offset);
    },
    list: async () => keysIn(await read(file, path), path).map(({ id, identity }) => ({ id, identity })),
    destroy: async (kept) => {
      const keys = keysIn(await read(file, path), path).filter(({ identity }) => identity !== kept?.identity);
      for (const { offset } of keys) await overwrite(file, DESTROYED, offset);
      return keys.length;
    },
    close: () => file.close(),
  };
}

async function openOrCreate(path: string): Promise<FileHandle> {
  try {
    const created = await open(path, 'wx+', 0o600).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return undefined;
      throw error;
    });
    if (created === undefined) return await open(path, 'r+');
    await flush(dirname(path));
    return created;
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `cannot open the key file ${path}`, { cause });
  }
}

async function read(file: FileHandle, path: string): Promise<string> {
  const { size } = await file.stat();
  if (size > MAX_FILE_BYTES) throw new MillraceError('E_CONFIG', `${path} is too large for an age identity file`);
  const bytes = Buffer.alloc(size);
  const { bytesRead } = await file.read(bytes, 0, size, 0);
  return bytes.toString('latin1', 0, bytesRead);
}

function keysIn(text: string, path: string): StoredKey[] {
  const keys: StoredKey[] = [];
  let offset = 0;
  let id = 'without a name';
  for (const line of text.split('\n')) {
    const name = /^# backup ([0-9a-f]{16}),/.exec(line)?.[1];
    if (name !== undefined) id = name;
    if (/^AGE-SECRET-KEY-1[0-9A-Z]{58}\r?$/.test(line)) keys.push({ id, identity: line.trimEnd(), offset });
    else if (!/^(#.*)?\r?$/.test(line)) throw new MillraceError('E_CONFIG', `${path} is not a file of age identities`);
    offset += line.length + 1;
  }
  return keys;
}

/** A slot whose key was destroyed, or a new slot at the end. */
function freeSlot(text: string): { offset: number; filler: string } {
  for (let offset = 0; offset + SLOT_BYTES <= text.length; offset += SLOT_BYTES) {
    if (/^# backup [^\n]*\n#-+\n$/.test(text.slice(offset, offset + SLOT_BYTES))) return { offset, filler: '' };
  }
  const rest = text.length % SLOT_BYTES;
  if (rest === 0 && (text === '' || text.endsWith('\n'))) return { offset: text.length, filler: '' };
  // After other lines: pads up to the slot with an empty line or a comment.
  const free = SLOT_BYTES - rest;
  const filler = text.endsWith('\n') ? `${'#'.repeat(free - 1)}\n` : `\n${'#'.repeat(Math.max(0, free - 2))}\n`;
  return { offset: text.length, filler: filler.slice(0, free) };
}

async function overwrite(file: FileHandle, text: string, offset: number): Promise<void> {
  const bytes = Buffer.from(text, 'latin1');
  const { bytesWritten } = await file.write(bytes, 0, bytes.length, offset);
  bytes.fill(0);
  if (bytesWritten !== bytes.length) throw new MillraceError('E_DISK_FULL', 'no space left for the key file');
  await file.sync();
}
