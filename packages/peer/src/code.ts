import { MillraceError, type RandomSource } from '@millrace/base';

const DIGITS = 10;

/** Ten random digits, 33 bits: "471-209-8835". */
export function newCode(random: RandomSource): string {
  let digits = '';
  while (digits.length < DIGITS) {
    // Skip bytes of 250 and above: they would bias the digits.
    for (const byte of random(16)) if (byte < 250 && digits.length < DIGITS) digits += String(byte % 10);
  }
  return `${digits.slice(0, 3)}-${digits.slice(3, 6)}-${digits.slice(6)}`;
}

/** The digits of a code as typed by a user. @throws {MillraceError} E_INPUT */
export function codeDigits(text: string): string {
  const digits = text.replace(/[\s-]/g, '');
  if (!/^\d{10}$/.test(digits)) throw new MillraceError('E_INPUT', 'a code has ten digits, as in 471-209-8835');
  return digits;
}
