// Plain numbers in place of points: the same law (c = m + k·h; a token takes k to k′), no security, a hundredth of the time. For
// tests of everything around the arithmetic; `points.test.ts` is about the arithmetic.
import { createHash } from 'node:crypto';
import { MillraceError } from '@millrace/base';

const ORDER = 2n ** 256n - 432420386565659656852420866394968145599n;
const [CHUNK, CHUNKS, SEGMENT, BODY] = [30, 547, 16_386, 18_054];
const toNumber = (bytes) => BigInt(`0x${Buffer.from(bytes).toString('hex')}`);
const toHex = (number, bytes) => number.toString(16).padStart(2 * bytes, '0');

/** @type {import('@millrace/vault/parts').PointsEngine} */
export const numbers = {
  async run({ kind, scalar, label, bytes }) {
    const k = kind === 'takeOff' ? ORDER - toNumber(scalar) : toNumber(scalar);
    const read = kind === 'add' ? CHUNK : CHUNK + 3;
    const filled = Buffer.alloc(CHUNKS * read);
    Buffer.from(bytes).copy(filled);
    if (kind !== 'add' && bytes.length !== BODY) throw new MillraceError('E_CELL_DAMAGED', 'of another length');
    let out = '';
    for (let i = 0; i < CHUNKS; i++) {
      const number = toNumber(filled.subarray(i * read, (i + 1) * read));
      if (number >= ORDER) throw new MillraceError('E_CELL_DAMAGED', 'no number');
      const h = createHash('sha256')
        .update(label)
        .update(Uint8Array.of(i >> 8, i))
        .digest();
      const sum = (number + k * toNumber(h)) % ORDER;
      if (kind === 'takeOff' && sum >> 240n !== 0n) throw new MillraceError('E_SEAL', 'another layer');
      out += toHex(sum, kind === 'takeOff' ? CHUNK : CHUNK + 3);
    }
    const result = new Uint8Array(kind === 'takeOff' ? SEGMENT : BODY);
    result.set(Buffer.from(out, 'hex').subarray(0, result.length));
    return { bytes: result, workMs: 1 };
  },
};
