import { isCycle } from './cycles.ts';

/** ASCII codes used by the reader and the interpreter. */
export const ascii = {
  newline: 10,
  plus: 43,
  minus: 45,
  dot: 46,
  zero: 48,
  nine: 57,
  F: 70,
  G: 71,
  M: 77,
  N: 78,
  S: 83,
  T: 84,
} as const;

/** Bit of a word's letter in `given` and `flags`, and its index in `values`. */
export function slot(letter: string): number {
  return letter.charCodeAt(0) - 65;
}

export function bit(letter: string): number {
  return 1 << slot(letter);
}

// Codes that the interpreter executes. Their words are parsed strictly. The rest of any other line is skipped, as in
// firmware, because unknown codes may contain text, quotes or file names.
const actedOnG = [
  0, 1, 2, 3, 4, 10, 11, 17, 18, 19, 20, 21, 28, 40, 41, 42, 43, 44, 49, 53, 54, 55, 56, 57, 58, 59, 61, 64, 73, 80, 81,
  82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 98, 99,
];
const actedOnM = [
  3, 4, 5, 6, 7, 8, 9, 82, 83, 104, 106, 107, 109, 140, 141, 190, 191, 201, 203, 204, 205, 220, 221, 400,
];
// Known codes without effect on the model: pauses, ends of a program, progress, motors, reports, messages, pressure advance, object labels.
const silentM = [0, 1, 2, 17, 18, 30, 48, 49, 73, 84, 105, 110, 114, 115, 117, 118, 155, 486, 572, 900];

const actedG = table(actedOnG);
const actedM = table(actedOnM);
const silentMTable = table(silentM);

function table(codes: readonly number[]): Uint8Array {
  const out = new Uint8Array(1024);
  for (const code of codes) out[code] = 1;
  return out;
}

/** Whether the interpreter executes this code. */
export function isActedOn(letter: number, code: number): boolean {
  if (letter === ascii.G) return actedG[code] === 1;
  if (letter === ascii.M) return actedM[code] === 1;
  return letter === ascii.T;
}

/** Whether the code is known but has no effect on the model. */
export function isSilent(letter: number, code: number): boolean {
  return letter === ascii.M && silentMTable[code] === 1;
}

/**
 * Codes that may be without words of their own. They may share a line with the command that follows (G90 G1 X10); words
 * of a move that come after them belong to the motion that is in force (G0 G90 X10).
 */
export function isModal(letter: number, code: number): boolean {
  if (letter === ascii.T) return true;
  if (letter === ascii.M) return code === 82 || code === 83 || isMachining(letter, code);
  return (
    code <= 1 ||
    (code >= 17 && code <= 21) ||
    (code >= 40 && code <= 44) ||
    code === 49 ||
    (code >= 53 && code <= 64) ||
    code === 73 ||
    (code >= 80 && code <= 91) ||
    code >= 93
  );
}

/** Tool, spindle and coolant. Unlike those of printers, these may share a line with a move (G1 X10 M8). */
export function isMachining(letter: number, code: number): boolean {
  return letter === ascii.M && code >= 3 && code <= 9;
}

/** Whether the code may come after the words of a move, in the same line. */
export function mayFollowMove(letter: number, code: number): boolean {
  if (letter === ascii.M) return isMachining(letter, code) || code <= 2 || code === 30 || code === 48 || code === 49;
  return code === 40 || code === 49 || code === 61 || code === 64 || code === 80;
}

/** Whether the code is a motion that holds for the words of lines without a code. */
export function isMotion(letter: number, code: number): boolean {
  return letter === ascii.G && (code <= 3 || isCycle(code));
}
