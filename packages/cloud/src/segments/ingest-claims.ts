import { type Clock, type Logger, MillraceError } from '@millrace/base';
import { type Directory, nodesOf } from '@millrace/protocol';
import type { Table } from '../node/table.ts';
import { type IngestClaim, type IngestRecord, OPEN } from './ingest-job.ts';

/** Times in ms. */
export interface ClaimTimes {
  /** Between two beats of a claim. */
  readonly beat: number;
  /** Another node takes a job over when its claim has not changed for this time, by that node's clock. */
  readonly stale: number;
}

interface Seen {
  readonly claim: IngestClaim;
  /** On the monotonic clock. */
  readonly since: number;
}

export interface IngestClaimsModules<R extends IngestRecord> {
  readonly pending: Table<R>;
  /** Id of this node. */
  readonly node: string;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly times: ClaimTimes;
}

/**
 * Which node does a job, among nodes that share their stores. A claim saves work that would be done twice. Nothing else
 * depends on it: two nodes that do the same job store the same cells, and the keys node checks what each reports. So
 * no clocks are compared, and a node that was frozen in the middle may go on until it looks at its claim.
 */
export class IngestClaims<R extends IngestRecord> {
  readonly #modules: IngestClaimsModules<R>;
  /** Claims as they were seen last, and since when. */
  #seen = new Map<string, Seen>();

  constructor(modules: IngestClaimsModules<R>) {
    this.#modules = modules;
  }

  /**
   * Claims the oldest job that no other node does. A claim of this node itself is from a process that has ended.
   * @param isDue whether this node may try a job now
   */
  async next(isDue: (id: string) => boolean): Promise<HeldJob<R> | undefined> {
    const seen = new Map<string, Seen>();
    const free: string[] = [];
    for await (const [id, { claim }] of this.#modules.pending.list(OPEN)) {
      const known = this.#seen.get(id);
      const now = this.#modules.clock.monotonic();
      if (claim !== undefined) seen.set(id, known && isSame(claim, known.claim) ? known : { claim, since: now });
      if (isDue(id) && this.#isFree(claim, seen.get(id)?.since ?? now)) free.push(id);
    }
    this.#seen = seen;
    for (const id of free) {
      const held = await this.#claim(id, seen.get(id)?.claim);
      if (held !== undefined) return held;
    }
    return undefined;
  }

  #isFree(claim: IngestClaim | undefined, since: number): boolean {
    const { directory, node, clock, times } = this.#modules;
    if (claim === undefined || claim.by === '' || claim.by === node) return true;
    const isRetired = !nodesOf(directory, 'segments').some(({ id }) => id === claim.by);
    return isRetired || clock.monotonic() - since >= times.stale;
  }

  /** @param before the claim that is replaced @returns undefined if the job has ended or another node was faster */
  async #claim(id: string, before: IngestClaim | undefined): Promise<HeldJob<R> | undefined> {
    const { pending, node, logger } = this.#modules;
    const claim = { by: node, token: (before?.token ?? 0) + 1, beat: 0 };
    const record = await pending
      .update(id, (current) => {
        if (current.ended === undefined && isSame(current.claim, before)) return { ...current, claim };
        throw lost(id);
      })
      .catch((error: unknown) => {
        if (error instanceof MillraceError && (error.code === 'E_FENCED' || error.code === 'E_NOT_FOUND'))
          return undefined;
        throw error;
      });
    if (record === undefined) return undefined;
    if (before !== undefined && before.by !== '' && before.by !== node)
      logger.info({ design: record.design, from: before.by }, 'upload taken over from another node');
    return new HeldJob(this.#modules, { id, record, token: claim.token });
  }
}

/** A job that this process does, until it ends it or finds that another node has taken it over. */
export class HeldJob<R extends IngestRecord> {
  readonly id: string;
  /** As it was claimed. */
  readonly record: R;
  readonly #modules: IngestClaimsModules<R>;
  readonly #token: number;
  readonly #lost = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #beating = false;

  constructor(modules: IngestClaimsModules<R>, job: { id: string; record: R; token: number }) {
    this.#modules = modules;
    this.id = job.id;
    this.record = job.record;
    this.#token = job.token;
    this.#timer = setInterval(() => void this.#beat(), modules.times.beat);
  }

  /** Aborted when the job was cancelled, or another node has taken it over. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** @throws {MillraceError} E_FENCED if this process no longer holds the job */
  async update(change: (record: R) => R): Promise<void> {
    await this.#modules.pending.change(this.id, (current) => {
      const { by, token } = current?.claim ?? {};
      if (current !== undefined && current.ended === undefined && by === this.#modules.node && token === this.#token)
        return change(current);
      const error = lost(this.id);
      this.#lost.abort(error);
      throw error;
    });
  }

  /** Gives the job back, so that any node can try it. */
  giveBack(): Promise<void> {
    return this.update((record) => ({ ...record, claim: { by: '', token: this.#token, beat: 0 } }));
  }

  /** Ends the work of this process on the job. The claim stays. */
  close(): void {
    clearInterval(this.#timer);
  }

  async #beat(): Promise<void> {
    if (this.#beating) return;
    this.#beating = true;
    try {
      await this.update((record) => {
        const { by = '', token = 0, beat = 0 } = record.claim ?? {};
        return { ...record, claim: { by, token, beat: beat + 1 } };
      });
    } catch (error) {
      this.#modules.logger.debug({ err: error, job: this.id }, 'claim of an upload not renewed');
    } finally {
      this.#beating = false;
    }
  }
}

const isSame = (a: IngestClaim | undefined, b: IngestClaim | undefined): boolean =>
  a?.by === b?.by && a?.token === b?.token && a?.beat === b?.beat;

const lost = (id: string) => new MillraceError('E_FENCED', `upload ${id} was cancelled, or another node does it`);
