import {
  type Clock,
  Condition,
  type Logger,
  MillraceError,
  silentLogger,
  systemClock,
  toMillraceError,
} from '@millrace/base';
import type { ToolPath } from '@millrace/toolpath';
import { ByteQueue } from './byte-queue.ts';
import type {
  Capabilities,
  Driver,
  DriverModules,
  DriverState,
  MachineIdentity,
  RunSummary,
  Telemetry,
} from './contract.ts';

/** An engine's summary of its run. The driver adds how long the engine waited for content. */
export type EngineSummary = Omit<RunSummary, 'starvedSeconds'>;

/** Executes the bytes behind a buffered driver. */
export interface Engine {
  /** Begins a new run. */
  begin(): void;
  /**
   * Executes from the beginning of `bytes` at the machine's pace, and returns the number of bytes taken. Ends early
   * when `goOn` returns false. The signal aborts its sleep.
   */
  take(bytes: Uint8Array, goOn: () => boolean, signal: AbortSignal): Promise<number>;
  /** Executes the rest. Returns false if `goOn` returned false first; it is then called again. */
  finish(goOn: () => boolean, signal: AbortSignal): Promise<boolean>;
  /** The machine stands still, or continues. */
  hold(): void;
  release(): void;
  /** Switches heaters and motors off. */
  off(): void;
  telemetry(): Omit<Telemetry, 'state' | 'starved' | 'bufferedBytes' | 'error'>;
  summary(): EngineSummary;
  toolPath(): ToolPath | undefined;
  close(): Promise<void>;
}

export interface BufferedOptions {
  readonly identity: MachineIdentity;
  readonly capabilities: Capabilities;
  readonly bufferBytes: number;
  readonly telemetryMs: number;
}

interface Run {
  ending: boolean;
  readonly halt: AbortController;
}

/**
 * A driver for machines that live in this process: a bounded buffer in front of an engine. Implements the states of the
 * contract; does not interpret the bytes.
 */
export class BufferedDriver implements Driver {
  readonly kind: string;
  readonly capabilities: Capabilities;
  readonly #options: BufferedOptions;
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #queue: ByteQueue;
  readonly #giveBack: () => void;
  readonly #change = new Condition();
  readonly #listeners = new Set<(telemetry: Telemetry) => void>();
  #state: DriverState = 'disconnected';
  #starved = false;
  #starvedMs = 0;
  #error: MillraceError | undefined;
  #run: Run | undefined;
  #work: Promise<void> = Promise.resolve();
  #told = Number.NEGATIVE_INFINITY;

  constructor(options: BufferedOptions, engine: Engine, modules: DriverModules) {
    this.kind = options.identity.kind;
    this.capabilities = options.capabilities;
    this.#options = options;
    this.#engine = engine;
    this.#clock = modules.clock ?? systemClock;
    this.#logger = modules.logger ?? silentLogger;
    const { secrets } = modules;
    const memory = secrets?.take(options.bufferBytes) ?? new Uint8Array(options.bufferBytes);
    this.#queue = new ByteQueue(memory);
    this.#giveBack = () => secrets?.give(memory);
  }

