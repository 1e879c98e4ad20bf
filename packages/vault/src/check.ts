import {
  type Bytes,
  compareBytes,
  copyBytes,
  equalBytes,
  type RandomSource,
  systemRandom,
  toHex,
  toMillraceError,
  wipe,
} from '@millrace/base';
import type { Store } from '@millrace/stores';
import { type DecoySet, decoyHash } from './decoys.ts';
import type { Epoch } from './epochs.ts';
import { CHUNK, type Keyring } from './keyring.ts';
import { layerKey } from './layer-key.ts';
import { type Manifest, readManifest, segmentHash } from './manifest.ts';
import { type CheckedMessage, type CheckMessage, type ExpectedCell, MAX_CELLS, MAY_BE_ABSENT } from './messages.ts';
import { hasPoints } from './modes.ts';
import { cellIndex } from './outer.ts';
import { place } from './place.ts';
import { END, Plan, type PlanEntry, START } from './plan.ts';
import { type Holding, manifestKey, type VaultState } from './records.ts';

export type CheckProblem =
  /** Cells of a design (undefined: decoys, those of points or the others), by segment. */
  | {
      readonly kind: 'missing' | 'damaged';
      readonly design: string | undefined;
      readonly points?: true;
      readonly segments: readonly number[];
    }
  /** Cells in nobody's playbook, by index. */
  | { readonly kind: 'extra'; readonly indexes: readonly string[] }
  /** The keys node's own records. */
  | { readonly kind: 'manifest' | 'keys'; readonly design: string; readonly reason: string };

export interface CheckReport {
  readonly clean: boolean;
  /** Sealed bytes were compared with the manifests, not places and lengths only. */
  readonly deep: boolean;
  readonly epoch: number;
  readonly designs: number;
  /** Cells that had to be there, decoys included. */
  readonly cells: number;
  readonly problems: readonly CheckProblem[];
}

const POINTS_PART = 8;
const DECOYS = '';
const DECOYS_OF_POINTS = 'points';

export interface CheckOptions {
  readonly deep: boolean;
  readonly random?: RandomSource;
  readonly store: Store;
  readonly keyring: Keyring;
  readonly decoys: readonly DecoySet[];
  readonly labelOf: (holding: Holding, segment: number) => Bytes;
  readonly holdings: readonly Holding[];
  readonly state: VaultState;
  readonly current: Epoch;
  readonly next: Epoch | undefined;
  readonly onEnd: () => void;
}

