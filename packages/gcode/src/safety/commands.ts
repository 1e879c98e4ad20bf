import type { Dialect, SafetyPolicy } from './policy.ts';

/** What a command means for the machine, beyond what its words say. */
export type Effect =
  /** Nothing moves, or all of it is in the words. */
  | 'none'
  /** Words of axes that are not moves. */
  | 'limits'
  | 'home'
  | 'position'
  /** Motors off: the axes have to be homed again. */
  | 'release'
  /** Moves the machine in a way that the model does not know. */
  | 'unmodelled'
  | 'hotend'
  | 'bed'
  | 'chamber'
  | 'tool'
  /** Coordinate system G54 to G59. */
  | 'system'
  | 'end';

export interface Rule {
  readonly effect: Effect;
  /** Bits of the letters that may follow. */
  readonly words: number;
  /** Followed by a text, or by words that the model does not read. */
  readonly isText: boolean;
}

const letters = (text: string): number =>
  [...text].reduce((bits, letter) => bits | (1 << (letter.charCodeAt(0) - 65)), 0);
const all = letters('ABCDEFGHIJKLMNOPQRSTUVWXYZ');

const rule = (words = '', effect: Effect = 'none', isText = false): Rule => ({ effect, words: letters(words), isText });

type Rules = Readonly<Record<string, Rule>>;

const each = (names: string, of: Rule): Rules => Object.fromEntries(names.split(' ').map((name) => [name, of]));

/** What slicers write. Firmware of every printer has these commands, or they move nothing. */
const printer: Rules = {
  ...each('G0 G1', rule('XYZEF')),
  G4: rule('PS'),
  ...each('G10 G11 G17 G21 G90 G91 M82 M83 M400', rule()),
  G28: rule('XYZW', 'home'),
  G92: rule('XYZE', 'position'),
  ...each('M18 M84', rule('', 'release', true)),
  ...each('M104 M109', rule('SRT', 'hotend')),
  ...each('M140 M190', rule('SR', 'bed')),
  ...each('M141 M191', rule('SR', 'chamber')),
  M106: rule('SP'),
  M107: rule('P'),
  ...each('M201 M203', rule('XYZE', 'limits')),
  M204: rule('SPRT', 'limits'),
  M205: rule('XYZEJBST', 'limits'),
  M220: rule('S'),
  M221: rule('ST'),
  ...each('M0 M1 M17 M73 M105 M114 M115 M117 M118 M155 M486 M900', rule('', 'none', true)),
};

/** Not known to all firmware. One that skips them is then elsewhere than the model, so the owner has to allow them. */
const printerIfAllowed: Rules = {
  ...each('G2 G3', rule('XYZEFIJR')),
  G20: rule(),
};

const millWords = 'XYZFSIJRPT';
const mill: Rules = {
  ...each('G0 G1 G2 G3 G17 G18 G19 G20 G21 G40 G49 G53 G61 G64 G80 G90 G91 G94 M3 M4 M5 M7 M8 M9', rule(millWords)),
  G4: rule('P'),
  G92: rule('XYZ', 'position'),
  ...each('G54 G55 G56 G57 G58 G59', rule(millWords, 'system')),
  ...each('G91.1 M0 M1', rule('', 'none', true)),
  ...each('M2 M30', rule('', 'end', true)),
};

const keyOf = (letter: number, code: number): number => letter * 1e6 + code;
const tool: Rule = { effect: 'tool', words: 0, isText: false };
const millTool: Rule = rule('S');
/** Words without a code of their own. */
const millMove: Rule = rule(millWords);
const unmodelled: Rule = { effect: 'unmodelled', words: all, isText: true };
const T = 84;

/** What a dialect has beside G and M codes. Undefined for those. */
function wordRule(letter: number, dialect: Dialect): Rule | undefined {
  if (letter === 0) return dialect === 'mill' ? millMove : undefined;
  return letter === T ? (dialect === 'mill' ? millTool : tool) : undefined;
}

const rulesOf = (dialect: Dialect): Rules => (dialect === 'printer' ? { ...printerIfAllowed, ...printer } : mill);

/** The commands that may be executed. */
export interface CommandRules {
  hasMacro(name: string): boolean;
  /** @param letter 0 for words without a code */
  ruleOf(letter: number, code: number): Rule | undefined;
}

/** The commands that a policy allows. */
export class AllowedCommands implements CommandRules {
  readonly #dialect: Dialect;
  readonly #codes = new Map<number, Rule>();
  readonly #names = new Set<string>();

  constructor({ commands: { allow, forbid } }: Pick<SafetyPolicy, 'commands'>, dialect: Dialect) {
    this.#dialect = dialect;
    const usual = dialect === 'printer' ? printer : mill;
    const known = rulesOf(dialect);
    const forbidden = new Set(forbid);
    for (const name of new Set([...Object.keys(usual), ...allow])) {
      if (forbidden.has(name)) continue;
      const code = /^([GM])(\d.*)$/.exec(name);
      if (code === null) this.#names.add(name);
      else this.#codes.set(keyOf(name.charCodeAt(0), Number(code[2])), known[name] ?? unmodelled);
    }
  }

  /** @param code for example G20 */
  has(code: string): boolean {
    return this.#codes.has(keyOf(code.charCodeAt(0), Number(code.slice(1))));
  }

  hasMacro(name: string): boolean {
    return this.#names.has(name);
  }

  ruleOf(letter: number, code: number): Rule | undefined {
    return wordRule(letter, this.#dialect) ?? this.#codes.get(keyOf(letter, code));
  }
}

/** Allows every command, and keeps the names of those that occur. */
export class RecordedCommands implements CommandRules {
  readonly #dialect: Dialect;
  readonly #known: Rules;
  readonly #codes = new Map<number, { readonly name: string; readonly rule: Rule }>();
  readonly #macros = new Set<string>();

  constructor(dialect: Dialect) {
    this.#dialect = dialect;
    this.#known = rulesOf(dialect);
  }

  /** Codes and macros, in the order of their names. */
  get names(): string[] {
    return [...new Set([...this.#macros, ...[...this.#codes.values()].map(({ name }) => name)])].sort();
  }

  hasMacro(name: string): boolean {
    this.#macros.add(name);
    return true;
  }

  ruleOf(letter: number, code: number): Rule | undefined {
    const word = wordRule(letter, this.#dialect);
    if (word !== undefined || letter === 0) return word;
    const key = keyOf(letter, code);
    const known = this.#codes.get(key);
    if (known !== undefined) return known.rule;
    const name = `${String.fromCharCode(letter)}${code}`;
    const rule = this.#known[name] ?? unmodelled;
    this.#codes.set(key, { name, rule });
    return rule;
  }
}
