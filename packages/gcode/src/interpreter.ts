import { type Arc, arcByCentre, arcByRadius } from './arcs.ts';
import { ascii, bit, isMotion, isSilent, slot } from './codes.ts';
import { CannedCycle, type CycleMoves, isCycle } from './cycles.ts';
import { Heater } from './heater.ts';
import { layerStep, type MotionLimits } from './limits.ts';
import { type Modes, modesAtStart, type Saved } from './modes.ts';
import type { MotionPlanner } from './planner.ts';
import type { LineReader } from './reader.ts';

const X = slot('X');
const Y = slot('Y');
const Z = slot('Z');
const E = slot('E');
const F = slot('F');
const I = slot('I');
const J = slot('J');
const L = slot('L');
const P = slot('P');
const Q = slot('Q');
const R = slot('R');
const S = slot('S');
const T = slot('T');
const axisSlots = [X, Y, Z, E] as const;
const moveWords = bit('X') | bit('Y') | bit('Z') | bit('E') | bit('F') | bit('I') | bit('J') | bit('R');
const xyz = bit('X') | bit('Y') | bit('Z');
/** Words that ask for a move in the motion that is in force. */
const axisWords = xyz | bit('E') | bit('I') | bit('J') | bit('R');

const inch = 25.4;
const MAX_MM = 1e6; // mm
const MAX_FILAMENT_MM = 1e9; // mm
const MAX_DWELL_SECONDS = 86_400; // s
// Speeds (mm/s), accelerations (mm/s²), jerks and factors outside these limits would give meaningless times.
const MIN_RATE = 0.001;
const MAX_RATE = 1e7;

/** The interpreter's interface to the machine's time. */
export interface MachineTime {
  /** Seconds accounted for since the start. */
  readonly seconds: number;
  /** The machine stands still for this time, after everything queued. */
  wait(seconds: number): void;
}

/**
 * State of a machine that executes G-code, one command at a time. Absolute and relative mode, units, offsets, feed and
 * flow work as in Marlin. Only M82 and M83 affect E (G90 and G91 do not, as in Prusa's firmware).
 */
export class Interpreter {
  readonly hotend: Heater;
  readonly bed: Heater;
  /** 0 to 1. */
  fan = 0;
  layers = 0;
  tool = 0;
  /** M3, M4: the spindle or the laser is on. */
  spindle = false;
  /** Number of unknown commands, which were skipped. */
  unknown = 0;
  hottest = 0;
  hottestBed = 0;
  /** Where zero of the file's coordinates is on the machine at the start, mm: for moves after G53. */
  readonly origin = new Float64Array(3);
  /** By how much the radius at the start of the arc being drawn differs from the one at its end, mm. */
  arcSlack = 0;

  readonly #reader: LineReader;
  readonly #planner: MotionPlanner;
  readonly #limits: MotionLimits;
  readonly #time: MachineTime;
  #modes: Modes;
  /** G53: the next move of this line is in machine coordinates. */
  #machine = false;
  readonly #cycle = new CannedCycle();

  constructor(reader: LineReader, planner: MotionPlanner, limits: MotionLimits, time: MachineTime) {
    this.#reader = reader;
    this.#planner = planner;
    this.#limits = limits;
    this.#time = time;
    this.#modes = modesAtStart(limits.initialFeed);
    this.hotend = new Heater(limits.hotend);
    this.bed = new Heater(limits.bed);
  }

  /** G91. */
  get relative(): boolean {
    return this.#modes.relative;
  }

  /** Speed that the design asks for, mm/s. */
  get speed(): number {
    return this.#modes.feed * this.#modes.feedFactor;
  }

  /** Moves of this line are in machine coordinates. */
  get inMachineCoordinates(): boolean {
    return this.#machine;
  }

  /** The code of the motion in force. */
  get motion(): number | undefined {
    return this.#modes.motion;
  }

  /** Another coordinate system (G54 to G59): its zero is `mm` further on this axis. */
  shift(axis: 0 | 1 | 2, mm: number): void {
    this.#modes.offset[axis] = (this.#modes.offset[axis] as number) + mm;
  }

