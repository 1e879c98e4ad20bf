import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { toHex } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import type { ConsoleFile } from '@millrace/console';
import type { FastifyReply, FastifyRequest } from 'fastify';

/**
 * Headers of every answer of the console. They allow only what the console itself serves.
 * @param uploads origin to which pages may upload, too
 */
export const securityHeaders = (uploads?: string) => ({
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    uploads === undefined ? "connect-src 'self'" : `connect-src 'self' ${uploads}`,
    "worker-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    // For the address of the worker that has the person's key.
    'trusted-types millrace-worker',
  ].join('; '),
  'x-frame-options': 'DENY',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(self), geolocation=(), microphone=(), payment=(), usb=()',
});

const IMMUTABLE = 'public, max-age=31536000, immutable';
/** Asks again for every use, so that a new version is shown at once. */
const REVALIDATE = 'no-cache';

interface Served extends ConsoleFile {
  readonly etag: string;
  compressed?: Promise<Uint8Array>;
}

const compress = promisify(gzip);

/** The files of the web application, ready to be sent. "/" is the page. */
export class Site {
  readonly #files: ReadonlyMap<string, Served>;

  constructor(files: readonly ConsoleFile[]) {
    this.#files = new Map(
      files.map((file) => {
        const etag = `"${toHex(sha256(file.body).subarray(0, 16))}"`;
        return [file.path === '/index.html' ? '/' : file.path, { ...file, etag }];
      }),
    );
  }

  has(path: string): boolean {
    return this.#files.has(path);
  }

  /** Sends the file, or returns undefined if there is none. */
  async send(path: string, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> {
    const file = this.#files.get(path);
    if (file === undefined) return undefined;
    const { type, body, etag, immutable } = file;
    reply.headers({ etag, 'cache-control': immutable ? IMMUTABLE : REVALIDATE, vary: 'accept-encoding' });
    if (request.headers['if-none-match'] === etag) return reply.code(304).send();
    const gzipped = /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''));
    reply.type(type);
    if (!gzipped) return reply.send(Buffer.from(body));
    // Compressed at the first request: the start of the node does not wait for it.
    file.compressed ??= compress(body, { level: 9 });
    return reply.header('content-encoding', 'gzip').send(Buffer.from(await file.compressed));
  }
}
