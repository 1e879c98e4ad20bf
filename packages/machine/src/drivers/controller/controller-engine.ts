import { Condition, MillraceError } from '@millrace/base';
import { type Dialect, type MachineFrame, PolicyLimits, SafetyGuard } from '@millrace/gcode';
import type { ToolPath } from '@millrace/toolpath';
import type { Engine, EngineEvents, EngineSummary } from '../buffered.ts';
import type { Capabilities, DriverModules, MachineIdentity } from '../contract.ts';
import type { Controller } from './controller.ts';
import { Job } from './job.ts';

/** Degrees Celsius and mm beyond which a controller is not believed: what reads the telemetry refuses such values. */
const HOTTEST = 5_000;
const COLDEST = -300;
const FARTHEST = 1_000_000;

const between = (least: number, value: number, most: number): number => Math.min(most, Math.max(least, value));
const onMachine = (millimetres: number): number => between(-FARTHEST, millimetres, FARTHEST);
const bearable = (celsius: number): number => between(COLDEST, celsius, HOTTEST);

export interface ControllerEngineOptions {
  readonly dialect: Dialect;
  /** Maximum moves kept in the tool path. Later ones are only counted. */
  readonly maxMoves: number;
  /** Reason why a command must not be sent, or undefined. */
  readonly refuse: (command: Uint8Array) => string | undefined;
}

/** Hands the commands of a design to a controller as fast as it takes them. */
export class ControllerEngine implements Engine {
  readonly #options: ControllerEngineOptions;
  readonly #controller: Controller;
  readonly #modules: DriverModules;
  readonly #memory: Uint8Array;
  readonly #change = new Condition();
  #job: Job;
  #odometer = 0;
  /** The command that waits for room. */
  #waiting: Uint8Array | undefined;
  #finished = false;
  #off = false;

  constructor(options: ControllerEngineOptions, controller: Controller, modules: DriverModules) {
    this.#options = options;
    this.#controller = controller;
    this.#modules = modules;
    const length = Math.max(controller.maxCommand, 1024) + 32;
    this.#memory = modules.secrets?.take(length) ?? new Uint8Array(length);
    this.#job = this.#newJob();
  }

  get capabilities(): Capabilities {
    return this.#controller.capabilities;
  }

  async connect(expected: { readonly serial: string }, events: EngineEvents): Promise<MachineIdentity> {
    const identity = await this.#controller.connect(expected, {
      taken: (count) => {
        this.#job.tookCommands(count);
        this.#change.notify();
      },
      room: () => this.#change.notify(),
      unknownCommand: () => {
        this.#job.unknownCommands += 1;
      },
      failed: (error: MillraceError) => {
        this.#off = true;
        events.failed(error);
        this.#change.notify();
      },
      paused: (pause) => events.paused(pause),
      resumed: () => events.resumed(),
    });
    this.#off = false;
    return identity;
  }

  async frame(): Promise<MachineFrame> {
    const { frame } = this.#controller;
    if (frame === undefined) throw new MillraceError('E_STATE', 'the machine does not say where it stands');
    return frame.call(this.#controller);
  }

  async begin(): Promise<void> {
    this.#odometer += this.#job.done.filament;
    this.#waiting = undefined;
    this.#finished = false;
    this.#off = false;
    this.#job = this.#newJob();
    this.#job.begin(await this.#controller.begin(this.#job.modes));
  }

  async take(bytes: Uint8Array, goOn: () => boolean, signal: AbortSignal): Promise<number> {
    let at = 0;
    if (!(await this.#flush(goOn, signal))) return at;
    while (at < bytes.length) {
      const read = this.#job.read(bytes, at);
      at = read.at;
      this.#waiting = read.command;
      if (!(await this.#flush(goOn, signal))) return at;
    }
    return at;
  }

  async finish(goOn: () => boolean, signal: AbortSignal): Promise<boolean> {
    if (!(await this.#flush(goOn, signal))) return false;
    if (!this.#finished) {
      this.#finished = true;
      this.#waiting = this.#job.finish();
      if (!(await this.#flush(goOn, signal))) return false;
    }
    while (this.#job.outstanding > 0) {
      if (!goOn()) return false;
      await this.#change.wait(signal);
    }
    await this.#controller.finish(signal);
    if (!goOn()) return false;
    this.#job.tookAll();
    return true;
  }

  starve(): void {}

  async pause(): Promise<void> {
    this.#change.notify();
    await this.#controller.pause();
  }

  async resume(): Promise<void> {
    await this.#controller.resume();
  }

  async cancel(): Promise<void> {
    this.#forget();
    await this.#controller.cancel();
    this.#off = true;
  }

  async off(): Promise<void> {
    this.#off = true;
    const stopping = this.#controller.emergencyStop();
    this.#forget();
    await stopping;
  }

  telemetry(): ReturnType<Engine['telemetry']> {
    const { done } = this.#job;
    const { temperatures, position = done.position } = this.#controller.readings();
    const { heaters } = this.#controller.capabilities;
    const { x, y, z } = position;
    return {
      position: { x: onMachine(x), y: onMachine(y), z: onMachine(z) },
      line: done.line,
      layer: done.layer,
      temperatures: Object.fromEntries(
        heaters.map((heater) => {
          const { now = 0, target = 0 } = temperatures[heater] ?? {};
          return [heater, { now: bearable(now), target: this.#off ? 0 : bearable(target) }];
        }),
      ),
      feed: this.#off ? 0 : done.feed,
      executedBytes: done.bytes,
      odometer: this.#odometer + done.filament,
      machineSeconds: done.seconds,
      spindleSeconds: done.spindle,
    };
  }

  summary(): EngineSummary {
    return this.#job.summary();
  }

  toolPath(): ToolPath {
    return this.#job.path;
  }

  async close(): Promise<void> {
    await this.#controller.close();
    this.#forget();
    if (this.#modules.secrets === undefined) this.#memory.fill(0);
    else this.#modules.secrets.give(this.#memory);
  }

  /** Sends the command that waits, if any. Returns false if `goOn` returned false first. */
  async #flush(goOn: () => boolean, signal: AbortSignal): Promise<boolean> {
    while (this.#waiting !== undefined) {
      signal.throwIfAborted();
      if (!goOn()) return false;
      if (this.#controller.hasRoom(this.#waiting)) {
        this.#controller.send(this.#waiting);
        this.#waiting = undefined;
      } else {
        await this.#change.wait(signal);
      }
    }
    return goOn();
  }

  #forget(): void {
    this.#waiting = undefined;
    this.#job.wipe();
  }

  #newJob(): Job {
    const { safety } = this.#modules;
    return new Job({
      guard:
        safety === undefined
          ? undefined
          : new SafetyGuard(new PolicyLimits(safety, this.#options.dialect), this.#options.dialect),
      maxCommand: this.#controller.maxCommand,
      maxMoves: this.#options.maxMoves,
      memory: this.#memory,
      refuse: this.#options.refuse,
      onExecuted: this.#modules.onExecuted,
    });
  }
}
