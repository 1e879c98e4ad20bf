import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Bytes,
  type Closable,
  diskCode,
  diskText,
  hexOf,
  MillraceError,
  Mutex,
  parse,
  sleep,
  systemRandom,
  toHex,
} from '@millrace/base';
import { SEGMENT_BYTES } from '@millrace/vault';
import { z } from 'zod';
import { DEFAULT_STAGING, type StagingSettings } from '../settings.ts';
import { Staging } from './staging.ts';

const MAX_SEGMENTS = 1 << 22; // 64 GiB
/** Prefix of folders that are being wiped. */
const WIPING = '.wiping-';
/** File in a design's folder that names the owner. */
const OWNER = 'owner';
/** Files overwritten at a time. */
const AT_ONCE = 16;
/** A wipe request is answered after this time at the latest; the wipe continues. */
const WAIT_MS = 5_000;

const designSchema = hexOf(16);
const ownerSchema = hexOf(16);
const numberSchema = z.coerce
  .number()
  .int()
  .min(0)
  .max(MAX_SEGMENTS - 1);

/**
 * Sealed segments on their way from the owner to the segments node, one file each in uploads/DESIGN/. They are
 * overwritten and removed when the segments node has stored them.
 */
export class Uploads implements Closable {
  readonly #folder: string;
  readonly #staging: Staging;
  readonly #wiping = new Set<Promise<void>>();
  readonly #renames = new Mutex();
  #closed = false;

  constructor(folder: string, settings: StagingSettings = DEFAULT_STAGING) {
    this.#folder = folder;
    this.#staging = new Staging(settings);
  }

  /** Counts what is staged and continues the wipes that a killed process left unfinished. */
  async start(): Promise<void> {
    for (const name of await readdir(this.#folder).catch(() => [])) {
      if (name.startsWith(WIPING)) this.#wipeLater(join(this.#folder, name));
      else if (designSchema.safeParse(name).success) await this.#count(name);
    }
  }

  /** Removes folders without an owner file: their process was killed before it wrote a segment. */
  async #count(design: string): Promise<void> {
    const owner = await readFile(join(this.#folder, design, OWNER), 'utf8').catch(() => '');
    const { size } = await this.have(design);
    if (!ownerSchema.safeParse(owner).success) await this.wipe(design);
    else if (size > 0) this.#staging.add(design, owner, size);
  }

  /** Waits for the files that are being overwritten. The next start wipes the rest. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#wiping);
  }

  /**
   * Durable when it resolves. The same owner may upload a segment again.
   * @throws {MillraceError} E_INPUT, E_FORBIDDEN, E_QUOTA, E_DISK_FULL
   */
  async put(design: string, number: string, sealed: Uint8Array, owner: string): Promise<void> {
    const path = this.#path(design, number);
    if (sealed.length !== SEGMENT_BYTES)
      throw new MillraceError('E_INPUT', `a segment has ${SEGMENT_BYTES} bytes, not ${sealed.length}`);
    const room = (await isThere(path)) ? 0 : 1;
    this.#staging.reserve(design, owner, room);
    let taken = 0;
    try {
      taken = (await this.#write(path, design, sealed, owner)) ? 1 : 0;
    } finally {
      // The segment was not written, or it replaced a segment that arrived meanwhile, or it was wiped.
      this.#staging.add(design, owner, taken - room);
    }
  }

  /** @returns whether the segment is new */
  async #write(path: string, design: string, sealed: Uint8Array, owner: string): Promise<boolean> {
    const temporary = `${path}.${toHex(systemRandom(6))}`;
    try {
      await mkdir(join(this.#folder, design), { recursive: true, mode: 0o700 });
      await this.#sign(design, owner);
      const file = await open(temporary, 'wx', 0o600);
      try {
        await file.writeFile(sealed);
        await file.datasync();
      } finally {
        await file.close();
      }
      // Renames of one segment are serialized: only the first adds a segment.
      return await this.#renames.run(async () => {
        const known = await isThere(path);
        await rename(temporary, path);
        return !known;
      });
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined);
      throw refused(error, path);
    }
  }

  /** Writes the owner file, once for each folder, so that a restarted node can count by owner. */
  async #sign(design: string, owner: string): Promise<void> {
    try {
      await writeFile(join(this.#folder, design, OWNER), owner, { flag: 'wx', mode: 0o600, flush: true });
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
  }

  /** Numbers that have arrived. */
  async have(design: string): Promise<Set<number>> {
    const names = await readdir(join(this.#folder, parse(designSchema, design, 'design'))).catch(() => []);
    return new Set(names.filter((name) => /^\d+$/.test(name)).map(Number));
  }

  /** @throws {MillraceError} E_NOT_FOUND */
  async get(design: string, number: string): Promise<Bytes> {
    try {
      return new Uint8Array(await readFile(this.#path(design, number)));
    } catch (cause) {
      throw new MillraceError('E_NOT_FOUND', `segment ${number} of ${design} is not uploaded`, { cause });
    }
  }

  /**
   * Overwrites and removes every staging copy of the design. The copies become inaccessible at once. Resolves after a
   * few seconds at the latest; the remaining files are overwritten in the background.
   */
  async wipe(design: string): Promise<void> {
    const folder = join(this.#folder, parse(designSchema, design, 'design'));
    const going = join(this.#folder, `${WIPING}${design}-${toHex(systemRandom(6))}`);
    try {
      await rename(folder, going);
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return;
      throw refused(error, folder);
    }
    this.#staging.wiped(design);
    const waited = new AbortController();
    await Promise.race([this.#wipeLater(going), sleep(WAIT_MS, waited.signal).catch(() => undefined)]);
    waited.abort();
  }

  #wipeLater(folder: string): Promise<void> {
    const work = this.#overwrite(folder).catch(() => undefined); // the next start tries again
    this.#wiping.add(work);
    return work.finally(() => this.#wiping.delete(work));
  }

  async #overwrite(folder: string): Promise<void> {
    const names = await readdir(folder);
    const worker = async () => {
      for (let name = names.pop(); name !== undefined && !this.#closed; name = names.pop()) {
        const path = join(folder, name);
        const { size } = await stat(path);
        const file = await open(path, 'r+');
        try {
          await file.write(new Uint8Array(size), 0, size, 0);
          await file.datasync();
        } finally {
          await file.close();
        }
        await rm(path);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    if (!this.#closed) await rm(folder, { recursive: true, force: true });
  }

  #path(design: string, number: string): string {
    return join(this.#folder, parse(designSchema, design, 'design'), String(parse(numberSchema, number, 'segment')));
  }
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** The file system's error as a coded error. */
function refused(error: unknown, path: string): MillraceError {
  if (error instanceof MillraceError) return error;
  return new MillraceError(diskCode(error), diskText(error, path), { data: { path }, cause: error });
}
