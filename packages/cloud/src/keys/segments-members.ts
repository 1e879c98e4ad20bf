import type { Clock } from '@millrace/base';
import { chooseNode, type Directory, nodesOf } from '@millrace/protocol';
import type { VaultKeys } from './vault-keys.ts';

/** A segments node from which nothing has come for this time, ms, while it should have answered, is silent. */
export const SILENT_MS = 4_000;

/**
 * The segments nodes that answer. They share the cells if there are several. A node that works on a message for long
 * says so every second, so silence means that it is stopped, dead or cut off.
 */
export class SegmentsMembers {
  readonly #directory: Directory;
  readonly #keys: Pick<VaultKeys, 'has'>;
  readonly #clock: Clock;
  /** When each node was last heard, on the monotonic clock. */
  readonly #heard = new Map<string, number>();
  readonly #silent = new Set<string>();

  constructor(modules: { directory: Directory; keys: Pick<VaultKeys, 'has'>; clock: Clock }) {
    this.#directory = modules.directory;
    this.#keys = modules.keys;
    this.#clock = modules.clock;
  }

  /** Whether several nodes share the cells. */
  get shared(): boolean {
    return nodesOf(this.#directory, 'segments').length > 1;
  }

  /** Nodes that have stated a key and are not silent. A single node always counts, because no other can replace it. */
  get answering(): string[] {
    const ids = nodesOf(this.#directory, 'segments').map(({ id }) => id);
    return this.shared ? ids.filter((id) => this.#keys.has(id) && !this.#silent.has(id)) : ids;
  }

  /** The node that gets messages of this partition now. */
  chosen(partition: string): string {
    const preferred = chooseNode(this.#directory, 'segments', partition).id;
    const answering = this.answering;
    return answering.includes(preferred) ? preferred : (answering[0] ?? preferred);
  }

  heard(node: string): void {
    this.#heard.set(node, this.#clock.monotonic());
    this.#silent.delete(node);
  }

  /** Whether another node has to take over from one that was sent a message at `since`, on the monotonic clock. */
  isSilent(node: string, since: number): boolean {
    if (!this.shared) return false;
    const last = Math.max(since, this.#heard.get(node) ?? 0);
    if (this.#clock.monotonic() - last >= SILENT_MS) this.#silent.add(node);
    return this.#silent.has(node) && this.answering.length > 0;
  }
}
