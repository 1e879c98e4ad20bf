import { type Bytes, copyBytes, equalBytes, MillraceError, Mutex } from '@millrace/base/core';
import type { EngineName, HashEngine, HashKey } from './engines/engine.ts';
import { readHeader } from './frame/header.ts';
import { type Hmac, macHolds } from './frame/mac.ts';
import { type ResolveKeys, resolveFrame } from './frame/resolve.ts';
import {
  completeParameters,
  type Matrix,
  type MatrixParameters,
  requireBytes,
  SESSION_ID_BYTES,
} from './parameters.ts';
import { type FreshSecrets, Ratchet, type RevisionKeys, wipeKeys } from './ratchet.ts';
import { ordinaryMemory, type SecretMemory } from './secrets/memory.ts';
import { TableBuilder, type TableFiller } from './table/builder.ts';
import type { HintTable } from './table/hint-table.ts';
import { TableMemory } from './table/memory.ts';
import type { TaskRunner } from './table/runner.ts';
import { lookUpSmall } from './table/small.ts';

/** Parameters that both ends of a session agreed on. */
export interface ReceiverSession {
  readonly parameters: MatrixParameters;
  /** 16 bytes. */
  readonly sessionId: Uint8Array;
  /** s of the first revision, 32 bytes. */
  readonly seed: Uint8Array;
  readonly firstRevision?: bigint;
  /** Aborting closes the receiver. */
  readonly signal?: AbortSignal;
}

export interface DecodedFrame {
  readonly revision: bigint;
  readonly frame: number;
  readonly cell: Bytes;
}

/** Decodes frames into cells. Accepts only frames of the current and the previous revision. */
export interface Receiver {
  /** Highest revision whose table is ready. */
  readonly ready: bigint;
  /** The engine that looks up and solves hints. */
  readonly engine: EngineName;
  /** Current source of tables: the engine, or a graphics card. */
  readonly tables: EngineName | 'gpu';
  /**
   * Computes the table of revision ready + 1. First erases the table and keys of the previous revision: during the call
   * only frames of `ready` are accepted. Any failure other than a missing secret closes the receiver.
   * @throws {MillraceError} E_REVISION_MIX if a fresh shared secret is due
   */
  prepareNext(): Promise<void>;
  /**
   * @throws {MillraceError} E_FRAME_FORMAT (form or size), E_FRAME_REVISION (older than previous, or not ready),
   *   E_FRAME_MAC (altered, or from another session), E_FRAME_REPLAY (its number was accepted before), E_FRAME_UNSOLVED
   *   (may be sent again in a later revision)
   */
  decode(frame: Uint8Array): Promise<DecodedFrame>;
  /**
   * Verifies the MAC of a frame whose revision is not ready yet, without changing any state, so that a receiver
   * advances only for genuine frames. Costs one step of the ratchet per revision ahead of `ready`.
   * @throws {MillraceError} E_FRAME_FORMAT, E_FRAME_REVISION (not ahead, or more than `most` ahead), E_FRAME_MAC,
   *   E_REVISION_MIX if a fresh shared secret has not arrived
   */
  verifyAhead(frame: Uint8Array, options: { readonly most: number; readonly freshSecret: FreshSecrets }): void;
  /**
   * From now on, rejects every frame with a lower number as a replay without storing each number, so that memory stays
   * bounded on endless streams.
   */
  forget(below: number): void;
  /** Fresh shared secret for revision ready + 1, if that is a multiple of 64. */
  mix(secret: Uint8Array): void;
  /** Wipes tables and keys, and ends the threads. */
  close(): Promise<void>;
}

/** One live revision. */
interface Live {
  readonly keys: RevisionKeys;
  /** Undefined at order 8. */
  readonly table: HintTable | undefined;
}

/** Platform-specific parts of a receiver. */
export interface ReceiverParts {
  readonly engine: HashEngine;
  readonly hmac: Hmac;
  /** Owned by the receiver and closed with it. */
  readonly runner: TaskRunner;
  /** Computes the tables instead of the runner's engine. Closed with the receiver. */
  readonly filler?: TableFiller | undefined;
  /** Called with one line if an engine other than the requested one is used. */
  readonly note: (line: string) => void;
  /** Pool for the memory of tables. Default: a new pool. */
  readonly memory?: TableMemory | undefined;
}

/**
 * @param parts creates the parts after the session was checked
 * @param secrets memory for keys
 * @returns a receiver whose first revision is ready
 */
export async function makeReceiver(
  session: ReceiverSession,
  parts: (matrix: Matrix) => Promise<ReceiverParts>,
  secrets: SecretMemory = ordinaryMemory,
): Promise<Receiver> {
  const matrix = completeParameters(session.parameters);
  requireBytes('the session identifier', session.sessionId, SESSION_ID_BYTES);
  session.signal?.throwIfAborted();
  const ratchet = new Ratchet(session.seed, session.firstRevision ?? 0n, secrets);
  const made = parts(matrix).catch((error: unknown) => {
    ratchet.close();
    throw error;
  });
  const receiver = new DefaultReceiver(matrix, copyBytes(session.sessionId), ratchet, await made);
  const abort = () => void receiver.close();
  session.signal?.addEventListener('abort', abort, { once: true });
  try {
    await receiver.start();
  } catch (error) {
    await receiver.close();
    session.signal?.throwIfAborted();
    throw error;
  }
  return receiver;
}

