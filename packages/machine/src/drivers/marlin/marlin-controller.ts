import { MillraceError, toMillraceError, utf8 } from '@millrace/base';
import type { Heater } from '@millrace/protocol';
import type { Capabilities, MachineIdentity, Pause } from '../contract.ts';
import type { Controller, ControllerEvents, Readings } from '../controller/controller.ts';
import { printerCapabilities } from '../controller/controller-settings.ts';
import { stopSafely } from '../controller/safe-stop.ts';
import { SerialConversation } from '../controller/serial-conversation.ts';
import type { SerialModules } from '../controller/serial-modules.ts';
import { MarlinFlow } from './flow.ts';
import { parseReply, type Reply, type Temperatures } from './parser.ts';
import { type MarlinSettings, marlinBauds } from './settings.ts';
import { maxCommand, numbered, unnumbered } from './writer.ts';

const TICK_MS = 20;
/** Questions for the position in the stream that may be open at once. */
const MAX_REPORTS = 3;

/** The next line has number 1. */
const restart = numbered(0, utf8('M110 N0'));
const heatersOff = ['M108', 'M104 S0', 'M140 S0', 'M107'] as const;

/** What the firmware has said since the port was opened. */
interface Session {
  firmware: string | undefined;
  uuid: string | undefined;
  /** Executes urgent commands at once, even when its buffer is full (EMERGENCY_PARSER). */
  emergencyParser: boolean;
  /** Answers to M105 so far. */
  reports: number;
  oks: number;
}

const newSession = (): Session => ({
  firmware: undefined,
  uuid: undefined,
  emergencyParser: false,
  reports: 0,
  oks: 0,
});

/** Talks to Marlin, and to firmware with its protocol, over a serial port. */
export class MarlinController implements Controller {
  readonly maxCommand = maxCommand;
  readonly #settings: MarlinSettings;
  readonly #modules: SerialModules;
  readonly #flow: MarlinFlow;
  readonly #port: SerialConversation;
  #events: ControllerEvents | undefined;
  #session = newSession();
  #heaters: readonly Heater[] = printerCapabilities.heaters;
  #temperatures: Temperatures = {};
  /** Waits for an answer in the middle of a command, such as M0 or a change of filament. */
  #waitsForUser = false;
  #cancelling = false;
  #running = false;
  /** The numbers of lines are being set back. */
  #renumbering = false;
  #progressAt = 0;
  #askedAt = 0;
  #settleAt = 0;

