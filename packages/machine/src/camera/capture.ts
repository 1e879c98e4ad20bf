import { spawn } from 'node:child_process';
import { type Bytes, concatBytes, MillraceError, utf8 } from '@millrace/base';
import { cleanPhoto, MAX_PHOTO_BYTES } from '@millrace/protocol';
import type { CameraSettings } from './settings.ts';

/** Headers of a multipart part, and metadata that is removed from the photo. */
const MORE_BYTES = 512_000;
const MOST_BYTES = MAX_PHOTO_BYTES + MORE_BYTES;
const BLANK_LINE = utf8('\r\n\r\n');

/**
 * Takes one photo: a JPEG without metadata, of at most `MAX_PHOTO_BYTES`, within `timeoutMs`.
 * @throws {MillraceError} E_TIMEOUT, E_UNAVAILABLE (no camera, or it ends early), E_TOO_LARGE, E_INPUT (no JPEG)
 */
export async function capture({ source, timeoutMs }: CameraSettings, signal: AbortSignal): Promise<Bytes> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  try {
    const raw = await (source.kind === 'http' ? fromHttp(source.url, limit) : fromCommand(source.command, limit));
    const { type, bytes } = cleanPhoto(raw);
    if (type !== 'image/jpeg') throw new MillraceError('E_INPUT', 'the camera gives no JPEG');
    return bytes;
  } catch (cause) {
    signal.throwIfAborted();
    if (limit.aborted) throw new MillraceError('E_TIMEOUT', `the camera gave no photo in ${timeoutMs} ms`, { cause });
    if (cause instanceof MillraceError) throw cause;
    throw new MillraceError('E_UNAVAILABLE', 'the camera does not answer', { cause });
  }
}

async function fromHttp(url: string, signal: AbortSignal): Promise<Uint8Array> {
  const stop = new AbortController();
  // A stream has no end: the connection is closed once a photo is there.
  const response = await fetch(url, { signal: AbortSignal.any([signal, stop.signal]), redirect: 'error' });
  try {
    if (!response.ok || response.body === null)
      throw new MillraceError('E_UNAVAILABLE', `the camera answers with status ${response.status}`);
    const type = response.headers.get('content-type') ?? '';
    const boundary = /^multipart\/x-mixed-replace\s*;.*\bboundary="?([^";\s]{1,200})/i.exec(type)?.[1];
    if (boundary === undefined && !/^image\/jpe?g\b/i.test(type))
      throw new MillraceError('E_INPUT', 'the camera sends neither JPEG nor a stream of JPEG');
    return await (boundary === undefined ? whole(response.body) : firstPart(response.body, boundary));
  } finally {
    stop.abort();
  }
}

const tooLarge = () => new MillraceError('E_TOO_LARGE', `a photo has at most ${MAX_PHOTO_BYTES} bytes`);

/** What has arrived, up to the limit. */
class Received {
  readonly #chunks: Uint8Array[] = [];
  #length = 0;

  add(chunk: Uint8Array): void {
    this.#length += chunk.length;
    if (this.#length > MOST_BYTES) throw tooLarge();
    this.#chunks.push(chunk);
  }

  /** One array. */
  bytes(): Uint8Array {
    const joined = concatBytes(...this.#chunks);
    this.#chunks.splice(0, this.#chunks.length, joined);
    return joined;
  }
}

async function whole(body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const received = new Received();
  for await (const chunk of body) received.add(chunk);
  return received.bytes();
}

/**
 * The first part of a stream (RFC 2046, 5.1). With Content-Length it ends there, otherwise before the next boundary.
 * Some cameras write `--` at the beginning of the parameter `boundary`.
 */
async function firstPart(body: AsyncIterable<Uint8Array>, named: string): Promise<Uint8Array> {
  const boundary = utf8(`\r\n--${named.replace(/^--/, '')}`);
  const received = new Received();
  let content: { readonly start: number; readonly length: number | undefined } | undefined;
  let searched = 0;
  for await (const chunk of body) {
    received.add(chunk);
    const bytes = Buffer.from(received.bytes().buffer);
    content ??= contentIn(bytes);
    if (content === undefined) continue;
    const { start, length } = content;
    if (length !== undefined) {
      if (length > MOST_BYTES) throw tooLarge();
      if (bytes.length >= start + length) return bytes.subarray(start, start + length);
      continue;
    }
    const end = bytes.indexOf(boundary, Math.max(start, searched - boundary.length));
    if (end >= 0) return bytes.subarray(start, end);
    searched = bytes.length;
  }
  throw new MillraceError('E_UNAVAILABLE', 'the camera ends the stream before a photo is complete');
}

function contentIn(bytes: Buffer) {
  const headers = bytes.indexOf(BLANK_LINE);
  if (headers < 0) return undefined;
  const length = /^content-length:[ \t]*(\d{1,9})[ \t]*$/im.exec(bytes.subarray(0, headers).toString('latin1'))?.[1];
  return { start: headers + BLANK_LINE.length, length: length === undefined ? undefined : Number(length) };
}

/** Runs a program without a shell, and kills it when it takes too long or writes too much. */
function fromCommand([program = '', ...args]: readonly string[], signal: AbortSignal): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const received = new Received();
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'], detached: true });
    const end = (error: unknown) => {
      signal.removeEventListener('abort', aborted);
      kill(child.pid);
      reject(error);
    };
    const aborted = () => end(signal.reason);
    signal.addEventListener('abort', aborted, { once: true });
    child.once('error', end);
    child.stdout.on('data', (chunk: Buffer) => {
      try {
        received.add(chunk);
      } catch (error) {
        end(error);
      }
    });
    child.once('close', (code) => {
      if (code !== 0) return end(new MillraceError('E_UNAVAILABLE', `the camera’s program ended with status ${code}`));
      signal.removeEventListener('abort', aborted);
      resolve(received.bytes());
    });
  });
}

/** With the processes that it has started, which may hold its output open. */
function kill(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}
