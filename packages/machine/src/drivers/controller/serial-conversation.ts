import { Condition, MillraceError, sleep } from '@millrace/base';
import type { MachineIdentity } from '../contract.ts';
import { identityOf } from './identity.ts';
import type { Link } from './link/link.ts';
import type { SerialModules } from './serial-modules.ts';
import type { SerialSettings } from './serial-settings.ts';
import { TextLines } from './text-lines.ts';

const ASK_MS = 1_000;
/** Time for the last bytes to leave, before the port is closed. */
const LEAVE_MS = 20;

export interface ConversationOptions {
  readonly kind: string;
  /** What the controller drives, as messages name it. */
  readonly machine: 'printer' | 'machine';
  /** Speeds in the order in which `auto` tries them. */
  readonly bauds: readonly number[];
  readonly tickMs: number;
}

export interface ConversationEvents {
  line(line: string): void;
  /** The other end is gone. */
  lost(): void;
  /** Called regularly once the controller is connected. */
  tick(): void;
}

export interface Introduction {
  /** Asks the first question after the port was opened. @returns whether it was answered */
  greet(): Promise<boolean>;
  /** Who the controller says it is. */
  describe(): Promise<{ readonly firmware: string; readonly serial: string | undefined }>;
}

/** A conversation with a controller at a serial port, from the first question to the failure that ends it. */
export class SerialConversation {
  readonly #options: ConversationOptions;
  readonly #settings: SerialSettings;
  readonly #modules: SerialModules;
  readonly #events: ConversationEvents;
  readonly #change = new Condition();
  #link: Link | undefined;
  #baud: number | undefined;
  #failure: MillraceError | undefined;
  #isReady = false;
  #heardAt = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    options: ConversationOptions,
    settings: SerialSettings,
    modules: SerialModules,
    events: ConversationEvents,
  ) {
    this.#options = options;
    this.#settings = settings;
    this.#modules = modules;
    this.#events = events;
  }

  get failure(): MillraceError | undefined {
    return this.#failure;
  }

  /** The open port. It stays open for a moment after a failure, so that the machine can be stopped. */
  get link(): Link | undefined {
    return this.#link;
  }

  /** Whether the port is open, and nothing has failed since. */
  get isOpen(): boolean {
    return this.#link !== undefined && this.#failure === undefined;
  }

  /** Whether the controller has introduced itself. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** Time of the last line, monotonic ms. */
  get heardAt(): number {
    return this.#heardAt;
  }

  get isSilent(): boolean {
    return this.now() - this.#heardAt > this.#settings.silenceMs;
  }

  now(): number {
    return this.#modules.clock.monotonic();
  }

  /** @throws {MillraceError} E_MACHINE, E_MACHINE_UNKNOWN */
  async connect(expected: { readonly serial: string }, { greet, describe }: Introduction): Promise<MachineIdentity> {
    this.#failure = undefined;
    const { logger, portOfSerial, usbSerialOf } = this.#modules;
    const { kind } = this.#options;
    const port = this.#settings.port ?? (await portOfSerial(expected.serial));
    try {
      await this.#open(port, greet);
      const { firmware, serial } = await describe();
      const serials = [serial, await usbSerialOf(port)];
      const identity = identityOf({ kind, firmware, serials }, expected, this.#settings.trustSerial);
      this.#isReady = true;
      this.#heardAt = this.now();
      this.#timer = setInterval(() => this.#events.tick(), this.#options.tickMs);
      logger.info({ kind, port, baud: this.#baud, firmware: identity.firmware }, 'controller connected');
      return identity;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** @throws {MillraceError} E_MACHINE if the conversation has ended */
  write(bytes: Uint8Array): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#link === undefined) throw this.gone();
    this.#link.write(bytes);
  }

  /** Repeats a question until it is answered. @returns false if the time is over or the conversation has ended */
  async ask(question: Uint8Array, answered: () => boolean, ms: number): Promise<boolean> {
    const link = this.#link;
    const waits = () => !answered() && this.isOpen && this.#link === link;
    const until = this.now() + ms;
    while (waits() && this.now() < until) {
      link?.write(question);
      const stop = AbortSignal.timeout(Math.min(ASK_MS, ms));
      while (waits() && !stop.aborted) await this.#change.wait(stop).catch(() => undefined);
    }
    return answered();
  }

  /** Waits until `isDone`, which is looked at after each `notify`. @throws the failure, or the signal's reason */
  async until(isDone: () => boolean, signal?: AbortSignal): Promise<void> {
    const link = this.#link;
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      if (link === undefined || this.#link !== link) throw this.gone();
      signal?.throwIfAborted();
      if (isDone()) return;
      await this.#change.wait(signal);
    }
  }

  notify(): void {
    this.#change.notify();
  }

  gone(): MillraceError {
    return new MillraceError('E_MACHINE', `the ${this.#options.machine} is gone: it was unplugged or switched off`);
  }

  /** Ends the conversation. The port is closed when `before` has ended and the last bytes have left. */
  end(error: MillraceError, before?: Promise<void>): void {
    const link = this.#link;
    if (this.#failure !== undefined || link === undefined) return;
    this.#failure = error;
    clearInterval(this.#timer);
    this.#change.notify();
    void Promise.resolve(before)
      .then(() => sleep(LEAVE_MS))
      .catch(() => undefined)
      .then(() => link.close());
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    const link = this.#link;
    this.#link = undefined;
    this.#isReady = false;
    await link?.close();
    this.#change.notify();
  }

  /** Opens the port at the speed at which the controller answers. */
  async #open(port: string, greet: () => Promise<boolean>): Promise<void> {
    const { baud } = this.#settings;
    const known = this.#baud === undefined ? [] : [this.#baud];
    const bauds = baud === 'auto' ? [...new Set([...known, ...this.#options.bauds])] : [baud];
    for (const baud of port.startsWith('tcp://') ? bauds.slice(0, 1) : bauds) {
      const lines = new TextLines((line) => this.#heard(line));
      this.#link = await this.#modules.openLink(
        { port, baud },
        { bytes: (bytes) => lines.add(bytes), lost: () => this.#events.lost() },
      );
      if (await greet()) {
        this.#baud = baud;
        return;
      }
      if (this.#failure !== undefined) throw this.#failure;
      await this.close();
    }
    throw new MillraceError(
      'E_MACHINE',
      `the ${this.#options.machine} does not answer: check cable, power and the setting \`baud\``,
    );
  }

  #heard(line: string): void {
    if (!this.isOpen) return;
    this.#heardAt = this.now();
    this.#events.line(line);
    this.#change.notify();
  }
}
