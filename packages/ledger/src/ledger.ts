import {
  type Bytes,
  type Clock,
  concatBytes,
  copyBytes,
  equalBytes,
  MillraceError,
  Mutex,
  type RandomSource,
  systemRandom,
  utf8,
} from '@millrace/base';
import { AccountMap, type MapProofs } from './account-map.ts';
import { accountOf, indicesOf, readAccount } from './account-record.ts';
import type { AccountHead } from './accounts.ts';
import { type CheckReport, checkLedger, type LedgerCheckOptions } from './check.ts';
import { openCheckpoint, signCheckpoint } from './checkpoint.ts';
import { Draft, findEvent, openRecord, readEvent } from './draft.ts';
import { type EventRequest, requireEventRequest } from './event.ts';
import { Growth } from './growth.ts';
import { accountPrefix, checkpointKey, decodeIndex, entryKey, entryPrefix, tileKey, under } from './keys.ts';
import {
  formatVerifierKey,
  type NoteSigner,
  parseNote,
  parseVerifierKey,
  signatureBy,
  type VerifierKey,
} from './note.ts';
import { decodeRecord, type LoggedEvent, SALT_LENGTH } from './opening.ts';
import type { LedgerStore, LedgerWriter, StoreWrite } from './store.ts';
import { encodeBundle, parseTilePath, TILE_WIDTH, tileHashes, tileNodes } from './tiles.ts';
import { consistencyProof, HASH_LENGTH, inclusionProof } from './tree.ts';

/** Maximum number of events in one batch and in one `appendMany`. */
export const MAX_BATCH = 1024;

export interface LedgerOptions {
  readonly store: LedgerStore;
  /** Signs checkpoints. Its name must be the origin. */
  readonly signer: NoteSigner;
  /** The log's former keys as verifier key strings. The stored checkpoint may be signed by one of them. */
  readonly formerKeys?: readonly string[];
  /** Signers of former keys that still sign. Called for every checkpoint. */
  readonly coSigners?: () => readonly NoteSigner[];
  /** Identity of the log: first line of every checkpoint. Usually a URL without scheme. */
  readonly origin: string;
  readonly clock: Clock;
  /**
   * Keeps the map of accounts, and logs its root when `logMap` is called or this number of accounts has changed. Without
   * it the log has no map.
   */
  readonly map?: { readonly changes: number };
  /** Source of the salts of commitments. Default: the system. */
  readonly random?: RandomSource;
}

export interface Appended extends LoggedEvent {
  /** A signed checkpoint that covers the event. */
  readonly checkpoint: Bytes;
}