  /** The state between two lines. */
  save(): Saved {
    const { layers, tool, spindle } = this;
    const modes = { ...this.#modes, offset: this.#modes.offset.slice() };
    return { modes, cycle: this.#cycle.save(), layers, tool, spindle, position: this.#planner.position.slice() };
  }

  restore({ modes, cycle, position, ...counts }: Saved): void {
    Object.assign(this, counts);
    this.#modes = { ...modes, offset: modes.offset.slice() };
    this.#cycle.restore(cycle);
    this.#planner.position.set(position);
  }

  /** Executes the command that the reader has just completed. `lineEnd`: offset after its line so far. */
  execute(lineEnd: number): void {
    const { letter, code, lineEnded } = this.#reader;
    if (letter === 0) {
      this.#words(lineEnd);
    } else if (!this.#reader.actedOn) {
      if (!isSilent(letter, code)) this.unknown += 1;
    } else if (letter === ascii.G) {
      this.#general(code, lineEnd);
    } else if (letter === ascii.M) {
      this.#miscellaneous(code, lineEnd);
    } else {
      this.tool = code;
    }
    if (lineEnded) this.#machine = false;
  }

  /** Words without a code of their own: a feed rate, or a move. */
  #words(lineEnd: number): void {
    const { given } = this.#reader;
    if (this.#modes.motion !== undefined && (given & axisWords) !== 0) this.#general(this.#modes.motion, lineEnd);
    else if (this.#has(F)) this.#readFeed();
  }

  #general(code: number, lineEnd: number): void {
    if (isMotion(ascii.G, code)) this.#modes.motion = code;
    if (code <= 3 || code === 80) this.#cycle.cancel();
    if (isCycle(code)) return this.#drill(code, lineEnd);
    switch (code) {
      case 0:
      case 1:
        this.#move(lineEnd);
        break;
      case 2:
      case 3:
        this.#arc(code === 2, lineEnd);
        break;
      case 4:
        this.#dwell();
        break;
      case 10:
      case 11:
        this.#firmwareRetract(code === 10, lineEnd);
        break;
      case 28:
        this.#home();
        break;
      case 92:
        this.#setPosition();
        break;
      case 93:
      case 95:
        throw this.#reader.fault('a feed rate by time or by revolution');
      default:
        this.#mode(code);
        this.#words(lineEnd);
    }
  }

  /** Codes that only set how later words are read. Offsets of the machine (G43, G54) are not known to the model. */
  #mode(code: number): void {
    if (code >= 17 && code <= 19) this.#modes.plane = code;
    else if (code === 20 || code === 21) this.#modes.unit = code === 20 ? inch : 1;
    else if (code === 53) this.#machine = true;
    else if (code === 80) this.#modes.motion = undefined;
    else if (code === 90 || code === 91) this.#modes.relative = code === 91;
    else if (code === 98 || code === 99) this.#cycle.toInitial = code === 98;
  }

  #miscellaneous(code: number, lineEnd: number): void {
    switch (code) {
      case 3:
      case 4:
      case 5:
      case 6:
      case 7:
      case 8:
      case 9:
        if (code <= 5) this.spindle = code !== 5;
        this.#words(lineEnd);
        break;
      case 82:
      case 83:
        this.#modes.relativeFilament = code === 83;
        break;
      case 104:
      case 109:
        this.#heat(this.hotend, code === 109);
        this.hottest = Math.max(this.hottest, this.hotend.target);
        break;
      case 140:
      case 190:
        this.#heat(this.bed, code === 190);
        this.hottestBed = Math.max(this.hottestBed, this.bed.target);
        break;
      case 106:
        this.fan = this.#has(S) ? Math.min(Math.max(this.#value(S) / 255, 0), 1) : 1;
        break;
      case 107:
        this.fan = 0;
        break;
      case 201:
        this.#setAxes(this.#planner.maxAcceleration, false);
        break;
      case 203:
        this.#setAxes(this.#planner.maxFeed, false);
        break;
      case 205:
        this.#setAxes(this.#planner.jerk, true);
        break;
      case 204:
        this.#setAccelerations();
        break;
      case 220:
        if (this.#value(S) > 0) this.#modes.feedFactor = within(this.#value(S) / 100);
        break;
      case 221:
        if (this.#has(S)) this.#modes.flow = Math.min(Math.max(this.#value(S), 0), 1000) / 100;
        break;
      case 400:
        this.#time.wait(0);
    }
  }

  #dwell(): void {
    const seconds = this.#has(S) ? this.#value(S) : this.#value(P) / 1000;
    this.#dwellFor(seconds);
  }

  #dwellFor(seconds: number): void {
    if (!(seconds <= MAX_DWELL_SECONDS)) throw this.#reader.fault('a dwell longer than a day');
    this.#time.wait(Math.max(seconds, 0));
  }

  #has(letter: number): boolean {
    return (this.#reader.given & (1 << letter)) !== 0;
  }

