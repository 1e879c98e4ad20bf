import { KeyedMutex, RwLock } from '@millrace/base';
import { type Opening, readPermit } from '@millrace/protocol';
import type { Handler } from '../node/mail-client.ts';
import type { GoOn } from './send-when-connected.ts';

/** Openings that are handled at once. More of them wait, with all mail after them. */
const MOST = 64;

/**
 * Order of the mail about streams: each message takes effect as if they were handled one after the other. Openings of
 * different objects, which are independent, are handled at once, and beside the mail of the vault: most of their time is
 * spent waiting for records.
 */
export class OpeningOrder {
  readonly #lock = new RwLock();
  readonly #objects = new KeyedMutex();
  #running = 0;

  /**
   * Handles an opening. Resolves when the next message may be handled.
   * @param open passes on what it waits for beside all other messages
   * @throws {MillraceError} as `readPermit`
   */
  async open(opening: Opening, goOn: Parameters<Handler>[2], open: (later: GoOn) => Promise<void>): Promise<void> {
    const { object } = readPermit(opening.permit);
    let later: Promise<void> | undefined;
    this.#running++;
    const opened = this.ofObject(object, () =>
      open((work) => {
        later = work;
      }),
    ).finally(() => this.#running--);
    goOn(opened.then(() => later));
    if (this.#running >= MOST) await opened.catch(() => undefined);
  }

  /** Runs a task after the earlier openings and tasks of this object. */
  ofObject<T>(object: string, task: () => Promise<T>): Promise<T> {
    return this.#lock.read(() => this.#objects.run(object, task));
  }

  /** Runs a task after all earlier openings, and before any later one begins. */
  alone<T>(task: () => Promise<T>): Promise<T> {
    return this.#lock.write(task);
  }
}
