import { Executed } from './executed.ts';
import type { SerialDevice } from './serve.ts';

export interface GrblSimulatorOptions {
  /** The text that $I reports, as set with $I=. */
  readonly name?: string;
  readonly homing?: boolean;
  /** Size of the receive buffer that it claims to have. */
  readonly claimsRxBytes?: number;
  /** Real milliseconds for each second of G4. */
  readonly msPerSecond?: number;
  /** Real milliseconds for each move. */
  readonly moveMs?: number;
  readonly faults?: GrblFaults;
}

/** What goes wrong: numbers count lines of the host. */
export interface GrblFaults {
  readonly errorAt?: number;
  readonly alarmAt?: number;
  readonly resetAt?: number;
  readonly doorAt?: number;
  readonly garbageEvery?: number;
}

const RX_BYTES = 128;
const PLANNER_BLOCKS = 15;
const BOOT_MS = 50;

interface Block {
  readonly ms: number;
  readonly done?: () => void;
}

/** Grbl 1.1 as its documentation describes it: a receive buffer, a planner, real-time commands. */
export class GrblSimulator extends Executed implements SerialDevice {
  output: (bytes: Uint8Array) => void = () => undefined;
  readonly #options: GrblSimulatorOptions;
  /** Bytes lost because the receive buffer was full; more than 0 is a fault of the host. */
  overflowed = 0;
  /** Most bytes that were in the receive buffer at once. */
  fullest = 0;
  spindle = false;
  state: 'Idle' | 'Run' | 'Hold' | 'Alarm' | 'Door' = 'Idle';
  #rx: number[] = [];
  #line = '';
  #lines = 0;
  #planner: Block[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** A line that waits: for a place in the planner, or for the end of all moves. */
  #blocked: (() => boolean) | undefined;
  #answers = 0;
  #booting = false;
  #position = [0, 0, 0];

  constructor(options: GrblSimulatorOptions = {}) {
    super(/^(\$|G4P0\.01$)/);
    this.#options = options;
  }

  /** Power on, or the reset line: the position is lost. */
  reset(): void {
    this.#restart(this.#options.homing ? 'Alarm' : 'Idle');
  }

  input(bytes: Uint8Array): void {
    if (this.#booting) return;
    for (const byte of bytes) {
      if (byte === 0x18) this.#softReset();
      else if (byte === 0x3f) this.#report();
      else if (byte === 0x21) this.#hold('Hold');
      else if (byte === 0x7e) this.#resume();
      else if (byte >= 0x80) continue;
      else if (this.#rx.length >= RX_BYTES) this.overflowed += 1;
      else if (!this.#booting) this.#rx.push(byte);
      this.fullest = Math.max(this.fullest, this.#rx.length);
      this.#receive();
    }
  }

  /** A person presses the button, or opens and closes the door. */
  hold(): void {
    this.#hold('Hold');
  }

  press(): void {
    this.#resume();
  }

  #restart(state: 'Idle' | 'Alarm'): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#rx = [];
    this.#line = '';
    this.#planner = [];
    this.#blocked = undefined;
    this.spindle = false;
    this.state = state;
    this.#say("\r\nGrbl 1.1h ['$' for help]");
    if (state === 'Alarm') this.#say("[MSG:'$H'|'$X' to unlock]");
  }

  /** A reset in the middle of a run. A board that starts hears nothing. */
  #brownOut(): void {
    this.#rx = [];
    this.#booting = true;
    setTimeout(() => {
      this.#booting = false;
      this.reset();
    }, BOOT_MS);
  }

  #softReset(): void {
    const moving = this.state === 'Run';
    if (moving) this.#say('ALARM:3');
    this.#restart(moving || this.state === 'Alarm' ? 'Alarm' : 'Idle');
  }

  #hold(state: 'Hold' | 'Door'): void {
    if (this.state !== 'Run' && this.state !== 'Idle') return;
    this.state = state;
  }

