import { MillraceError, toMillraceError } from '@millrace/base';
import { BlobReader, configure, type FileEntry, ZipReader } from '@zip.js/zip.js/lib/zip-core-custom.js';

// Sliced projects (.gcode.3mf, as Bambu Studio and OrcaSlicer write them): zip files with the G-code of each plate.

/** The G-code of one plate in a sliced project. */
export interface Plate {
  /** Number of the plate, from 1. */
  readonly plate: number;
  /** Name of its part in the zip file. */
  readonly part: string;
  /** Length of the G-code, bytes, as the zip file says. */
  readonly size: number;
}

const GCODE_PART = /^Metadata\/plate_([1-9]\d{0,3})\.gcode$/i;
const MAX_PARTS = 4_096;
/** Of the G-code of one plate. */
const MAX_BYTES = 2 ** 30;
/** Slicers' G-code becomes 3 to 10 times smaller, so a higher ratio is an attack. */
const MAX_RATIO = 100;
/** Short files may have a higher ratio. */
const RATIO_SLACK_BYTES = 2 ** 20;
/** Bytes that are held in memory while a plate is unpacked. */
const PIECE = 4 * 2 ** 20;

// We are in a worker already, and the browser's own decompression needs no code from texts.
configure({ useWebWorkers: false, useCompressionStream: true });

/** Nothing is unpacked by its name. A file that programs could read differently is refused all the same. */
const open = (file: Blob) =>
  new ZipReader(new BlobReader(file), { strictness: 'strict', filenameValidation: 'strict', checkCrc32: true });

/**
 * The plates in a 3MF file, in their order; none if it is a model that nobody has sliced.
 * @throws {MillraceError} E_INPUT if it is no zip file, or a damaged, encrypted or ambiguous one; E_TOO_LARGE
 */
export async function platesIn(file: Blob): Promise<Plate[]> {
  return (await entriesOf(file)).map(({ plate, entry }) => ({
    ...{ plate, part: entry.filename, size: entry.uncompressedSize },
  }));
}

/**
 * Unpacks the G-code of a plate. A piece of it is in memory; the browser keeps the others as it keeps files.
 * @throws {MillraceError} E_INPUT if the G-code is not what the zip file says: another length or checksum; E_NOT_FOUND
 */
export async function unpackPlate(
  file: Blob,
  part: string,
  progress: (done: number, total: number) => void,
): Promise<Blob> {
  const found = (await entriesOf(file)).find(({ entry }) => entry.filename === part)?.entry;
  if (found === undefined) throw new MillraceError('E_NOT_FOUND', `the 3MF file has no ${part}`);
  const pieces = new Pieces(found.uncompressedSize, progress);
  await readable(() =>
    found.getData(new WritableStream<Uint8Array>({ write: (chunk) => pieces.add(chunk) }), { checkCrc32: true }),
  );
  return pieces.finish();
}

async function entriesOf(file: Blob): Promise<{ readonly plate: number; readonly entry: FileEntry }[]> {
  const found = new Map<number, FileEntry>();
  await readable(async () => {
    const reader = open(file);
    let parts = 0;
    for await (const entry of reader.getEntriesGenerator()) {
      parts += 1;
      if (parts > MAX_PARTS) throw new MillraceError('E_TOO_LARGE', `a 3MF file has at most ${MAX_PARTS} parts`);
      const plate = Number(GCODE_PART.exec(entry.filename)?.[1]);
      if (Number.isNaN(plate) || entry.directory) continue;
      if (found.has(plate)) throw new MillraceError('E_INPUT', `the 3MF file has plate ${plate} twice`);
      requireSize(entry);
      found.set(plate, entry);
    }
    await reader.close();
  });
  return [...found].map(([plate, entry]) => ({ plate, entry })).sort((a, b) => a.plate - b.plate);
}

function requireSize({ filename, compressedSize, uncompressedSize }: FileEntry): void {
  if (uncompressedSize > MAX_BYTES)
    throw new MillraceError('E_TOO_LARGE', `${filename} has ${uncompressedSize} bytes, more than ${MAX_BYTES}`);
  if (uncompressedSize > RATIO_SLACK_BYTES + MAX_RATIO * compressedSize)
    throw new MillraceError(
      'E_TOO_LARGE',
      `${filename} unpacks to more than ${MAX_RATIO} times its size: no slicer's file`,
    );
}

/** Everything that the library finds wrong is wrong with the file. */
async function readable<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof MillraceError) throw error;
    const { message } = toMillraceError(error);
    throw new MillraceError('E_INPUT', `the 3MF file cannot be read: ${message}`, { cause: error });
  }
}

/** Collects bytes as blobs. */
class Pieces {
  readonly #size: number;
  readonly #progress: (done: number, total: number) => void;
  readonly #pieces: Blob[] = [];
  #parts: Uint8Array<ArrayBuffer>[] = [];
  #held = 0;
  #done = 0;

  constructor(size: number, progress: (done: number, total: number) => void) {
    this.#size = size;
    this.#progress = progress;
  }

  add(chunk: Uint8Array): void {
    this.#done += chunk.length;
    if (this.#done > this.#size)
      throw new MillraceError('E_INPUT', 'the G-code in the 3MF file is longer than it says');
    this.#parts.push(new Uint8Array(chunk));
    this.#held += chunk.length;
    if (this.#held >= PIECE) this.#close();
    this.#progress(this.#done, this.#size);
  }

  finish(): Blob {
    this.#close();
    if (this.#done !== this.#size)
      throw new MillraceError('E_INPUT', 'the G-code in the 3MF file is shorter than it says');
    return new Blob(this.#pieces);
  }

  #close(): void {
    this.#pieces.push(new Blob(this.#parts));
    this.#parts = [];
    this.#held = 0;
  }
}
