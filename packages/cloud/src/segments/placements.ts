import { type Bytes, Condition, fromHex, MillraceError, toHex, within } from '@millrace/base';
import {
  type CellStore,
  encodeMessage,
  type Manifest,
  type RecordedMessage,
  type RefusedMessage,
  type StoredMessage,
  type StoreMessage,
  segmentHash,
  type WantMessage,
  wipeMessage,
} from '@millrace/vault';
import type { MailClient } from '../node/mail-client.ts';

/** Time after which a request without an answer of the keys node is repeated, ms. */
const ANSWER_MS = 20_000;
const LOOK_MS = 500;

export interface PlacementRequest {
  readonly design: string;
  readonly manifest: Manifest;
  readonly from: number;
  readonly count: number;
  /** Sealed segments by number. */
  readonly sealed: ReadonlyMap<number, Bytes>;
  readonly signal: AbortSignal;
  /** Whether damaged cells are replaced. By default, existing cells stay unchanged. */
  readonly replace?: boolean;
}

interface Expected {
  readonly design: string;
  take(message: StoreMessage): Promise<void>;
  refuse(error: MillraceError): void;
}

/**
 * Requests places for cells from the keys node and stores the cells when it answers. The handler of the answer's mail
 * stores them, which preserves the order of the mail: every later message of a sweep finds the cells.
 */
export class Placements {
  readonly #cells: CellStore;
  readonly #mail: MailClient;
  readonly #expected = new Map<string, Expected>();
  /** By design: first segments of stored cells that the keys node has not recorded yet. */
  readonly #unrecorded = new Map<string, Set<number>>();
  readonly #recorded = new Condition();

  constructor(cells: CellStore, mail: MailClient) {
    this.#cells = cells;
    this.#mail = mail;
  }

  /**
   * Resolves when the cells are stored and the mail that reports it to the keys node is posted.
   * @throws {MillraceError} E_SEGMENT, E_UPLOAD, the code with which the keys node refuses the design; the signal's
   * reason
   */
  async request(request: PlacementRequest): Promise<void> {
    const { design, from, count, signal } = request;
    const key = `${design}/${from}`;
    const stored = new Promise<true>((resolve, reject) => {
      const take = async (message: StoreMessage) => {
        if (signal.aborted) return this.#decline(message);
        if (request.replace === true) await this.#dropDamaged(message, request.manifest);
        this.#unrecorded.set(design, (this.#unrecorded.get(design) ?? new Set()).add(from));
        await this.store(message, sourceOf(request)).then(() => resolve(true), reject);
      };
      this.#expected.set(key, { design, take, refuse: reject });
    });
    stored.catch(() => undefined); // awaited below, unless the signal aborts first
    try {
      for (;;) {
        await this.#send({ type: 'want', design: fromHex(design), from, count });
        if (await within(stored, ANSWER_MS, signal)) return;
      }
    } finally {
      this.#expected.delete(key);
    }
  }

  /**
   * Resolves when the keys node has recorded all cells of the design that were stored.
   * @throws {MillraceError} E_UNAVAILABLE if it does not: a step of a sweep by another node has overtaken the storing.
   *   The design is then stored again, in places of its own time; the signal's reason
   */
  async allRecorded(design: string, signal: AbortSignal): Promise<void> {
    const isRecorded = () => (this.#unrecorded.get(design)?.size ?? 0) === 0;
    try {
      for (let left = ANSWER_MS; !isRecorded(); left -= LOOK_MS) {
        if (left <= 0) throw new MillraceError('E_UNAVAILABLE', `not all cells of design ${design} are recorded`);
        await within(
          this.#recorded.wait(signal).catch(() => undefined),
          LOOK_MS,
          signal,
        );
      }
    } finally {
      this.#unrecorded.delete(design);
    }
  }

  /** Handles the keys node's word that it has recorded stored cells. */
  recorded({ design, from }: RecordedMessage): void {
    this.#unrecorded.get(toHex(design))?.delete(from);
    this.#recorded.notify();
  }

  /** Whether a request waits for this answer. */
  expects(message: StoreMessage): boolean {
    return this.#expected.has(`${toHex(message.design)}/${message.from}`);
  }

  /** Handles an answer of the keys node. Declines an answer for which no request waits. */
  async answered(message: StoreMessage): Promise<void> {
    const expected = this.#expected.get(`${toHex(message.design)}/${message.from}`);
    if (expected === undefined) await this.#decline(message);
    else await expected.take(message);
  }

  /** A sweep waits for what this node was told to store (VA-6.28), so the keys node has to hear that it will not be. */
  async #decline(message: StoreMessage): Promise<void> {
    const { design, from } = message;
    wipeMessage(message);
    const reason = 'no request waits for these places';
    await this.#send({ type: 'refused', design, from, code: 'E_STATE', reason });
  }

  /** Fails the requests of a design for which the keys node will never answer. */
  refuse(design: string, error: MillraceError): void {
    for (const expected of this.#expected.values()) if (expected.design === design) expected.refuse(error);
  }

  /** Stores cells, or decoys when no source is given, and reports it to the keys node. */
  async store(message: StoreMessage, source?: Parameters<CellStore['storeCells']>[1]): Promise<void> {
    try {
      await this.#send(await this.#cells.storeCells(message, source));
    } finally {
      wipeMessage(message);
    }
  }

  /**
   * Removes damaged cells. If the node is killed afterwards, the cells are missing instead of damaged, and the repair
   * is repeated.
   */
  async #dropDamaged({ cells, labels, from }: StoreMessage, manifest: Manifest): Promise<void> {
    for (const [i, { index, key }] of cells.entries()) {
      const hash = segmentHash(manifest, from + i);
      if ((await this.#cells.holds({ index, key, label: labels[i], hash })) === false) await this.#cells.forget(index);
    }
  }

  #send(message: WantMessage | StoredMessage | RefusedMessage): Promise<void> {
    const partition = toHex(message.design);
    return this.#mail.send({ role: 'keys', partition }, { type: 'vault', message: encodeMessage(message) });
  }
}

function sourceOf({ manifest, sealed }: PlacementRequest) {
  return {
    sealed: (segment: number) => {
      const bytes = sealed.get(segment);
      if (bytes === undefined) throw new MillraceError('E_UPLOAD', `segment ${segment} was not fetched`);
      return bytes;
    },
    hash: (segment: number) => segmentHash(manifest, segment),
  };
}
