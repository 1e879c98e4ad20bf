import { type Bytes, fromHex, MillraceError, toHex, within } from '@millrace/base';
import type { HttpClient } from '@millrace/protocol';
import {
  type CellStore,
  encodeMessage,
  type Manifest,
  type StoreMessage,
  segmentHash,
  type VaultMessage,
  wipeMessage,
} from '@millrace/vault';
import type { MailClient } from '../node/mail-client.ts';

/** How long to wait for the keys node before asking again. */
const ANSWER_MS = 20_000;

export interface StoreRequest {
  readonly design: string;
  readonly manifest: Manifest;
  readonly from: number;
  readonly count: number;
  /** Sealed segments by number. */
  readonly sealed: ReadonlyMap<number, Bytes>;
  readonly signal: AbortSignal;
  /** What lies in the cells' places and is not sound gives way; otherwise whatever is there stays. */
  readonly replace?: boolean;
}

interface Expected {
  readonly design: string;
  take(message: StoreMessage): Promise<void>;
  refuse(error: MillraceError): void;
}

/**
 * Asks the keys node where cells go, and stores them when it answers. The storing is done in the handler of the
 * answer's mail, so that it keeps its place in the order of the mail: a message of a sweep that comes later finds the
 * cells, and one that forgets them comes after.
 */
export class Instructions {
  readonly #cells: CellStore;
  readonly #mail: MailClient;
  readonly #expected = new Map<string, Expected>();

  constructor(cells: CellStore, mail: MailClient) {
    this.#cells = cells;
    this.#mail = mail;
  }

  /**
   * Resolves when the cells are stored and the keys node has mail of it.
   * @throws {MillraceError} E_SEGMENT, E_UPLOAD, what the keys node refuses it with, the signal's reason
   */
  async request(request: StoreRequest): Promise<void> {
    const { design, from, count, signal } = request;
    const key = `${design}/${from}`;
    const stored = new Promise<true>((resolve, reject) => {
      const take = async (message: StoreMessage) => {
        if (signal.aborted) return wipeMessage(message);
        if (request.replace === true) await this.#dropUnsound(message, request.manifest);
        await this.store(message, sourceOf(request)).then(() => resolve(true), reject);
      };
      this.#expected.set(key, { design, take, refuse: reject });
    });
    stored.catch(() => undefined); // it is awaited below, unless the signal is first
    try {
      for (;;) {
        await this.#tell({ type: 'want', design: fromHex(design), from, count });
        if (await within(stored, ANSWER_MS, signal)) return;
      }
    } finally {
      this.#expected.delete(key);
    }
  }

  expects(message: StoreMessage): boolean {
    return this.#expected.has(`${toHex(message.design)}/${message.from}`);
  }

  /** An answer of the keys node; one that nobody waits for is wiped. */
  async arrived(message: StoreMessage): Promise<void> {
    const expected = this.#expected.get(`${toHex(message.design)}/${message.from}`);
    if (expected === undefined) wipeMessage(message);
    else await expected.take(message);
  }

  /** The keys node will never answer for this design. */
  refused(design: string, error: MillraceError): void {
    for (const expected of this.#expected.values()) if (expected.design === design) expected.refuse(error);
  }

  async store(message: StoreMessage, source?: Parameters<CellStore['storeCells']>[1]): Promise<void> {
    try {
      await this.#tell(await this.#cells.storeCells(message, source));
    } finally {
      wipeMessage(message);
    }
  }

  /** Killed after it, the cells are missing instead of damaged, and the repair is done again. */
  async #dropUnsound({ cells, labels, from }: StoreMessage, manifest: Manifest): Promise<void> {
    for (const [i, { index, key }] of cells.entries()) {
      const hash = segmentHash(manifest, from + i);
      if ((await this.#cells.holds({ index, key, label: labels[i], hash })) === false) await this.#cells.forget(index);
    }
  }

  #tell(message: VaultMessage): Promise<void> {
    return this.#mail.send('keys', { type: 'vault', message: encodeMessage(message) });
  }
}

/** Staged segments, from the distribution node. @throws {MillraceError} E_UPLOAD naming the one that is not there */
export async function fetchSealed(
  distribution: HttpClient,
  design: string,
  numbers: readonly number[],
  signal: AbortSignal,
): Promise<Map<number, Bytes>> {
  const fetched = await Promise.all(
    numbers.map(async (number) => {
      try {
        return (await distribution.call('GET', `/v1/uploads/${design}/${number}`, { signal })).body;
      } catch (error) {
        if (error instanceof MillraceError && error.code === 'E_NOT_FOUND') {
          throw new MillraceError('E_UPLOAD', `segment ${number} has not been uploaded`, { data: { segment: number } });
        }
        throw error;
      }
    }),
  );
  return new Map(numbers.map((number, i) => [number, fetched[i] as Bytes]));
}

function sourceOf({ manifest, sealed }: StoreRequest) {
  return {
    sealed: (segment: number) => {
      const bytes = sealed.get(segment);
      if (bytes === undefined) throw new MillraceError('E_UPLOAD', `segment ${segment} is not at hand`);
      return bytes;
    },
    hash: (segment: number) => segmentHash(manifest, segment),
  };
}
