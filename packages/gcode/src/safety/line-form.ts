import type { CommandRules } from './commands.ts';
import type { Dialect } from './policy.ts';

/** A line as its controller sees it: its macro if it is one; otherwise all of it is in the reader's words. */
export type LineForm = { readonly macro: string } | undefined;

const [G, M, A, ZERO, SPACE, MINUS, POINT] = [71, 77, 65, 48, 32, 45, 46];
const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 48 && byte <= 57;

const printerCode = /^([GMT])(0|[1-9]\d{0,3})(\.\d)?(?![\d.])(.*)$/;
const printerWords = /^(?: *[A-Z](?:[-+]?(?:\d{1,6}(?:\.\d{0,8})?|\.\d{1,8}))?)*$/;
const macro = /^([A-Z_][A-Z0-9_]*)(?: |$)/;
const millWords = /^(?:[A-Z][-+]?(?:\d{1,6}(?:\.\d{0,7})?|\.\d{1,7}))+$/;
/** Codes of which the model does not read the rest of the line. */
const millLast = /^(?:G0*91\.1|M0*(?:[012]|30))(?!\d)/;

/**
 * Checks that every controller of the dialect reads the line as the model does: one way to write a word, each letter
 * once, nothing after the words. Otherwise the model could be led away from the machine.
 * @returns the macro; or the reason why the line is not unambiguous
 */
export function formOf(command: Uint8Array, dialect: Dialect, allowed: CommandRules): LineForm | string {
  if (dialect === 'printer' && isPlain(command)) return undefined;
  const text = String.fromCharCode(...command);
  return dialect === 'mill' ? millForm(text.replace(/[ \t]/g, '').toUpperCase()) : printerForm(text, allowed);
}

/** Whether a line is a code of up to three digits and words with numbers, each once: what most lines of a design are. */
function isPlain(line: Uint8Array): boolean {
  let at = 1;
  if (line[0] !== G && line[0] !== M) return false;
  while (isDigit(line[at])) at += 1;
  if (at === 1 || at > 4 || (line[1] === ZERO && at > 2)) return false;
  let seen = 0;
  while (at < line.length) {
    const letter = (line[at + 1] as number) - A;
    if (line[at] !== SPACE || !(letter >= 0 && letter < 26) || (seen & (1 << letter)) !== 0) return false;
    seen |= 1 << letter;
    at += line[at + 2] === MINUS ? 3 : 2;
    let from = at;
    while (isDigit(line[at])) at += 1;
    if (at === from || at - from > 6) return false;
    if (line[at] !== POINT) continue;
    from = at += 1;
    while (isDigit(line[at])) at += 1;
    if (at - from > 8) return false;
  }
  return true;
}

function printerForm(text: string, allowed: CommandRules): LineForm | string {
  const code = printerCode.exec(text);
  if (code === null) {
    const name = macro.exec(text)?.[1];
    if (name === undefined || /^[A-Z]\d/.test(name)) return 'a line that is not written as a slicer writes it';
    return /^[\x20-\x7e]*$/.test(text) ? { macro: name } : 'a byte that is not ASCII';
  }
  const [, letter = '', number = '', part = '', words = ''] = code;
  if (allowed.ruleOf(letter.charCodeAt(0), Number(`${number}${part}`))?.isText)
    return /^(?: [\x20-\x7e]*)?$/.test(words) ? undefined : 'a byte that is not ASCII';
  if (!printerWords.test(words)) return 'words that are not written as a slicer writes them';
  return repeats(words, '') ? 'a word that occurs twice' : undefined;
}

function millForm(text: string): LineForm | string {
  if (!millWords.test(text)) return 'words that are not written as CAM software writes them';
  for (const { index } of text.matchAll(/[GM]/g)) {
    const rest = text.slice(index);
    const last = millLast.exec(rest)?.[0];
    if (last !== undefined && last !== rest) return 'words after a command that has none';
  }
  return repeats(text, 'GM') ? 'a word that occurs twice' : undefined;
}

/** Whether a letter occurs twice, other than those of `several`. */
function repeats(text: string, several: string): boolean {
  let seen = 0;
  for (let at = 0; at < text.length; at += 1) {
    const letter = text.charCodeAt(at) - 65;
    if (letter < 0 || letter > 25 || several.includes(text[at] as string)) continue;
    if ((seen & (1 << letter)) !== 0) return true;
    seen |= 1 << letter;
  }
  return false;
}
