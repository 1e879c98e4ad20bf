import {
  type Bytes,
  type Clock,
  type Closable,
  concatBytes,
  fromBase64,
  type Logger,
  MillraceError,
  Mutex,
  sleep,
  toMillraceError,
  u64be,
  wipe,
} from '@millrace/base';
import { generateP256Key, type P256Key, p256Key } from '@millrace/identity';
import { type BoxSecrets, type BoxUse, type Directory, readBoxKey, signBoxKey } from '@millrace/protocol';
import type { Slots } from '@millrace/vault';

export interface BoxPeriod {
  /** Interval at which a new key is made, ms. */
  readonly periodMs: number;
  /** How long senders may still seal to the previous key, ms. */
  readonly retentionMs: number;
}

interface OwnBox {
  readonly number: number;
  readonly slot: number;
  readonly issued: number;
  readonly key: P256Key;
}

export interface OwnBoxesOptions {
  readonly slots: Slots;
  readonly directory: Directory;
  /** Id of this node. */
  readonly node: string;
  readonly use: BoxUse;
  readonly identity: P256Key;
  readonly period: BoxPeriod;
  readonly clock: Clock;
  readonly logger: Logger;
  /**
   * Announces the newest key to control, and asks it to refuse mail sealed to a key below `floor`; control then posts
   * the message `box.drained`. Throws E_BOX_KEY with data {document}, in base64, if control has recorded a newer key of
   * this node.
   */
  readonly announce: (document: Bytes, floor: number, signal: AbortSignal) => Promise<void>;
}

const CHECK_MS = 1_000;
/** A key is erased after this time, ms, even if control withholds mail or refuses announcements. */
const MAX_DRAIN_MS = 24 * 3_600_000;
const RECORD_BYTES = 48;

/**
 * A node's box keys for one use (spec/protocol.md, section 4). They are stored in slots, number(u64) ‖ issued(u64) ‖
 * secret(32), and overwritten there when no more mail sealed to them can arrive. A key is announced after it is
 * durable.
 */
export class OwnBoxes implements BoxSecrets, Closable {
  readonly #options: OwnBoxesOptions;
  /** Keys, ordered by number. */
  readonly #boxes: OwnBox[];
  readonly #mutex = new Mutex();
  readonly #stop = new AbortController();
  /** When each key fell below the floor, on the monotonic clock. */
  readonly #closedAt = new Map<number, number>();
  #announced: { readonly number: number; readonly floor: number } | undefined;
  #drainedBelow = 0;
  /** Whether this process has announced the newest key. */
  #made = false;
  #running: Promise<void> | undefined;

  private constructor(options: OwnBoxesOptions, boxes: OwnBox[]) {
    this.#options = options;
    this.#boxes = boxes;
  }

  /** The caller closes the slots afterwards. @throws {MillraceError} E_STORE, E_READ_ONLY */
  static async open(options: OwnBoxesOptions): Promise<OwnBoxes> {
    const boxes: OwnBox[] = [];
    const count = await options.slots.count();
    for (let slot = 0; slot < count; slot++) {
      const record = await options.slots.read(slot);
      if (record === undefined) continue;
      if (record.length !== RECORD_BYTES) throw new MillraceError('E_STORE', `slot ${slot} holds no box key`);
      const view = new DataView(record.buffer, record.byteOffset);
      const [number, issued] = [Number(view.getBigUint64(0)), Number(view.getBigUint64(8))];
      boxes.push({ number, slot, issued, key: p256Key(record.subarray(16)) });
      wipe(record);
    }
    return new OwnBoxes(
      options,
      boxes.sort((a, b) => a.number - b.number),
    );
  }

  keyOf(number: number): P256Key | undefined {
    return this.#boxes.find((box) => box.number === number)?.key;
  }

