import {
  type Bytes,
  compareBytes,
  copyBytes,
  fromHex,
  MillraceError,
  Mutex,
  type RandomSource,
  systemRandom,
  toHex,
  wipe,
} from '@millrace/base';
import type { Log, Write } from '@millrace/stores';
import { CheckRun } from './check/check.ts';
import { collectRetired } from './collect-retired.ts';
import { contentKeysLength } from './core.ts';
import { type DecoySet, decoySeed, decoysWanted, openDecoys } from './decoys.ts';
import { type Epoch, EpochKeys } from './epochs.ts';
import { hasPoints, inNextMode } from './holding-modes.ts';
import { Keyring } from './keyring.ts';
import { layerKey } from './layer-key.ts';
import { readManifest } from './manifest.ts';
import {
  MAX_CELLS,
  MAX_MOVED,
  type MaintainedMessage,
  type MaintainMessage,
  type StoredMessage,
  type StoreMessage,
} from './messages.ts';
import type { MaintenanceMode } from './modes.ts';
import { cellIndex } from './outer.ts';
import { place } from './place.ts';
import { type Plan, START } from './plan.ts';
import { PlaybookLog } from './playbook-log.ts';
import { pointsLabel } from './points/keys.ts';
import { emptyHolding, type Holding, manifestKey, type VaultState } from './records.ts';
import type { Slots } from './slots.ts';
import { Steps } from './steps.ts';
import { committed, isEnded, namer, newSweep, planOf, storeBoundary } from './sweep.ts';
import { type CellName, type DesignView, type SliceCell, statusOf, type VaultStatus, viewOf } from './views.ts';
import type { KeyWrapper } from './wrapper.ts';

export interface PlaybookOptions {
  /** Used only by the playbook. */
  readonly log: Log;
  readonly epochSlots: Slots;
  readonly designSlots: Slots;
  readonly wrapper: KeyWrapper;
  readonly random?: RandomSource;
  /** Percent of real cells, 0 to 100; default 50. A changed value applies from now on. */
  readonly density?: number;
  /** Minimum number of decoys; default 0. */
  readonly minimumDecoys?: number;
}

/** Decoys created by one message; about a megabyte. */
const BATCH = 64;
/** Decoys of points created by one message: seconds of work. */
const POINTS_BATCH = 8;
/** Cells staged by one message of a sweep: 67 MB. Large, because most of a message's overhead is constant. */
export const STEP = MAX_MOVED;

/**
 * The keys node's half of the storage live matrix: which cells make up a design, under which keys, in which epoch. The
 * caller carries messages to and from the segments node, at least once and in order. Every change is durable before its
 * method resolves, and every method may be called again.
 *
 * One process holds a playbook. Opening it takes it over from the previous process. From then on, every method of the
 * previous holder that changes the playbook or reports places of cells throws E_FENCED.
 */
export class Playbook {
  readonly #log: PlaybookLog;
  readonly #epochs: EpochKeys;
  readonly #keyring: Keyring;
  readonly #mutex = new Mutex();
  readonly #holdings: Map<string, Holding>;
  #state: VaultState;
  readonly #decoys: readonly DecoySet[];
  readonly #random: RandomSource;
  #plan: Plan<string> | undefined;
  #check: CheckRun | undefined;
  readonly #steps: Steps;
  /** The state in memory is one commit ahead of the stored state. */
  #unwritten = false;

  private constructor(
    log: PlaybookLog,
    epochs: EpochKeys,
    keyring: Keyring,
    state: VaultState,
    holdings: Map<string, Holding>,
    decoys: readonly DecoySet[],
    random: RandomSource,
  ) {
    this.#random = random;
    this.#log = log;
    this.#epochs = epochs;
    this.#keyring = keyring;
    this.#state = state;
    this.#holdings = holdings;
    this.#steps = new Steps(holdings, epochs, this.#labelOf);
    this.#decoys = decoys;
  }

