import { MillraceError } from '@millrace/base/core';
import type { Execution, ExecutionListener } from '../execution.ts';
import { desktopLimits } from '../limits.ts';
import type { Rule } from './commands.ts';
import type { MachineFrame } from './frame.ts';
import { type SafetyLimits, zeros } from './limits.ts';
import { formOf } from './line-form.ts';
import type { Dialect } from './policy.ts';

const names = ['X', 'Y', 'Z', 'E'] as const;
/** Bits of the letters X, Y and Z, by axis. */
const axisBits = [1 << 23, 1 << 24, 1 << 25] as const;
const anyAxis = axisBits[0] | axisBits[1] | axisBits[2];
const arcBits = (1 << 8) | (1 << 9) | (1 << 17); // I, J, R
const S = 18;
const R = 17;
const E = 4;
const M = 77;
/** Relative precision of the 32-bit numbers in which firmware adds up relative moves. */
const PRECISION = 1.2e-7;
const INCH = 25.4;

/** What part of the policy a design does not comply with. */
export const safetyRules = ['command', 'form', 'volume', 'position', 'feed', 'temperature', 'spindle', 'tool'] as const;
export type SafetyRule = (typeof safetyRules)[number];

/**
 * Checks one run against limits, those of the machine's owner, line by line, before the machine sees a line. It listens to
 * the model that executes the design ahead of the machine, and refuses what could lead the model away from the machine:
 * relative moves from an unknown place, commands that the model does not know, lines that controllers read differently.
 */
export class SafetyGuard implements ExecutionListener {
  readonly #limits: SafetyLimits;
  readonly #dialect: Dialect;
  readonly #origin = new Float64Array(3);
  #systems: MachineFrame['systems'] = [];
  #system = 0;
  #tool = 0;
  /** Axes whose coordinates are known: homed. And those of which also the place is known. Bits by axis. */
  #homed = 0;
  #placed = 0;
  /** The axes that the command before has homed. */
  #homing = 0;
  /** From where the places of the axes are counted, those of the command before, and the coordinates of the design. */
  readonly #base = new Int32Array(3);
  readonly #before = new Int32Array(3);
  readonly #zero = new Int32Array(3);
  /** This command leads from one zero to another. And: the speed of the move is not checked here. */
  #joins = false;
  #isTaken = false;
  /** By how much the machine may be off the model: in place, and in the zero of its coordinates (G92), mm. */
  readonly #drift = new Float64Array(3);
  readonly #shift = new Float64Array(3);
  #isRapid = false;
  /** Words of axes were given that move nothing in the model, so far. */
  #unseen = false;
  /** The last line with words of a move. */
  #lineOfMove = 0;
  #ended = false;
  #line = 0;

  constructor(limits: SafetyLimits, dialect: Dialect) {
    this.#limits = limits;
    this.#dialect = dialect;
  }