  /** Announces the newest key. If that fails, it is retried in the background. May be called again. */
  async start(): Promise<void> {
    await this.#mutex
      .run(() => this.#step())
      .finally(() => {
        this.#running ??= this.#run();
      });
  }

  /**
   * Erases the keys below this number, except keys that owners may still use. All mail sealed to them has been opened
   * or refused.
   */
  async drained(below: number): Promise<void> {
    await this.#mutex.run(async () => {
      this.#drainedBelow = Math.max(this.#drainedBelow, below);
      await this.#erase();
    });
  }

  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
    await this.#running;
    await this.#mutex.run(() => undefined);
    for (const { key } of this.#boxes) key.close();
  }

  async #run(): Promise<void> {
    const { logger, use } = this.#options;
    while (!this.#stop.signal.aborted) {
      await sleep(CHECK_MS, this.#stop.signal).catch(() => undefined);
      if (this.#stop.signal.aborted) return;
      await this.#mutex
        .run(() => this.#step())
        .catch((error: unknown) =>
          logger.warn({ err: toMillraceError(error), use }, 'cannot renew or erase box keys; retrying in a second'),
        );
    }
  }

  async #step(): Promise<void> {
    const { clock, period } = this.#options;
    let newest = this.#boxes.at(-1);
    // Every start makes a new key, so that a restored node never uses an older one. Senders can seal their mail again.
    const replace = this.#options.use === 'mail' && !this.#made;
    if (newest === undefined || replace || passed(clock.now(), newest.issued, period.periodMs))
      newest = await this.#make(0);
    try {
      for (;;) {
        const floor = this.#floor();
        if (this.#announced?.number === newest.number && this.#announced.floor === floor) break;
        const newer = await this.#announce(newest, floor);
        if (newer === undefined) break;
        // This node was restored to an older state. Mail sealed to keys made since then cannot be opened.
        newest = await this.#make(newer + 1);
      }
    } finally {
      await this.#erase();
    }
  }

  /** @returns the number that control has recorded, if it is higher than this node's */
  async #announce({ number, issued, key }: OwnBox, floor: number): Promise<number | undefined> {
    const { directory, node, use, identity, period, announce } = this.#options;
    const expires = issued + period.periodMs + period.retentionMs;
    const body = { type: 'box' as const, node, use, number, point: key.publicKey, issued, expires };
    try {
      await announce(await signBoxKey(identity, directory.installation, body), floor, this.#stop.signal);
    } catch (error) {
      const known = error instanceof MillraceError && error.code === 'E_BOX_KEY' ? error.data.document : undefined;
      if (typeof known !== 'string') throw error;
      // This node signed the document, so control cannot raise the number.
      const newest = await readBoxKey(directory, { node, use }, fromBase64(known), 'any time');
      if (newest.number < number) throw error;
      return newest.number;
    }
    this.#announced = { number, floor };
    return undefined;
  }

  /**
   * Makes a key. Its number is the clock's milliseconds, so that a node that lost its keys still uses higher numbers,
   * but at least `least`.
   */
  async #make(least: number): Promise<OwnBox> {
    const { slots, clock } = this.#options;
    const issued = clock.now();
    const number = Math.max(issued, least, (this.#boxes.at(-1)?.number ?? 0) + 1);
    const used = new Set(this.#boxes.map((box) => box.slot));
    let slot = 0;
    while (used.has(slot)) slot++;
    const key = generateP256Key();
    const secret = key.exportSecret();
    const record = concatBytes(u64be(BigInt(number)), u64be(BigInt(issued)), secret);
    try {
      await slots.write(slot, record);
    } finally {
      wipe(secret, record);
    }
    const box = { number, slot, issued, key };
    this.#boxes.push(box);
    this.#made = true;
    return box;
  }

  /** Lowest number to which mail may still be sealed. */
  #floor(): number {
    const { clock, period } = this.#options;
    const wanted = this.#boxes.find((_, i) => {
      const next = this.#boxes[i + 1];
      return next === undefined || !passed(clock.now(), next.issued, period.retentionMs);
    });
    return Math.max(wanted?.number ?? 0, this.#announced?.floor ?? 0);
  }

  async #erase(): Promise<void> {
    const { slots, clock, logger, use } = this.#options;
    const floor = this.#floor();
    const drainedBelow = Math.min(this.#drainedBelow, this.#announced?.floor ?? 0);
    for (const box of this.#boxes.filter(({ number }) => number < floor)) {
      const since = this.#closedAt.get(box.number) ?? clock.monotonic();
      this.#closedAt.set(box.number, since);
      const overdue = clock.monotonic() - since >= MAX_DRAIN_MS;
      if (box.number >= drainedBelow && !overdue) continue;
      await slots.erase(box.slot);
      box.key.close();
      this.#boxes.splice(this.#boxes.indexOf(box), 1);
      this.#closedAt.delete(box.number);
      if (overdue)
        logger.warn({ use, number: box.number }, 'box key erased after the longest drain: mail sealed to it is lost');
      else logger.info({ use, number: box.number }, 'box key erased');
    }
  }
}

/** Whether `ms` have passed. Also true when the clock was set back by at least that time. */
function passed(now: number, since: number, ms: number): boolean {
  return Math.abs(now - since) >= ms;
}
