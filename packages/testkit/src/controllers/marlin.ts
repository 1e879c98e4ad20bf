import { Executed } from './executed.ts';
import type { SerialDevice } from './serve.ts';

export interface MarlinSimulatorOptions {
  readonly uuid?: string;
  readonly advancedOk?: boolean;
  /** Older Marlin sends an `ok` after a request to resend. */
  readonly okAfterResend?: boolean;
  readonly emergencyParser?: boolean;
  readonly heaters?: boolean;
  /** Real milliseconds for each second of G4, of heating, and of motion if `moves`. */
  readonly msPerSecond?: number;
  /** G1 takes its distance divided by its feed rate. */
  readonly moves?: boolean;
  /** Size of the receive buffer; bytes beyond it are lost, as in a real one. */
  readonly rxBytes?: number;
  readonly faults?: MarlinFaults;
}

/** What goes wrong, and when: numbers count lines that were received without error. */
export interface MarlinFaults {
  /** Damages a byte of every n-th line on the way in. */
  readonly damageEvery?: number;
  /** Does not send every n-th `ok`. */
  readonly loseOkEvery?: number;
  /** Sends noise before every n-th answer. */
  readonly garbageEvery?: number;
  /** Sends what it received back, and messages of its own. */
  readonly echo?: boolean;
  /** Repeats each request to resend so often. */
  readonly storm?: number;
  readonly resetAt?: number;
  readonly thermalAt?: number;
  /** Asks a person to confirm, once. */
  readonly runoutAt?: number;
  readonly cancelAt?: number;
}

const QUEUE = 4;

const isMove = (text: string): boolean => text.startsWith('G1');

/**
 * A RepRap firmware as Marlin’s documentation and behaviour describe it: line numbers, checksums, a queue of four
 * commands behind a receive buffer. It executes nothing, but takes the time for it.
 */
export class MarlinSimulator extends Executed implements SerialDevice {
  output: (bytes: Uint8Array) => void = () => undefined;
  readonly #options: MarlinSimulatorOptions;
  /** Number of lines that were refused as damaged. */
  damaged = 0;
  halted = false;
  waitsForUser = false;
  target = { hotend: 0, bed: 0 };
  /** Longest time without a move in the queue, between two moves, ms. */
  longestIdleMs = 0;
  #idleSince: number | undefined;
  readonly #position = { X: 0, Y: 0, F: 0 };
  #rx: number[] = [];
  #line = '';
  #lastNumber = 0;
  #received = 0;
  #answers = 0;
  #oks = 0;
  #queue: { readonly text: string; readonly number: number | undefined }[] = [];
  #busy: NodeJS.Timeout | undefined;
  #keepalive: NodeJS.Timeout | undefined;
  #stop: () => void = () => undefined;
  #once = new Set<string>();

  constructor(options: MarlinSimulatorOptions = {}) {
    super(/^(M105|M110|M115|M400|M155|M108|M410|M112)\b/);
    this.#options = options;
  }