  #value(letter: number): number {
    return this.#has(letter) ? (this.#reader.values[letter] as number) : 0;
  }

  #move(lineEnd: number): void {
    this.#aim();
    this.#push(lineEnd);
  }

  /** Reads feed and target of a move from its words. */
  #aim(): void {
    const reader = this.#reader;
    if ((reader.flags & moveWords) !== 0) throw reader.fault('a word without a number');
    if (this.#has(F)) this.#readFeed();
    const { target, position } = this.#planner;
    for (let axis = 0; axis < 4; axis += 1) {
      const letter = axisSlots[axis] as number;
      const here = position[axis] as number;
      if (!this.#has(letter)) {
        target[axis] = here;
        continue;
      }
      const value = (reader.values[letter] as number) * this.#modes.unit;
      if (axis < 3) {
        target[axis] = this.#machine
          ? value - (this.origin[axis] as number)
          : value + (this.#modes.relative ? here : (this.#modes.offset[axis] as number));
      } else {
        const change = this.#modes.relativeFilament ? value : value + (this.#modes.offset[3] as number) - here;
        target[axis] = here + change * this.#modes.flow;
        // Flow changes the amount of filament, not the coordinates of the file.
        if (!this.#modes.relativeFilament && this.#modes.flow !== 1)
          this.#modes.offset[3] = (target[axis] as number) - value;
      }
      if (!(Math.abs(target[axis] as number) <= (axis < 3 ? MAX_MM : MAX_FILAMENT_MM))) {
        throw reader.fault('a position out of range');
      }
    }
  }

  #readFeed(): void {
    const feed = (this.#value(F) * this.#modes.unit) / 60;
    if (feed > 0) this.#modes.feed = within(feed);
  }

  #drill(code: number, lineEnd: number): void {
    const reader = this.#reader;
    if ((reader.flags & moveWords) !== 0) throw reader.fault('a word without a number');
    if (this.#has(F)) this.#readFeed();
    if ((reader.given & axisWords) === 0) return;
    if (this.#modes.plane !== 17) throw reader.fault('a canned cycle outside the XY plane');
    const { position } = this.#planner;
    const at = (letter: number, axis: number): number | undefined => {
      if (!this.#has(letter)) return undefined;
      return this.#value(letter) * this.#modes.unit + (this.#modes.relative ? 0 : (this.#modes.offset[axis] as number));
    };
    const words = {
      x: at(X, 0),
      y: at(Y, 1),
      z: at(Z, 2),
      r: at(R, 2),
      q: this.#has(Q) ? this.#value(Q) * this.#modes.unit : undefined,
      p: this.#has(P) ? this.#value(P) : undefined,
      repeats: this.#has(L) ? this.#value(L) : 1,
    };
    const from = [position[0] as number, position[1] as number, position[2] as number] as const;
    const fault = this.#cycle.run(code, words, from, this.#modes.relative, this.#cycleMoves(lineEnd));
    if (fault !== undefined) throw reader.fault(`a canned cycle: ${fault}`);
  }

  #cycleMoves(lineEnd: number): CycleMoves {
    const { target, position } = this.#planner;
    return {
      line: (x, y, z, rapid) => {
        if (!(Math.abs(x) <= MAX_MM && Math.abs(y) <= MAX_MM && Math.abs(z) <= MAX_MM))
          throw this.#reader.fault('a position out of range');
        target.set(position);
        target[0] = x;
        target[1] = y;
        target[2] = z;
        this.#planner.push(rapid ? MAX_RATE : this.speed, lineEnd, this.#reader.line, this.layers);
      },
      dwell: (seconds) => this.#dwellFor(seconds),
    };
  }

  #push(lineEnd: number): void {
    const { target, position } = this.#planner;
    const extrudes = (target[3] as number) > (position[3] as number);
    if (extrudes && (target[0] !== position[0] || target[1] !== position[1])) {
      const z = target[2] as number;
      if (!(Math.abs(z - this.#modes.layerZ) <= layerStep)) {
        this.layers += 1;
        this.#modes.layerZ = z;
      }
    }
    this.#planner.push(this.speed, lineEnd, this.#reader.line, this.layers);
  }

  #arc(clockwise: boolean, lineEnd: number): void {
    const reader = this.#reader;
    if (this.#modes.plane !== 17) throw reader.fault('an arc outside the XY plane');
    const { target, position } = this.#planner;
    const startX = position[0] as number;
    const startY = position[1] as number;
    const startZ = position[2] as number;
    const startE = position[3] as number;
    this.#aim();
    const endX = target[0] as number;
    const endY = target[1] as number;
    const endZ = target[2] as number;
    const endE = target[3] as number;
    const arc = this.#has(R)
      ? arcByRadius(startX, startY, endX, endY, this.#value(R) * this.#modes.unit, clockwise)
      : this.#has(I) || this.#has(J)
        ? arcByCentre(
            startX,
            startY,
            endX,
            endY,
            this.#value(I) * this.#modes.unit,
            this.#value(J) * this.#modes.unit,
            clockwise,
          )
        : 'no centre';
    if (typeof arc === 'string') throw reader.fault(`an arc: ${arc}`);
    this.arcSlack = Math.abs(arc.radius - arc.endRadius);
    for (let n = 1; n < arc.chords; n += 1) {
      const share = n / arc.chords;
      aimOnArc(target, arc, share);
      target[2] = startZ + (endZ - startZ) * share;
      target[3] = startE + (endE - startE) * share;
      this.#push(lineEnd);
    }
    target[0] = endX;
    target[1] = endY;
    target[2] = endZ;
    target[3] = endE;
    this.#push(lineEnd);
    this.arcSlack = 0;
  }

  #firmwareRetract(back: boolean, lineEnd: number): void {
    // On other firmware, G10 with words sets tool offsets or temperatures: it is then not a retraction.
    if (back && (this.#reader.given & (bit('P') | bit('L') | bit('R'))) !== 0) return;
    if (this.#modes.retracted === back) return;
    this.#modes.retracted = back;
    const { target, position } = this.#planner;
    const { length, feed } = this.#limits.retraction;
    target.set(position);
    const change = back ? -length : length;
    target[3] = (position[3] as number) + change;
    this.#modes.offset[3] = (this.#modes.offset[3] as number) + change;
    this.#planner.push(feed, lineEnd, this.#reader.line, this.layers);
  }

  #home(): void {
    const words = (this.#reader.given | this.#reader.flags) & xyz;
    let seconds = 0;
    for (let axis = 0; axis < 3; axis += 1) {
      if (words === 0 || (words & (1 << (axisSlots[axis] as number))) !== 0) {
        seconds += this.#limits.homingSeconds[axis] as number;
      }
    }
    this.#time.wait(seconds);
    for (let axis = 0; axis < 3; axis += 1) {
      if (words !== 0 && (words & (1 << (axisSlots[axis] as number))) === 0) continue;
      this.#planner.position[axis] = 0;
      this.#modes.offset[axis] = 0;
    }
  }

  #setPosition(): void {
    const { given, flags, values } = this.#reader;
    const words = given | flags;
    for (let axis = 0; axis < 4; axis += 1) {
      const letter = axisSlots[axis] as number;
      if (words !== 0 && (words & (1 << letter)) === 0) continue;
      const value = this.#has(letter) ? (values[letter] as number) * this.#modes.unit : 0;
      if (!(Math.abs(value) <= MAX_FILAMENT_MM)) throw this.#reader.fault('a position out of range');
      this.#modes.offset[axis] = (this.#planner.position[axis] as number) - value;
    }
  }

  #heat(heater: Heater, wait: boolean): void {
    const cooling = this.#has(R);
    if (wait) this.#time.wait(0); // execute the queue first
    if (this.#has(S) || cooling) heater.set(this.#value(cooling ? R : S), this.#time.seconds);
    if (wait) this.#time.wait(heater.wait(this.#time.seconds, cooling));
  }

  /** Sets limits of the axes. Values that are not above zero (for jerks: below zero) are ignored. */
  #setAxes(values: Float64Array, nought: boolean): void {
    for (let axis = 0; axis < 4; axis += 1) {
      const letter = axisSlots[axis] as number;
      const value = this.#value(letter) * (axis < 3 ? this.#modes.unit : 1);
      if (value > 0) values[axis] = within(value);
      else if (nought && this.#has(letter) && value === 0) values[axis] = 0;
    }
  }

  #setAccelerations(): void {
    const planner = this.#planner;
    // S is the older word for both printing and travel. T is then for retraction.
    if (this.#value(S) > 0) {
      planner.print = within(this.#value(S));
      planner.travel = planner.print;
      if (this.#value(T) > 0) planner.retract = within(this.#value(T));
      return;
    }
    if (this.#value(P) > 0) planner.print = within(this.#value(P));
    if (this.#value(R) > 0) planner.retract = within(this.#value(R));
    if (this.#value(T) > 0) planner.travel = within(this.#value(T));
  }
}

function within(value: number): number {
  return Math.min(Math.max(value, MIN_RATE), MAX_RATE);
}

function aimOnArc(target: Float64Array, arc: Arc, share: number): void {
  const angle = arc.from + arc.sweep * share;
  const radius = arc.radius + (arc.endRadius - arc.radius) * share;
  target[0] = arc.centreX + radius * Math.cos(angle);
  target[1] = arc.centreY + radius * Math.sin(angle);
}
