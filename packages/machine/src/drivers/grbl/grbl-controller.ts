import { MillraceError, sleep, utf8 } from '@millrace/base';
import type { MachineFrame } from '@millrace/gcode';
import type { Capabilities, MachineIdentity, Pause, Telemetry } from '../contract.ts';
import type { Controller, ControllerEvents, Readings } from '../controller/controller.ts';
import { stopSafely } from '../controller/safe-stop.ts';
import { SerialConversation } from '../controller/serial-conversation.ts';
import type { SerialModules } from '../controller/serial-modules.ts';
import { GrblFlow } from './flow.ts';
import { alarmMeaning, errorMeaning } from './meanings.ts';
import { parseReply, type Reply, type Status, type Vector } from './parser.ts';
import { type GrblSettings, grblBauds, grblCapabilities } from './settings.ts';
import { lineOf, realtime, writesMemory } from './writer.ts';

const ASK_MS = 1_000;
/** Time in which a feed hold has to bring the machine to a stop, before it is reset. */
const HOLD_MS = 5_000;
/** Time between the feed hold and the reset that end a failed run. */
const SLOW_DOWN_MS = 200;
const POLL_MS = 20;
const INCH = 25.4;

/** What Grbl has said since the port was opened. */
interface Session {
  version: string;
  name: string | undefined;
  /** Its settings: $13, reports in inches; $22, it can home. */
  readonly settings: { inches: boolean; homes: boolean };
  /** Number of banners and of status reports so far. */
  banners: number;
  reports: number;
  status: Status | undefined;
  offset: Vector;
  /** What `$#` has printed, in the units of $13. */
  readonly offsets: Map<string, readonly number[]>;
}

const newSession = (): Session => ({
  version: '',
  name: undefined,
  settings: { inches: false, homes: false },
  banners: 0,
  reports: 0,
  status: undefined,
  offset: [0, 0, 0],
  offsets: new Map(),
});

const waits: Readonly<Record<'Hold' | 'Door', Pause>> = {
  Hold: {
    actor: 'person',
    cause: 'a feed hold at the machine, or a stop in the program (M0)',
    nextStep: 'press cycle start at the machine, or resume the run',
  },
  Door: {
    actor: 'person',
    cause: 'the safety door is open',
    nextStep: 'close the door, then press cycle start at the machine or resume the run',
  },
};

/** Talks to Grbl 1.1 over a serial port. */
export class GrblController implements Controller {
  readonly capabilities: Capabilities = grblCapabilities;
  /** Blanks are not sent; the limit of Grbl itself is checked without them. */
  readonly maxCommand = 256;
  readonly #settings: GrblSettings;
  readonly #modules: SerialModules;
  readonly #flow = new GrblFlow();
  readonly #port: SerialConversation;
  #events: ControllerEvents | undefined;
  #session = newSession();
  #running = false;
  /** The hold was asked for by the driver. */
  #held = false;
  #waiting: 'Hold' | 'Door' | undefined;
  #stopping = false;

