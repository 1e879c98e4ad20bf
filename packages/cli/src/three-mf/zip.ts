import type { Readable } from 'node:stream';
import { type Bytes, concatBytes, MillraceError, toMillraceError } from '@millrace/base';
import { type Entry, fromBufferPromise, openPromise, type ZipFile } from 'yauzl';
import { MAX_PARTS, MAX_RATIO, RATIO_SLACK_BYTES } from './format.ts';

const OPTIONS = { autoClose: false, strictFileNames: true, validateEntrySizes: true } as const;
const STORED = 0;
const DEFLATED = 8;

/** An OPC package: its parts by name, within limits. */
export interface OpenZip {
  /** A whole part. @throws {MillraceError} E_PACKAGE, E_TOO_LARGE */
  read(name: string, most: number): Promise<Bytes>;
  /** @returns the part, and how many bytes of the file it takes. @throws {MillraceError} E_PACKAGE, E_TOO_LARGE */
  stream(name: string, most: number): Promise<{ readonly stream: Readable; readonly bytes: number }>;
  close(): void;
}

/**
 * Opens a zip file and reads its directory. What a part unpacks to is limited by what the file says of it; yauzl ends a
 * part that has more bytes than that.
 * @throws {MillraceError} E_PACKAGE if it is none, E_TOO_LARGE, E_NOT_FOUND
 */
export async function openZip(file: string | Uint8Array): Promise<OpenZip> {
  let zip: ZipFile | undefined;
  try {
    zip = await (typeof file === 'string'
      ? openPromise(file, OPTIONS)
      : fromBufferPromise(Buffer.from(file.buffer, file.byteOffset, file.length), OPTIONS));
    return withParts(zip, await partsOf(zip));
  } catch (cause) {
    zip?.close();
    throw refusal(cause);
  }
}

/** Names are compared without regard to case (OPC). */
async function partsOf(zip: ZipFile): Promise<Map<string, Entry>> {
  if (zip.entryCount > MAX_PARTS)
    throw new MillraceError('E_TOO_LARGE', `a 3MF file has at most ${MAX_PARTS} parts; this one has ${zip.entryCount}`);
  const parts = new Map<string, Entry>();
  for await (const entry of zip.eachEntry()) {
    const name = entry.fileName.toLowerCase();
    if (parts.has(name)) throw new MillraceError('E_PACKAGE', `the 3MF file has the part ${name.slice(0, 200)} twice`);
    parts.set(name, entry);
  }
  return parts;
}

function withParts(zip: ZipFile, parts: ReadonlyMap<string, Entry>): OpenZip {
  const stream: OpenZip['stream'] = async (name, most) => {
    const entry = parts.get(name.toLowerCase());
    if (entry === undefined) throw new MillraceError('E_PACKAGE', `the 3MF file has no part ${name}`);
    const { compressedSize, uncompressedSize, compressionMethod } = entry;
    if (uncompressedSize > most || uncompressedSize > compressedSize * MAX_RATIO + RATIO_SLACK_BYTES)
      throw new MillraceError('E_TOO_LARGE', `the part ${name} of the 3MF file unpacks to ${uncompressedSize} bytes`);
    if (entry.isEncrypted() || (compressionMethod !== STORED && compressionMethod !== DEFLATED))
      throw new MillraceError('E_PACKAGE', `the part ${name} of the 3MF file is packed in a way that OPC forbids`);
    try {
      return { stream: await zip.openReadStreamPromise(entry), bytes: compressedSize };
    } catch (cause) {
      throw refusal(cause);
    }
  };
  return {
    stream,
    read: async (name, most) => {
      const opened = await stream(name, most);
      const chunks: Uint8Array[] = [];
      try {
        for await (const chunk of opened.stream) chunks.push(chunk);
      } catch (cause) {
        throw refusal(cause);
      }
      return concatBytes(...chunks);
    },
    close: () => zip.close(),
  };
}

function refusal(cause: unknown): MillraceError {
  const known = toMillraceError(cause);
  if (known.code !== 'E_INTERNAL') return known;
  const isMissing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
  return isMissing
    ? new MillraceError('E_NOT_FOUND', 'there is no such 3MF file', { cause })
    : new MillraceError('E_PACKAGE', 'the file is not a 3MF file, or not a whole one', { cause });
}
