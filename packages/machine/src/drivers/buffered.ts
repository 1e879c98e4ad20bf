import {
  type Clock,
  Condition,
  type Logger,
  MillraceError,
  silentLogger,
  systemClock,
  toMillraceError,
} from '@millrace/base';
import type { MachineFrame } from '@millrace/gcode';
import type { ToolPath } from '@millrace/toolpath';
import { ByteQueue } from './byte-queue.ts';
import type {
  Capabilities,
  Driver,
  DriverModules,
  DriverState,
  MachineIdentity,
  Pause,
  RunSummary,
  Telemetry,
} from './contract.ts';

/** An engine's summary of its run. The driver adds how long the engine waited for content. */
export type EngineSummary = Omit<RunSummary, 'starvedSeconds'>;

/** What an engine reports on its own, without a call. */
export interface EngineEvents {
  /** The machine failed or is gone. */
  failed(error: MillraceError): void;
  /** The machine paused itself, or somebody paused it there. */
  paused(pause: Pause): void;
  /** Undoes `paused`. Has no effect on a pause that was asked for by the driver's caller. */
  resumed(): void;
}

/** Executes the bytes behind a buffered driver. */
export interface Engine {
  /** Features of the machine; what a controller reports is known once it is connected. */
  readonly capabilities: Capabilities;
  /** Opens the machine, again if necessary. @throws {MillraceError} E_MACHINE, E_MACHINE_UNKNOWN */
  connect(expected: { readonly serial: string }, events: EngineEvents): Promise<MachineIdentity>;
  /** As in the contract of drivers. */
  frame?(): Promise<MachineFrame>;
  /** Begins a new run. */
  begin(): void | Promise<void>;
  /**
   * Executes from the beginning of `bytes` at the machine's pace, and returns the number of bytes taken. Ends early
   * when `goOn` returns false. The signal aborts its sleep.
   */
  take(bytes: Uint8Array, goOn: () => boolean, signal: AbortSignal): Promise<number>;
  /** Executes the rest. Returns false if `goOn` returned false first; it is then called again. */
  finish(goOn: () => boolean, signal: AbortSignal): Promise<boolean>;
  /** There is nothing to execute from now on, until the next call of `take` or `finish`. */
  starve(starved: boolean): void;
  /** Resolves when the machine stands still. `goOn` returns false from before this call. */
  pause(): void | Promise<void>;
  resume(): void | Promise<void>;
  /** The run was ended: stops the machine safely. */
  cancel(): void | Promise<void>;
  /** Switches heaters and motors off, as soon as the call is made. Never rejects. */
  off(): void | Promise<void>;
  telemetry(): Omit<Telemetry, 'state' | 'starved' | 'bufferedBytes' | 'error' | 'pause'>;
  summary(): EngineSummary;
  toolPath(): ToolPath | undefined;
  close(): Promise<void>;
}

/** The end of `connect`: compares serial numbers. @throws {MillraceError} E_MACHINE_UNKNOWN */
export function checkSerial(identity: MachineIdentity, expected: { readonly serial: string }): MachineIdentity {
  if (identity.serial === expected.serial) return identity;
  throw new MillraceError('E_MACHINE_UNKNOWN', 'the machine has another serial number than the registered one', {
    data: { expected: expected.serial, found: identity.serial },
  });
}

export interface BufferedOptions {
  readonly kind: string;
  readonly bufferBytes: number;
  readonly telemetryMs: number;
}

interface Run {
  ending: boolean;
  readonly halt: AbortController;
}

const asked: Pause = {
  actor: 'agent',
  cause: 'the program beside the machine asked for a pause',
  nextStep: 'resume or cancel the run',
};

/**
 * A bounded buffer in front of an engine. Implements the states of the contract; does not interpret the bytes. The
 * engine is a model in this process, or a controller at the end of a cable.
 */
export class BufferedDriver implements Driver {
  readonly kind: string;
  readonly #options: BufferedOptions;
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #queue: ByteQueue;
  readonly #giveBack: () => void;
  readonly #change = new Condition();
  readonly #listeners = new Set<(telemetry: Telemetry) => void>();
  #identity: MachineIdentity | undefined;
  #connecting = false;
  #state: DriverState = 'disconnected';
  #pause: Pause | undefined;
  #starved = false;
  #starvedMs = 0;
  #error: MillraceError | undefined;
  #run: Run | undefined;
  #work: Promise<void> = Promise.resolve();
  #told = Number.NEGATIVE_INFINITY;

  constructor(options: BufferedOptions, engine: Engine, modules: DriverModules) {
    this.kind = options.kind;
    this.#options = options;
    this.#engine = engine;
    this.#clock = modules.clock ?? systemClock;
    this.#logger = modules.logger ?? silentLogger;
    const { secrets } = modules;
    const memory = secrets?.take(options.bufferBytes) ?? new Uint8Array(options.bufferBytes);
    this.#queue = new ByteQueue(memory);
    this.#giveBack = () => secrets?.give(memory);
  }

  get capabilities(): Capabilities {
    return this.#engine.capabilities;
  }