class DefaultReceiver implements Receiver {
  readonly engine: EngineName;
  readonly #matrix: Matrix;
  readonly #session: Bytes;
  readonly #ratchet: Ratchet;
  readonly #hmac: Hmac;
  readonly #runner: TaskRunner;
  readonly #engine: HashEngine;
  readonly #builder: TableBuilder | undefined;
  readonly #steps = new Mutex();
  /** Frame numbers that were accepted or are being decoded. */
  readonly #seen = new Set<number>();
  #forgotten = 0;
  #current: Live | undefined;
  #previous: Live | undefined;
  #closed = false;

  constructor(matrix: Matrix, session: Bytes, ratchet: Ratchet, parts: ReceiverParts) {
    const { engine, hmac, runner, memory = new TableMemory() } = parts;
    this.#matrix = matrix;
    this.#session = session;
    this.#ratchet = ratchet;
    this.#hmac = hmac;
    this.#runner = runner;
    this.#engine = engine;
    if (matrix.order !== 8) this.#builder = new TableBuilder(matrix.order, { ...parts, memory });
    this.engine = engine.name;
  }

  get tables(): EngineName | 'gpu' {
    return this.#builder?.filler ?? this.engine;
  }

  get ready(): bigint {
    return this.#current?.keys.revision ?? -1n;
  }

  async start(): Promise<void> {
    this.#current = await this.#compute();
  }

  prepareNext(): Promise<void> {
    return this.#steps.run(async () => {
      this.#requireOpen();
      this.#ratchet.advance();
      try {
        const expired = this.#previous;
        this.#previous = undefined;
        if (expired !== undefined) {
          wipeKeys(expired.keys);
          if (expired.table !== undefined) await this.#builder?.release(expired.table);
        }
        const next = await this.#compute();
        this.#previous = this.#current;
        this.#current = next;
      } catch (error) {
        // The ratchet cannot go back, so a retry is impossible.
        await this.close();
        throw error;
      }
    });
  }

  async decode(bytes: Uint8Array): Promise<DecodedFrame> {
    this.#requireOpen();
    const { session, revision, frame } = readHeader(bytes, this.#matrix);
    if (!equalBytes(session, this.#session)) throw altered();
    const live = [this.#current, this.#previous].find((one) => one?.keys.revision === revision);
    if (live === undefined) throw expired(revision, this.ready);
    if (!macHolds(this.#hmac, live.keys.mac, bytes)) throw altered();
    if (frame < this.#forgotten || this.#seen.has(frame)) {
      throw new MillraceError('E_FRAME_REPLAY', `frame ${frame} was accepted already`, { data: { frame } });
    }
    this.#seen.add(frame);
    try {
      return { revision, frame, cell: await this.#resolve(live, bytes) };
    } catch (error) {
      this.#seen.delete(frame);
      // The table was erased while the frame was looked up.
      if (live !== this.#current && live !== this.#previous && !this.#closed) throw expired(revision, this.ready);
      throw error;
    }
  }

  verifyAhead(bytes: Uint8Array, { most, freshSecret }: Parameters<Receiver['verifyAhead']>[1]): void {
    this.#requireOpen();
    const { session, revision } = readHeader(bytes, this.#matrix);
    if (!equalBytes(session, this.#session)) throw altered();
    const ahead = revision - this.#ratchet.revision;
    if (ahead < 1n || ahead > BigInt(most)) throw expired(revision, this.ready);
    const holds = this.#ratchet.withMacKeyAt(revision, freshSecret, (key) => macHolds(this.#hmac, key, bytes));
    if (!holds) throw altered();
  }

  forget(below: number): void {
    for (; this.#forgotten < below; this.#forgotten++) this.#seen.delete(this.#forgotten);
  }

  mix(secret: Uint8Array): void {
    this.#requireOpen();
    this.#ratchet.mix(secret);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#runner.close();
    for (const live of [this.#current, this.#previous]) if (live !== undefined) wipeKeys(live.keys);
    await this.#builder?.close();
    this.#current = undefined;
    this.#previous = undefined;
    this.#ratchet.close();
  }

  async #compute(): Promise<Live> {
    const { keys } = this.#ratchet;
    const key = { suite: this.#matrix.suite, revision: keys.revision, key: keys.table };
    return { keys, table: await this.#builder?.build(key) };
  }

  async #resolve({ keys, table }: Live, bytes: Uint8Array): Promise<Bytes> {
    if (table === undefined) return this.#resolveSmall(keys, bytes);
    const task = { matrix: this.#matrix, keys: pick(keys), table, frame: copyBytes(bytes) };
    const cell = await this.#runner.run({ kind: 'resolve', ...task }, true);
    if (!(cell instanceof Uint8Array)) throw new MillraceError('E_INTERNAL', 'a frame gave no cell');
    return cell;
  }

  /** Runs on the calling thread: passing it to another thread would take longer. */
  #resolveSmall(keys: RevisionKeys, bytes: Uint8Array): Promise<Bytes> {
    const engine = this.#engine;
    const key: HashKey = { suite: this.#matrix.suite, revision: keys.revision, key: keys.table };
    return resolveFrame(engine, this.#matrix, pick(keys), bytes, {
      lookUp: (codes, skip) => lookUpSmall(engine, key, codes, skip),
      solve: engine.solve,
    });
  }

  #requireOpen(): void {
    if (this.#closed) throw new MillraceError('E_STATE', 'the receiver is closed');
  }
}

function pick(keys: RevisionKeys): ResolveKeys {
  return { table: keys.table, parity: keys.parity };
}

function expired(revision: bigint, ready: bigint): MillraceError {
  return new MillraceError('E_FRAME_REVISION', 'the frame does not belong to the current or the previous revision', {
    data: { revision, ready },
  });
}

function altered(): MillraceError {
  return new MillraceError('E_FRAME_MAC', 'the frame was altered, or belongs to another session');
}
