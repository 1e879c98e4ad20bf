import { lstat, mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { type Logger, MillraceError, sleep, toHex, toMillraceError, writeDurably } from '@millrace/base';
import type { P256Key } from '@millrace/identity';
import { readTransaction } from '@millrace/protocol';
import { PackageFile } from '@millrace/vault';
import type { PackageQueue, PackageResult, QueuedPackage } from './make-package.ts';
import { openPackageSource } from './package-source.ts';

export const PACKAGE_SUFFIX = '.mrjob';
/** Folders, inside the watched one, for packages that are dealt with. */
const DONE = { made: 'made', refused: 'refused' } as const;
/** A file that has not changed for this many looks, and is not a whole package, is refused. */
const PATIENCE = 60;

export interface PackageFolderOptions {
  readonly folder: string;
  readonly driverKey: P256Key;
  readonly pollMs: number;
  readonly logger: Logger;
  /** Orders a print of this licence. */
  order(licence: string): Promise<void>;
  /** Called when a package was dealt with. */
  ended?(name: string, result: PackageResult): void;
}

/** What the last look found. */
interface Seen {
  readonly size: number;
  readonly changed: number;
  /** Looks that found the file unchanged. */
  unchanged: number;
}

/**
 * Packages that appear in a folder. Each is made once, then moved to `made`, or to `refused` with the reason beside it.
 * A package that could not be made because the cloud did not answer stays and is tried again. A file that is still being
 * copied waits: its end, which is written last, shows that it is whole.
 */
export class PackageFolder implements PackageQueue {
  readonly driverKey: P256Key;
  readonly #options: PackageFolderOptions;
  readonly #seen = new Map<string, Seen>();
  /** Files that could not be moved away, as they were then. */
  readonly #stuck = new Map<string, Seen>();
  readonly #ready: string[] = [];

  constructor(options: PackageFolderOptions) {
    this.#options = options;
    this.driverKey = options.driverKey;
  }

  async next(signal: AbortSignal): Promise<QueuedPackage> {
    for (;;) {
      await this.look();
      const name = this.#ready.shift();
      if (name !== undefined) return this.#queued(name);
      await sleep(this.#options.pollMs, signal);
    }
  }

  /** Names of the packages that are whole and wait. */
  get ready(): readonly string[] {
    return this.#ready;
  }

  /** Looks at the folder once. @throws {MillraceError} E_NOT_FOUND if it is not there */
  async look(): Promise<void> {
    const names = await this.#names();
    for (const known of this.#seen.keys()) if (!names.includes(known)) this.#seen.delete(known);
    for (const name of names) {
      if (this.#ready.includes(name)) continue;
      const stats = await lstat(join(this.#options.folder, name)).catch(() => undefined);
      if (stats?.isFile() !== true) continue;
      const stuck = this.#stuck.get(name);
      if (stuck?.size === stats.size && stuck.changed === stats.mtimeMs) continue;
      const before = this.#seen.get(name);
      const same = before?.size === stats.size && before.changed === stats.mtimeMs;
      const seen = { size: stats.size, changed: stats.mtimeMs, unchanged: same ? before.unchanged + 1 : 0 };
      this.#seen.set(name, seen);
      if (seen.unchanged > 0) await this.#lookAt(name, seen);
    }
  }

  /**
   * Refuses the package from which the object was made: otherwise the machine would begin another object by itself when
   * the driver starts again, on top of what is left of that one.
   */
  async interrupted(licence: string): Promise<void> {
    const error = new MillraceError('E_MACHINE', 'the driver was stopped while the machine made an object of it');
    for (const name of await this.#names())
      if ((await this.#licenceIn(name)) === licence) return this.#ended(name, { error });
  }

  /** The licence that a package names, which is not verified here. Undefined if it cannot be read. */
  async #licenceIn(name: string): Promise<string | undefined> {
    try {
      const { trailer } = await this.#open(name);
      return toHex(readTransaction(trailer.licence).id);
    } catch {
      return undefined; // `look` says what is wrong with it
    }
  }

  /** A package whose form is right. */
  async #open(name: string): Promise<PackageFile> {
    const source = await openPackageSource(join(this.#options.folder, name));
    return PackageFile.open(source).finally(() => source.close());
  }

  async #lookAt(name: string, seen: Seen): Promise<void> {
    try {
      await this.#open(name);
      this.#ready.push(name);
    } catch (cause) {
      if (seen.unchanged >= PATIENCE) await this.#ended(name, { error: toMillraceError(cause) });
    }
  }

  async #names(): Promise<string[]> {
    try {
      return (await readdir(this.#options.folder)).filter((name) => name.endsWith(PACKAGE_SUFFIX)).sort();
    } catch (cause) {
      throw new MillraceError('E_NOT_FOUND', `cannot read the folder ${this.#options.folder}`, { cause });
    }
  }

  #queued(name: string): QueuedPackage {
    return {
      name,
      open: () => openPackageSource(join(this.#options.folder, name)),
      order: (licence) => this.#options.order(licence),
      ended: (result) => this.#ended(name, result),
    };
  }

  async #ended(name: string, result: PackageResult): Promise<void> {
    const { ended, folder, logger } = this.#options;
    const { error, object } = result;
    const seen = this.#seen.get(name);
    this.#seen.delete(name);
    ended?.(name, result);
    if (result.later === true) return;
    try {
      const place = join(folder, error === undefined ? DONE.made : DONE.refused);
      await mkdir(place, { recursive: true });
      if (error !== undefined)
        await writeDurably(join(place, `${name}.txt`), `${error.code}: ${error.message}\n`, 0o644);
      await rename(join(folder, name), join(place, error === undefined ? `${object}${PACKAGE_SUFFIX}` : name));
    } catch (cause) {
      if (seen !== undefined) this.#stuck.set(name, seen);
      logger.warn({ err: cause, package: name }, 'job package not moved away: it is not made again until it changes');
    }
  }
}
