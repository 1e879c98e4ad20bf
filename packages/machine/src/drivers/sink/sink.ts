import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { sleep, systemClock } from '@millrace/base';
import { BufferedDriver, checkSerial, type Engine, type EngineSummary } from '../buffered.ts';
import type { Driver, DriverModules, MachineIdentity } from '../contract.ts';
import { digestSoFar } from '../digest.ts';
import { Pacer } from '../pacer.ts';
import { type SinkSettings, sinkCapabilities } from './settings.ts';

/**
 * A plain sink: accepts any bytes at `bytesPerSecond` × `factor`, hashes them and, if configured, writes them to a
 * file.
 */
export function createSink(settings: SinkSettings, modules: DriverModules): Driver {
  return new BufferedDriver(
    {
      kind: 'sink',
      bufferBytes: settings.bufferBytes,
      telemetryMs: settings.telemetryMs,
    },
    new SinkEngine(settings, modules),
    modules,
  );
}

class SinkEngine implements Engine {
  readonly capabilities = sinkCapabilities;
  readonly #settings: SinkSettings;
  readonly #modules: DriverModules;
  #pacer!: Pacer;
  #hash!: Hash;
  #taken = 0;
  #done = 0;
  #file: FileHandle | undefined;
  #running = false;

  constructor(settings: SinkSettings, modules: DriverModules) {
    this.#settings = settings;
    this.#modules = modules;
    this.begin();
  }

  async connect(expected: { readonly serial: string }): Promise<MachineIdentity> {
    return checkSerial({ kind: 'sink', firmware: 'Millrace sink 1', serial: this.#settings.serial }, expected);
  }

  begin(): void {
    const { factor, bucketMs } = this.#settings;
    const clock = this.#modules.clock ?? systemClock;
    this.#pacer = new Pacer({ factor, bucketMs, clock, sleep: this.#modules.sleep ?? sleep });
    this.#hash = createHash('sha256');
    this.#taken = 0;
    this.#done = 0;
    this.#running = false;
  }

  async take(bytes: Uint8Array, goOn: () => boolean, signal: AbortSignal): Promise<number> {
    const { bytesPerSecond, factor, bucketMs } = this.#settings;
    // As much as the bucket allows at once, but at least one byte.
    const step = Math.max(1, Math.min(bytes.length, Math.floor((bytesPerSecond * factor * bucketMs) / 1000)));
    const part = bytes.subarray(0, step);
    await this.#store(part);
    this.#hash.update(part);
    this.#taken += step;
    this.#modules.onExecuted?.(part);
    if (await this.#wait(goOn, signal)) this.#done = this.#taken;
    return step;
  }

  async finish(goOn: () => boolean, signal: AbortSignal): Promise<boolean> {
    await this.#store(new Uint8Array(0));
    if (!(await this.#wait(goOn, signal))) return false;
    this.#done = this.#taken;
    await this.close();
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

  off(): void {}

  telemetry(): ReturnType<Engine['telemetry']> {
    return {
      position: { x: 0, y: 0, z: 0 },
      line: 0,
      layer: 0,
      temperatures: {},
      feed: 0,
      executedBytes: this.#done,
      odometer: 0,
      machineSeconds: this.#done / this.#settings.bytesPerSecond,
    };
  }

  summary(): EngineSummary {
    return {
      executedBytes: this.#done,
      sha256: digestSoFar(this.#hash),
      takenBytes: this.#taken,
      lines: 0,
      layers: 0,
      moves: 0,
      unknownCommands: 0,
      filamentMm: 0,
      machineSeconds: this.#done / this.#settings.bytesPerSecond,
    };
  }

  toolPath(): undefined {
    return undefined;
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  #wait(goOn: () => boolean, signal: AbortSignal): Promise<boolean> {
    return this.#pacer.until(this.#taken / this.#settings.bytesPerSecond, goOn, signal);
  }

  async #store(bytes: Uint8Array): Promise<void> {
    if (this.#settings.file === undefined) return;
    if (!this.#running) {
      await this.close();
      this.#file = await open(this.#settings.file, 'w', 0o600);
      this.#running = true;
    }
    await this.#file?.writeFile(bytes);
  }
}
