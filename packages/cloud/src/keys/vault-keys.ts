import { type Bytes, type Closable, Condition, type Logger, MillraceError, RwLock, within } from '@millrace/base';
import { type Directory, nodesOf, sealVaultMessage } from '@millrace/protocol';
import type { MailClient } from '../node/mail-client.ts';

/** Time after which a segments node that has not stated a key is asked again, ms. */
const ASK_MS = 30_000;

/**
 * Seals messages of the vault to keys that the segments nodes hold in memory only (spec/vault.md, section 5). The keys
 * are renewed whenever an epoch is committed, so recorded messages cannot be opened with what is on the disks later.
 */
export class VaultKeys implements Closable {
  readonly #mail: MailClient;
  readonly #directory: Directory;
  /** Id of this node. */
  readonly #own: string;
  readonly #logger: Logger;
  readonly #stop = new AbortController();
  readonly #points = new Map<string, Bytes>();
  /** Nodes that are being asked. */
  readonly #asking = new Set<string>();
  readonly #stated = new Condition();
  /** Sending holds a shared lock. After `vault.renewed`, no message is sent that is sealed to an earlier key. */
  readonly #sending = new RwLock();

  constructor(modules: { mail: MailClient; directory: Directory; id: string; logger: Logger }) {
    this.#mail = modules.mail;
    this.#directory = modules.directory;
    this.#own = modules.id;
    this.#logger = modules.logger;
  }

  /** Asks every segments node for a new key. Messages are sealed to the present keys until the new ones arrive. */
  renew(): void {
    for (const { id } of nodesOf(this.#directory, 'segments')) this.#ask(id);
  }

  /** Handles a key that a segments node has stated: from now on, messages are sealed to it. */
  stated(node: string, point: Bytes): Promise<void> {
    return this.#sending.write(async () => {
      this.#points.set(node, point);
      this.#stated.notify();
      await this.#mail.send({ node }, { type: 'vault.renewed', point });
    });
  }

  /** Aborted when this node closes. */
  get closing(): AbortSignal {
    return this.#stop.signal;
  }

  has(node: string): boolean {
    return this.#points.has(node);
  }

  /**
   * Resolves when the chosen node has stated a key. It is chosen again whenever one states a key: the first choice may be
   * a node that is lost.
   * @returns its id
   * @throws {MillraceError} E_UNAVAILABLE when this node closes first
   */
  async ready(choose: () => string): Promise<string> {
    const { signal } = this.#stop;
    for (;;) {
      const node = choose();
      if (this.has(node)) return node;
      const stated = this.#stated.wait(signal).then(() => true as const);
      stated.catch(() => undefined); // also after the time below
      if (await within(stated, ASK_MS, signal)) continue;
      this.#logger.warn({ node }, 'the segments node has stated no key for messages of the vault; asking again');
      this.#ask(node);
    }
  }

  /**
   * Seals a message to the node's newest key and sends it.
   * @throws {MillraceError} E_UNAVAILABLE if the node has not stated one
   */
  send(node: string, message: Uint8Array): Promise<void> {
    return this.#sending.read(async () => {
      const point = this.#points.get(node);
      if (point === undefined) throw new MillraceError('E_UNAVAILABLE', `${node} has not stated a key yet`);
      const ends = { directory: this.#directory, keys: this.#own, segments: node };
      const sealed = await sealVaultMessage(ends, point, message);
      await this.#mail.send({ node }, { type: 'vault.sealed', point, sealed });
    });
  }

  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
  }

  /** Does not wait: a node that has never run has no mailbox yet, and must not hold up the others. */
  #ask(node: string): void {
    if (this.#asking.has(node)) return;
    this.#asking.add(node);
    this.#mail
      .send({ node }, { type: 'vault.renew' })
      .catch((error: unknown) => this.#logger.debug({ err: error, node }, 'key not asked for'))
      .finally(() => this.#asking.delete(node));
  }
}
