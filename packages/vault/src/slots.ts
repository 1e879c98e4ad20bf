import { type FileHandle, open } from 'node:fs/promises';
import { type Bytes, copyBytes, diskCode, diskText, MillraceError, Mutex } from '@millrace/base';

/** Maximum content of a slot, bytes. */
export const SLOT_CONTENT = 127;
const SLOT_BYTES = 128;

/**
 * Fixed slots that are overwritten in place, for keys that must be destroyed (spec/vault.md, section 7). A database
 * would leave copies in its free pages.
 */
export interface Slots {
  /** Undefined if the slot is empty. */
  read(slot: number): Promise<Bytes | undefined>;
  /** Durable once it resolves. */
  write(slot: number, content: Uint8Array): Promise<void>;
  /** Overwritten and durable once it resolves. An empty slot is overwritten too. */
  erase(slot: number): Promise<void>;
  /** Number of slots up to the last one ever used. */
  count(): Promise<number>;
  close(): Promise<void>;
}

export class MemorySlots implements Slots {
  readonly #slots: (Bytes | undefined)[] = [];

  async read(slot: number): Promise<Bytes | undefined> {
    const content = this.#slots[slot];
    return content && copyBytes(content);
  }

  async write(slot: number, content: Uint8Array): Promise<void> {
    checkContent(content);
    this.#slots[slot] = copyBytes(content);
  }

  async erase(slot: number): Promise<void> {
    this.#slots[slot]?.fill(0);
    this.#slots[slot] = undefined;
  }

  async count(): Promise<number> {
    return this.#slots.length;
  }

  async close(): Promise<void> {}
}

/** @throws {MillraceError} E_STORE, E_READ_ONLY if the file cannot be opened */
export async function openSlots(path: string): Promise<Slots> {
  try {
    // On some systems 'a' appends regardless of the position, and r+ does not create the file.
    const created = await open(path, 'wx+', 0o600).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return undefined;
      throw error;
    });
    return new FileSlots(created ?? (await open(path, 'r+')), path);
  } catch (cause) {
    throw new MillraceError(diskCode(cause), diskText(cause, path), { data: { path }, cause });
  }
}

class FileSlots implements Slots {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #mutex = new Mutex();

  constructor(file: FileHandle, path: string) {
    this.#file = file;
    this.#path = path;
  }

  read(slot: number): Promise<Bytes | undefined> {
    return this.#run(async () => {
      const bytes = new Uint8Array(SLOT_BYTES);
      const { bytesRead } = await this.#file.read(bytes, 0, SLOT_BYTES, slot * SLOT_BYTES);
      const length = bytes[0] ?? 0;
      if (bytesRead < SLOT_BYTES || length === 0) return undefined;
      if (length > SLOT_CONTENT) throw new MillraceError('E_STORE', `slot ${slot} of ${this.#path} is damaged`);
      return bytes.slice(1, 1 + length);
    });
  }

  async write(slot: number, content: Uint8Array): Promise<void> {
    checkContent(content);
    const bytes = new Uint8Array(SLOT_BYTES);
    bytes[0] = content.length;
    bytes.set(content, 1);
    await this.#overwrite(slot, bytes);
  }

  erase(slot: number): Promise<void> {
    return this.#overwrite(slot, new Uint8Array(SLOT_BYTES));
  }

  count(): Promise<number> {
    return this.#run(async () => Math.floor((await this.#file.stat()).size / SLOT_BYTES));
  }

  close(): Promise<void> {
    return this.#mutex.run(() => this.#file.close());
  }

  #overwrite(slot: number, bytes: Uint8Array): Promise<void> {
    return this.#run(async () => {
      const { bytesWritten } = await this.#file.write(bytes, 0, SLOT_BYTES, slot * SLOT_BYTES);
      if (bytesWritten !== SLOT_BYTES) throw new MillraceError('E_DISK_FULL', `no space left for ${this.#path}`);
      await this.#file.sync();
    });
  }

  #run<T>(work: () => Promise<T>): Promise<T> {
    return this.#mutex.run(async () => {
      try {
        return await work();
      } catch (error) {
        if (error instanceof MillraceError) throw error;
        throw new MillraceError(diskCode(error), diskText(error, this.#path), { cause: error });
      }
    });
  }
}

function checkContent(content: Uint8Array): void {
  if (content.length < 1 || content.length > SLOT_CONTENT) {
    throw new MillraceError('E_INTERNAL', `a slot holds 1 to ${SLOT_CONTENT} bytes`);
  }
}
