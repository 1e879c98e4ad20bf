/** ASCII codes used by the reader and the interpreter. */
export const ascii = {
  newline: 10,
  plus: 43,
  minus: 45,
  dot: 46,
  zero: 48,
  nine: 57,
  G: 71,
  M: 77,
  N: 78,
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
const actedOnG = [0, 1, 2, 3, 4, 10, 11, 17, 18, 19, 20, 21, 28, 90, 91, 92];
const actedOnM = [82, 83, 104, 106, 107, 109, 140, 190, 201, 203, 204, 205, 220, 221, 400];
// Known codes without effect on the model: progress, motors, reports, messages, pressure advance, object labels.
const silentM = [17, 18, 73, 84, 105, 110, 114, 115, 117, 118, 155, 486, 572, 900];

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

/** Codes without words. They may share a line with the command that follows (G90 G1 X10). */
export function isModal(letter: number, code: number): boolean {
  if (letter === ascii.G) return code === 90 || code === 91 || (code >= 17 && code <= 21);
  return letter === ascii.M && (code === 82 || code === 83);
}
