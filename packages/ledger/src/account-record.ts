import { type Bytes, concatBytes, copyBytes, MillraceError, utf8 } from '@millrace/base';
import type { AccountHead, AccountKind } from './accounts.ts';
import { accountKey, accountPrefix, readNumber, sequenceKey, textOfKey, writeNumber } from './keys.ts';
import { Slab } from './slab.ts';
import type { LedgerStore, StoreWrite } from './store.ts';
import { HASH_LENGTH } from './tree.ts';

// One record an account: its state, and the log indices of its last 1 to 64 events. The indices of 64 earlier events
// form a block of their own, so that an append to an account with many events does not rewrite all of them.

/** Events of one block. */
export const BLOCK_EVENTS = 64;
const INDEX_WIDTH = 7;

const kinds = ['object', 'licence', 'machine', 'material', 'design', 'map'] as const satisfies readonly AccountKind[];

export interface AccountRecord {
  readonly head: AccountHead;
  /** Log indices of the events since the last full block; the last one is the head's. */
  readonly recent: readonly number[];
}

/** Kind (1 byte), length of the state (1 byte), state, sequence (7 bytes), hash (32 bytes), indices (7 bytes each). */
export function encodeAccount({ head, recent }: AccountRecord, slab = new Slab()): Bytes {
  const state = utf8(head.state);
  const fixed = 2 + state.length + INDEX_WIDTH + HASH_LENGTH;
  const bytes = slab.take(fixed + INDEX_WIDTH * recent.length);
  bytes[0] = kinds.indexOf(head.kind);
  bytes[1] = state.length;
  bytes.set(state, 2);
  writeNumber(bytes, 2 + state.length, head.sequence, INDEX_WIDTH);
  bytes.set(head.hash, 2 + state.length + INDEX_WIDTH);
  for (let i = 0; i < recent.length; i++) writeNumber(bytes, fixed + INDEX_WIDTH * i, recent[i] ?? 0, INDEX_WIDTH);
  return bytes;
}

/** @throws {MillraceError} E_LEDGER_ENTRY if the record is damaged */
export function decodeAccount(bytes: Uint8Array, account: string): AccountRecord {
  const kind = kinds[bytes[0] ?? kinds.length];
  const stateEnd = 2 + (bytes[1] ?? 0);
  const fixed = stateEnd + INDEX_WIDTH + HASH_LENGTH;
  const sequence = readNumber(bytes, stateEnd, INDEX_WIDTH);
  const count = (sequence % BLOCK_EVENTS) + 1;
  const state = decodeState(bytes.subarray(2, stateEnd));
  const valid = Number.isSafeInteger(sequence) && bytes.length === fixed + INDEX_WIDTH * count;
  if (kind === undefined || state === undefined || !valid) throw damaged(account);
  const recent = decodeIndices(bytes.subarray(fixed), account);
  const hash = copyBytes(bytes.subarray(stateEnd + INDEX_WIDTH, fixed));
  return { head: { account, kind, state, sequence, index: recent.at(-1) ?? 0, hash }, recent };
}

export async function readAccount(store: LedgerStore, account: string): Promise<AccountRecord | undefined> {
  const bytes = await store.get(accountKey(account));
  return bytes === undefined ? undefined : decodeAccount(bytes, account);
}

/** The record under this key and with these bytes. */
export function accountOf(key: Uint8Array, bytes: Uint8Array): AccountRecord {
  return decodeAccount(bytes, textOfKey(key, accountPrefix));
}

/**
 * Log index of one event of the account; undefined if the account has no such event, or its block is missing or
 * damaged.
 */
export async function indexOfEvent(
  store: LedgerStore,
  { head, recent }: AccountRecord,
  sequence: number,
): Promise<number | undefined> {
  if (sequence > head.sequence) return undefined;
  const block = Math.floor(sequence / BLOCK_EVENTS);
  if (block === Math.floor(head.sequence / BLOCK_EVENTS)) return recent[sequence % BLOCK_EVENTS];
  const bytes = await store.get(sequenceKey(head.account, block));
  if (bytes?.length !== BLOCK_EVENTS * INDEX_WIDTH) return undefined;
  const index = readNumber(bytes, (sequence % BLOCK_EVENTS) * INDEX_WIDTH, INDEX_WIDTH);
  return Number.isSafeInteger(index) ? index : undefined;
}

/**
 * Log indices of all events of the account, in order.
 * @throws {MillraceError} E_LEDGER_ENTRY if a block is missing or damaged
 */
export async function* indicesOf(store: LedgerStore, { head, recent }: AccountRecord): AsyncGenerator<number> {
  const blocks = Math.floor(head.sequence / BLOCK_EVENTS);
  for (let block = 0; block < blocks; block++) {
    const bytes = await store.get(sequenceKey(head.account, block));
    if (bytes?.length !== BLOCK_EVENTS * INDEX_WIDTH) throw damaged(head.account);
    yield* decodeIndices(bytes, head.account);
  }
  yield* recent;
}

/** An account during a batch: the stored record, and the events that the batch adds. */
export class AccountDraft {
  #head: AccountHead | undefined;
  #recent: number[];
  #changed = false;
  readonly #blocks: StoreWrite[] = [];

  constructor(stored: AccountRecord | undefined) {
    this.#head = stored?.head;
    this.#recent = stored === undefined ? [] : [...stored.recent];
  }

  get head(): AccountHead | undefined {
    return this.#head;
  }

  /** Whether the batch has added an event. */
  get changed(): boolean {
    return this.#changed;
  }

  advance(head: AccountHead): void {
    if (this.#recent.length === BLOCK_EVENTS) {
      const block = Math.floor(head.sequence / BLOCK_EVENTS) - 1;
      this.#blocks.push({ put: sequenceKey(head.account, block), value: encodeBlock(this.#recent) });
      this.#recent = [];
    }
    this.#recent.push(head.index);
    this.#head = head;
    this.#changed = true;
  }

  /** Writes for the record and for the blocks that became full; none if no event was added. */
  writes(slab: Slab): StoreWrite[] {
    if (this.#head === undefined || !this.#changed) return [];
    const value = encodeAccount({ head: this.#head, recent: this.#recent }, slab);
    return [...this.#blocks, { put: accountKey(this.#head.account), value }];
  }
}

export function encodeBlock(indices: readonly number[]): Bytes {
  return concatBytes(
    ...indices.map((index) => {
      const bytes = new Uint8Array(INDEX_WIDTH);
      writeNumber(bytes, 0, index, INDEX_WIDTH);
      return bytes;
    }),
  );
}

function decodeIndices(bytes: Uint8Array, account: string): number[] {
  const indices: number[] = [];
  for (let at = 0; at < bytes.length; at += INDEX_WIDTH) {
    const index = readNumber(bytes, at, INDEX_WIDTH);
    if (!Number.isSafeInteger(index)) throw damaged(account);
    indices.push(index);
  }
  return indices;
}

function decodeState(bytes: Uint8Array): string | undefined {
  for (const byte of bytes) if (byte < 0x20 || byte >= 0x7f) return undefined;
  return new TextDecoder().decode(bytes);
}

function damaged(account: string): MillraceError {
  return new MillraceError('E_LEDGER_ENTRY', `the stored head of account ${account} is damaged`, { data: { account } });
}
