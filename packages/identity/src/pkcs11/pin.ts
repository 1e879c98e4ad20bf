import { open, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { type Bytes, copyBytes, MillraceError, removeDurably, wipe, writeDurably } from '@millrace/base';

/** Where the PIN of a token is read, and where it is recorded that the token has refused it. */
export interface PinSource {
  /** A file that only its owner may read. If absent, the PIN agent at `socket`. */
  readonly file?: string | undefined;
  /** A Unix socket that sends the PIN to whoever connects, and then ends the connection. */
  readonly socket?: string | undefined;
  /** This file is written when the token refuses the PIN. */
  readonly refusal: string;
}

/** PKCS #11 sets no limit; tokens accept up to 64 or 255 bytes. */
const MAX_PIN_BYTES = 255;
const SOCKET_MS = 10_000;

/** @returns the PIN; the caller wipes it. @throws {MillraceError} E_CONFIG, E_PIN */
export async function readPin({ file, socket }: PinSource): Promise<Bytes> {
  const raw = file === undefined ? await fromSocket(socket) : await fromFile(file);
  try {
    const end = raw.findLastIndex((byte) => byte !== 0x0a && byte !== 0x0d) + 1;
    if (end === 0 || end > MAX_PIN_BYTES || raw.subarray(0, end).some((byte) => byte < 0x20))
      throw new MillraceError('E_CONFIG', `${file ?? 'the PIN agent'} holds no PIN: expected one line`);
    return copyBytes(raw.subarray(0, end));
  } finally {
    wipe(raw);
  }
}

async function fromFile(file: string): Promise<Uint8Array> {
  const handle = await open(file, 'r').catch((cause: unknown) => {
    throw new MillraceError('E_CONFIG', `cannot read the PIN in ${file}`, { cause });
  });
  try {
    const { mode } = await handle.stat();
    if ((mode & 0o077) !== 0)
      throw new MillraceError('E_CONFIG', `others may read the PIN in ${file}: run chmod 600 ${file}`);
    const bytes = new Uint8Array(MAX_PIN_BYTES + 3);
    const { bytesRead } = await handle.read(bytes, 0, bytes.length);
    return bytes.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

function fromSocket(path: string | undefined): Promise<Uint8Array> {
  if (path === undefined)
    throw new MillraceError('E_CONFIG', 'no PIN: name a file with it, or a PIN agent in MILLRACE_PIN_SOCKET');
  return new Promise((resolve, reject) => {
    const bytes = new Uint8Array(MAX_PIN_BYTES + 3);
    let length = 0;
    const failed = (cause?: unknown) => {
      connection.destroy();
      wipe(bytes);
      reject(new MillraceError('E_CONFIG', `the PIN agent at ${path} gave no PIN`, { cause }));
    };
    const connection = connect(path);
    connection.setTimeout(SOCKET_MS, failed);
    connection.on('error', failed);
    connection.on('data', (chunk) => {
      if (length + chunk.length > bytes.length) failed();
      else bytes.set(chunk, length);
      length += chunk.length;
      wipe(chunk);
    });
    connection.on('end', () => {
      connection.destroy();
      resolve(bytes.subarray(0, length));
    });
  });
}

/**
 * Refuses to enter a PIN that the token has refused before: after a few wrong PINs a token locks itself, and an agent
 * that is restarted would use them all.
 * @returns whether the PIN was changed after a refusal
 * @throws {MillraceError} E_PIN
 */
export async function requireUntried({ file, refusal }: PinSource): Promise<boolean> {
  const refused = await modified(refusal);
  if (refused === undefined) return false;
  const changed = file === undefined ? undefined : await modified(file);
  if (changed !== undefined && changed > refused) return true;
  const next =
    file === undefined ? `remove ${refusal} when the PIN agent has the right one` : `write the right one to ${file}`;
  throw new MillraceError('E_PIN', `the token has refused this PIN, which is not tried again: ${next}`);
}

export function recordRefusal({ refusal }: PinSource): Promise<void> {
  return writeDurably(refusal, 'The token refused the PIN.\n');
}

export function clearRefusal({ refusal }: PinSource): Promise<void> {
  return removeDurably(refusal);
}

async function modified(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).mtimeMs;
  } catch {
    return undefined;
  }
}
