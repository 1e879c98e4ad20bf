import { createHash, type Hash } from 'node:crypto';
import { MillraceError, sleep, systemClock } from '@millrace/base';
import {
  desktopLimits,
  Execution,
  type ExecutionListener,
  PolicyLimits,
  SafetyGuard,
  SegmentTimes,
} from '@millrace/gcode';
import { ToolPath } from '@millrace/toolpath';
import { BufferedDriver, checkSerial, type Engine, type EngineSummary } from '../buffered.ts';
import type { Driver, DriverModules, MachineIdentity } from '../contract.ts';
import { digestSoFar } from '../digest.ts';
import { Pacer } from '../pacer.ts';
import { type VirtualSettings, virtualCapabilities } from './settings.ts';

/**
 * The virtual machine: executes G-code by the motion model, `factor` times faster than real time, and records the path
 * of its tool.
 */
export function createVirtualMachine(settings: VirtualSettings, modules: DriverModules): Driver {
  return new BufferedDriver(
    {
      kind: 'virtual',
      bufferBytes: settings.bufferBytes,
      telemetryMs: settings.telemetryMs,
    },
    new VirtualEngine(settings, modules),
    modules,
  );
}

/** Externally visible progress: only what the machine has had time to do. */
interface Done {
  readonly x: number;
  readonly y: number;
  readonly z: number;
  readonly line: number;
  readonly layer: number;
  readonly feed: number;
  readonly bytes: number;
  readonly filament: number;
  readonly seconds: number;
  readonly spindle: number;
}

const nothingDone: Done = {
  ...{ x: 0, y: 0, z: 0, line: 0, layer: 0, feed: 0, bytes: 0, filament: 0, seconds: 0, spindle: 0 },
};

class VirtualEngine implements Engine, ExecutionListener {
  readonly capabilities = virtualCapabilities;
  readonly #settings: VirtualSettings;
  readonly #modules: DriverModules;
  #guard: SafetyGuard | undefined;
  #execution!: Execution;
  #pacer!: Pacer;
  #hash!: Hash;
  #segments!: SegmentTimes;
  #path!: ToolPath;
  #taken = 0;
  #done = nothingDone;
  #odometer: number;
  #off = false;
  #unplugged: number | undefined;
  #thermal: number | undefined;
  #feed = 0;

  constructor(settings: VirtualSettings, modules: DriverModules) {
    this.#settings = settings;
    this.#modules = modules;
    this.#odometer = settings.odometer;
    this.#unplugged = settings.faults.unpluggedAtLine;
    this.#thermal = settings.faults.thermalAtLine;
    this.#reset();
  }