  async connect(expected: { readonly serial: string }): Promise<MachineIdentity> {
    if (this.#state === 'closed' || this.#run !== undefined) throw this.#wrongState('connect');
    const { identity } = this.#options;
    if (identity.serial !== expected.serial) {
      throw new MillraceError('E_MACHINE_UNKNOWN', 'the machine has another serial number than the registered one', {
        data: { expected: expected.serial, found: identity.serial },
      });
    }
    this.#error = undefined;
    this.#enter('idle');
    return identity;
  }

  async identify(): Promise<MachineIdentity> {
    if (this.#state === 'disconnected' || this.#state === 'closed') throw this.#wrongState('identify');
    if (this.#error !== undefined) throw this.#error;
    return this.#options.identity;
  }

  async begin(): Promise<void> {
    if (this.#error !== undefined) throw this.#error;
    if (this.#state !== 'idle') throw this.#wrongState('begin');
    const run: Run = { ending: false, halt: new AbortController() };
    this.#run = run;
    this.#queue.clear();
    this.#starvedMs = 0;
    this.#engine.begin();
    this.#enter('running');
    this.#work = this.#execute(run);
  }

  async write(content: Uint8Array, signal?: AbortSignal): Promise<void> {
    const run = this.#current('write');
    if (run.ending) throw this.#wrongState('write after drain');
    for (let at = 0; at < content.length; ) {
      signal?.throwIfAborted();
      this.#stillIn(run);
      at += this.#queue.put(content.subarray(at));
      this.#change.notify();
      if (at < content.length) await this.#change.wait(signal);
    }
  }

  async drain(signal?: AbortSignal): Promise<void> {
    const run = this.#current('drain');
    run.ending = true;
    this.#change.notify();
    while (this.#run === run) await this.#change.wait(signal);
    if (run.halt.signal.aborted) throw run.halt.signal.reason;
  }

  async pause(): Promise<void> {
    if (this.#state !== 'running') throw this.#wrongState('pause');
    this.#engine.hold();
    this.#enter('paused');
  }

  async resume(): Promise<void> {
    if (this.#state !== 'paused') throw this.#wrongState('resume');
    this.#engine.release();
    this.#enter('running');
  }

  async cancel(): Promise<void> {
    if (this.#run === undefined) throw this.#wrongState('cancel');
    this.#halt(new MillraceError('E_STATE', 'the run was cancelled'), 'idle');
    await this.#work;
  }

  async emergencyStop(): Promise<void> {
    if (this.#state === 'disconnected' || this.#state === 'closed') throw this.#wrongState('emergencyStop');
    this.#engine.off();
    this.#error = new MillraceError('E_MACHINE', 'the machine was stopped in an emergency; connect it again');
    this.#halt(this.#error, 'stopped');
    await this.#work;
  }

  telemetry(): Telemetry {
    return {
      ...this.#engine.telemetry(),
      state: this.#state,
      starved: this.#starved,
      bufferedBytes: this.#queue.length,
      ...(this.#error === undefined ? {} : { error: this.#error }),
    };
  }

  onTelemetry(listener: (telemetry: Telemetry) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  summary(): RunSummary {
    return { ...this.#engine.summary(), starvedSeconds: this.#starvedMs / 1_000 };
  }

  toolPath(): ToolPath | undefined {
    return this.#engine.toolPath();
  }

  async close(): Promise<void> {
    if (this.#state === 'closed') return;
    this.#halt(new MillraceError('E_STATE', 'the driver was closed'), 'closed');
    await this.#work;
    await this.#engine.close();
    this.#giveBack();
    this.#listeners.clear();
  }

  async #execute(run: Run): Promise<void> {
    const goOn = () => {
      this.#tell(false);
      return this.#run === run && this.#state === 'running';
    };
    try {
      while (this.#run === run) {
        if (this.#state === 'paused') {
          await this.#change.wait(run.halt.signal);
        } else if (this.#queue.length > 0) {
          const taken = await this.#engine.take(this.#queue.peek(), goOn, run.halt.signal);
          if (this.#run !== run) return;
          this.#queue.drop(taken);
          this.#change.notify();
          this.#tell(false);
          // Yield to other work of the process, however fast the machine is.
          await new Promise((resolve) => setImmediate(resolve));
        } else if (!run.ending) {
          await this.#starve(run);
        } else if (await this.#engine.finish(goOn, run.halt.signal)) {
          this.#run = undefined;
          this.#enter('idle');
        }
      }
    } catch (cause) {
      if (this.#run !== run) return;
      const error = toMillraceError(cause);
      this.#logger.error({ err: error }, 'the machine failed');
      this.#engine.off();
      this.#error = error;
      this.#halt(error, 'failed');
    }
  }

  async #starve(run: Run): Promise<void> {
    const since = this.#clock.monotonic();
    this.#starved = true;
    this.#engine.hold();
    this.#tell(true);
    try {
      await this.#change.wait(run.halt.signal);
    } finally {
      this.#starved = false;
      this.#starvedMs += this.#clock.monotonic() - since;
      if (this.#state === 'running') this.#engine.release();
    }
  }

  /** Ends the current run, if any. Pending calls fail with `reason`. */
  #halt(reason: MillraceError, state: DriverState): void {
    const run = this.#run;
    this.#run = undefined;
    this.#queue.clear();
    run?.halt.abort(reason);
    this.#enter(state);
  }

  #current(what: string): Run {
    if (this.#error !== undefined) throw this.#error;
    if (this.#run === undefined) throw this.#wrongState(what);
    return this.#run;
  }

  #stillIn(run: Run): void {
    if (this.#run !== run) throw run.halt.signal.reason ?? this.#wrongState('write');
  }

  #wrongState(what: string): MillraceError {
    return new MillraceError('E_STATE', `the machine is ${this.#state}: it cannot ${what}`, {
      data: { state: this.#state },
    });
  }

  #enter(state: DriverState): void {
    this.#state = state;
    this.#tell(true);
    this.#change.notify();
  }

  #tell(always: boolean): void {
    const now = this.#clock.monotonic();
    if (!always && now - this.#told < this.#options.telemetryMs) return;
    this.#told = now;
    if (this.#listeners.size === 0) return;
    const telemetry = this.telemetry();
    for (const listener of this.#listeners) listener(telemetry);
  }
}
