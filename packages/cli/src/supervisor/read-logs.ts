import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MillraceError, sleep } from '@millrace/base';
import { hasSystemCode } from '@millrace/client/node';

/** One line of a log, as written. */
export type LogEntry = Readonly<Record<string, unknown>>;

/** Processes that have a log, in alphabetical order. */
export async function logNames(folder: string): Promise<string[]> {
  try {
    const files = await readdir(folder);
    return [...new Set(files.flatMap((file) => /^(.+?)(?:\.1)?\.jsonl$/.exec(file)?.[1] ?? []))].sort();
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT')) return [];
    throw error;
  }
}

/**
 * The last `count` entries of these logs, oldest first.
 * @throws {MillraceError} E_NOT_FOUND for a name without a log
 */
export async function readLogs(folder: string, names: readonly string[], count: number): Promise<LogEntry[]> {
  const known = await logNames(folder);
  const entries: LogEntry[] = [];
  for (const name of names) {
    if (!known.includes(name)) {
      throw new MillraceError('E_NOT_FOUND', `there is no log of ${name}; there are ${known.join(', ') || 'none'}`);
    }
    for (const file of [`${name}.1.jsonl`, `${name}.jsonl`])
      entries.push(...parseLines(await readIfThere(folder, file)));
  }
  return entries.sort((a, b) => timeOf(a).localeCompare(timeOf(b))).slice(-count);
}

/** New entries from now on, until the signal aborts. */
export async function followLogs(
  folder: string,
  names: readonly string[],
  handle: (entry: LogEntry) => void,
  signal: AbortSignal,
): Promise<void> {
  const tails = await Promise.all(names.map((name) => openTail(join(folder, `${name}.jsonl`))));
  while (!signal.aborted) {
    for (const tail of tails) for (const entry of await tail()) handle(entry);
    await sleep(250, signal).catch(() => undefined);
  }
}

/** Reads what was appended to a file since the last call; starts at the beginning after a rotation. */
async function openTail(path: string): Promise<() => Promise<LogEntry[]>> {
  let { offset, inode } = await endOf(path);
  let rest = '';
  return async () => {
    const now = await endOf(path);
    if (now.inode !== inode || now.offset < offset) {
      offset = 0;
      rest = '';
      inode = now.inode;
    }
    if (now.offset === offset) return [];
    const file = await open(path, 'r');
    try {
      const bytes = Buffer.alloc(now.offset - offset);
      const { bytesRead } = await file.read(bytes, 0, bytes.length, offset);
      offset += bytesRead;
      const lines = (rest + bytes.toString('utf8', 0, bytesRead)).split('\n');
      rest = lines.pop() ?? '';
      return parseLines(lines.join('\n'));
    } finally {
      await file.close();
    }
  };
}

async function endOf(path: string): Promise<{ offset: number; inode: number }> {
  try {
    const { size, ino } = await stat(path);
    return { offset: size, inode: ino };
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT')) return { offset: 0, inode: 0 };
    throw error;
  }
}

async function readIfThere(folder: string, file: string): Promise<string> {
  try {
    return await readFile(join(folder, file), 'utf8');
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT')) return '';
    throw error;
  }
}

function parseLines(text: string): LogEntry[] {
  return text.split('\n').flatMap((line) => {
    if (line.trim() === '') return [];
    try {
      const entry: unknown = JSON.parse(line);
      return typeof entry === 'object' && entry !== null ? [entry as LogEntry] : [];
    } catch {
      return []; // incomplete last line of a process that was killed while writing
    }
  });
}

function timeOf(entry: LogEntry): string {
  return typeof entry.time === 'string' ? entry.time : '';
}

/** `12:00:01.250 INFO  control: message key=value …`, one line per entry; control characters are made visible. */
export function formatLogEntry(entry: LogEntry): string {
  const { time, level, name, node, role, msg, pid: _pid, ...others } = entry;
  // A process identifies itself by `name` and `node`. Show a role only if it differs.
  const fields = { ...(role !== undefined && role !== name && { role }), ...others };
  const clock = typeof time === 'string' && time.length >= 23 ? time.slice(11, 23) : '            ';
  const label = String(level ?? 'info')
    .toUpperCase()
    .padEnd(5);
  const details = Object.entries(fields).map(([key, value]) => ` ${key}=${formatField(key, value)}`);
  const line = `${clock} ${label} ${String(node ?? name ?? '?')}: ${String(msg ?? '')}${details.join('')}`;
  return [...line].map((character) => (isControl(character) ? ' ' : character)).join('');
}

function formatField(key: string, value: unknown): string {
  if (key === 'err' && typeof value === 'object' && value !== null && 'message' in value) {
    const code = 'code' in value && typeof value.code === 'string' ? `${value.code}: ` : '';
    return `"${code}${String(value.message)}"`;
  }
  return typeof value === 'string' && !/[\s"]/.test(value) ? value : JSON.stringify(value);
}

/** C0, DEL and C1: a log must not control the terminal. */
function isControl(character: string): boolean {
  const code = character.codePointAt(0) ?? 0;
  return code < 32 || (code >= 127 && code < 160);
}
