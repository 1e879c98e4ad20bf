import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { type Bytes, MillraceError } from '@millrace/base';

/** Creates a folder that only its owner can access, as all folders of an installation. */
export async function makeFolder(path: string): Promise<string> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  return path;
}

export async function writeSecret(path: string, bytes: Uint8Array): Promise<void> {
  await writeFile(path, bytes, { mode: 0o600, flag: 'wx', flush: true });
}

export async function writePublic(path: string, content: string | Uint8Array): Promise<void> {
  await writeFile(path, content, { mode: 0o644, flag: 'wx', flush: true });
}

export function toJsonFile(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** @throws {MillraceError} E_CONFIG with the file that cannot be read */
export async function readBytes(path: string): Promise<Bytes> {
  try {
    const buffer = await readFile(path);
    const bytes = new Uint8Array(buffer);
    buffer.fill(0);
    return bytes;
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `cannot read ${path}${because(cause)}`, { cause });
  }
}

/** Like `readBytes`, but undefined if the file does not exist. */
export async function readBytesIfThere(path: string): Promise<Bytes | undefined> {
  try {
    return await readBytes(path);
  } catch (error) {
    if (error instanceof MillraceError && hasSystemCode(error.cause, 'ENOENT')) return undefined;
    throw error;
  }
}

/** @throws {MillraceError} E_CONFIG with the file that cannot be read or is not JSON */
export async function readJson(path: string): Promise<unknown> {
  const text = new TextDecoder().decode(await readBytes(path));
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${path} is not JSON`, { cause });
  }
}

/** Like `readJson`, but undefined if the file does not exist. */
export async function readJsonIfThere(path: string): Promise<unknown> {
  try {
    return await readJson(path);
  } catch (error) {
    if (error instanceof MillraceError && hasSystemCode(error.cause, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Whether `error` is one of these system errors (ENOENT, EEXIST, …). */
export function hasSystemCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}

function because(cause: unknown): string {
  if (hasSystemCode(cause, 'ENOENT')) return ': it does not exist';
  if (hasSystemCode(cause, 'EACCES', 'EPERM')) return ': permission denied';
  return '';
}