  /**
   * Opens the playbook and takes it over from any other process.
   * @throws {MillraceError} E_STORE, E_SEAL if keys and playbook do not belong together
   */
  static async open(options: PlaybookOptions): Promise<Playbook> {
    const { wrapper, random = systemRandom } = options;
    const log = await PlaybookLog.acquire(options.log);
    const epochs = new EpochKeys(options.epochSlots, wrapper, random);
    const holdings = await log.holdings();
    const stored = await log.state();
    const settings = { density: options.density ?? 50, minimumDecoys: options.minimumDecoys ?? 0 };
    const state: VaultState = { ...(stored ?? { v: 1, epoch: 1 }), ...settings };
    const { sets, created } = await openDecoys(holdings, wrapper, random);
    if (stored === undefined) await epochs.createFirst();
    await log.append(created, [], state);
    const live = state.sweep === undefined ? [state.epoch] : [state.epoch, state.sweep.to];
    for (const epoch of live) await epochs.load(epoch);
    await epochs.keepOnly(...live);
    const keyring = new Keyring(options.designSlots, wrapper, random);
    const living = [...holdings.values()].filter((holding) => !holding.decoys && !holding.deleted);
    await keyring.open(living.map(({ slot }) => slot));
    return new Playbook(log, epochs, keyring, state, holdings, sets, random);
  }

