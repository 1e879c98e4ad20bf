import { type Bytes, concatBytes, MillraceError } from '@millrace/base';
import { MAX_PHOTO_BYTES } from './case-evidence.ts';

/** A photo without metadata: no place, time, camera or comment. */
export interface Photo {
  readonly type: 'image/jpeg' | 'image/png';
  readonly bytes: Bytes;
}

const invalid = (why: string) => new MillraceError('E_INPUT', `photo: ${why}`);

/**
 * Checks that a file is a JPEG (ITU-T T.81) or PNG (ISO/IEC 15948) image, and removes everything that its pixels do not
 * need: Exif, XMP, comments, colour profiles, previews, and what follows the image.
 * @throws {MillraceError} E_INPUT (another format, or damaged), E_TOO_LARGE (over 2 MB)
 */
export function cleanPhoto(file: Uint8Array): Photo {
  const photo: Photo =
    file[0] === 0xff && file[1] === 0xd8
      ? { type: 'image/jpeg', bytes: cleanJpeg(file) }
      : { type: 'image/png', bytes: cleanPng(file) };
  if (photo.bytes.length > MAX_PHOTO_BYTES)
    throw new MillraceError('E_TOO_LARGE', `photo: ${photo.bytes.length} bytes; at most ${MAX_PHOTO_BYTES}`);
  return photo;
}

const START_OF_SCAN = 0xda;
const END_OF_IMAGE = 0xd9;
const TABLES = new Set([0xc4, 0xcc, 0xdb, 0xdd]);
/** JFIF and Adobe say how colours are stored. */
const COLOURS = new Set([0xe0, 0xee]);
const isFrame = (marker: number): boolean => marker >= 0xc0 && marker <= 0xcf && !TABLES.has(marker) && marker !== 0xc8;

function cleanJpeg(file: Uint8Array): Bytes {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const kept: Uint8Array[] = [file.subarray(0, 2)];
  let [frame, scan] = [false, false];
  for (let at = 2; at + 2 <= file.length; ) {
    const marker = file[at + 1] ?? 0;
    if (file[at] !== 0xff) throw invalid('a damaged JPEG');
    if (marker === 0xff) {
      at += 1; // a fill byte
      continue;
    }
    if (marker === END_OF_IMAGE) {
      if (!frame || !scan) break;
      return concatBytes(...kept, file.subarray(at, at + 2));
    }
    if (at + 4 > file.length) break;
    let end = at + 2 + view.getUint16(at + 2);
    if (end > file.length || end < at + 4) break;
    if (marker === START_OF_SCAN) {
      scan = true;
      end = endOfScan(file, end);
    }
    frame ||= isFrame(marker);
    if (marker === START_OF_SCAN || isFrame(marker) || TABLES.has(marker) || COLOURS.has(marker))
      kept.push(file.subarray(at, end));
    at = end;
  }
  throw invalid('a damaged or truncated JPEG');
}

/** Position of the next marker. In coded data, FF is followed by 00 or by a restart marker. */
function endOfScan(file: Uint8Array, from: number): number {
  for (let at = from; at + 1 < file.length; at++) {
    const next = file[at + 1] ?? 0;
    if (file[at] === 0xff && next !== 0 && !(next >= 0xd0 && next <= 0xd7)) return at;
  }
  return file.length;
}

/**
 * Width and height that a JPEG states.
 * @param jpeg as `cleanPhoto` gives it
 * @throws {MillraceError} E_INPUT
 */
export function jpegSize(jpeg: Uint8Array): { readonly width: number; readonly height: number } {
  const view = new DataView(jpeg.buffer, jpeg.byteOffset, jpeg.byteLength);
  for (let at = 2; at + 9 <= jpeg.length && jpeg[at] === 0xff; at += 2 + view.getUint16(at + 2))
    if (isFrame(jpeg[at + 1] ?? 0)) return { height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
  throw invalid('a JPEG without a frame before its data');
}

const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const CHUNKS = new Set(['IHDR', 'PLTE', 'tRNS', 'IDAT', 'IEND']);

function cleanPng(file: Uint8Array): Bytes {
  if (PNG.some((byte, at) => file[at] !== byte)) throw invalid('neither a JPEG nor a PNG image');
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const kept: Uint8Array[] = [file.subarray(0, PNG.length)];
  let data = false;
  for (let at = PNG.length; at + 12 <= file.length; ) {
    const end = at + 12 + view.getUint32(at);
    if (end > file.length) break;
    const type = String.fromCharCode(...file.subarray(at + 4, at + 8));
    if ((kept.length === 1) !== (type === 'IHDR')) break;
    data ||= type === 'IDAT';
    if (CHUNKS.has(type)) kept.push(file.subarray(at, end));
    if (type === 'IEND') {
      if (!data) break;
      return concatBytes(...kept);
    }
    at = end;
  }
  throw invalid('a damaged or truncated PNG');
}
