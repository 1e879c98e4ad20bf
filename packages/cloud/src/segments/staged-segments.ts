import { setMaxListeners } from 'node:events';
import { type Bytes, type Clock, type Closable, type Logger, MillraceError, toMillraceError } from '@millrace/base';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import type { DistributionClients, KnownDistribution } from '../node/distribution-clients.ts';
import { Table } from '../node/table.ts';

/** A node that has not answered for this time is taken to have nothing: the owner uploads again, to another one. */
const PATIENCE_MS = 15_000;
/** Time for an answer, ms. */
const ANSWER_MS = 10_000;
/** Interval at which nodes that did not answer are asked again to wipe, ms. */
const WIPE_MS = 30_000;

const unwipedSchema = z.strictObject({ design: z.string(), node: z.string() });

export interface StagedSegmentsModules {
  readonly distributions: Pick<DistributionClients, 'of'>;
  readonly store: RecordStore;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Sealed segments that owners have uploaded to distribution nodes. An owner whose node fails goes on at another one, so
 * a design may be staged at several, in parts.
 */
export class StagedSegments implements Closable {
  readonly #modules: StagedSegmentsModules;
  /** Copies at nodes that did not answer when they had to be wiped. */
  readonly #unwiped: Table<z.output<typeof unwipedSchema>>;
  /** Since when a node has not answered, monotonic ms. */
  readonly #silent = new Map<string, number>();
  /** The node that gave the last segment, and of which design. */
  #giver: { readonly design: string; readonly id: string } | undefined;
  readonly #timer: NodeJS.Timeout;

  constructor(modules: StagedSegmentsModules) {
    this.#modules = modules;
    this.#unwiped = new Table(modules.store, 'unwiped', unwipedSchema);
    this.#timer = setInterval(() => void this.wipeRest(), WIPE_MS);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /**
   * @returns segments by number
   * @throws {MillraceError} E_UPLOAD naming a segment that is not staged; E_UNAVAILABLE or E_TIMEOUT while a node that
   *   may have it does not answer
   */
  async fetch(design: string, numbers: readonly number[], signal: AbortSignal): Promise<Map<number, Bytes>> {
    const found = new Map<number, Bytes>();
    let answered = false;
    let failure: unknown;
    for (const node of this.#inOrder(design)) {
      try {
        await this.#from(node, design, numbers, found, signal);
        this.#silent.delete(node.id);
        answered = true;
      } catch (error) {
        if (signal.aborted || !isSilence(error)) throw error;
        if (!this.#isGivenUp(node.id)) failure ??= error;
      }
      if (found.size === numbers.length) return found;
    }
    // If no node answers, the fault is more likely here.
    if (failure !== undefined || !answered)
      throw failure ?? new MillraceError('E_UNAVAILABLE', 'no distribution node answers');
    const segment = numbers.find((number) => !found.has(number));
    throw new MillraceError('E_UPLOAD', `segment ${segment} has not been uploaded`, { data: { segment } });
  }

  /** Adds what one node has of the segments that are not found yet. @throws the error of a node that does not answer */
  async #from(
    { id, client: { uploads } }: KnownDistribution,
    design: string,
    numbers: readonly number[],
    found: Map<number, Bytes>,
    signal: AbortSignal,
  ): Promise<void> {
    const isGiver = this.#giver?.design === design && this.#giver.id === id;
    // One question, instead of one for each segment, to a node that may have nothing, or not answer.
    if (!isGiver && (await uploads.list({ design }, { signal, timeoutMs: ANSWER_MS })).have === 0) return;
    const silent = new AbortController();
    const either = AbortSignal.any([signal, silent.signal]);
    setMaxListeners(0, either);
    const get = async (segment: number) => {
      try {
        found.set(segment, await uploads.get({ design, segment }, { signal: either, timeoutMs: ANSWER_MS }));
        this.#giver = { design, id };
      } catch (error) {
        if (error instanceof MillraceError && error.code === 'E_NOT_FOUND') return;
        if (isSilence(error)) silent.abort(error); // The others would each wait as long.
        throw error;
      }
    };
    const gets = await Promise.allSettled(numbers.filter((number) => !found.has(number)).map(get));
    for (const result of gets) if (result.status === 'rejected') throw result.reason;
  }

  /** The last giver first, silent nodes last. */
  #inOrder(design: string): readonly KnownDistribution[] {
    const rank = ({ id }: KnownDistribution) => (this.#silent.has(id) ? 2 : id === this.#giver?.id ? 0 : 1);
    return [...this.#modules.distributions.of(design)].sort((a, b) => rank(a) - rank(b));
  }

  #isGivenUp(id: string): boolean {
    const now = this.#modules.clock.monotonic();
    const since = this.#silent.get(id) ?? now;
    this.#silent.set(id, since);
    return now - since > PATIENCE_MS;
  }

  /**
   * Requests that every staging copy of the design is overwritten and removed. Nodes that do not answer are asked again
   * later, also after a restart of this process.
   * @throws {MillraceError} if no node answers
   */
  async wipe(design: string, signal?: AbortSignal): Promise<void> {
    const nodes = this.#modules.distributions.of(design);
    const results = await Promise.allSettled(
      nodes.map(({ client }) => client.uploads.wipe({ design }, { signal, timeoutMs: ANSWER_MS })),
    );
    const failed = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    if (failed.length === nodes.length || failed.some((error) => !isSilence(error))) throw failed[0];
    for (const [n, { id: node }] of nodes.entries())
      if (results[n]?.status === 'rejected') await this.#unwiped.create(`${design}/${node}`, { design, node });
  }

  /** Asks nodes that did not answer again. Never rejects. */
  async wipeRest(): Promise<void> {
    const { distributions, logger } = this.#modules;
    try {
      for await (const [id, { design, node }] of this.#unwiped.list()) {
        const known = distributions.of(design).find((one) => one.id === node);
        try {
          // A node that was retired is not asked: it accepts nobody.
          await known?.client.uploads.wipe({ design }, { timeoutMs: ANSWER_MS });
        } catch (error) {
          logger.debug({ err: toMillraceError(error), node }, 'staging copies not wiped yet: the node does not answer');
          continue;
        }
        await this.#unwiped.remove(id);
      }
    } catch (error) {
      logger.warn({ err: toMillraceError(error) }, 'staging copies not wiped: the next attempt follows');
    }
  }
}

function isSilence(error: unknown): boolean {
  return error instanceof MillraceError && (error.code === 'E_UNAVAILABLE' || error.code === 'E_TIMEOUT');
}