  /**
   * Records a design whose cells will be stored. The caller has verified its signature.
   * @param options.keys 32 bytes per segment, then the design secret if this node has custody. Not retained; the caller
   *   wipes them
   * @returns false if the design is already recorded
   * @throws {MillraceError} E_CONFLICT (being deleted), E_INPUT, E_STATE at density 0
   */
  addDesign(options: { manifest: Uint8Array; keys: Uint8Array }): Promise<boolean> {
    return this.#run(async () => {
      const { designId: design, segments, custody, maintenance: mode, ...core } = readManifest(options.manifest);
      const known = this.#holdings.get(design);
      if (known !== undefined) {
        if (known.deleted) throw new MillraceError('E_CONFLICT', `design ${design} is being deleted`);
        return false;
      }
      if (this.#state.density === 0) throw new MillraceError('E_STATE', 'at density 0 the vault accepts no designs');
      if (options.keys.length !== contentKeysLength({ segments, custody }))
        throw new MillraceError(
          'E_INPUT',
          'expected one content key for each segment and, in custody, the design secret',
        );
      const id = fromHex(design);
      const { slot, writes } = await this.#keyring.add(id, options.keys);
      const { owner, organisation } = core;
      const of = { owner, ...(organisation && { organisation }) };
      const holding: Holding = { ...emptyHolding(id, this.#random), segments, slot, ...of, ...(mode && { mode }) };
      try {
        await this.#put([holding], writes.concat({ put: manifestKey(id), value: options.manifest }));
      } catch (error) {
        // After a takeover, the other process may be using this slot.
        const fenced = error instanceof MillraceError && error.code === 'E_FENCED';
        if (!fenced) await this.#keyring.destroy(slot);
        throw error;
      }
      return true;
    });
  }

  designs(): DesignView[] {
    return [...this.#holdings.values()].filter((holding) => !holding.decoys && !holding.deleted).map(viewOf);
  }

  /** Secret of a design in the node's custody, 32 bytes; the caller wipes it. @throws {MillraceError} E_CELL_DAMAGED */
  async designSecret(design: string): Promise<Bytes | undefined> {
    const { id, slot, segments } = this.#living(design);
    // The secret is stored after the last content key.
    const [secret] = await this.#keyring.open32(id, slot, segments, segments + 1, this.#log.get);
    return secret;
  }

  /** @throws {MillraceError} E_NOT_FOUND */
  design(design: string): DesignView {
    return viewOf(this.#living(design));
  }

  /** @throws {MillraceError} E_NOT_FOUND */
  async manifest(design: string): Promise<Bytes> {
    const bytes = await this.#log.get(manifestKey(this.#living(design).id));
    if (bytes === undefined) throw new MillraceError('E_CELL_DAMAGED', `the manifest of design ${design} is lost`);
    return bytes;
  }

  /**
   * Answers a `want`: the places and outer keys of `count` cells from segment `from`.
   * @returns undefined while a check runs; retry later
   * @throws {MillraceError} E_NOT_FOUND, E_INPUT
   */
  instruct(want: { design: Uint8Array; from: number; count: number }): Promise<StoreMessage | undefined> {
    return this.#run(() => this.#instruct(this.#living(toHex(want.design)), want.from, want.count));
  }

  /** The next decoys to create for the density; undefined if there are enough, or if none can be created now. */
  decoyWork(limit = BATCH): Promise<StoreMessage | undefined> {
    return this.#run(async () => {
      for (const set of this.#decoys) {
        const decoys = this.#holding(set.name);
        const wanted = this.#decoysWanted(set);
        // Add no decoys while a sweep drops some: their numbers would be reused.
        if (decoys.retire !== undefined || decoys.stored >= wanted) continue;
        const count = Math.min(limit, wanted - decoys.stored, set.points ? POINTS_BATCH : MAX_CELLS);
        if (decoys.segments < wanted) await this.#put([{ ...decoys, segments: wanted }]);
        return this.#instruct(this.#holding(set.name), decoys.stored, count);
      }
      return undefined;
    });
  }

  /** Recreates decoys that a check found missing or damaged. @returns undefined if not needed, or while a check runs */
  decoysAgain(from: number, count: number, points = false): Promise<StoreMessage | undefined> {
    return this.#run(async () => {
      const decoys = this.#holding(this.#decoys.find((set) => set.points === points)?.name ?? '');
      const to = Math.min(from + count, decoys.retire ?? decoys.stored, decoys.stored);
      return from < to ? this.#instruct(decoys, from, to - from) : undefined;
    });
  }

  /** Handles a `stored` message. @returns the design if it is now complete */
  stored(message: StoredMessage): Promise<{ design: string; complete: boolean; decoys: boolean } | undefined> {
    return this.#run(async () => {
      const holding = this.#holdings.get(toHex(message.design));
      // A late repeated message may name cells that were removed.
      if (holding === undefined || holding.deleted || message.generation !== holding.generation) return undefined;
      const end = message.from + message.count;
      if (end > holding.instructed) return undefined;
      // Cells may have been stored in places of the committed step. Write that step before counting them.
      const more = message.from <= holding.stored && end > holding.stored;
      if (more || this.#unwritten) await this.#put(more ? [{ ...holding, stored: end }] : []);
      this.#check?.stored(holding, message.from, message.count);
      const { stored, segments, decoys } = this.#holding(toHex(message.design));
      return { design: toHex(message.design), complete: stored >= segments, decoys };
    });
  }

  /**
   * The playbook of segments `from` to `to` (exclusive) in the current state.
   * @throws {MillraceError} E_NOT_FOUND, E_UPLOAD (not stored yet), E_INPUT, E_CELL_DAMAGED (keys lost)
   */
  async slice(design: string, from: number, to: number): Promise<SliceCell[]> {
    const holding = this.#living(design);
    if (holding.stored < holding.segments) throw new MillraceError('E_UPLOAD', `design ${design} is not stored yet`);
    if (from < 0 || from >= to || to > holding.segments)
      throw new MillraceError('E_INPUT', `no segments ${from} to ${to}`);
    const ceks = await this.#keyring.open32(holding.id, holding.slot, from, to, this.#log.get);
    await this.#log.requireHeld();
    const { current, next } = this.#liveEpochs();
    // No await from here on, so that all places come from one state.
    const boundary = this.#state.sweep?.from ?? START;
    return ceks.map((cek, i) => {
      const { index, epoch } = place(holding.id, from + i, boundary, current, next);
      const cell = { segment: from + i, index, outerKey: layerKey(epoch.key, holding, from + i), cek };
      return hasPoints(holding) ? { ...cell, label: this.#labelOf(holding, from + i) } : cell;
    });
  }

  /** Destroys the design's keys immediately. Sweeps remove its cells. @throws {MillraceError} E_NOT_FOUND */
  deleteDesign(design: string): Promise<void> {
    return this.#run(async () => {
      const holding = this.#living(design);
      const retireTo = (this.#state.sweep?.to ?? this.#state.epoch) + 1;
      await this.#put([{ ...holding, deleted: true, retire: 0, retireTo }]);
      await this.#keyring.destroy(holding.slot);
    });
  }

  /**
   * Sets how the design's cells are renewed from the next sweep on.
   * @param issued when the owner signed the request, ms; a request that is not newer than the last one has no effect
   * @returns the mode from the next sweep on
   * @throws {MillraceError} E_NOT_FOUND
   */
  setMode(design: string, mode: MaintenanceMode, issued: number): Promise<MaintenanceMode> {
    return this.#run(async () => {
      const holding = this.#living(design);
      if (issued <= (holding.modeIssued ?? -1)) return holding.nextMode ?? holding.mode ?? 'rekey';
      await this.#put([{ ...holding, nextMode: mode, modeIssued: issued }]);
      return mode;
    });
  }

  /** Starts a sweep to the next epoch. @returns false while a sweep or a check runs */
  beginSweep(): Promise<boolean> {
    return this.#run(async () => {
      if (this.#state.sweep !== undefined || this.#check?.holdsSweep) return false;
      const to = this.#state.epoch + 1;
      const surplus = this.#decoys
        .map((set) => ({ ...this.#holding(set.name), retire: this.#decoysWanted(set), retireTo: to }))
        .filter(({ instructed, retire }) => instructed > retire);
      await this.#epochs.create(to);
      const changed = [...this.#holdings.values()].filter(({ nextMode }) => nextMode !== undefined).map(inNextMode);
      await this.#put([...surplus, ...changed], [], { ...this.#state, sweep: newSweep(to) });
      this.#plan = undefined;
      return true;
    });
  }

  /**
   * The sweep's pending message, or the next one. The caller sends it and wipes it.
   * @returns undefined if no sweep runs, or a check holds the sweep
   */
  nextMaintenance(limit = STEP): Promise<MaintainMessage | undefined> {
    return this.#run(async () => {
      const plan = await this.#planned();
      if (this.#state.sweep === undefined || plan === undefined) return undefined;
      for (let sweep = this.#state.sweep; !isEnded(sweep); sweep = committed(sweep)) {
        if (!sweep.underWay && this.#check?.holdsSweep) return undefined;
        sweep = this.#steps.step(sweep, plan, limit);
        const message = await this.#steps.message(sweep, plan);
        const { items, masked, points, forget } = message;
        // Send the first message even without cells: a segments node that misses an epoch looks like an older state.
        if (sweep.number === 1 || items.count + masked.count + points.count + forget.count > 0) {
          await this.#put([], [], { ...this.#state, sweep });
          return message;
        }
        await this.#put([], [], { ...this.#state, sweep: committed(sweep) });
      }
      await this.#endSweep();
      return undefined;
    });
  }

  /** Prepares the next message while the segments node works on the pending one. */
  async lookAhead(limit = STEP): Promise<void> {
    if (this.#plan === undefined) await this.#mutex.run(() => this.#planned());
    const { sweep } = this.#state;
    if (sweep !== undefined && this.#plan !== undefined) await this.#steps.ahead(sweep, this.#plan, limit);
  }

  /** Handles a `maintained` message. @returns the problems found; undefined unless it answers the pending message */
  maintained(
    message: MaintainedMessage,
  ): Promise<{ missing: CellName[]; damaged: CellName[]; ended: boolean } | undefined> {
    return this.#run(async () => {
      const { sweep } = this.#state;
      if (sweep === undefined || !sweep.underWay || sweep.to !== message.to || sweep.number !== message.number)
        return undefined;
      const name = await this.#namer(message.missing.length + message.damaged.length > 0);
      const outcome = { missing: message.missing.map(name), damaged: message.damaged.map(name) };
      // Durable with the next write. If the node is killed before that, it sends the same message again, and the cells
      // that the message names stay in place.
      this.#state = { ...this.#state, sweep: committed(sweep) };
      this.#unwritten = true;
      const ended = isEnded(committed(sweep));
      if (ended) await this.#endSweep();
      return { ...outcome, ended };
    });
  }

  /**
   * Begins a check of everything. Sweeps and storing wait while it compares the places; then sweeps wait for each part.
   * @returns undefined while a message of a sweep is pending or another check runs; retry later
   */
  beginCheck(options: { deep: boolean; random?: RandomSource }): Promise<CheckRun | undefined> {
    return this.#mutex.run(async () => {
      if (this.#check !== undefined || this.#state.sweep?.underWay) return undefined;
      this.#check = await CheckRun.begin({
        ...options,
        log: this.#log,
        keyring: this.#keyring,
        decoys: this.#decoys,
        labelOf: this.#labelOf,
        mutex: this.#mutex,
        standing: () => ({ holdings: this.#holdings, state: this.#state, ...this.#liveEpochs() }),
        onEnd: () => {
          this.#check = undefined;
        },
      });
      return this.#check;
    });
  }

  status(): VaultStatus {
    const { sweep } = this.#state;
    const progress =
      sweep === undefined || this.#plan === undefined ? 0 : this.#plan.rank(sweep.from) / Math.max(1, this.#plan.count);
    return statusOf(this.#state, [...this.#holdings.values()], this.#decoys, progress);
  }

  /** Waits for pending work, then wipes the keys in memory. */
  async close(): Promise<void> {
    await this.#mutex.run(() => {
      wipe(...this.#decoys.map(({ secret }) => secret));
      this.#steps.changed();
      return this.#epochs.close();
    });
  }

  /** Runs `work` exclusively. @throws {MillraceError} E_FENCED */
  #run<T>(work: () => Promise<T>): Promise<T> {
    return this.#mutex.run(async () => {
      await this.#log.requireHeld();
      return work();
    });
  }

  async #instruct(holding: Holding, from: number, count: number): Promise<StoreMessage | undefined> {
    if (this.#check?.holdsAll) return undefined;
    const to = Math.min(from + count, holding.segments);
    if (from > holding.instructed || from >= to || count > MAX_CELLS) {
      throw new MillraceError('E_INPUT', `segments ${from} to ${from + count} are not next`);
    }
    const { current, next } = this.#liveEpochs();
    const boundary = this.#state.sweep === undefined ? START : storeBoundary(this.#state.sweep);
    if (to > holding.instructed) {
      await this.#put([{ ...holding, instructed: to }]);
      if (this.#plan !== undefined && next !== undefined) {
        const owner = toHex(holding.id);
        const added = Array.from({ length: to - holding.instructed }, (_, i) => {
          const segment = holding.instructed + i;
          return { owner, segment, index: cellIndex(next.indexKey, holding.id, segment) };
        });
        this.#plan.add(added.filter(({ index }) => compareBytes(index, boundary) > 0));
        this.#steps.changed();
      }
    }
    const cells = Array.from({ length: to - from }, (_, i) => {
      const { index, epoch } = place(holding.id, from + i, boundary, current, next);
      return { index, key: layerKey(epoch.key, holding, from + i), epoch: epoch.number };
    });
    const { id, decoys, generation } = holding;
    const secret = this.#decoys.find(({ name }) => name === toHex(id))?.secret;
    const seeds = secret === undefined ? [] : cells.map((_, i) => decoySeed(secret, from + i));
    const labels = hasPoints(holding) ? cells.map((_, i) => this.#labelOf(holding, from + i)) : [];
    return { type: 'store', design: copyBytes(id), generation, from, decoys, cells, seeds, labels };
  }

  async #endSweep(): Promise<void> {
    const { sweep, ...rest } = this.#state;
    if (sweep === undefined) return;
    const { cut, gone, writes } = collectRetired(this.#holdings.values(), sweep.to, this.#random);
    await this.#put(cut, writes, { ...rest, epoch: sweep.to });
    for (const design of gone) this.#holdings.delete(design);
    this.#plan = undefined;
    this.#steps.changed();
    // Write first: a key may be destroyed only when no record refers to its epoch.
    await this.#epochs.keepOnly(sweep.to);
  }

  /** Writes durably, then updates the state in memory. */
  async #put(holdings: readonly Holding[], writes: readonly Write[] = [], next?: VaultState): Promise<void> {
    const state = next ?? (this.#unwritten ? this.#state : undefined);
    await this.#log.append(holdings, writes, state);
    if (state !== undefined) this.#unwritten = false;
    for (const holding of holdings) this.#holdings.set(toHex(holding.id), holding);
    if (holdings.length > 0) this.#steps.changed();
    if (state !== undefined) this.#state = state;
  }

  #liveEpochs(): { current: Epoch; next: Epoch | undefined } {
    const { epoch, sweep } = this.#state;
    return { current: this.#epochs.get(epoch), next: sweep && this.#epochs.get(sweep.to) };
  }

  /** The plan of the running sweep. */
  async #planned(): Promise<Plan<string> | undefined> {
    const { next } = this.#liveEpochs();
    if (next !== undefined) this.#plan ??= await planOf(this.#holdings, next);
    return this.#plan;
  }

  /** Maps new indexes of the pending step back to names. */
  async #namer(needed: boolean): Promise<(index: Bytes) => CellName> {
    const { sweep } = this.#state;
    const plan = needed ? await this.#planned() : undefined;
    if (sweep === undefined || plan === undefined) return () => ({ design: undefined, segment: -1 });
    return namer(sweep, plan, (owner) => this.#holdings.get(owner)?.decoys === true);
  }

  readonly #decoysWanted = (set: DecoySet): number => decoysWanted(set, this.#holdings.values(), this.#state);

  /** Derives labels from the secret of the point decoys. That secret opens nothing and exists as long as the vault. */
  readonly #labelOf = ({ id }: Holding, segment: number): Bytes => {
    const secret = this.#decoys.find(({ points }) => points)?.secret ?? new Uint8Array();
    return pointsLabel(secret, id, segment);
  };

  #holding(name: string): Holding {
    const holding = this.#holdings.get(name);
    if (holding === undefined) throw new MillraceError('E_NOT_FOUND', `no design ${name}`, { data: { design: name } });
    return holding;
  }

  #living(design: string): Holding {
    const holding = this.#holding(design);
    if (holding.decoys || holding.deleted)
      throw new MillraceError('E_NOT_FOUND', `no design ${design}`, { data: { design } });
    return holding;
  }
}