  async connect(expected: { readonly serial: string }): Promise<MachineIdentity> {
    if (this.#state === 'closed' || this.#run !== undefined || this.#connecting) throw this.#wrongState('connect');
    this.#connecting = true;
    try {
      const identity = await this.#engine.connect(expected, {
        failed: (error) => this.#failed(error),
        paused: (pause) => this.#pausedBy(pause),
        resumed: () => this.#resumedBy(),
      });
      this.#stillOpen();
      this.#identity = identity;
      this.#error = undefined;
      this.#enter('idle');
      return identity;
    } finally {
      this.#connecting = false;
    }
  }

  async identify(): Promise<MachineIdentity> {
    if (this.#error !== undefined) throw this.#error;
    if (this.#identity === undefined || this.#state === 'closed') throw this.#wrongState('identify');
    return this.#identity;
  }

  async frame(): Promise<MachineFrame> {
    if (this.#error !== undefined) throw this.#error;
    if (this.#state !== 'idle' || this.#run !== undefined || this.#engine.frame === undefined)
      throw this.#wrongState('say where it stands');
    return this.#engine.frame();
  }

  async begin(): Promise<void> {
    if (this.#error !== undefined) throw this.#error;
    if (this.#state !== 'idle' || this.#run !== undefined) throw this.#wrongState('begin');
    const run: Run = { ending: false, halt: new AbortController() };
    this.#run = run;
    this.#queue.clear();
    this.#starvedMs = 0;
    try {
      await this.#engine.begin();
      this.#stillIn(run);
    } catch (error) {
      if (this.#run === run) this.#run = undefined;
      throw error;
    }
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

  async pause(reason: Pause = asked): Promise<void> {
    // The machine stands still already. This pause is not ended by whoever made the one before.
    if (this.#state === 'paused' && reason !== this.#pause) return this.#enterPause(reason);
    if (this.#state !== 'running') throw this.#wrongState('pause');
    this.#enterPause(reason);
    await this.#engine.pause();
  }

  async resume(): Promise<void> {
    if (this.#state !== 'paused') throw this.#wrongState('resume');
    await this.#engine.resume();
    if (this.#state === 'paused') this.#leavePause();
  }

  async cancel(): Promise<void> {
    const run = this.#run;
    if (run === undefined) throw this.#wrongState('cancel');
    this.#end(run, new MillraceError('E_STATE', 'the run was cancelled'));
    await this.#work;
    try {
      await this.#engine.cancel();
    } catch (cause) {
      const error = toMillraceError(cause);
      this.#failed(error);
      throw error;
    }
    if (this.#error === undefined && this.#state !== 'closed') this.#enter('idle');
  }

  async emergencyStop(): Promise<void> {
    if (this.#state === 'disconnected' || this.#state === 'closed') throw this.#wrongState('emergencyStop');
    const off = this.#engine.off();
    this.#error = new MillraceError('E_MACHINE', 'the machine was stopped in an emergency; connect it again');
    this.#halt(this.#error, 'stopped');
    await off;
    await this.#work;
  }

  telemetry(): Telemetry {
    return {
      ...this.#engine.telemetry(),
      state: this.#state,
      starved: this.#starved,
      bufferedBytes: this.#queue.length,
      ...(this.#error === undefined ? {} : { error: this.#error }),
      ...(this.#pause === undefined ? {} : { pause: this.#pause }),
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
    const ran = this.#run !== undefined;
    this.#halt(new MillraceError('E_STATE', 'the driver was closed'), 'closed');
    await this.#work;
    if (ran) await Promise.resolve(this.#engine.cancel()).catch((err) => this.#logger.warn({ err }, 'no safe stop'));
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
      this.#failed(error);
      // A line that cannot be executed: the machine is well, and its heaters are on.
      if (error.code === 'E_GCODE' || error.code === 'E_SAFETY')
        await Promise.resolve(this.#engine.cancel()).catch(() => this.#engine.off());
      else await this.#engine.off();
    }
  }

  async #starve(run: Run): Promise<void> {
    const since = this.#clock.monotonic();
    this.#starved = true;
    this.#engine.starve(true);
    this.#tell(true);
    try {
      await this.#change.wait(run.halt.signal);
    } finally {
      this.#starved = false;
      this.#starvedMs += this.#clock.monotonic() - since;
      if (this.#state === 'running') this.#engine.starve(false);
    }
  }

  #failed(error: MillraceError): void {
    if (this.#error !== undefined || this.#state === 'closed' || this.#state === 'disconnected') return;
    this.#logger.error({ code: error.code }, 'the machine failed');
    this.#error = error;
    this.#halt(error, 'failed');
  }

  #pausedBy(pause: Pause): void {
    if (this.#state === 'running') this.#enterPause(pause);
  }

  #resumedBy(): void {
    if (this.#isPausedThere) this.#leavePause();
  }

  /** By the controller, or by a person at it. */
  get #isPausedThere(): boolean {
    const actor = this.#pause?.actor;
    return this.#state === 'paused' && (actor === 'controller' || actor === 'person');
  }

  #enterPause(pause: Pause): void {
    this.#pause = pause;
    this.#logger.warn({ ...pause }, 'the machine is paused');
    this.#enter('paused');
  }

  #leavePause(): void {
    this.#pause = undefined;
    this.#enter('running');
  }

  /** Ends a run, and leaves the state as it is. Pending calls fail with `reason`. */
  #end(run: Run | undefined, reason: MillraceError): void {
    this.#run = undefined;
    this.#pause = undefined;
    this.#queue.clear();
    run?.halt.abort(reason);
    this.#change.notify();
  }

  #halt(reason: MillraceError, state: DriverState): void {
    this.#end(this.#run, reason);
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

  #stillOpen(): void {
    if (this.#state === 'closed') throw this.#wrongState('connect');
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
