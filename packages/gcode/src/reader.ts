import { MillraceError } from '@millrace/base/core';
import { ascii, bit, isActedOn, isMachining, isModal, isMotion, mayFollowMove } from './codes.ts';

// Class of a byte, so that the loop below branches once. 0: not part of a line of code.
const SPACE = 1;
const LETTER = 2;
const COMMENT = 3;
const OPEN = 4;
const STAR = 5;
const NEWLINE = 6;

const classes = new Uint8Array(256);
for (const c of [32, 9, 13]) classes[c] = SPACE;
for (let c = 65; c <= 90; c += 1) classes[c] = LETTER;
for (let c = 97; c <= 122; c += 1) classes[c] = LETTER;
classes[59] = COMMENT;
classes[40] = OPEN;
classes[42] = STAR;
classes[ascii.newline] = NEWLINE;

// State of the reader between two bytes. It contains everything needed to continue, so a chunk may end anywhere.
const BETWEEN = 0;
const NUMBER = 1;
const SKIP = 2; // a comment, or the words of a skipped code
const PAREN = 3;
const CHECKSUM = 4;

/** Maximum bytes of a line outside its `;` comment. Comments may be of any length. */
export const maxLineBytes = 1024;
const exactDigits = 15;
const powers = Float64Array.from({ length: 23 }, (_, n) => 10 ** n);

/**
 * Reads G-code in chunks split anywhere, without building lines or strings. `next` consumes bytes up to the end of one
 * command and leaves its words in the public fields, which the following call overwrites.
 */
export class LineReader {
  /**
   * Code letter (G, M, T, or that of an unknown code); 0 if the line has no command. It may still have words: of a move
   * with the motion that is in force, or F and S alone.
   */
  letter = 0;
  code = 0;
  /** Whether the interpreter executes this code; its words were then read. */
  actedOn = false;
  /** Bits of the words with a number. The numbers are in `values`, by letter. */
  given = 0;
  /** Bits of the words without a number (G28 X). */
  flags = 0;
  readonly values = new Float64Array(26);
  /** Number of the line being read, from 1. */
  line = 1;
  /** Number of bytes consumed. */
  offset = 0;
  /** Whether the last `next` ended a command. `lineEnded`: whether it also ended the line. */
  complete = false;
  lineEnded = false;

  #mode = BETWEEN;
  #started = false;
  #motion = false;
  /** A command before in this line has words of a move, or a feed. */
  #afterWords = false;
  #used = 0;
  #xor = 0;
  #checksum = -1;
  #checksumDigits = 0;
  // The number being read.
  #word = 0;
  #mantissa = 0;
  #digits = 0;
  #seen = false;
  #scale = 0;
  #dot = false;
  #sign = 0;
  #long = '';

  /**
   * Continues at the beginning of a line of a file.
   * @param motion a motion is in force
   */
  resume(line: number, offset: number, motion: boolean): void {
    this.line = line;
    this.offset = offset;
    this.#motion = motion;
  }

  /** A motion is in force, so that words of a move need no command. */
  get motion(): boolean {
    return this.#motion;
  }