export interface Ledger {
  readonly origin: string;
  /** Verifier key string of the log: enough to verify certificates. */
  readonly logKey: string;
  /** The current verifier key string and those of the log's former keys, newest first. */
  readonly logKeys: readonly string[];
  /** Number of durable entries. */
  readonly size: number;
  /** The newest signed checkpoint. */
  checkpoint(): Bytes;
  /**
   * Records one event. Once the promise resolves, the event is durable and covered by a signed checkpoint. Concurrent
   * appends share one batch and one signature. Safe to repeat with the same `eventId`.
   * @throws {MillraceError} E_INPUT, E_STATE, E_CONFLICT, E_TOO_LARGE, and errors of the store or the signer
   */
  append(request: EventRequest): Promise<Appended>;
  /** Like `append` for several events, atomically. */
  appendMany(requests: readonly EventRequest[]): Promise<readonly Appended[]>;
  /** Events of the account in order; empty if the account does not exist. */
  account(id: string): Promise<readonly LoggedEvent[]>;
  /** Log indices of the account's events, in order, without reading the events; empty if the account does not exist. */
  indices(id: string): Promise<readonly number[]>;
  /** Accounts whose id begins with `prefix`, in byte order. */
  accounts(prefix?: string): Promise<readonly AccountHead[]>;
  /** The account's last event and state; undefined if the account does not exist. */
  head(id: string): Promise<AccountHead | undefined>;
  /** Durable events from index `from` on, in the order of the log. */
  events(from: number): AsyncIterable<LoggedEvent>;
  /** @throws {MillraceError} E_NOT_FOUND beyond the end */
  entry(index: number): Promise<LoggedEvent>;
  /** The event that was recorded under this `eventId`. */
  find(eventId: string): Promise<LoggedEvent | undefined>;
  /**
   * Bytes of a tile or entry bundle by its C2SP path, full or partial.
   * @throws {MillraceError} E_INPUT for an invalid path, E_NOT_FOUND for a tile that does not exist (yet)
   */
  tile(path: string): Promise<Bytes>;
  /** Audit path of an entry, the leaf's sibling first. @throws {MillraceError} E_INPUT */
  proveInclusion(index: number, size?: number): Promise<readonly Bytes[]>;
  /** Proof that the tree of `size` entries extends that of `old` entries. @throws {MillraceError} E_INPUT */
  proveConsistency(old: number, size?: number): Promise<readonly Bytes[]>;
  /**
   * Logs the root of the map, unless no account has changed since.
   * @returns the newest logged root: it covers all entries before its own
   * @throws {MillraceError} E_STATE for a log without a map; as `append`
   */
  logMap(): Promise<LoggedEvent>;
  /** Proofs for these accounts in the map whose root was logged last; undefined if there is none. */
  mapProofs(accounts: readonly string[]): Promise<MapProofs | undefined>;
  /** Replays the whole log, while appends wait; see `checkLedger`. */
  check(options?: LedgerCheckOptions): Promise<CheckReport>;
  /** Waits for pending appends and rejects new ones. */
  close(): Promise<void>;
}

type Waiting = { readonly requests: readonly EventRequest[]; readonly reject: (error: unknown) => void } & (
  | { readonly one: true; readonly resolve: (result: Appended) => void }
  | { readonly one: false; readonly resolve: (results: readonly Appended[]) => void }
);

/** Durable state: the tree, its checkpoint, and the map if the log has one. */
interface Committed {
  readonly growth: Growth;
  readonly checkpoint: Bytes;
  readonly map: AccountMap | undefined;
}

/**
 * Opens the ledger of a store, or creates it. A previous opener can no longer append (E_FENCED).
 * @throws {MillraceError} E_CONFIG if name and origin differ; E_LEDGER_CHECKPOINT, E_LEDGER_TRUNCATED or E_LEDGER_ENTRY
 *   if the end of the log does not match the stored checkpoint. `checkLedger` reports details
 */
export async function openLedger(options: LedgerOptions): Promise<Ledger> {
  if (options.signer.name !== options.origin) {
    throw new MillraceError('E_CONFIG', `the log key is named ${options.signer.name}, the log ${options.origin}`);
  }
  const own = formatVerifierKey(options.signer.name, options.signer.publicKey);
  const logKeys = [own, ...(options.formerKeys ?? []).filter((key) => key !== own)];
  const writer = await options.store.acquire();
  return new StoredLedger(options, writer, logKeys, await begin(options, writer, logKeys.map(parseVerifierKey)));
}