  constructor(settings: MarlinSettings, modules: SerialModules) {
    this.#settings = settings;
    this.#modules = modules;
    this.#flow = new MarlinFlow(settings.window);
    const options = { kind: 'marlin', machine: 'printer', bauds: marlinBauds, tickMs: TICK_MS } as const;
    this.#port = new SerialConversation(options, settings, modules, {
      line: (line) => this.#heard(parseReply(line)),
      lost: () => this.#fail(this.#port.gone()),
      tick: () => this.#tick(),
    });
  }

  get capabilities(): Capabilities {
    return { ...printerCapabilities, heaters: this.#heaters };
  }

  async connect(expected: { readonly serial: string }, events: ControllerEvents): Promise<MachineIdentity> {
    await this.close();
    this.#events = events;
    return this.#port.connect(expected, {
      greet: () => this.#greet(),
      describe: async () => ({ firmware: this.#session.firmware ?? '', serial: this.#session.uuid }),
    });
  }

  async begin(modes: readonly string[]): Promise<undefined> {
    this.#cancelling = false;
    this.#running = true;
    this.#waitsForUser = false;
    await this.#renumber();
    this.#own(modes);
  }

  hasRoom({ length }: Uint8Array): boolean {
    return this.#port.isOpen && !this.#cancelling && this.#flow.hasRoom(length);
  }

  send(command: Uint8Array): void {
    this.#flow.add(command, 'design');
    this.#pump();
  }

  async finish(signal: AbortSignal): Promise<void> {
    await this.#still(signal);
    this.#running = false;
  }

  pause(): Promise<void> {
    return this.#still();
  }

  async resume(): Promise<void> {
    if (this.#waitsForUser) this.#port.write(unnumbered('M108'));
    this.#waitsForUser = false;
  }

  async cancel(): Promise<void> {
    if (!this.#port.isOpen) return;
    this.#running = false;
    this.#cancelling = true;
    const { logger } = this.#modules;
    const failure = () => this.#port.failure;
    try {
      await stopSafely({ machine: 'printer', logger, failure, emergencyStop: () => this.emergencyStop() }, () =>
        this.#stop(AbortSignal.timeout(this.#settings.cancelMs)),
      );
    } finally {
      this.#cancelling = false;
    }
  }

  async emergencyStop(): Promise<void> {
    const { link } = this.#port;
    if (link === undefined) return;
    link.write(unnumbered('M112'));
    // Without EMERGENCY_PARSER the command waits behind others: a reset does not.
    const reset = this.#session.emergencyParser ? undefined : link.reset();
    this.#temperatures = Object.fromEntries(
      Object.entries(this.#temperatures).map(([heater, { now }]) => [heater, { now, target: 0 }]),
    );
    this.#end(new MillraceError('E_MACHINE', 'the printer was stopped in an emergency'), reset);
  }

  readings(): Readings {
    return { temperatures: this.#temperatures };
  }

  async close(): Promise<void> {
    this.#running = false;
    this.#flow.reset();
    await this.#port.close();
  }

  async #greet(): Promise<boolean> {
    const session = newSession();
    this.#session = session;
    const { connectMs } = this.#settings;
    if (!(await this.#port.ask(unnumbered('M115'), () => session.firmware !== undefined, connectMs))) return false;
    // A question may have been answered several times, by a board that was starting: only M105 says that all is read.
    this.#port.write(restart);
    const { oks } = session;
    await this.#port.ask(unnumbered('M105'), () => session.reports > 0 || session.oks >= oks + 3, connectMs);
    this.#heaters = printerCapabilities.heaters.filter((heater) => this.#temperatures[heater] !== undefined);
    return true;
  }

  /** Ends the moves, and executes the commands of a safe stop. */
  async #stop(signal: AbortSignal): Promise<void> {
    // Ends a wait for temperature or for the user, and drops the planned moves. Firmware with EMERGENCY_PARSER does so
    // at once, other firmware when the lines before have left its buffer.
    for (const command of ['M108', 'M410']) this.#port.write(unnumbered(command));
    await this.#renumber(signal);
    this.#own(this.#settings.stopCommands);
    await this.#still(signal);
  }

  #own(commands: readonly string[]): void {
    for (const command of commands) {
      this.#flow.add(utf8(command));
      this.#pump();
    }
  }

  /** Starts a new stream at line 1. */
  async #renumber(signal?: AbortSignal): Promise<void> {
    this.#flow.reset();
    this.#progressAt = this.#port.now();
    this.#renumbering = true;
    try {
      this.#port.write(restart);
      await this.#answered(signal, 2);
    } finally {
      this.#renumbering = false;
    }
  }

  /** Waits until the moves have ended. */
  async #still(signal?: AbortSignal): Promise<void> {
    this.#flow.add(utf8('M400'));
    await this.#answered(signal, 0);
  }

  /**
   * Waits until the firmware has answered everything. The answer to M105 is the only one that is unambiguous.
   * @param least number of answers that have to come from now on, for firmware without heaters
   */
  async #answered(signal: AbortSignal | undefined, least: number): Promise<void> {
    const session = this.#session;
    const { reports, oks } = session;
    this.#report();
    const hasReported = () => (this.#heaters.length > 0 ? session.reports > reports : session.oks >= oks + least);
    await this.#port.until(() => this.#flow.isEmpty && hasReported(), signal);
  }

  #report(force = false): void {
    this.#askedAt = this.#port.now();
    this.#flow.add(utf8('M105'), 'report');
    this.#pump(force);
  }

  #pump(force = false): void {
    const { isOpen, link } = this.#port;
    if (!isOpen) return;
    for (let line = this.#flow.write(force); line !== undefined; line = this.#flow.write(force)) link?.write(line);
  }

  #heard(reply: Reply): void {
    const session = this.#session;
    if (reply.type === 'firmware') {
      session.firmware = reply.name;
      session.uuid = reply.uuid;
    } else if (reply.type === 'capability') {
      if (reply.name === 'EMERGENCY_PARSER') session.emergencyParser = reply.on;
    } else if (reply.type === 'temperatures') {
      this.#temperatures = { ...this.#temperatures, ...reply.temperatures };
    } else if (reply.type === 'ok') {
      this.#ok(reply, session);
    } else if (this.#port.isReady) {
      this.#push(reply);
    }
  }

  #ok(reply: Reply & { readonly type: 'ok' }, session: Session): void {
    session.oks += 1;
    this.#progressAt = this.#port.heardAt;
    const { line, slots, temperatures } = reply;
    if (temperatures !== undefined) {
      this.#temperatures = { ...this.#temperatures, ...temperatures };
      session.reports += 1;
    }
    if (!this.#port.isReady) return;
    this.#leaveUser();
    const report = temperatures !== undefined;
    const facts = { ...(line === undefined ? {} : { line }), ...(slots === undefined ? {} : { slots }), report };
    const taken = this.#flow.ok(facts);
    this.#pump();
    if (taken > 0) this.#events?.taken(taken);
    this.#events?.room();
  }

  #push(reply: Reply): void {
    if (reply.type === 'resend') this.#resend(reply.line);
    else if (reply.type === 'busy') this.#busy(reply.user);
    else if (reply.type === 'wait' && this.#flow.inFlight > 0) this.#lookForLostOk();
    else if (reply.type === 'start') this.#restarted();
    else if (reply.type === 'action') this.#action(reply.action);
    else if (reply.type === 'unknown-command') this.#events?.unknownCommand();
    else if (reply.type === 'fault') this.#fail(new MillraceError('E_MACHINE', `the printer stopped: ${reply.cause}`));
  }

  #resend(line: number): void {
    try {
      const taken = this.#flow.resend(this.#renumbering ? 1 : line);
      this.#settleAt = this.#port.now() + this.#settings.settleMs;
      if (taken > 0) this.#events?.taken(taken);
    } catch (error) {
      this.#fail(toMillraceError(error));
    }
  }

  #busy(user: boolean): void {
    this.#progressAt = this.#port.heardAt;
    if (!user) return this.#leaveUser();
    if (this.#waitsForUser) return;
    this.#waitsForUser = true;
    this.#paused({
      actor: 'controller',
      cause: 'the printer waits for a person',
      nextStep: 'do what the printer’s display says, then confirm there or resume the run',
    });
  }

  #leaveUser(): void {
    if (!this.#waitsForUser) return;
    this.#waitsForUser = false;
    this.#events?.resumed();
  }

  #action(action: string): void {
    if (['pause', 'paused', 'out_of_filament'].includes(action))
      this.#paused({
        actor: action === 'out_of_filament' ? 'controller' : 'person',
        cause: action === 'out_of_filament' ? 'the filament has run out' : 'somebody paused it at the printer',
        nextStep: 'continue at the printer’s display, or resume the run',
      });
    else if (['resume', 'resumed'].includes(action)) this.#events?.resumed();
    else if (action === 'cancel' && this.#running) this.#cancelledThere();
    else if (action === 'disconnect') this.#fail(this.#port.gone());
  }

  #paused(pause: Pause): void {
    if (this.#running) this.#events?.paused(pause);
  }

  #cancelledThere(): void {
    const error = new MillraceError('E_MACHINE', 'the print was cancelled at the printer');
    void this.cancel().then(
      () => this.#fail(error),
      () => undefined, // it has failed, and says why
    );
  }

  /** The banner of a start: the firmware has forgotten the print. It is never resumed by itself. */
  #restarted(): void {
    if (this.#running || this.#cancelling)
      this.#fail(
        new MillraceError(
          'E_MACHINE',
          'the printer was reset in the middle of the print: check power and cable, remove the part, print again',
        ),
      );
    else this.#flow.reset();
  }

  #lookForLostOk(): void {
    if (this.#flow.openReports < MAX_REPORTS || this.#port.now() - this.#askedAt > 10 * this.#settings.okMs)
      this.#report(true);
  }

  #tick(): void {
    const now = this.#port.now();
    const { okMs, reportMs } = this.#settings;
    if (this.#flow.isSettling && now >= this.#settleAt) {
      this.#flow.settled();
      if (this.#renumbering) this.#port.link?.write(restart);
      this.#pump();
      this.#port.notify();
    }
    if (this.#port.isSilent) {
      this.#fail(new MillraceError('E_MACHINE', 'the printer does not answer any more: check power and cable'));
      return;
    }
    if (this.#flow.isSettling) return;
    if (this.#flow.inFlight > 0) {
      if (now - this.#progressAt > okMs && now - this.#askedAt > okMs) this.#lookForLostOk();
    } else {
      this.#progressAt = now;
    }
    if (now - this.#askedAt > reportMs && this.#flow.openReports === 0 && this.#flow.hasRoom(4)) this.#report();
  }

  #fail(error: MillraceError): void {
    const { isOpen, link } = this.#port;
    if (!isOpen) return;
    // A firmware that halted has done so itself; one that only complained keeps heating.
    for (const command of heatersOff) link?.write(unnumbered(command));
    this.#end(error);
    if (this.#port.isReady) this.#events?.failed(error);
  }

  #end(error: MillraceError, before?: Promise<void>): void {
    this.#flow.reset();
    this.#port.end(error, before);
  }
}
