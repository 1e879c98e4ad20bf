import { RecordedCommands } from './commands.ts';
import type { SafetyRule } from './guard.ts';
import { type Heater, type JoiningMove, type SafetyLimits, zeros } from './limits.ts';
import type { Dialect } from './policy.ts';
import { axes, MAX_COMMANDS, MAX_COUNT, MAX_JOINS, MAX_TOOLS, MAX_ZEROS, PLACES, type Reach } from './reach.ts';

/** Number of the place G54. */
const FIRST_SYSTEM = 3;

type Span = [least: number, most: number];
interface Spans {
  x?: Span;
  y?: Span;
  z?: Span;
}

/** Allows everything, and keeps the extremes. */
export class RecordedLimits implements SafetyLimits {
  readonly commands: RecordedCommands;
  readonly trustPosition = true;
  readonly curvesJoin = false;
  /** How often each zero counts each place of the machine. The first ones are those of `zeros`. */
  readonly #zeros: (readonly number[])[] = Array.from({ length: 1 + zeros.work }, (_, zero) => {
    return Array.from({ length: PLACES }, (_none, place) => (place + 1 === zero ? 1 : 0));
  });
  readonly #tools = new Map<number, Map<number, Spans>>();
  #spans = new Map<number, Spans>();
  #home = 0;
  readonly #rates: [number, number, number, number] = [0, 0, 0, 0];
  readonly #joins: JoiningMove[] = [];
  readonly #temperatures = { hotend: 0, bed: 0, chamber: 0 };
  #spindle = 0;
  #isTooMany = false;

  constructor(dialect: Dialect) {
    this.commands = new RecordedCommands(dialect);
    this.take(0);
  }

  /** Places of homed axes are counted from there. */
  home(): number {
    return 0;
  }

  dependOnHome(bits: number): void {
    this.#home |= bits;
  }

  shift(zero: number, before: number, after: number): number {
    const counts = [...(this.#zeros[zero] as readonly number[])];
    counts[FIRST_SYSTEM + before] = (counts[FIRST_SYSTEM + before] as number) - 1;
    counts[FIRST_SYSTEM + after] = (counts[FIRST_SYSTEM + after] as number) + 1;
    const known = this.#zeros.findIndex((other) => other.every((count, place) => count === counts[place]));
    if (known >= 0) return known;
    this.#isTooMany ||= this.#zeros.length === MAX_ZEROS || counts.some((count) => Math.abs(count) > MAX_COUNT);
    return this.#isTooMany ? zero : this.#zeros.push(counts) - 1;
  }

  take(tool: number): boolean {
    if (!(Number.isInteger(tool) && tool >= 0 && tool < MAX_TOOLS)) return false;
    const known = this.#tools.get(tool) ?? new Map<number, Spans>();
    this.#tools.set(tool, known);
    this.#spans = known;
    return true;
  }

  reach(axis: number, least: number, most: number, zero: number): undefined {
    let spans = this.#spans.get(zero);
    if (spans === undefined) {
      spans = {};
      this.#spans.set(zero, spans);
    }
    const name = axes[axis] as 'x';
    const known = spans[name];
    if (known === undefined) spans[name] = [least, most];
    else {
      if (least < known[0]) known[0] = least;
      if (most > known[1]) known[1] = most;
    }
  }

  rate(axis: number, rate: number): undefined {
    if (rate > (this.#rates[axis] as number)) this.#rates[axis] = rate;
  }

  join(move: JoiningMove): boolean {
    if (this.#joins.length < MAX_JOINS) this.#joins.push(move);
    else for (let axis = 0; axis < 4; axis += 1) this.rate(axis, move.feed);
    return true;
  }

  heat(heater: Heater, celsius: number): undefined {
    if (celsius > this.#temperatures[heater]) this.#temperatures[heater] = celsius;
  }

  spindle(speed: number): undefined {
    if (speed > this.#spindle) this.#spindle = speed;
  }

  /** @param fault the first violation that no policy allows */
  finish(fault: SafetyRule | undefined): Reach | { readonly fault: SafetyRule } {
    const { names } = this.commands;
    if (fault !== undefined) return { fault };
    if (this.#isTooMany) return { fault: 'position' };
    if (names.length > MAX_COMMANDS) return { fault: 'command' };
    const tools = [...this.#tools].map(([tool, spans]) => ({
      tool,
      places: [...spans].map(([zero, reached]) => ({ zero, ...reached })),
    }));
    return {
      commands: names,
      zeros: this.#zeros.map((counts) => [...counts]),
      tools,
      home: axes.filter((_, axis) => (this.#home & (1 << axis)) !== 0),
      feed: [...this.#rates],
      joins: this.#joins.map(({ from, to, ...move }) => {
        const ends = (list: JoiningMove['from']) => list.map(([zero, mm]): [number, number] => [zero, mm]);
        return { from: ends(from), to: ends(to), ...move };
      }),
      temperatures: { ...this.#temperatures },
      spindle: this.#spindle,
    };
  }
}
