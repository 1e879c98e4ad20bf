import { randomBytes } from 'node:crypto';
import { type Bytes, concatBytes, copyBytes, utf8 } from '@millrace/base';
import { syntheticDesign } from '@millrace/gcode';

/** Plausible G-code of exactly `bytes` bytes. Different seeds give different parts. */
export function gcode(bytes: number, seed = 1): Bytes {
  return concatBytes(...syntheticDesign({ bytes, seed }));
}

/** G-code with random comments, so that no run of 16 bytes occurs elsewhere by chance. @param feed mm per minute */
export function noisyGcode(bytes: number, feed = 6_000): Bytes {
  const lines = ['G28\nG90\nM82\n'];
  for (let length = 0, line = 0; length < bytes; line++) {
    const x = (line % 100) + 20;
    const text = `;${randomBytes(48).toString('base64')}\nG1 X${x}.${line % 1000} Y${20 + (line % 80)} F${feed}\n`;
    lines.push(text);
    length += text.length;
  }
  // A line that is cut is a comment: a number without its end is no number, or another one.
  const text = lines.join('').slice(0, bytes - 1);
  const last = text.lastIndexOf('\n') + 1;
  return utf8(`${text.slice(0, last)}${text.slice(last).replace(/^[^;]/, ';')}\n`);
}

export function randomDesign(bytes: number): Bytes {
  return copyBytes(randomBytes(bytes));
}
