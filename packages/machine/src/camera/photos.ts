import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, type Clock, type Logger, MillraceError, toMillraceError, writeDurably } from '@millrace/base';
import { type MachinePhoto, type PhotoBinding, sealPhoto, sha256 } from '@millrace/protocol';
import { capture } from './capture.ts';
import type { CameraSettings } from './settings.ts';

/** Maximum number of photos of a running print, beside the first and the last. */
export const MAX_DURING = 62;

export interface PhotoModules {
  readonly camera: CameraSettings;
  /** Holds a folder for each object. */
  readonly folder: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** To whom the photos of a print are sealed. */
export interface PhotoTerms extends PhotoBinding {
  /** The licence's `telemetryKey`. */
  readonly key: Uint8Array;
}

/**
 * Photos of one print, sealed to the design's owner. The sealed files stay on this computer; reports commit to them. A
 * camera that fails never stops or delays a print: `last` waits for one photo only, and not longer than its timeout.
 */
export class PrintPhotos {
  readonly #modules: PhotoModules;
  readonly #terms: PhotoTerms;
  /** Called with the hash of each sealed photo. */
  readonly #taken: (hash: Bytes, moment: MachinePhoto['moment']) => void;
  readonly #stop = new AbortController();
  #number = 0;
  #taking: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  constructor(modules: PhotoModules, terms: PhotoTerms, taken: (hash: Bytes, moment: MachinePhoto['moment']) => void) {
    this.#modules = modules;
    this.#terms = terms;
    this.#taken = taken;
  }

  /** The machine has begun: the first photo, and then one every `everyMinutes`. */
  begin(): void {
    this.#taking = removeOldest(this.#modules).then(() => this.#take('start'));
    let during = 0;
    this.#timer = setInterval(() => {
      if (++during >= MAX_DURING) clearInterval(this.#timer);
      this.#taking = this.#taking.then(() => this.#take('during'));
    }, this.#modules.camera.everyMinutes * 60_000);
    this.#timer.unref();
  }

  /** The machine has ended. */
  async last(moment: 'end' | 'failure'): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort(new MillraceError('E_STATE', 'the print has ended'));
    await this.#taking;
    await this.#take(moment, new AbortController().signal);
  }

  async #take(moment: MachinePhoto['moment'], signal = this.#stop.signal): Promise<void> {
    const { camera, folder, clock, logger } = this.#modules;
    const { key, ...binding } = this.#terms;
    try {
      const jpeg = await capture(camera, signal);
      const sealed = await sealPhoto(key, binding, { time: clock.now(), moment, jpeg });
      const name = `${String(++this.#number).padStart(4, '0')}-${moment}.photo`;
      await writeDurably(join(folder, binding.object, name), sealed);
      this.#taken(sha256(sealed), moment);
    } catch (cause) {
      if (signal.aborted) return;
      logger.warn({ err: toMillraceError(cause), object: binding.object, moment }, 'the camera gave no photo');
    }
  }
}

/** Keeps the photos of all objects below `keepMb`. A failure is logged: it stops no print. */
async function removeOldest({ camera, folder, logger }: PhotoModules): Promise<void> {
  try {
    const objects = await Promise.all((await readdir(folder)).map((name) => sizeOf(join(folder, name))));
    let total = objects.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { path, bytes } of objects.sort((a, b) => a.changed - b.changed)) {
      if (total <= camera.keepMb * 1_000_000) return;
      await rm(path, { recursive: true });
      total -= bytes;
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT')
      logger.warn({ err: toMillraceError(cause) }, 'cannot remove old photos');
  }
}

async function sizeOf(path: string): Promise<{ path: string; bytes: number; changed: number }> {
  const files = await Promise.all((await readdir(path)).map((name) => stat(join(path, name))));
  return {
    path,
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    changed: Math.max(0, ...files.map(({ mtimeMs }) => mtimeMs)),
  };
}
