import { AllowedCommands, type CommandRules } from './commands.ts';
import type { Dialect, SafetyPolicy } from './policy.ts';

const axes = ['x', 'y', 'z'] as const;
/** Rounding of numbers in the file, mm. */
const ROUNDING = 1e-6;

export type Heater = 'hotend' | 'bed' | 'chamber';

/**
 * From where a guard counts places before it knows where that is: numbers of zeros. More follow from a choice of work
 * offsets (`shift`).
 */
export const zeros = { machine: 0, home: 1, start: 2, work: 3 } as const;

/** A straight move whose ends are counted from different zeros. */
export interface JoiningMove {
  /** X, Y and Z: place, mm, and the number of its zero. */
  readonly from: readonly (readonly [zero: number, mm: number])[];
  readonly to: readonly (readonly [zero: number, mm: number])[];
  /** Filament, mm. */
  readonly filament: number;
  /** mm/min. */
  readonly feed: number;
}

/** What a guard compares one run with. Axes are 0 to 2, for rates also 3: the extruder. Lengths are in mm. */
export interface SafetyLimits {
  readonly commands: CommandRules;
  /** A mill that cannot home: the position that its controller reports is believed. */
  readonly trustPosition: boolean;
  /** Where an axis is after homing; undefined if that is not known. */
  home(axis: number): number | undefined;
  /** The run relies on where these axes are after homing. @param axes bits by axis */
  dependOnHome(axes: number): void;
  /** The zero `zero` after another work offset was chosen, 0 to 5 for G54 to G59. */
  shift(zero: number, before: number, after: number): number;
  /** Takes over the check of this move's speed. @returns false if it does not */
  join(move: JoiningMove): boolean;
  /** Whether an arc or a cycle may lead from one zero to another. */
  readonly curvesJoin: boolean;
  /** Chooses a tool. @returns whether the machine has it */
  take(tool: number): boolean;
  /**
   * A place of the tool in use, between `least` and `most`.
   * @param zero from where the place is counted
   * @returns the range that is allowed, if the place is outside
   */
  reach(axis: number, least: number, most: number, zero: number): string | undefined;
  /** A speed, mm/min. @returns the limit, if it is exceeded. The same for the two below */
  rate(axis: number, rate: number): number | undefined;
  heat(heater: Heater, celsius: number): number | undefined;
  spindle(speed: number): number | undefined;
}

/** The limits of a policy. */
export class PolicyLimits implements SafetyLimits {
  readonly curvesJoin = true;
  readonly commands: AllowedCommands;
  readonly #policy: SafetyPolicy;
  readonly #rates: readonly number[];
  #volume: SafetyPolicy['volume'];

  constructor(policy: SafetyPolicy, dialect: Dialect) {
    const { x, y, z, e = Number.POSITIVE_INFINITY } = policy.feed;
    this.commands = new AllowedCommands(policy, dialect);
    this.#policy = policy;
    this.#rates = [x, y, z, e];
    this.#volume = policy.tools[0]?.volume ?? policy.volume;
  }

  get trustPosition(): boolean {
    return this.#policy.trustPosition;
  }

  home(axis: number): number | undefined {
    return this.#policy.home[axes[axis] as 'x'];
  }

  dependOnHome(): undefined {}

  shift(zero: number): number {
    return zero;
  }

  join(): boolean {
    return false;
  }

  take(tool: number): boolean {
    const { tools, volume } = this.#policy;
    const chosen = tools[tool];
    if (chosen !== undefined) this.#volume = chosen.volume ?? volume;
    return chosen !== undefined;
  }

  reach(axis: number, least: number, most: number): string | undefined {
    const [from, to] = this.#volume[axes[axis] as 'x'];
    return least >= from - ROUNDING && most <= to + ROUNDING ? undefined : `${from} to ${to} mm`;
  }

  rate(axis: number, rate: number): number | undefined {
    const most = this.#rates[axis] as number;
    return rate > most * (1 + 1e-9) ? most : undefined;
  }

  heat(heater: Heater, celsius: number): number | undefined {
    const most = this.#policy.temperatures[heater];
    return celsius <= most ? undefined : most;
  }

  spindle(speed: number): number | undefined {
    return speed <= this.#policy.spindle ? undefined : this.#policy.spindle;
  }
}