  reset(): void {
    clearTimeout(this.#busy);
    clearInterval(this.#keepalive);
    this.#busy = undefined;
    this.#rx = [];
    this.#line = '';
    this.#lastNumber = 0;
    this.#queue = [];
    this.halted = false;
    this.waitsForUser = false;
    this.target = { hotend: 0, bed: 0 };
    this.#say('start');
    this.#say('echo:Marlin 2.1.2');
  }

  input(bytes: Uint8Array): void {
    const { rxBytes = 128 } = this.#options;
    for (const byte of bytes) {
      if (this.#options.emergencyParser) this.#emergency(byte);
      if (this.#rx.length < rxBytes) this.#rx.push(byte);
      this.#receive();
    }
  }

  /** A person confirms at the display. */
  confirm(): void {
    if (this.waitsForUser) this.#stop();
  }

  say(text: string): void {
    this.#say(text);
  }

  #emergencyLine = '';
  #emergency(byte: number): void {
    if (byte !== 10) {
      this.#emergencyLine += String.fromCharCode(byte);
      return;
    }
    const line = this.#emergencyLine.replace(/^N\d+ /, '').replace(/\*\d+$/, '');
    this.#emergencyLine = '';
    this.#urgent(line);
  }

  #urgent(line: string): void {
    if (line === 'M112') this.#halt('M112 Shutdown');
    if (line === 'M108' || line === 'M410') this.#stop();
  }

  #halt(why: string): void {
    clearTimeout(this.#busy);
    clearInterval(this.#keepalive);
    this.halted = true;
    this.target = { hotend: 0, bed: 0 };
    this.#say(`Error:${why}`);
    this.#say('Error:Printer halted. kill() called!');
  }

  /** Reads from the buffer while the queue has a place. */
  #receive(): void {
    while (this.#rx.length > 0 && this.#queue.length < QUEUE && !this.halted) {
      const byte = this.#rx.shift() as number;
      if (byte !== 10 && byte !== 13) {
        this.#line += String.fromCharCode(byte);
        continue;
      }
      const line = this.#line;
      this.#line = '';
      if (line !== '') this.#accept(this.#damage(line));
    }
  }

  #damage(line: string): string {
    const { damageEvery } = this.#options.faults ?? {};
    this.#answers += 1;
    if (damageEvery === undefined || this.#answers % damageEvery !== 0 || !line.startsWith('N')) return line;
    return `${line.slice(0, 3)}#${line.slice(4)}`;
  }

  #accept(line: string): void {
    const { faults = {} } = this.#options;
    if (faults.echo) {
      this.#say(line);
      this.#say('echo:  Last Updated: 2024');
    }
    let text = line;
    let number: number | undefined;
    if (line.startsWith('N')) {
      const star = line.lastIndexOf('*');
      number = Number(/^N(-?\d+)/.exec(line)?.[1]);
      let sum = 0;
      for (const byte of Buffer.from(line.slice(0, star), 'latin1')) sum ^= byte;
      const isM110 = line.includes('M110');
      if (!isM110 && number !== this.#lastNumber + 1)
        return this.#refuse('Line Number is not Last Line Number+1, Last Line: ');
      if (star < 0 || Number(line.slice(star + 1)) !== sum) return this.#refuse('checksum mismatch, Last Line: ');
      this.#lastNumber = number;
      text = line.slice(line.indexOf(' ') + 1, star);
    } else if (!this.#options.emergencyParser) {
      this.#urgent(line);
      if (this.halted) return;
    }
    this.#received += 1;
    if (faults.resetAt === this.#received) return this.reset();
    if (faults.thermalAt === this.#received) return this.#halt('Thermal Runaway, system stopped! Heater_ID: E0');
    if (faults.cancelAt === this.#received) this.#say('//action:cancel');
    if (this.#idleSince !== undefined && isMove(text)) {
      this.longestIdleMs = Math.max(this.longestIdleMs, performance.now() - this.#idleSince);
      this.#idleSince = undefined;
    }
    this.#queue.push({ text, number });
    this.#work();
  }

  #refuse(why: string): void {
    this.damaged += 1;
    this.#rx = [];
    this.#say(`Error:${why}${this.#lastNumber}`);
    for (let times = 0; times < (this.#options.faults?.storm ?? 1); times += 1) {
      this.#say(`Resend: ${this.#lastNumber + 1}`);
      if (this.#options.okAfterResend) this.#say('ok');
    }
  }

  #work(): void {
    while (this.#busy === undefined && !this.halted) {
      const command = this.#queue[0];
      if (command === undefined) return;
      const ms = this.#duration(command.text);
      if (ms === undefined) {
        this.#finish(command);
        continue;
      }
      const end = () => {
        clearTimeout(this.#busy);
        clearInterval(this.#keepalive);
        this.#busy = undefined;
        this.#stop = () => undefined;
        this.waitsForUser = false;
        this.#finish(command);
        this.#work();
        this.#receive();
      };
      this.#stop = end;
      this.#busy = setTimeout(end, Math.min(ms, 2 ** 30));
      const heats = /^M1[09][09]/.test(command.text);
      const sign = () =>
        this.#say(
          this.waitsForUser ? 'echo:busy: paused for user' : heats ? ` ${this.#report()} W:?` : 'echo:busy: processing',
        );
      this.#keepalive = setInterval(sign, Math.max(5, Math.min(ms / 4, 2_000)));
    }
  }

  /** Real time that a command takes, ms; undefined for none. */
  #duration(text: string): number | undefined {
    const { msPerSecond = 0, faults = {} } = this.#options;
    if (faults.runoutAt !== undefined && this.#received >= faults.runoutAt && !this.#once.has('runout')) {
      this.#once.add('runout');
      this.waitsForUser = true;
      this.#say('//action:out_of_filament');
      return Number.POSITIVE_INFINITY;
    }
    const seconds = /^G4 S(\d+)/.exec(text)?.[1] ?? (/^M1[09][09] S/.test(text) ? '10' : this.#motion(text));
    const ms = Number(seconds ?? 0) * msPerSecond;
    return ms > 0 ? ms : undefined;
  }

  /** Seconds of a move in the plane, in mm and mm a minute; undefined for other commands. */
  #motion(text: string): number | undefined {
    if (this.#options.moves !== true || !isMove(text)) return undefined;
    const at = this.#position;
    const before = { ...at };
    for (const [, axis = '', value] of text.matchAll(/([XYF])(-?[\d.]+)/g)) at[axis as keyof typeof at] = Number(value);
    return at.F > 0 ? (Math.hypot(at.X - before.X, at.Y - before.Y) * 60) / at.F : undefined;
  }

  #finish({ text, number }: { readonly text: string; readonly number: number | undefined }): void {
    this.#queue.shift();
    this.executed.push(text);
    if (isMove(text) && !this.#queue.some((waiting) => isMove(waiting.text))) this.#idleSince = performance.now();
    const [, code, value] = /^(M104|M109|M140|M190) S(\d+)/.exec(text) ?? [];
    if (code === 'M104' || code === 'M109') this.target.hotend = Number(value);
    if (code === 'M140' || code === 'M190') this.target.bed = Number(value);
    if (text === 'M115') this.#describe();
    if (text === 'M105' && this.#options.heaters !== false) return this.#ok(` ${this.#report()}`, undefined);
    if (/^[GM]9999\b/.test(text)) this.#say(`echo:Unknown command: "${text}"`);
    this.#ok('', number);
  }

  #describe(): void {
    const { uuid, emergencyParser } = this.#options;
    this.#say(
      `FIRMWARE_NAME:Marlin 2.1.2 (Simulator) SOURCE_CODE_URL:example.org PROTOCOL_VERSION:1.0 MACHINE_TYPE:Test${uuid === undefined ? '' : ` UUID:${uuid}`}`,
    );
    this.#say('Cap:SERIAL_XON_XOFF:0');
    this.#say(`Cap:EMERGENCY_PARSER:${emergencyParser ? 1 : 0}`);
  }

  #report(): string {
    return `T:${this.target.hotend}.0 /${this.target.hotend}.0 B:${this.target.bed}.0 /${this.target.bed}.0 @:0 B@:0`;
  }

  #ok(more: string, number: number | undefined): void {
    const { loseOkEvery, garbageEvery } = this.#options.faults ?? {};
    this.#oks += 1;
    if (loseOkEvery !== undefined && this.#oks % loseOkEvery === 0) return;
    if (garbageEvery !== undefined && this.#oks % garbageEvery === 0) this.output(Uint8Array.of(0xff, 0, 0x93, 10));
    const advanced = this.#options.advancedOk && number !== undefined && more === '';
    this.#say(advanced ? `ok N${number} P15 B${QUEUE - this.#queue.length}` : `ok${more}`);
  }

  #say(text: string): void {
    this.output(Buffer.from(`${text}\n`, 'latin1'));
  }
}
