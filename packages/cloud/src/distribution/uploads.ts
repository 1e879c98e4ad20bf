import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, hexOf, MillraceError, parse, systemRandom, toHex } from '@millrace/base';
import { SEGMENT_BYTES } from '@millrace/vault';
import { z } from 'zod';

const MAX_SEGMENTS = 1 << 22; // 64 GiB

const designSchema = hexOf(16);
const numberSchema = z.coerce
  .number()
  .int()
  .min(0)
  .max(MAX_SEGMENTS - 1);

/**
 * Sealed segments on their way from the owner to the segments node, one file each under uploads/DESIGN/. They are
 * overwritten and removed as soon as the segments node has them.
 */
export class Uploads {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Durable when it resolves; the same segment may come again. @throws {MillraceError} E_INPUT, E_CONFLICT, E_DISK_FULL */
  async put(design: string, number: string, sealed: Uint8Array): Promise<void> {
    const path = this.#path(design, number);
    if (sealed.length !== SEGMENT_BYTES)
      throw new MillraceError('E_INPUT', `a segment has ${SEGMENT_BYTES} bytes, not ${sealed.length}`);
    const temporary = `${path}.${toHex(systemRandom(6))}`;
    await mkdir(join(this.#folder, design), { recursive: true, mode: 0o700 });
    try {
      const file = await open(temporary, 'wx', 0o600);
      try {
        await file.writeFile(sealed);
        await file.datasync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
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

  /** Overwrites and removes every staging copy of the design. */
  async wipe(design: string): Promise<void> {
    const folder = join(this.#folder, parse(designSchema, design, 'design'));
    for (const name of await readdir(folder).catch(() => [])) {
      const path = join(folder, name);
      const { size } = await stat(path);
      const file = await open(path, 'r+');
      await file.write(new Uint8Array(size), 0, size, 0);
      await file.datasync();
      await file.close();
    }
    await rm(folder, { recursive: true, force: true });
  }

  #path(design: string, number: string): string {
    return join(this.#folder, parse(designSchema, design, 'design'), String(parse(numberSchema, number, 'segment')));
  }
}