  constructor(settings: GrblSettings, modules: SerialModules) {
    this.#settings = settings;
    this.#modules = modules;
    const options = { kind: 'grbl', machine: 'machine', bauds: grblBauds, tickMs: settings.statusMs } as const;
    this.#port = new SerialConversation(options, settings, modules, {
      line: (line) => this.#heard(parseReply(line)),
      lost: () => this.#fail(this.#port.gone()),
      tick: () => this.#tick(),
    });
  }

  async connect(expected: { readonly serial: string }, events: ControllerEvents): Promise<MachineIdentity> {
    await this.close();
    this.#events = events;
    return this.#port.connect(expected, { greet: () => this.#greet(), describe: () => this.#describe() });
  }

  async begin(modes: readonly string[]): Promise<MachineFrame | undefined> {
    this.#flow.reset();
    this.#held = false;
    this.#waiting = undefined;
    await this.#ready();
    this.#port.write(realtime.noOverrides);
    const frame = modes.length === 0 ? undefined : await this.#frame(modes);
    this.#running = true;
    return frame;
  }

  async frame(): Promise<MachineFrame> {
    const { state } = await this.#status();
    if (state !== 'Idle')
      throw new MillraceError('E_STATE', `the machine does not stand ready: its state is ${state}; home it first`);
    // A run begins without a tool length (G49).
    return this.#readFrame({ hasTool: false });
  }

  hasRoom(command: Uint8Array): boolean {
    if (!this.#port.isOpen || this.#stopping) return false;
    return this.#flow.hasRoom(command.length + 1, writesMemory(command));
  }

  send(command: Uint8Array): void {
    this.#write(command, true);
  }

  async finish(signal: AbortSignal): Promise<void> {
    // A dwell is answered when all moves before it have ended.
    this.#write(utf8('G4P0.01'), false);
    await this.#port.until(() => this.#flow.unanswered === 0, signal);
    this.#running = false;
  }

  async pause(): Promise<void> {
    this.#held = true;
    this.#port.write(realtime.feedHold);
    await this.#untilStatus(({ state, sub }) => (state === 'Hold' && sub !== 1) || state === 'Idle');
  }

  async resume(): Promise<void> {
    this.#held = false;
    this.#waiting = undefined;
    this.#port.write(realtime.resume);
  }

  async cancel(): Promise<void> {
    if (!this.#port.isOpen) return;
    this.#running = false;
    this.#stopping = true;
    const { logger } = this.#modules;
    const failure = () => this.#port.failure;
    try {
      await stopSafely({ machine: 'machine', logger, failure, emergencyStop: () => this.emergencyStop() }, () =>
        this.#stop(),
      );
    } finally {
      this.#stopping = false;
    }
  }

  async emergencyStop(): Promise<void> {
    this.#port.link?.write(realtime.reset);
    this.#end(new MillraceError('E_MACHINE', 'the machine was stopped in an emergency'));
  }

  readings(): Readings {
    return { temperatures: {}, position: this.#position() };
  }

  async close(): Promise<void> {
    this.#running = false;
    this.#flow.reset();
    await this.#port.close();
  }

  /** A reset brings every board to the same state, whether or not opening the port has reset it. */
  #greet(): Promise<boolean> {
    const session = newSession();
    this.#session = session;
    return this.#port.ask(realtime.reset, () => session.banners > 0, this.#settings.connectMs);
  }

  async #describe() {
    await this.#command('$I');
    await this.#command('$$');
    const { version, name } = this.#session;
    return { firmware: `Grbl ${version}`.slice(0, 64), serial: name };
  }

  /** Holds the machine, then resets it, which keeps the position and switches spindle and coolant off. */
  async #stop(): Promise<void> {
    await this.#hold();
    const signal = AbortSignal.timeout(this.#settings.cancelMs);
    const session = this.#session;
    const { banners } = session;
    this.#port.write(realtime.reset);
    await this.#port.until(() => session.banners > banners, signal);
    this.#flow.reset();
    const { state } = await this.#status(signal);
    if (state !== 'Idle') return;
    for (const command of this.#settings.stopCommands) await this.#command(command, signal);
    await this.#command('G4P0.01', signal);
  }

  /** Before a run: the machine has to be idle, and to know where it is. */
  async #ready(): Promise<void> {
    let status = await this.#status();
    if (status.state === 'Alarm' || status.state === 'Sleep') {
      const { onAlarm } = this.#settings;
      const { homes } = this.#session.settings;
      if (onAlarm === 'refuse' || (onAlarm === 'home' && !homes))
        throw new MillraceError('E_MACHINE', 'the machine is in alarm: home or unlock it, then start the run again');
      await this.#command(onAlarm === 'home' ? '$H' : '$X');
      status = await this.#status();
    }
    if (status.state !== 'Idle')
      throw new MillraceError('E_MACHINE', `the machine is not idle: its state is ${status.state}`);
  }

  /** Sets modes, then reads where the machine is and all offsets. */
  async #frame(modes: readonly string[]): Promise<MachineFrame> {
    for (const command of modes) await this.#command(command);
    return this.#readFrame({ hasTool: true });
  }

  async #readFrame({ hasTool }: { readonly hasTool: boolean }): Promise<MachineFrame> {
    await this.#command('$#');
    const { machine } = await this.#status();
    const { offsets, settings } = this.#session;
    const unit = settings.inches ? INCH : 1;
    const vector = (name: string): Vector => {
      const [x = Number.NaN, y = Number.NaN, z = Number.NaN] = offsets.get(name) ?? [];
      return [x * unit, y * unit, z * unit];
    };
    const systems = ['G54', 'G55', 'G56', 'G57', 'G58', 'G59'].map(vector);
    const [system, shift] = [vector('G54'), vector('G92')];
    const tool = hasTool ? (offsets.get('TLO')?.[0] ?? Number.NaN) * unit : 0;
    const origin: Vector = [system[0] + shift[0], system[1] + shift[1], system[2] + shift[2] + tool];
    if (machine === undefined || [origin, ...systems].flat().some(Number.isNaN))
      throw new MillraceError(
        'E_MACHINE',
        'the controller does not report its position in machine coordinates: set $10=1',
      );
    return {
      position: [machine[0] * unit, machine[1] * unit, machine[2] * unit],
      origin,
      systems,
      homes: settings.homes,
    };
  }

  /** Brings the machine to a stop, along its path; gives up after a while. */
  async #hold(): Promise<void> {
    this.#port.write(realtime.feedHold);
    await this.#untilStatus(
      ({ state, sub }) => (state === 'Hold' && sub !== 1) || ['Idle', 'Alarm'].includes(state),
      AbortSignal.timeout(HOLD_MS),
    ).catch((error) => {
      if (!this.#port.isOpen) throw error;
    });
  }

  /** Sends a line of the driver's own and waits for its answer. */
  async #command(text: string, signal?: AbortSignal): Promise<void> {
    this.#write(utf8(text), false);
    await this.#port.until(() => this.#flow.unanswered === 0, signal);
  }

  async #status(signal?: AbortSignal): Promise<Status> {
    return this.#untilStatus(() => true, signal);
  }

  /** Asks for status reports until one fits that was asked for after this call. */
  async #untilStatus(fits: (status: Status) => boolean, signal?: AbortSignal): Promise<Status> {
    const session = this.#session;
    for (;;) {
      const { reports } = session;
      await this.#port.ask(realtime.status, () => session.reports > reports, ASK_MS);
      // Throws if the conversation has ended meanwhile.
      await this.#port.until(() => true, signal);
      const { status } = session;
      if (status !== undefined && session.reports > reports && fits(status)) return status;
      await sleep(Math.min(POLL_MS, this.#settings.statusMs), signal);
    }
  }

  #write(command: Uint8Array, counts: boolean): void {
    const line = lineOf(command);
    this.#flow.sent(line.length, { counts, alone: writesMemory(command) });
    this.#port.write(line);
    line.fill(0);
  }

  #heard(reply: Reply): void {
    const session = this.#session;
    if (reply.type === 'ok') this.#answered();
    else if (reply.type === 'error') this.#refused(reply.code);
    else if (reply.type === 'alarm') this.#alarm(reply.code);
    else if (reply.type === 'banner') this.#banner(session, reply.version);
    else if (reply.type === 'status') this.#reported(session, reply.status);
    else if (reply.type === 'build') {
      session.version = reply.version;
      session.name = reply.name;
    } else if (reply.type === 'options') this.#flow.rxBytes = reply.rxBytes;
    else if (reply.type === 'offset') session.offsets.set(reply.name, reply.values);
    else if (reply.type === 'setting') this.#setting(session, reply.number, reply.value === 1);
  }

  #setting({ settings }: Session, number: number, isOn: boolean): void {
    if (number === 13) settings.inches = isOn;
    else if (number === 22) settings.homes = isOn;
  }

  #answered(): void {
    if (this.#flow.answered()) this.#events?.taken(1);
    this.#events?.room();
  }

  /** Grbl goes on with the lines that are in its buffer already, so the machine is held and reset. */
  #refused(code: number): void {
    if (this.#flow.answered() === undefined || this.#stopping) return;
    this.#fail(new MillraceError('E_GCODE', `the controller refused a line: ${errorMeaning(code)} (error ${code})`));
  }

  #alarm(code: number): void {
    if (this.#stopping || !this.#port.isReady) return;
    this.#fail(new MillraceError('E_MACHINE', `the machine stopped: ${alarmMeaning(code)} (alarm ${code})`));
  }

  #banner(session: Session, version: string): void {
    if (session.version === '') session.version = version;
    session.banners += 1;
    if (this.#port.isReady && !this.#stopping)
      this.#fail(
        new MillraceError(
          'E_MACHINE',
          'the controller was reset: check power and cable, home the machine, begin with a new part',
        ),
      );
  }

  #reported(session: Session, status: Status): void {
    session.reports += 1;
    session.status = status;
    session.offset = status.offset ?? session.offset;
    const { state } = status;
    if (!this.#running || this.#held || this.#stopping) return;
    if (state === 'Hold' || state === 'Door') {
      if (this.#waiting === state) return;
      this.#waiting = state;
      this.#events?.paused(waits[state]);
    } else if (this.#waiting !== undefined && (state === 'Run' || state === 'Idle')) {
      this.#waiting = undefined;
      this.#events?.resumed();
    }
  }

  #position(): Telemetry['position'] | undefined {
    const { status, offset, settings } = this.#session;
    if (status === undefined) return undefined;
    const at = status.work ?? status.machine?.map((value, axis) => value - (offset[axis] ?? 0));
    const unit = settings.inches ? INCH : 1;
    const [x = 0, y = 0, z = 0] = at ?? [];
    return { x: x * unit, y: y * unit, z: z * unit };
  }

  #tick(): void {
    if (this.#port.isSilent)
      this.#fail(new MillraceError('E_MACHINE', 'the machine does not answer any more: check power and cable'));
    else this.#port.link?.write(realtime.status);
  }

  /** Holds the machine and resets it, which also switches spindle and coolant off. */
  #fail(error: MillraceError): void {
    const { isOpen, isReady, link } = this.#port;
    if (!isOpen) return;
    link?.write(realtime.feedHold);
    const reset = sleep(SLOW_DOWN_MS).then(() => link?.write(realtime.reset));
    this.#end(error, reset);
    if (isReady) this.#events?.failed(error);
  }

  #end(error: MillraceError, before?: Promise<void>): void {
    this.#flow.reset();
    this.#port.end(error, before);
  }
}