class StoredLedger implements Ledger {
  readonly origin: string;
  readonly logKey: string;
  readonly logKeys: readonly string[];
  readonly #options: LedgerOptions;
  readonly #writer: LedgerWriter;
  readonly #keys: readonly VerifierKey[];
  readonly #waiting: Waiting[] = [];
  readonly #mutex = new Mutex();
  #committed: Committed;
  /** Set after a batch failed: the store may or may not contain it, so it must be read again. */
  #uncertain = false;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(options: LedgerOptions, writer: LedgerWriter, logKeys: readonly string[], committed: Committed) {
    this.#options = options;
    this.#writer = writer;
    this.#keys = logKeys.map(parseVerifierKey);
    this.#committed = committed;
    this.origin = options.origin;
    this.logKey = formatVerifierKey(options.signer.name, options.signer.publicKey);
    this.logKeys = logKeys;
  }

  get size(): number {
    return this.#committed.growth.size;
  }

  checkpoint(): Bytes {
    return copyBytes(this.#committed.checkpoint);
  }

  // One promise for each append: a second one costs as much as a hash.
  append(request: EventRequest): Promise<Appended> {
    return new Promise((resolve, reject) => this.#wait({ requests: [request], one: true, resolve, reject }));
  }

  appendMany(requests: readonly EventRequest[]): Promise<readonly Appended[]> {
    return new Promise((resolve, reject) => this.#wait({ requests, one: false, resolve, reject }));
  }

  #wait(waiting: Waiting): void {
    const { requests } = waiting;
    if (this.#closed) throw new MillraceError('E_UNAVAILABLE', 'the ledger is closed');
    if (requests.length > MAX_BATCH) throw new MillraceError('E_TOO_LARGE', `at most ${MAX_BATCH} events at once`);
    for (const request of requests) requireEventRequest(request);
    this.#waiting.push(waiting);
    this.#running ??= this.#run();
  }

  /** Writes one batch after the other until no append is pending. */
  async #run(): Promise<void> {
    // Appends of the same turn share the first batch.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      let [count, events] = [0, 0];
      for (const { requests } of this.#waiting) {
        if (count > 0 && events + requests.length > MAX_BATCH) break;
        events += requests.length;
        count++;
      }
      const group = this.#waiting.splice(0, count);
      await this.#mutex.run(() => this.#commit(group));
      const { map } = this.#options;
      if (map !== undefined && (this.#committed.map?.changes ?? 0) >= map.changes) await this.#logMapEarly();
    }
    this.#running = undefined;
  }

  async #commit(group: readonly Waiting[]): Promise<void> {
    const accepted: { readonly waiting: Waiting; readonly events: readonly LoggedEvent[] }[] = [];
    try {
      await this.#settle();
      const { store, clock, random = systemRandom } = this.#options;
      const requests = group.flatMap((waiting) => waiting.requests);
      const draft = await Draft.open(store, this.size, requests, random(SALT_LENGTH * requests.length));
      for (const waiting of group) {
        try {
          accepted.push({ waiting, events: draft.add(waiting.requests, Math.max(0, Math.floor(clock.now()))) });
        } catch (error) {
          waiting.reject(error);
        }
      }
      if (draft.events.length > 0) {
        await this.#write(draft, []);
        this.#committed.map?.append(draft.heads());
      }
      const checkpoint = this.checkpoint();
      for (const { waiting, events } of accepted) {
        if (waiting.one) waiting.resolve(covered(events[0], checkpoint));
        else waiting.resolve(events.map((logged) => covered(logged, checkpoint)));
      }
    } catch (error) {
      for (const waiting of group) waiting.reject(error);
    }
  }

  /** After a batch of unknown outcome the store decides. */
  async #settle(): Promise<void> {
    if (this.#uncertain) this.#committed = await readCommitted(this.#options, this.#keys);
    this.#uncertain = false;
  }

  async #write(draft: Draft, more: readonly StoreWrite[]): Promise<void> {
    const { growth, map } = this.#committed;
    const { next, writes } = growth.extend(draft.leaves);
    const checkpoint = await sign(this.#options, next);
    this.#uncertain = true;
    await this.#writer.append([...draft.writes(), ...more, ...writes, { put: checkpointKey, value: checkpoint }]);
    this.#uncertain = false;
    this.#committed = { growth: next, checkpoint, map };
  }

  logMap(): Promise<LoggedEvent> {
    if (this.#closed) throw new MillraceError('E_UNAVAILABLE', 'the ledger is closed');
    return this.#mutex.run(() => this.#logMapNow());
  }

  async #logMapNow(): Promise<LoggedEvent> {
    await this.#settle();
    const { store, origin, clock, random = systemRandom } = this.#options;
    const { map } = this.#committed;
    if (map === undefined) throw new MillraceError('E_STATE', 'this log has no map of accounts');
    const current = map.current();
    if (current !== undefined) return current;
    const { request, writes } = await map.update(this.size, origin, random);
    const draft = await Draft.open(store, this.size, [request], random(SALT_LENGTH));
    const [logged] = draft.add([request], Math.max(0, Math.floor(clock.now())));
    if (logged === undefined) throw new MillraceError('E_INTERNAL', 'the root of the map gave no event');
    await this.#write(draft, writes);
    map.updated(logged);
    return logged;
  }

  /** Appends do not depend on the map. A call of `logMap` reports why it fails. */
  async #logMapEarly(): Promise<void> {
    try {
      await this.#mutex.run(() => this.#logMapNow());
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
    }
  }

  mapProofs(accounts: readonly string[]): Promise<MapProofs | undefined> {
    return this.#mutex.run(async () => this.#committed.map?.prove(accounts));
  }

  async account(id: string): Promise<readonly LoggedEvent[]> {
    const events: LoggedEvent[] = [];
    for (const index of await this.indices(id)) events.push(await readEvent(this.#options.store, index));
    return events;
  }

  async indices(id: string): Promise<readonly number[]> {
    const { store } = this.#options;
    const record = await readAccount(store, id);
    const indices: number[] = [];
    if (record !== undefined) for await (const index of indicesOf(store, record)) indices.push(index);
    return indices;
  }

  async accounts(prefix = ''): Promise<readonly AccountHead[]> {
    const heads: AccountHead[] = [];
    for await (const { key, value } of this.#options.store.range(under(concatBytes(accountPrefix, utf8(prefix))))) {
      heads.push(accountOf(key, value).head);
    }
    return heads;
  }

  async head(id: string): Promise<AccountHead | undefined> {
    return (await readAccount(this.#options.store, id))?.head;
  }

  async *events(from: number): AsyncIterable<LoggedEvent> {
    const range = { gte: entryKey(from), lt: entryKey(this.size) };
    for await (const { key, value } of this.#options.store.range(range)) {
      yield openRecord(value, decodeIndex(key.subarray(entryPrefix.length)) ?? 0);
    }
  }

  async entry(index: number): Promise<LoggedEvent> {
    if (!Number.isSafeInteger(index) || index < 0 || index >= this.size) {
      throw new MillraceError('E_NOT_FOUND', `the ledger has ${this.size} entries, and no entry ${index}`);
    }
    return readEvent(this.#options.store, index);
  }

  find(eventId: string): Promise<LoggedEvent | undefined> {
    return findEvent(this.#options.store, eventId);
  }

  async tile(path: string): Promise<Bytes> {
    const name = parseTilePath(path);
    if (name === undefined) throw new MillraceError('E_NOT_FOUND', 'not the path of a tile or entry bundle');
    const first = name.index * TILE_WIDTH;
    const available = name.kind === 'entries' ? this.size : tileHashes(name.level, this.size);
    if (first + name.width > available) throw new MillraceError('E_NOT_FOUND', `the ledger has no ${path} yet`);
    if (name.kind === 'hashes') {
      const tile = await this.#options.store.get(tileKey(name.level, name.index));
      if (tile === undefined || tile.length < name.width * HASH_LENGTH) {
        throw new MillraceError('E_LEDGER_TRUNCATED', `${path} is missing or too short`, { data: { path } });
      }
      return copyBytes(tile.subarray(0, name.width * HASH_LENGTH));
    }
    const entries: Uint8Array[] = [];
    const range = { gte: entryKey(first), lt: entryKey(first + name.width) };
    for await (const { value } of this.#options.store.range(range)) entries.push(decodeRecord(value).entry);
    if (entries.length !== name.width) {
      throw new MillraceError('E_LEDGER_TRUNCATED', `${path} lacks entries`, { data: { path } });
    }
    return encodeBundle(entries);
  }

  proveInclusion(index: number, size = this.size): Promise<readonly Bytes[]> {
    return this.#prove(size, (read) => inclusionProof(index, size, read));
  }

  proveConsistency(old: number, size = this.size): Promise<readonly Bytes[]> {
    return this.#prove(size, (read) => consistencyProof(old, size, read));
  }

  async #prove(size: number, proof: (read: ReturnType<typeof tileNodes>) => Promise<Bytes[]>): Promise<Bytes[]> {
    if (!Number.isSafeInteger(size) || size < 0 || size > this.size) {
      throw new MillraceError('E_INPUT', `the ledger has ${this.size} entries, not ${size}`);
    }
    try {
      return await proof(tileNodes((level, index) => this.#options.store.get(tileKey(level, index))));
    } catch (error) {
      if (error instanceof RangeError) throw new MillraceError('E_INPUT', error.message, { cause: error });
      throw error;
    }
  }

  /** Blocks appends, so that the log does not change during the check. */
  check(options: LedgerCheckOptions = {}): Promise<CheckReport> {
    return this.#mutex.run(() => checkLedger({ ...options, store: this.#options.store, logKey: this.logKeys }));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }
}

function covered(logged: LoggedEvent | undefined, checkpoint: Bytes): Appended {
  if (logged === undefined) throw new MillraceError('E_INTERNAL', 'an append gave no result');
  const { index, event, hash, entry, opening } = logged;
  return { index, event, hash, entry, opening, checkpoint };
}

function sign({ origin, signer, coSigners }: LedgerOptions, growth: Growth): Promise<Bytes> {
  return signCheckpoint({ origin, size: growth.size, root: growth.root() }, signer, ...(coSigners?.() ?? []));
}

async function begin(options: LedgerOptions, writer: LedgerWriter, keys: readonly VerifierKey[]): Promise<Committed> {
  const { store } = options;
  if ((await store.get(checkpointKey)) !== undefined) return signedByCurrentKey(options, writer, keys);
  for await (const _ of store.range({ ...under(entryPrefix), limit: 1 })) {
    throw new MillraceError('E_LEDGER_CHECKPOINT', 'the ledger has entries, but its checkpoint is missing');
  }
  const growth = Growth.empty();
  const checkpoint = await sign(options, growth);
  await writer.append([{ put: checkpointKey, value: checkpoint }]);
  return { growth, checkpoint, map: options.map && (await AccountMap.load(store, 0)) };
}

/** Adds the current key's signature to a checkpoint signed by a former key. */
async function signedByCurrentKey(
  options: LedgerOptions,
  writer: LedgerWriter,
  keys: readonly VerifierKey[],
): Promise<Committed> {
  const committed = await readCommitted(options, keys);
  const [own] = keys;
  if (own === undefined || signatureBy(parseNote(committed.checkpoint), own) !== undefined) return committed;
  const checkpoint = await sign(options, committed.growth);
  await writer.append([{ put: checkpointKey, value: checkpoint }]);
  return { ...committed, checkpoint };
}

/** Reads the end of the log and compares it with the checkpoint: a few reads, whatever the size. */
async function readCommitted({ store, origin, map }: LedgerOptions, keys: readonly VerifierKey[]): Promise<Committed> {
  const bytes = await store.get(checkpointKey);
  if (bytes === undefined) throw new MillraceError('E_LEDGER_CHECKPOINT', 'the checkpoint is missing');
  const { size, root } = openCheckpoint(bytes, { logKey: keys, origin });
  const growth = await Growth.load(store, size);
  if (!equalBytes(growth.root(), root)) {
    throw new MillraceError('E_LEDGER_ENTRY', 'the tiles do not match the root of the checkpoint', {
      data: { size },
    });
  }
  if ((await store.get(entryKey(size))) !== undefined) {
    throw new MillraceError('E_LEDGER_CHECKPOINT', 'the checkpoint is older than the log', { data: { size } });
  }
  if (size > 0) {
    const last = await readEvent(store, size - 1);
    const hash = await tileNodes((level, index) => store.get(tileKey(level, index)))(0, size - 1);
    if (!equalBytes(hash, last.hash)) {
      throw new MillraceError('E_LEDGER_ENTRY', `entry ${size - 1} was changed`, { data: { index: size - 1 } });
    }
  }
  return { growth, checkpoint: copyBytes(bytes), map: map && (await AccountMap.load(store, size)) };
}