  #resume(): void {
    if (this.state !== 'Hold' && this.state !== 'Door') return;
    this.state = this.#planner.length > 0 ? 'Run' : 'Idle';
    this.#move();
    this.#receive();
  }

  #receive(): void {
    for (;;) {
      if (this.#blocked !== undefined) {
        if (!this.#blocked()) return;
        this.#blocked = undefined;
      }
      const byte = this.#rx.shift();
      if (byte === undefined) return;
      if (byte !== 10 && byte !== 13) this.#line += String.fromCharCode(byte);
      else if (this.#line !== '') {
        const line = this.#line.replace(/\s/g, '').toUpperCase();
        this.#line = '';
        this.#accept(line);
      }
    }
  }

  #accept(line: string): void {
    if (line.startsWith('$')) return this.#system(line);
    if (this.state === 'Alarm') return this.#say('error:9');
    this.#lines += 1;
    const { errorAt, alarmAt, resetAt, doorAt } = this.#options.faults ?? {};
    if (this.#lines === errorAt) return this.#say('error:20');
    if (this.#lines === alarmAt) {
      this.state = 'Alarm';
      return this.#say('ALARM:1');
    }
    if (this.#lines === resetAt) return this.#brownOut();
    if (this.#lines === doorAt) {
      this.#hold('Door');
      this.#say('[MSG:Check Door]');
    }
    // Value word missing: Grbl knows a dwell in seconds (P) only.
    if (/G0*4(?!\d)/.test(line) && !line.includes('P')) return this.#say('error:28');
    this.executed.push(line);
    if (/M[34]/.test(line)) this.spindle = true;
    if (/M5/.test(line)) this.spindle = false;
    ['X', 'Y', 'Z'].forEach((letter, axis) => {
      const value = new RegExp(`${letter}(-?[\\d.]+)`).exec(line)?.[1];
      if (value !== undefined) this.#position[axis] = Number(value);
    });
    const { msPerSecond = 0, moveMs = 0 } = this.#options;
    const dwell = /^G4P([\d.]+)$/.exec(line)?.[1];
    if (dwell !== undefined) {
      this.#whenFree(() => this.#planner.length === 0 && this.state !== 'Hold' && this.state !== 'Door', {
        ms: Number(dwell) * msPerSecond,
        done: () => this.#ok(),
      });
    } else if (/[XYZ]/.test(line) && moveMs > 0) {
      this.#whenFree(() => this.#planner.length < PLANNER_BLOCKS, { ms: moveMs });
    } else {
      this.#ok();
    }
  }

  /** Plans the block once there is room, and holds the next lines back until then. */
  #whenFree(isFree: () => boolean, block: Block): void {
    let planned = false;
    let done = block.done === undefined;
    this.#blocked = () => {
      if (!planned && isFree()) {
        planned = true;
        this.#planner.push({
          ms: block.ms,
          done: () => {
            if (done) return;
            done = true;
            block.done?.();
          },
        });
        if (block.done === undefined) this.#ok();
        if (this.state === 'Idle') this.state = 'Run';
        this.#move();
      }
      return planned && done;
    };
  }

  #move(): void {
    if (this.#timer !== undefined || this.state !== 'Run') return;
    const block = this.#planner[0];
    if (block === undefined) {
      this.state = 'Idle';
      return;
    }
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      // In a hold, the rest of the block is done later.
      if (this.state !== 'Run') return;
      this.#planner.shift();
      block.done?.();
      this.#move();
      this.#receive();
    }, block.ms);
  }

  #system(line: string): void {
    this.executed.push(line);
    if (line === '$I') {
      this.#say(`[VER:1.1h.20190830:${this.#options.name ?? ''}]`);
      this.#say(`[OPT:VL,15,${this.#options.claimsRxBytes ?? RX_BYTES}]`);
    } else if (line === '$$') {
      for (const setting of ['$10=1', '$13=0', `$22=${this.#options.homing ? 1 : 0}`, '$110=500.000'])
        this.#say(setting);
    } else if (line === '$#') {
      // In force is G54; the work offset is the one of the status reports.
      for (const offset of ['G54:10.000,0.000,5.000', 'G55:50.000,60.000,5.000', 'G56:0.000,0.000,0.000'])
        this.#say(`[${offset}]`);
      for (const name of ['G57', 'G58', 'G59', 'G92']) this.#say(`[${name}:0.000,0.000,0.000]`);
      this.#say('[TLO:0.000]');
    } else if (line === '$H' && this.#options.homing) {
      this.state = 'Idle';
    } else if (line === '$X') {
      this.state = 'Idle';
      this.#say('[MSG:Caution: Unlocked]');
    } else {
      return this.#say('error:3');
    }
    this.#ok();
  }

  #report(): void {
    const [x = 0, y = 0, z = 0] = this.#position;
    const sub = this.state === 'Hold' || this.state === 'Door' ? ':0' : '';
    // The work offset is 10, 0, 5.
    this.#say(`<${this.state}${sub}|MPos:${x + 10}.000,${y}.000,${z + 5}.000|FS:500,0|WCO:10.000,0.000,5.000>`);
  }

  #ok(): void {
    const { garbageEvery } = this.#options.faults ?? {};
    this.#answers += 1;
    if (garbageEvery !== undefined && this.#answers % garbageEvery === 0) {
      this.output(Uint8Array.of(0xff, 0x00, 0x93, 10));
      this.#say('[echo:something]');
    }
    this.#say('ok');
  }

  #say(text: string): void {
    this.output(Buffer.from(`${text}\r\n`, 'latin1'));
  }
}