  async connect(expected: { readonly serial: string }): Promise<MachineIdentity> {
    return checkSerial(
      { kind: 'virtual', firmware: 'Millrace virtual machine 1', serial: this.#settings.serial },
      expected,
    );
  }

  begin(): void {
    this.#odometer += this.#done.filament;
    this.#reset();
  }

  async take(bytes: Uint8Array, goOn: () => boolean, signal: AbortSignal): Promise<number> {
    const execution = this.#execution;
    const quantum = (this.#settings.bucketMs * this.#settings.factor) / 1000;
    let hashed = 0;
    let at = 0;
    while (at < bytes.length) {
      at = execution.step(bytes, at);
      this.#faults();
      if (execution.seconds - this.#done.seconds <= quantum) continue;
      this.#note(bytes.subarray(hashed, at));
      hashed = at;
      if (!(await this.#pacer.until(execution.seconds, goOn, signal))) return at;
      this.#publish();
    }
    this.#note(bytes.subarray(hashed, at));
    this.#publish();
    return at;
  }

  async finish(goOn: () => boolean, signal: AbortSignal): Promise<boolean> {
    this.#execution.finish();
    this.#segments.cover(this.#taken);
    if (!(await this.#pacer.until(this.#execution.seconds, goOn, signal))) return false;
    this.#publish();
    return true;
  }

  starve(starved: boolean): void {
    if (starved) this.#pacer.hold();
    else this.#pacer.release();
  }

  pause(): void {
    this.#pacer.hold();
  }

  resume(): void {
    this.#pacer.release();
  }

  cancel(): void {}

  off(): void {
    this.#off = true;
  }

  telemetry(): ReturnType<Engine['telemetry']> {
    const done = this.#done;
    const { hotend, bed } = this.#execution.interpreter;
    const heat = (heater: typeof hotend) => ({
      now: heater.temperature(done.seconds),
      target: this.#off ? 0 : heater.target,
    });
    return {
      position: { x: done.x, y: done.y, z: done.z },
      line: done.line,
      layer: done.layer,
      temperatures: { hotend: heat(hotend), bed: heat(bed) },
      feed: this.#off ? 0 : done.feed,
      executedBytes: done.bytes,
      odometer: this.#odometer + done.filament,
      machineSeconds: done.seconds,
      spindleSeconds: done.spindle,
    };
  }

  summary(): EngineSummary {
    const done = this.#done;
    return {
      executedBytes: done.bytes,
      sha256: digestSoFar(this.#hash),
      takenBytes: this.#taken,
      lines: done.line,
      layers: this.#execution.interpreter.layers,
      moves: this.#execution.moves,
      unknownCommands: this.#execution.interpreter.unknown,
      filamentMm: done.filament,
      machineSeconds: done.seconds,
      times: [...this.#segments.times],
    };
  }

  toolPath(): ToolPath {
    return this.#path;
  }

  async close(): Promise<void> {}

  command(execution: Execution): void {
    this.#guard?.command(execution);
  }

  aimed(execution: Execution): void {
    this.#guard?.aimed(execution);
  }

  planned(direction: Float64Array, feed: number): void {
    this.#guard?.planned(direction, feed);
  }

  spent(lineEnd: number, seconds: number): void {
    this.#segments.spent(lineEnd, seconds);
  }

  travelled(execution: Execution): void {
    this.#feed = execution.feed;
    this.#path.add(execution.x, execution.y, execution.z, execution.extruding, execution.layer);
  }

  #reset(): void {
    const { factor, bucketMs, segmentBytes, maxMoves } = this.#settings;
    const clock = this.#modules.clock ?? systemClock;
    const { safety } = this.#modules;
    this.#guard = safety === undefined ? undefined : new SafetyGuard(new PolicyLimits(safety, 'printer'), 'printer');
    this.#execution = new Execution(this, desktopLimits);
    this.#pacer = new Pacer({ factor, bucketMs, clock, sleep: this.#modules.sleep ?? sleep });
    this.#hash = createHash('sha256');
    this.#segments = new SegmentTimes(segmentBytes);
    this.#path = new ToolPath(maxMoves);
    this.#taken = 0;
    this.#done = nothingDone;
    this.#off = false;
    this.#feed = 0;
  }

  #note(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.#taken += bytes.length;
    this.#modules.onExecuted?.(bytes);
  }

  #publish(): void {
    const e = this.#execution;
    this.#done = {
      x: e.x,
      y: e.y,
      z: e.z,
      line: e.executedLine,
      layer: e.layer,
      feed: this.#feed,
      bytes: e.executedBytes,
      filament: e.filament,
      seconds: e.seconds,
      spindle: e.spindleSeconds,
    };
  }

  #faults(): void {
    const at = this.#execution.reader.line;
    if (this.#unplugged !== undefined && at >= this.#unplugged) {
      this.#unplugged = undefined;
      throw new MillraceError('E_MACHINE', 'the machine does not answer; it may be unplugged', { data: { line: at } });
    }
    if (this.#thermal !== undefined && at >= this.#thermal) {
      this.#thermal = undefined;
      throw new MillraceError('E_MACHINE', 'the machine reports a thermal fault of its nozzle', { data: { line: at } });
    }
  }
}
