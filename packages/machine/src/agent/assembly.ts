import { type Bytes, MillraceError, Mutex, u32be, wipe } from '@millrace/base';
import { hold, type SecretMemory } from '@millrace/live-matrix';
import { decodeKey, type MachineSide } from '@millrace/protocol';
import type { HashGroup } from '@millrace/vault';
import { cellBytes } from './cell.ts';
import type { Feed } from './feed.ts';
import type { Design } from './licensed-design.ts';
import type { PrintProgress } from './progress.ts';
import { SegmentHashes } from './segment-hashes.ts';

export interface AssemblyOptions {
  readonly side: MachineSide;
  readonly design: Design;
  readonly feed: Feed;
  readonly progress: PrintProgress;
  /** Memory for the window's keys. */
  readonly secrets: SecretMemory;
}

/**
 * Assembles the segments of the window. Their cells, keys and hashes arrive separately. Complete segments go to the
 * feed in order. Nothing goes to the feed after `close`.
 */
export class SegmentAssembly {
  readonly #options: AssemblyOptions;
  readonly #cells = new Map<number, Bytes>();
  readonly #keys = new Map<number, Uint8Array>();
  readonly #hashes: SegmentHashes;
  /** The keys' context can open its messages only in the order in which they were sealed. */
  readonly #sealed = new Mutex();
  #nextKey: number;
  #closed = false;

  constructor(options: AssemblyOptions) {
    const { from } = options.side.parameters;
    this.#options = options;
    this.#nextKey = from;
    this.#hashes = new SegmentHashes(options.design, from);
  }

  /** Number of cells that wait for keys, hashes or earlier segments. */
  get waiting(): number {
    return this.#cells.size;
  }

  /**
   * Adds a cell whose frame was authenticated. The assembly takes ownership of it.
   * @throws {MillraceError} E_FRAME_REPLAY, E_FRAME_FORMAT if it is not in the window
   */
  addCell(segment: number, cell: Bytes): void {
    const { progress, side } = this.#options;
    const { segments, window, layer } = side.parameters;
    if (segment < progress.got || this.#cells.has(segment)) {
      wipe(cell);
      throw new MillraceError('E_FRAME_REPLAY', `segment ${segment} came again`);
    }
    if (segment >= segments || segment >= progress.taken + window || cell.length !== cellBytes(layer)) {
      wipe(cell);
      throw new MillraceError('E_FRAME_FORMAT', `frame ${segment} is not one of this window`);
    }
    this.#cells.set(segment, cell);
    this.#deliver();
  }

  /**
   * Adds the sealed keys of the next segment.
   * @returns false if earlier keys are missing: the context can open no later ones, so a new session is needed
   * @throws {MillraceError} E_SEAL, E_FRAME_REPLAY
   */
  addKeys(payload: Bytes): Promise<boolean> {
    return this.inOrder(async () => {
      const { segment, sealed } = decodeKey(payload);
      if (this.#closed) return true;
      if (segment > this.#nextKey) return false;
      const keys = await this.#options.side.context.open(sealed, u32be(segment));
      if (this.#closed || segment < this.#nextKey) wipe(keys);
      if (this.#closed) return true;
      if (segment < this.#nextKey)
        throw new MillraceError('E_FRAME_REPLAY', `the keys of segment ${segment} came again`);
      this.#keys.set(segment, hold(this.#options.secrets, keys));
      this.#nextKey = segment + 1;
      this.#deliver();
      return true;
    });
  }

  /** @throws {MillraceError} E_SEGMENT if the owner did not commit to them, E_FRAME_FORMAT */
  addHashes(group: HashGroup & { readonly group: number }): void {
    const { progress, side } = this.#options;
    this.#hashes.add(group, progress.taken + side.parameters.window);
    this.#deliver();
  }

  /** Runs `open`, which opens a message of the keys' context, after all earlier ones. */
  inOrder<T>(open: () => Promise<T>): Promise<T> {
    return this.#sealed.run(open);
  }

  close(): void {
    this.#closed = true;
    wipe(...this.#cells.values());
    for (const keys of this.#keys.values()) this.#options.secrets.give(keys);
    this.#cells.clear();
    this.#keys.clear();
  }

  #deliver(): void {
    const { feed, progress } = this.#options;
    while (!this.#closed) {
      const segment = progress.got;
      const [cell, keys, hash] = [this.#cells.get(segment), this.#keys.get(segment), this.#hashes.of(segment)];
      if (cell === undefined || keys === undefined || hash === undefined) return;
      this.#cells.delete(segment);
      this.#keys.delete(segment);
      feed.push(cell, keys, hash);
    }
  }
}
