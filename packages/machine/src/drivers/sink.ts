import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { parse, sleep, systemClock } from '@millrace/base';
import { z } from 'zod';
import { BufferedDriver, type Engine, type EngineSummary } from './buffered.ts';
import type { Driver, DriverModules } from './contract.ts';
import { digestSoFar } from './digest.ts';
import { Pacer, paceFactor } from './pacer.ts';

export const sinkOptionsSchema = z.strictObject({
  serial: z.string().min(1).max(64),
  bytesPerSecond: z.number().positive().default(100_000),
  factor: paceFactor.default(1),
  bufferBytes: z
    .number()
    .int()
    .min(1024)
    .max(1 << 26)
    .default(65_536),
  bucketMs: z.number().min(0).max(1000).default(5),
  telemetryMs: z.number().min(0).max(60_000).default(250),
  /** Where to write what it receives; each run begins the file anew. */
  file: z.string().min(1).optional(),
});
export type SinkOptions = z.input<typeof sinkOptionsSchema>;

/**
 * A plain sink: takes any bytes at `bytesPerSecond` × `factor`, hashes them and, if told, writes them to a file.
 * @throws {MillraceError} E_INPUT naming the wrong option.
 */
export function createSink(options: unknown, modules: DriverModules = {}): Driver {
  const settings = parse(sinkOptionsSchema, options, 'sink');
  return new BufferedDriver(
    {
      identity: { kind: 'sink', firmware: 'Millrace sink 1', serial: settings.serial },
      capabilities: { heaters: [], position: false, lines: false, layers: false, filament: false },
      bufferBytes: settings.bufferBytes,
      telemetryMs: settings.telemetryMs,
    },
    new SinkEngine(settings, modules),
    modules,
  );
}

class SinkEngine implements Engine {
  readonly #settings: z.output<typeof sinkOptionsSchema>;
  readonly #modules: DriverModules;
  #pacer!: Pacer;
  #hash!: Hash;
  #taken = 0;
  #done = 0;
  #file: FileHandle | undefined;
  #running = false;

  constructor(settings: z.output<typeof sinkOptionsSchema>, modules: DriverModules) {
    this.#settings = settings;
    this.#modules = modules;
    this.begin();
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
    // As much as the bucket lets through at once, but always something.
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

  hold(): void {
    this.#pacer.hold();
  }

  release(): void {
    this.#pacer.release();
  }

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
