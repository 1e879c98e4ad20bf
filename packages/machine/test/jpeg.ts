import { concatBytes } from '@millrace/base';

const segment = (marker: number, ...content: number[]) =>
  Uint8Array.of(0xff, marker, 0, content.length + 2, ...content);
const zeros = (length: number) => Array.from({ length }, () => 0);

/** The structure of a JPEG without metadata. @param length of its coded data, bytes @param side pixels */
export const plainJpeg = (length = 3, side = 640) =>
  concatBytes(
    Uint8Array.of(0xff, 0xd8),
    segment(0xdb, ...zeros(65)),
    segment(0xc0, 8, side >> 8, side & 0xff, side >> 8, side & 0xff, ...zeros(10)),
    segment(0xda, ...zeros(10)),
    new Uint8Array(length).fill(1),
    Uint8Array.of(0xff, 0xd9),
  );
