import type { Clock } from '@millrace/base';
import { chooseNode, type Directory, type DirectoryNode, nodesOf } from '@millrace/protocol';

/** A node that took its mail, and has not asked for more in this time, is silent, ms. */
const SILENT_MS = 4_000;

/**
 * Which nodes read their mail. A node that runs always waits for mail or handles some. One whose connection broke is
 * silent at once; one that is frozen, once it was given mail.
 */
export class Listening {
  readonly #clock: Clock;
  readonly #since: number;
  /** Calls of each node that wait for mail. */
  readonly #waiting = new Map<string, number>();
  /** When the last call of each node ended, on the monotonic clock; undefined if its connection broke. */
  readonly #ended = new Map<string, number | undefined>();

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#since = clock.monotonic();
  }

  /** Runs a call in which a node waits for mail. @param connection aborted when its connection breaks */
  async during<T>(node: string, connection: AbortSignal, call: () => Promise<T>): Promise<T> {
    const count = (change: number) => this.#waiting.set(node, (this.#waiting.get(node) ?? 0) + change);
    count(1);
    try {
      return await call();
    } finally {
      count(-1);
      this.#ended.set(node, connection.aborted ? undefined : this.#clock.monotonic());
    }
  }

  /** Nodes that have not called yet are taken to read their mail for a while after this process has started. */
  isListening(node: string): boolean {
    if ((this.#waiting.get(node) ?? 0) > 0) return true;
    const ended = this.#ended.has(node) ? this.#ended.get(node) : this.#since;
    return ended !== undefined && this.#clock.monotonic() - ended < SILENT_MS;
  }

  /**
   * Id of the segments node for a new stream of a design: the one to which the design belongs, or another one that
   * shares the cells if that is silent.
   * @param serves which nodes can do it
   */
  segmentsNode(directory: Directory, design: string, serves: (node: DirectoryNode) => boolean = () => true): string {
    const own = chooseNode(directory, 'segments', design);
    const nodes = nodesOf(directory, 'segments').filter(serves);
    const preferred = nodes.find(({ id }) => id === own.id) ?? nodes[0] ?? own;
    if (this.isListening(preferred.id)) return preferred.id;
    return (nodes.find(({ id }) => this.isListening(id)) ?? preferred).id;
  }
}