/** A check under way (spec/vault.md, section 8). The playbook does not move until it is ended. */
export class CheckRun {
  readonly id: Bytes;
  readonly #options: CheckOptions;
  readonly #plan: Plan<Holding | undefined>;
  readonly #hashes = new Map<string, { segments: number; hashes: Bytes } | undefined>();
  readonly #found = {
    missing: new Map<string, number[]>(),
    damaged: new Map<string, number[]>(),
    extra: new Set<string>(),
  };
  readonly #own: CheckProblem[];
  #part = 0;
  #after = START;
  #upto = START;
  #done = false;

  private constructor(options: CheckOptions, plan: Plan<Holding | undefined>, own: CheckProblem[]) {
    this.id = (options.random ?? systemRandom)(16);
    this.#options = options;
    this.#plan = plan;
    this.#own = own;
  }

  static async begin(options: CheckOptions): Promise<CheckRun> {
    const { holdings, state, current, next } = options;
    const boundary = state.sweep?.from ?? START;
    const forgotten = state.sweep?.prev ?? START;
    const leftovers: PlanEntry<undefined>[] = [];
    const spans = holdings
      .filter(({ instructed }) => instructed > 0)
      .map((owner) => ({ owner, from: 0, to: owner.instructed }));
    const plan = await Plan.build<Holding | undefined>(spans, (owner, segment) => {
      if (owner === undefined) return END;
      const placed = place(owner.id, segment, boundary, current, next);
      // Staged and committed, but its old place is forgotten only by the next message.
      if (placed.epoch === next && compareBytes(placed.index, forgotten) > 0) {
        leftovers.push({ owner: undefined, segment, index: cellIndex(current.indexKey, owner.id, segment) });
      }
      return placed.index;
    });
    plan.add(leftovers);
    return new CheckRun(options, plan, await checkOwnRecords(options));
  }

  /** The part to be answered next (the same one until it is); undefined when all were. */
  async next(limit = MAX_CELLS): Promise<CheckMessage | undefined> {
    if (this.#done) return undefined;
    const most = Math.min(limit, MAX_CELLS);
    const entries = this.#few(this.#plan.after(this.#after, most));
    this.#upto =
      this.#plan.after(entries.at(-1)?.index ?? END, 1)[0] === undefined ? END : (entries.at(-1)?.index ?? END);
    const cells: ExpectedCell[] = [];
    for (const entry of entries) cells.push(await this.#expected(entry));
    return {
      type: 'check',
      check: copyBytes(this.id),
      part: this.#part,
      last: compareBytes(this.#upto, END) === 0,
      deep: this.#options.deep,
      after: copyBytes(this.#after),
      upto: copyBytes(this.#upto),
      cells,
    };
  }

  /** Layers of points take long to come off: at most `POINTS_PART` of them in a part of a deep check. */
  #few(entries: PlanEntry<Holding | undefined>[]): PlanEntry<Holding | undefined>[] {
    let left = POINTS_PART;
    const end = this.#options.deep ? entries.findIndex(({ owner }) => owner && hasPoints(owner) && left-- === 0) : -1;
    return end < 0 ? entries : entries.slice(0, end);
  }

  /** @returns whether it was the answer to the part of this check that is under way */
  take(message: CheckedMessage): boolean {
    if (this.#done || !equalBytes(message.check, this.id) || message.part !== this.#part) return false;
    const names = new Map(this.#plan.between(this.#after, this.#upto).map((entry) => [toHex(entry.index), entry]));
    for (const kind of ['missing', 'damaged'] as const) {
      for (const index of message[kind]) {
        const entry = names.get(toHex(index));
        if (entry?.owner === undefined) continue;
        const owner = entry.owner.decoys ? (hasPoints(entry.owner) ? DECOYS_OF_POINTS : DECOYS) : toHex(entry.owner.id);
        const segments = this.#found[kind].get(owner) ?? [];
        segments.push(entry.segment);
        this.#found[kind].set(owner, segments);
      }
    }
    for (const index of message.extra) this.#found.extra.add(toHex(index));
    this.#after = this.#upto;
    this.#part++;
    this.#done = compareBytes(this.#upto, END) === 0;
    return true;
  }

  get done(): boolean {
    return this.#done;
  }

  report(): CheckReport {
    const { deep, state, holdings } = this.#options;
    const problems: CheckProblem[] = [...this.#own];
    for (const kind of ['missing', 'damaged'] as const) {
      for (const [owner, segments] of this.#found[kind]) {
        const numbers = [...segments].sort((a, b) => a - b);
        if (owner === DECOYS_OF_POINTS) problems.push({ kind, design: undefined, points: true, segments: numbers });
        else problems.push({ kind, design: owner === DECOYS ? undefined : owner, segments: numbers });
      }
    }
    if (this.#found.extra.size > 0) problems.push({ kind: 'extra', indexes: [...this.#found.extra] });
    return {
      clean: this.#done && problems.length === 0,
      deep,
      epoch: state.epoch,
      designs: holdings.filter(({ decoys, deleted }) => !decoys && !deleted).length,
      cells: holdings.reduce((total, holding) => total + mustHave(holding), 0),
      problems,
    };
  }

  /** Lets sweeps and storing go on; also when the check was given up. */
  end(): void {
    this.#done = true;
    this.#options.onEnd();
  }

  async #expected({ owner, segment, index }: PlanEntry<Holding | undefined>): Promise<ExpectedCell> {
    const { current, next, state, deep } = this.#options;
    if (owner === undefined) return { index, epoch: current.number, flags: MAY_BE_ABSENT };
    const { epoch } = place(owner.id, segment, state.sweep?.from ?? START, current, next);
    const flags = segment < mustHave(owner) ? 0 : MAY_BE_ABSENT;
    const hash = deep ? await this.#hash(owner, segment) : undefined;
    if (hash === undefined) return { index, epoch: epoch.number, flags };
    const cell = { index, epoch: epoch.number, flags, key: layerKey(epoch.key, owner, segment), hash };
    return hasPoints(owner) ? { ...cell, label: this.#options.labelOf(owner, segment) } : cell;
  }

  async #hash(owner: Holding, segment: number): Promise<Bytes | undefined> {
    const { store, decoys } = this.#options;
    const name = toHex(owner.id);
    const secret = decoys.find((set) => set.name === name)?.secret;
    if (secret !== undefined) return decoyHash(secret, segment);
    if (!this.#hashes.has(name)) {
      const bytes = await store.get(manifestKey(owner.id));
      this.#hashes.set(name, bytes && manifestOf(bytes, name));
    }
    const manifest = this.#hashes.get(name);
    return manifest && segmentHash(manifest, segment);
  }
}

/** Undefined when it was altered. */
function manifestOf(bytes: Uint8Array, design: string): Manifest | undefined {
  try {
    const manifest = readManifest(bytes);
    return manifest.designId === design ? manifest : undefined;
  } catch {
    return undefined;
  }
}

/** Cells below this have to be there. */
function mustHave({ stored, deleted, retire }: Holding): number {
  return deleted ? 0 : Math.min(stored, retire ?? stored);
}

async function checkOwnRecords({ store, keyring, holdings }: CheckOptions): Promise<CheckProblem[]> {
  const problems: CheckProblem[] = [];
  for (const { id, decoys, deleted, segments, slot } of holdings) {
    if (decoys || deleted) continue;
    const design = toHex(id);
    const manifest = await store.get(manifestKey(id));
    if (manifest === undefined || manifestOf(manifest, design) === undefined) {
      problems.push({ kind: 'manifest', design, reason: manifest === undefined ? 'lost' : 'altered' });
    }
    try {
      for (let from = 0; from < segments; from += CHUNK) {
        wipe(...(await keyring.open32(id, slot, from, Math.min(from + CHUNK, segments), (key) => store.get(key))));
      }
    } catch (error) {
      problems.push({ kind: 'keys', design, reason: toMillraceError(error).message });
    }
  }
  return problems;
}