  /**
   * Commands that bring a controller to what the model begins with: modes, feed, length of filament. The run before may
   * have left anything.
   */
  get modes(): readonly string[] {
    const feed = `F${desktopLimits.initialFeed * 60}`;
    if (this.#dialect === 'mill') return [`G21G90G17G94G49G54${feed}`];
    return ['G21', 'G90', 'M82', 'M220 S100', 'M221 S100', 'G92 E0', `G1 ${feed}`];
  }

  /**
   * The machine's place at the beginning, if its controller knows it. Printers are homed by the design.
   * @throws {MillraceError} E_SAFETY if it cannot be relied on
   */
  begin(execution: Execution, frame: MachineFrame | undefined): void {
    if (frame === undefined) return;
    if (!frame.homes && !this.#limits.trustPosition)
      throw this.#fault('position', 'the machine cannot home, so its coordinates have no fixed zero');
    for (let axis = 0; axis < 3; axis += 1) {
      const origin = frame.origin[axis] as number;
      this.#origin[axis] = origin;
      execution.interpreter.origin[axis] = origin;
      execution.planner.position[axis] = (frame.position[axis] as number) - origin;
    }
    this.#systems = frame.systems;
    this.#homed = this.#placed = 7;
    this.#base.fill(zeros.start);
    this.#zero.fill(zeros.work);
  }

  /** Checks how a line is written. @throws {MillraceError} E_SAFETY */
  line(command: Uint8Array): void {
    this.#refuseUnseen();
    const form = formOf(command, this.#dialect, this.#limits.commands);
    if (typeof form === 'string') throw this.#fault('form', form);
    if (form === undefined) return;
    if (!this.#limits.commands.hasMacro(form.macro)) throw this.#fault('command', 'a macro that is not allowed');
    this.#placed = 0;
  }

  /** Checks a command before the model executes it. @throws {MillraceError} E_SAFETY */
  command(execution: Execution): void {
    const { reader } = execution;
    const { letter, code, given, flags } = reader;
    this.#refuseUnseen();
    this.#line = reader.line;
    if (this.#homing !== 0) this.#atHome(execution);
    this.#isRapid = this.#joins = this.#isTaken = false;
    if (letter === 0 && (given | flags) === 0) return;
    if (this.#ended) throw this.#fault('command', 'a command after the end of the program');
    if (Number.isNaN(code)) return; // a macro, which is checked by its name
    const rule = this.#limits.commands.ruleOf(letter, code);
    if (rule === undefined) throw this.#fault('command', 'a command that is not allowed');
    if (((given | flags) & ~rule.words) !== 0) throw this.#fault('form', 'a word that this command does not have');
    if (flags !== 0 && rule.effect !== 'home') throw this.#fault('form', 'a word without a number');
    if (this.#dialect === 'mill' && (given & (1 << S)) !== 0) this.#spindle(reader.values[S] as number);
    if (this.#dialect === 'mill' && (given & (anyAxis | arcBits)) !== 0) this.#moveOfLine();
    this.#apply(rule, execution);
    if (rule.effect === 'none' || rule.effect === 'system') this.#motion(execution);
  }

  /** The end of a move. @throws {MillraceError} E_SAFETY */
  aimed(execution: Execution): void {
    const { planner, interpreter } = execution;
    this.#unseen = false;
    for (let axis = 0; axis < 3; axis += 1) {
      if ((this.#placed & (1 << axis)) === 0) continue;
      const at = (planner.target[axis] as number) + (this.#origin[axis] as number);
      const about = (this.#drift[axis] as number) + interpreter.arcSlack;
      const outside = this.#limits.reach(axis, at - about, at + about, this.#base[axis] as number);
      if (outside !== undefined)
        throw this.#fault('volume', `${names[axis]} reaches ${at.toFixed(3)} mm, outside ${outside}`);
    }
    this.#isTaken = this.#joins && this.#join(execution);
    this.#joins = false;
  }

  /** The speed of a move. @throws {MillraceError} E_SAFETY */
  planned(direction: Float64Array, feed: number): void {
    if (this.#isTaken || (this.#isRapid && this.#dialect === 'mill')) return;
    for (let axis = 0; axis < 4; axis += 1) {
      const rate = Math.abs(direction[axis] as number) * feed * 60;
      const most = this.#limits.rate(axis, rate);
      if (most !== undefined)
        throw this.#fault('feed', `${names[axis]} moves at ${rate.toFixed(0)} mm/min, above ${most} mm/min`);
    }
  }

  #apply({ effect }: Rule, execution: Execution): void {
    const { code, given, flags } = execution.reader;
    switch (effect) {
      case 'home': {
        const named = (given | flags) & anyAxis;
        this.#homing = axisBits.reduce((bits, bit, axis) => bits | (!named || named & bit ? 1 << axis : 0), 0);
        break;
      }
      case 'position':
        this.#setPosition(execution);
        break;
      case 'release':
        this.#homed = this.#placed = 0;
        break;
      case 'unmodelled':
        this.#placed = 0;
        break;
      case 'hotend':
      case 'bed':
      case 'chamber':
        this.#heat(effect, execution);
        break;
      case 'tool':
        this.#take(code);
        break;
      case 'system':
        this.#choose(code - 54, execution);
        break;
      case 'end':
        this.#ended = true;
    }
  }

  /** A command may move the axes that it names: in the motion that it is, or in the one in force. */
  #motion({ reader, interpreter, planner }: Execution): void {
    const { letter, code, given, values } = reader;
    const isGeneral = letter !== 0 && letter !== M;
    const motion = isGeneral && code <= 3 ? code : interpreter.motion;
    this.#isRapid = motion === 0;
    if ((given & (anyAxis | arcBits | (1 << E))) === 0) return;
    this.#unseen = (given & anyAxis) !== 0;
    if (motion === 2 || motion === 3) {
      if ((this.#placed & 3) !== 3) throw this.#fault('position', 'an arc from a place that is not known');
      this.#dependOnHome(3);
    }
    this.#before.set(this.#base);
    const inMachine = interpreter.inMachineCoordinates || (isGeneral && code === 53);
    const relative = !inMachine && (isGeneral && (code === 90 || code === 91) ? code === 91 : interpreter.relative);
    for (let axis = 0; axis < 3; axis += 1) {
      if ((given & (axisBits[axis] as number)) === 0) continue;
      const bit = 1 << axis;
      if ((this.#homed & bit) === 0) throw this.#fault('position', `${names[axis]} moves before it was homed`);
      if (!relative) {
        this.#placed |= bit;
        this.#base[axis] = inMachine ? zeros.machine : (this.#zero[axis] as number);
        this.#joins ||= this.#base[axis] !== this.#before[axis];
        this.#drift[axis] = this.#shift[axis] as number;
      } else if ((this.#placed & bit) === 0) {
        throw this.#fault('position', `${names[axis]} moves relative to a place that is not known`);
      } else {
        this.#dependOnHome(bit);
        const size = Math.abs(planner.position[axis] as number) + Math.abs(values[23 + axis] as number) * INCH + 1;
        this.#drift[axis] = (this.#drift[axis] as number) + size * PRECISION;
      }
    }
    if (this.#joins && motion !== undefined && motion > 1 && !this.#limits.curvesJoin)
      throw this.#fault('position', 'an arc or a cycle between places whose distance is known in the run only');
  }

  /** @returns whether the limits take over the check of the move's speed */
  #join({ planner: { position, target }, interpreter }: Execution): boolean {
    if (this.#isRapid && this.#dialect === 'mill') return false;
    const ends = (bases: Int32Array, place: Float64Array) =>
      [0, 1, 2].map((axis) => [bases[axis] as number, place[axis] as number] as const);
    const filament = (target[3] as number) - (position[3] as number);
    const [from, to] = [ends(this.#before, position), ends(this.#base, target)];
    return this.#limits.join({ from, to, filament, feed: interpreter.speed * 60 });
  }

  /** A controller that is in a motion moves to the axes of any line. */
  #refuseUnseen(): void {
    if (this.#unseen) throw this.#fault('form', 'words of axes that move nothing in the model');
  }

  /** Controllers of mills take all words of a line together, for one command. */
  #moveOfLine(): void {
    if (this.#lineOfMove === this.#line) throw this.#fault('form', 'words of a move in two commands of a line');
    this.#lineOfMove = this.#line;
  }

  #setPosition({ reader, planner }: Execution): void {
    const { given, values } = reader;
    if (given === 0) throw this.#fault('form', 'G92 without words, which firmware understands in different ways');
    for (let axis = 0; axis < 3; axis += 1) {
      if ((given & (axisBits[axis] as number)) === 0) continue;
      const bit = 1 << axis;
      if ((this.#placed & bit) === 0) this.#homed &= ~bit;
      this.#dependOnHome(this.#placed & bit);
      this.#zero[axis] = this.#base[axis] as number;
      const size = Math.abs(planner.position[axis] as number) + Math.abs(values[23 + axis] as number) * INCH + 1;
      this.#drift[axis] = this.#shift[axis] = (this.#drift[axis] as number) + size * PRECISION;
    }
  }

  /** After homing. Other axes may have moved as well, to a place where the machine can home. */
  #atHome({ planner }: Execution): void {
    this.#homed |= this.#homing;
    this.#placed = 0;
    for (let axis = 0; axis < 3; axis += 1) {
      const bit = 1 << axis;
      if ((this.#homing & bit) === 0) continue;
      this.#drift[axis] = this.#shift[axis] = 0;
      this.#base[axis] = zeros.home;
      this.#zero[axis] = zeros.machine;
      const at = this.#limits.home(axis);
      if (at === undefined) continue;
      planner.position[axis] = at;
      this.#placed |= bit;
    }
    this.#homing = 0;
  }

  #heat(heater: 'hotend' | 'bed' | 'chamber', { reader: { given, values } }: Execution): void {
    for (const word of [S, R]) {
      const wanted = (given & (1 << word)) === 0 ? 0 : (values[word] as number);
      const most = this.#limits.heat(heater, wanted);
      if (most !== undefined)
        throw this.#fault('temperature', `${wanted} °C for the ${heater}, which may have ${most} °C`);
    }
  }

  #spindle(speed: number): void {
    const most = this.#limits.spindle(speed);
    if (most !== undefined) throw this.#fault('spindle', `S${speed}, above ${most}`);
  }

  #take(tool: number): void {
    if (!this.#limits.take(tool)) throw this.#fault('tool', 'a tool that the machine does not have');
    if (tool === this.#tool) return;
    this.#tool = tool;
    this.#placed = 0;
  }

  /** The place of these axes may follow from where they are after homing. */
  #dependOnHome(axes: number): void {
    let bits = 0;
    for (let axis = 0; axis < 3; axis += 1)
      if ((axes & (1 << axis)) !== 0 && this.#base[axis] === zeros.home) bits |= 1 << axis;
    if (bits !== 0) this.#limits.dependOnHome(bits);
  }

  #choose(system: number, { interpreter }: Execution): void {
    if (system === this.#system) return;
    const [from, to] = [this.#systems[this.#system], this.#systems[system]];
    if (from === undefined || to === undefined) throw this.#fault('position', 'a work offset that is not known');
    for (const axis of [0, 1, 2] as const) {
      interpreter.shift(axis, to[axis] - from[axis]);
      this.#zero[axis] = this.#limits.shift(this.#zero[axis] as number, this.#system, system);
    }
    this.#system = system;
  }

  #fault(rule: SafetyRule, what: string): MillraceError {
    const line = this.#line;
    return new MillraceError('E_SAFETY', `line ${line}: ${what}`, { data: { line, rule } });
  }
}