  /**
   * Reads from `bytes[from]` to the end of one command (`complete`) or of the bytes.
   * @returns the offset where it stopped
   * @throws {MillraceError} E_GCODE with the line number, never with bytes of the design
   */
  next(bytes: Uint8Array, from: number): number {
    if (this.complete) this.#clear();
    const end = bytes.length;
    let i = from;
    while (i < end) {
      if (this.#mode === SKIP) {
        const at = bytes.indexOf(ascii.newline, i);
        if (at < 0) {
          this.offset += end - i;
          return end;
        }
        this.offset += at - i;
        i = at;
      } else if (this.#mode === NUMBER) {
        i = this.#number(bytes, i);
        if (i === end) return i;
        this.#closeWord(bytes[i] as number);
        continue;
      }
      const c = bytes[i] as number;
      const kind = classes[c] as number;
      if (kind === NEWLINE) {
        this.offset += 1;
        this.#endLine();
        return i + 1;
      }
      if (kind === LETTER && this.#mode === BETWEEN) {
        const upper = c & 0xdf;
        if (this.#startsAnother(upper)) return i;
        this.#openWord(upper);
      } else {
        this.#other(c, kind);
      }
      this.#xor ^= c;
      this.offset += 1;
      i += 1;
      if (++this.#used > maxLineBytes) throw this.fault(`more than ${maxLineBytes} bytes of code on one line`);
    }
    return i;
  }

  /** Ends the last line at the end of the file. Returns true if that completed a command or a non-empty line. */
  finish(): boolean {
    if (this.complete) this.#clear();
    if (!this.#started && this.#mode === BETWEEN && this.#used === 0) return false;
    if (this.#mode === NUMBER) this.#closeWord(ascii.newline);
    this.#endLine();
    return true;
  }

  /** Whether the rest of the line has no effect: a comment without a command, or a skipped code. */
  get idle(): boolean {
    return !this.complete && this.#mode === SKIP && !this.actedOn;
  }

  fault(what: string): MillraceError {
    return new MillraceError('E_GCODE', `line ${this.line}: ${what}`, { data: { line: this.line } });
  }

  #clear(): void {
    this.complete = false;
    this.letter = 0;
    this.code = 0;
    this.actedOn = false;
    this.given = 0;
    this.flags = 0;
    if (!this.lineEnded) return;
    this.#afterWords = false;
    this.lineEnded = false;
    this.line += 1;
    this.#mode = BETWEEN;
    this.#started = false;
    this.#used = 0;
    this.#xor = 0;
    this.#checksum = -1;
    this.#checksumDigits = 0;
  }

  #endLine(): void {
    if (this.#mode === PAREN) throw this.fault('a comment in brackets is not closed');
    if (this.#mode === CHECKSUM && this.#checksumDigits === 0) throw this.fault('the checksum has no number');
    if (this.#checksum >= 0 && this.#checksum !== this.#xor) throw this.fault('the checksum does not match');
    // Firmware would drop such a line, and with it a move of the part.
    if (this.letter === 0 && (this.given & ~settings) !== 0 && !this.#motion)
      throw this.fault('a word without a command before it');
    this.complete = true;
    this.lineEnded = true;
  }

  #other(c: number, kind: number): void {
    if (this.#mode === PAREN) {
      if (c === 41) this.#mode = BETWEEN;
    } else if (this.#mode === CHECKSUM) {
      this.#checksumByte(c, kind);
    } else if (kind === COMMENT) {
      this.#mode = SKIP;
    } else if (kind === OPEN) {
      this.#mode = PAREN;
    } else if (kind === STAR) {
      this.#checksum = 0;
      this.#mode = CHECKSUM;
      this.#word = this.#xor;
    } else if (c === 37 && !this.#started) {
      this.#mode = SKIP; // % begins and ends a program on some controllers
    } else if (kind !== SPACE) {
      throw this.fault('a byte that is no part of a word');
    }
    if (kind !== SPACE) this.#started = true;
  }

  #checksumByte(c: number, kind: number): void {
    if (c >= ascii.zero && c <= ascii.nine && this.#checksumDigits < 3) {
      this.#checksum = this.#checksum * 10 + c - ascii.zero;
      this.#checksumDigits += 1;
    } else if (kind === COMMENT || kind === SPACE) {
      if (this.#checksumDigits === 0) throw this.fault('the checksum has no number');
      this.#checksumDigits = 3;
      if (kind === COMMENT) this.#mode = SKIP;
    } else {
      throw this.fault('the checksum is not a number');
    }
    // The checksum covers only the bytes before the star: keep it from changing.
    this.#xor = this.#word ^ c;
  }

  #startsAnother(letter: number): boolean {
    if (this.letter === 0 || (letter !== ascii.G && letter !== ascii.M)) return false;
    const words = this.given !== 0 || this.flags !== 0;
    const isMove = this.letter === ascii.G && this.flags === 0;
    if (words ? !isMove && !isMachining(this.letter, this.code) : !isModal(this.letter, this.code))
      throw this.fault('two commands on one line');
    if (words && (isMove || (this.given & ofMoves) !== 0)) this.#afterWords = true;
    this.complete = true;
    this.lineEnded = false;
    return true;
  }

  #openWord(letter: number): void {
    this.#mode = NUMBER;
    this.#word = letter;
    this.#mantissa = 0;
    this.#digits = 0;
    this.#seen = false;
    this.#scale = 0;
    this.#dot = false;
    this.#sign = 0;
    this.#long = '';
  }

  /** Consumes the bytes of a number. The byte that ends it is left to the caller. */
  #number(bytes: Uint8Array, from: number): number {
    const end = bytes.length;
    let i = from;
    let mantissa = this.#mantissa;
    let digits = this.#digits;
    let scale = this.#scale;
    let dot = this.#dot;
    let xor = this.#xor;
    let seen = this.#seen;
    for (; i < end; i += 1) {
      const c = bytes[i] as number;
      if (c >= ascii.zero && c <= ascii.nine) {
        seen = true;
        if (dot) scale += 1;
        if (digits < exactDigits) {
          mantissa = mantissa * 10 + c - ascii.zero;
          if (mantissa !== 0) digits += 1;
        } else {
          this.#long += String.fromCharCode(c);
        }
      } else if (c === ascii.dot && !dot) {
        dot = true;
      } else if ((c === ascii.minus || c === ascii.plus) && this.#sign === 0 && !seen && !dot) {
        this.#sign = c === ascii.minus ? -1 : 1;
      } else if (classes[c] !== SPACE || seen || dot || this.#sign !== 0) {
        break;
      }
      xor ^= c;
    }
    this.#mantissa = mantissa;
    this.#digits = digits;
    this.#scale = scale;
    this.#dot = dot;
    this.#xor = xor;
    this.#seen = seen;
    this.offset += i - from;
    this.#used += i - from;
    if (this.#used > maxLineBytes) throw this.fault(`more than ${maxLineBytes} bytes of code on one line`);
    return i;
  }

  #value(): number {
    const size =
      this.#long === '' && this.#scale < powers.length
        ? this.#mantissa / (powers[this.#scale] as number)
        : Number(`${this.#mantissa}${this.#long}e-${this.#scale}`);
    return this.#sign < 0 ? -size : size;
  }

  #closeWord(next: number): void {
    this.#mode = BETWEEN;
    const letter = this.#word;
    if (!this.#seen) {
      if (this.#dot || this.#sign !== 0) throw this.fault('a word without a number');
      this.#closeFlag(letter, next);
      return;
    }
    const value = this.#value();
    if (this.letter === 0) {
      this.#closeFirst(letter, value);
      return;
    }
    this.values[letter - 65] = value;
    this.given |= 1 << (letter - 65);
  }

  #closeFirst(letter: number, value: number): void {
    if (letter === ascii.N && !this.#started) {
      this.#started = true;
      return;
    }
    this.#started = true;
    if (letter === ascii.G || letter === ascii.M || letter === ascii.T) {
      if (!(value >= 0 && value < 1e6)) throw this.fault('the number of a code is out of range');
      if (this.#afterWords && !mayFollowMove(letter, value)) throw this.fault('two commands on one line');
      this.letter = letter;
      this.code = value;
      this.actedOn = isActedOn(letter, value);
      if (isMotion(letter, value)) this.#motion = true;
      if (letter === ascii.G && value === 80) this.#motion = false;
      if (!this.actedOn) this.#mode = SKIP;
    } else if (this.given !== 0 || isWordOfAMove(letter)) {
      this.values[letter - 65] = value;
      this.given |= 1 << (letter - 65);
    } else {
      this.letter = letter;
      this.code = value;
      this.#mode = SKIP;
    }
  }

  #closeFlag(letter: number, next: number): void {
    if (this.letter === 0 && this.given !== 0) throw this.fault('a word without a number');
    if (this.letter !== 0) {
      this.flags |= 1 << (letter - 65);
      return;
    }
    // A macro's name (START_PRINT), or a letter whose value is not a number (T?).
    if (classes[next] !== LETTER && next !== 95 && letter !== ascii.T) throw this.fault('a command without a number');
    this.#started = true;
    this.letter = letter;
    this.code = Number.NaN;
    this.#mode = SKIP;
  }
}

/** F and S need no motion. */
const settings = bit('F') | bit('S');

/** What these words mean depends on modes. */
const ofMoves = [...'XYZEFIJKR'].reduce((bits, letter) => bits | bit(letter), 0);

/** X Y Z E F I J K R S: a line may begin with them. */
function isWordOfAMove(letter: number): boolean {
  return (
    (letter >= 88 && letter <= 90) ||
    (letter >= 69 && letter <= 75 && letter !== 72 && letter !== 71) ||
    letter === 82 ||
    letter === ascii.S
  );
}
