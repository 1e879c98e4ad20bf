import { type Bytes, copyBytes, toHex } from '@millrace/base';
import { type DecoySet, decoyHash } from '../decoys.ts';
import type { Epoch } from '../epochs.ts';
import { hasPoints } from '../holding-modes.ts';
import { movedBy } from '../lanes.ts';
import { layerKey } from '../layer-key.ts';
import { type Manifest, segmentHash } from '../manifest.ts';
import { type CheckedMessage, type CheckMessage, type ExpectedCell, MAX_CELLS, MAY_BE_ABSENT } from '../messages.ts';
import { place } from '../place.ts';
import { START } from '../plan.ts';
import type { PlaybookLog } from '../playbook-log.ts';
import { type Holding, manifestKey, type VaultState } from '../records.ts';
import { Findings, manifestOf, mustHave } from './findings.ts';

/** Maximum cells of points in a part: removing their layer is slow. */
const POINTS_PART = 8;

/** State of the playbook while one part is pending. */
export interface Standing {
  readonly holdings: ReadonlyMap<string, Holding>;
  readonly state: VaultState;
  readonly current: Epoch;
  readonly next: Epoch | undefined;
}

export interface ContentsOptions {
  readonly id: Bytes;
  readonly log: Pick<PlaybookLog, 'get'>;
  readonly decoys: readonly DecoySet[];
  readonly labelOf: (holding: Holding, segment: number) => Bytes;
  /** The holdings when the check began. */
  readonly holdings: readonly Holding[];
}

/**
 * Checks that every cell hides the sealed segment that the manifest names, design by design. Cells are requested by
 * name and read at their current place, so a sweep may move them between two parts.
 */
export class ContentsPass {
  readonly findings = new Findings();
  readonly #options: ContentsOptions;
  readonly #asked = new Map<string, { owner: Holding; segment: number }>();
  /** Position of the next cell: holding, and segment in it. */
  #at = { holding: 0, segment: 0 };
  #upto = { holding: 0, segment: 0 };
  #hashes: { readonly name: string; readonly manifest: Pick<Manifest, 'segments' | 'hashes'> | undefined } | undefined;

  constructor(options: ContentsOptions) {
    this.#options = options;
  }

  get done(): boolean {
    return this.#at.holding >= this.#options.holdings.length;
  }

  /** @returns undefined when nothing is left to check */
  async next(part: number, limit: number, standing: Standing): Promise<CheckMessage | undefined> {
    const cells: ExpectedCell[] = [];
    this.#asked.clear();
    let points = 0;
    let { holding, segment } = this.#at;
    while (cells.length < Math.min(limit, MAX_CELLS)) {
      const begun = this.#options.holdings[holding];
      if (begun === undefined) break;
      const owner = standing.holdings.get(toHex(begun.id));
      // Deleted or reduced since the check began: do not report these cells as missing.
      const end = owner === undefined || owner.deleted ? 0 : Math.min(begun.instructed, owner.instructed);
      if (owner === undefined || segment >= end) {
        holding++;
        segment = 0;
        continue;
      }
      if (hasPoints(owner) && ++points > POINTS_PART) break;
      const cell = await this.#expected(owner, segment, standing);
      cells.push(cell);
      this.#asked.set(toHex(cell.index), { owner, segment });
      segment++;
    }
    this.#upto = { holding, segment };
    if (cells.length === 0) {
      this.#at = this.#upto;
      return undefined;
    }
    const [after, upto] = [copyBytes(START), copyBytes(START)];
    const last = holding >= this.#options.holdings.length;
    return {
      type: 'check',
      check: copyBytes(this.#options.id),
      part,
      last,
      deep: true,
      oldest: standing.state.epoch,
      after,
      upto,
      cells,
    };
  }

  take(message: CheckedMessage): void {
    for (const kind of ['missing', 'damaged'] as const) {
      for (const index of message[kind]) {
        const cell = this.#asked.get(toHex(index));
        if (cell !== undefined) this.findings.add(kind, cell.owner, cell.segment);
      }
    }
    this.#at = this.#upto;
  }

  async #expected(owner: Holding, segment: number, { state, current, next }: Standing): Promise<ExpectedCell> {
    const { index, epoch } = place(owner.id, segment, movedBy(state.sweep), current, next);
    const flags = segment < mustHave(owner) ? 0 : MAY_BE_ABSENT;
    const hash = await this.#hash(owner, segment);
    if (hash === undefined) return { index, epoch: epoch.number, flags };
    const cell = { index, epoch: epoch.number, flags, key: layerKey(epoch.key, owner, segment), hash };
    return hasPoints(owner) ? { ...cell, label: this.#options.labelOf(owner, segment) } : cell;
  }

  /** Undefined if the keys node's own record of the hash is damaged. The check reports that separately. */
  async #hash(owner: Holding, segment: number): Promise<Bytes | undefined> {
    const { log, decoys } = this.#options;
    const name = toHex(owner.id);
    const secret = decoys.find((set) => set.name === name)?.secret;
    if (secret !== undefined) return decoyHash(secret, segment);
    if (this.#hashes?.name !== name) {
      const bytes = await log.get(manifestKey(owner.id));
      this.#hashes = { name, manifest: bytes && manifestOf(bytes, name) };
    }
    const { manifest } = this.#hashes;
    return manifest && segmentHash(manifest, segment);
  }
}
