import {
  type Bytes,
  fromHex,
  MillraceError,
  Mutex,
  type RandomSource,
  systemRandom,
  toHex,
  wipe,
} from '@millrace/base';
import type { Write } from '@millrace/stores';
import { CheckRun } from './check/check.ts';
import { collectRetired } from './collect-retired.ts';
import { requireContentKeys } from './core.ts';
import { DECOYS_AT_ONCE, type DecoySet, decoysWanted, openDecoys, POINT_DECOYS_AT_ONCE } from './decoys.ts';
import { type Epoch, EpochKeys } from './epochs.ts';
import { GivenPlaces } from './given-places.ts';
import { hasPoints, inNextModes } from './holding-modes.ts';
import { Keyring } from './keyring.ts';
import { isEnded, isUnderWay, laneAt, lanesLeft, lanesToAsk, movedBy, movingBy, newSweep, withLane } from './lanes.ts';
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
import { place } from './place.ts';
import type { Plan } from './plan.ts';
import { PlaybookLog } from './playbook-log.ts';
import type { PlaybookOptions } from './playbook-options.ts';
import { pointsLabel } from './points/keys.ts';
import { emptyHolding, type Holding, type Lane, manifestKey, type VaultState } from './records.ts';
import { Steps } from './steps.ts';
import { storeMessage } from './store-message.ts';
import { committed, entriesToAdd, fenced, laneIn, namer, plannedIn, planOf, progressOf } from './sweep.ts';
import { type CellName, type DesignView, type SliceCell, statusOf, type VaultStatus, viewOf } from './views.ts';

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
  readonly #given = new GivenPlaces();
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
      requireContentKeys(options.keys, { segments, custody });
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
   * @param node id of the segments node that asks
   * @returns undefined while a check runs; retry later
   * @throws {MillraceError} E_NOT_FOUND, E_INPUT
   */
  instruct(want: { design: Uint8Array; from: number; count: number }, node = ''): Promise<StoreMessage | undefined> {
    return this.#run(() => this.#instruct(this.#living(toHex(want.design)), want.from, want.count, node));
  }

  /** The next decoys that `node` creates for the density; undefined if there are enough, or none can be created now. */
  decoyWork({ limit = DECOYS_AT_ONCE, node = '' } = {}): Promise<StoreMessage | undefined> {
    return this.#run(async () => {
      for (const set of this.#decoys) {
        const decoys = this.#holding(set.name);
        const wanted = this.#decoysWanted(set);
        // Add no decoys while a sweep drops some: their numbers would be reused.
        if (decoys.retire !== undefined || decoys.stored >= wanted) continue;
        const count = Math.min(limit, wanted - decoys.stored, set.points ? POINT_DECOYS_AT_ONCE : MAX_CELLS);
        if (decoys.segments < wanted) await this.#put([{ ...decoys, segments: wanted }]);
        return this.#instruct(this.#holding(set.name), decoys.stored, count, node);
      }
      return undefined;
    });
  }

  /** Has `node` create decoys again that a check found damaged. @returns undefined if not needed, or while a check runs */
  decoysAgain(from: number, count: number, { points = false, node = '' } = {}): Promise<StoreMessage | undefined> {
    return this.#run(async () => {
      const decoys = this.#holding(this.#decoys.find((set) => set.points === points)?.name ?? '');
      const to = Math.min(from + count, decoys.retire ?? decoys.stored, decoys.stored);
      return from < to ? this.#instruct(decoys, from, to - from, node) : undefined;
    });
  }

  /**
   * Handles a `stored` message.
   * @param options.shared several segments nodes share the cells, so a step of a sweep may have overtaken the storing.
   *   Cells then count only if they are where this playbook, since it was opened, told `options.node` to store them
   * @returns whether the design is complete; undefined if the message has no effect: the cells are stored again
   */
  stored(
    message: StoredMessage,
    { shared = false, node = '' }: { shared?: boolean; node?: string } = {},
  ): Promise<{ design: string; complete: boolean; decoys: boolean } | undefined> {
    return this.#run(async () => {
      const holding = this.#holdings.get(toHex(message.design));
      // A late repeated message may name cells that were removed.
      if (holding === undefined || holding.deleted || message.generation !== holding.generation) return undefined;
      const end = message.from + message.count;
      if (end > holding.instructed) return undefined;
      const asTold = this.#given.take(node, message, (i) => this.#placeFor(holding, message.from + i).epoch.number);
      if (shared && !asTold) return undefined;
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
    const isMoved = movedBy(this.#state.sweep);
    return ceks.map((cek, i) => {
      const { index, epoch } = place(holding.id, from + i, isMoved, current, next);
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

  /**
   * Starts a sweep to the next epoch.
   * @param lanes a power of two, at most 256. More than one if several segments nodes share the cells
   * @returns false while a sweep or a check runs
   */
  beginSweep(lanes = 1): Promise<boolean> {
    return this.#run(async () => {
      if (this.#state.sweep !== undefined || this.#check?.holdsSweep) return false;
      const to = this.#state.epoch + 1;
      const surplus = this.#decoys
        .map((set) => ({ ...this.#holding(set.name), retire: this.#decoysWanted(set), retireTo: to }))
        .filter(({ instructed, retire }) => instructed > retire);
      await this.#epochs.create(to);
      await this.#put([...surplus, ...inNextModes(this.#holdings.values())], [], {
        ...this.#state,
        sweep: newSweep(to, lanes),
      });
      this.#plan = undefined;
      return true;
    });
  }

  /**
   * The pending message of a lane, or its next one. The caller sends it and wipes it.
   * @param options.given the lane is given to another segments node: answers of the former one no longer count
   * @returns undefined if no sweep runs, the lane has ended, or a check holds the sweep
   */
  nextMaintenance(limit = MAX_MOVED, at = 0, options: { given?: boolean } = {}): Promise<MaintainMessage | undefined> {
    return this.#run(async () => {
      const plan = await this.#planned();
      const { sweep } = this.#state;
      if (sweep === undefined || plan === undefined) return undefined;
      for (let now = sweep; !isEnded(now, at); now = this.#state.sweep ?? now) {
        const begun = laneIn(now, at);
        if (!begun.lane.underWay && this.#check?.holdsSweep) return undefined;
        const step = this.#steps.step(options.given === true ? fenced(begun) : begun, plan, limit);
        const message = await this.#steps.message(step, plan);
        const planned = plannedIn(message);
        // Send the first message even without cells: a segments node that misses an epoch looks like an older state.
        if ((step.lane.number === 1 && at === 0) || planned + message.forget.count > 0) {
          await this.#put([], [], { ...this.#state, sweep: withLane(now, at, { ...step.lane, planned }) });
          return message;
        }
        await this.#put([], [], { ...this.#state, sweep: withLane(now, at, committed(step.lane)) });
      }
      if (lanesLeft(this.#state.sweep).length === 0) await this.#endSweep();
      return undefined;
    });
  }

  /** Prepares the next message of a lane while a segments node works on the pending one. */
  async lookAhead(limit = MAX_MOVED, at = 0): Promise<void> {
    if (this.#plan === undefined) await this.#mutex.run(() => this.#planned());
    const { sweep } = this.#state;
    if (sweep !== undefined && this.#plan !== undefined) await this.#steps.ahead(laneIn(sweep, at), this.#plan, limit);
  }

  /**
   * Handles a `maintained` message.
   * @returns the problems found; undefined unless it answers the pending message of its lane and accounts for every
   *   cell of it. The message is then sent again
   */
  maintained(
    message: MaintainedMessage,
  ): Promise<{ missing: CellName[]; damaged: CellName[]; ended: boolean } | undefined> {
    return this.#run(async () => {
      const { sweep } = this.#state;
      const lane = sweep && laneAt(sweep, message.lane);
      if (sweep === undefined || lane === undefined || !lane.underWay || sweep.to !== message.to) return undefined;
      if (lane.number !== message.number || lane.fence !== message.fence) return undefined;
      const { staged, absent, missing, damaged } = message;
      if (staged + absent + missing.length + damaged.length !== lane.planned) return undefined;
      const name = await this.#namer(lane, missing.length + damaged.length > 0);
      const outcome = { missing: missing.map(name), damaged: damaged.map(name) };
      // Durable with the next write. If the node is killed before that, it sends the same message again, and the cells
      // that the message names stay in place.
      this.#state = { ...this.#state, sweep: withLane(sweep, message.lane, committed(lane)) };
      this.#unwritten = true;
      const ended = lanesLeft(this.#state.sweep).length === 0;
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
      if (this.#check !== undefined || isUnderWay(this.#state.sweep)) return undefined;
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
    const progress = sweep === undefined || this.#plan === undefined ? 0 : progressOf(sweep, this.#plan);
    return statusOf(this.#state, [...this.#holdings.values()], this.#decoys, {
      progress,
      lanes: lanesToAsk(sweep),
    });
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

  async #instruct(holding: Holding, from: number, count: number, node: string): Promise<StoreMessage | undefined> {
    if (this.#check?.holdsAll) return undefined;
    const to = Math.min(from + count, holding.segments);
    if (from > holding.instructed || from >= to || count > MAX_CELLS) {
      throw new MillraceError('E_INPUT', `segments ${from} to ${from + count} are not next`);
    }
    const { next } = this.#liveEpochs();
    if (to > holding.instructed) {
      await this.#put([{ ...holding, instructed: to }]);
      if (this.#plan !== undefined && next !== undefined) {
        this.#plan.add(entriesToAdd(holding, to, next, movingBy(this.#state.sweep)));
        this.#steps.changed();
      }
    }
    const cells = Array.from({ length: to - from }, (_, i) => {
      const { index, epoch } = this.#placeFor(holding, from + i);
      return { index, key: layerKey(epoch.key, holding, from + i), epoch: epoch.number };
    });
    this.#given.note(node, holding.id, from, cells);
    const secret = this.#decoys.find(({ name }) => name === toHex(holding.id))?.secret;
    return storeMessage({ holding, from, cells, secret, labelOf: this.#labelOf });
  }

  /** Where a cell is to be stored now. */
  #placeFor(holding: Holding, segment: number): { index: Bytes; epoch: Epoch } {
    const { current, next } = this.#liveEpochs();
    return place(holding.id, segment, movingBy(this.#state.sweep), current, next);
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

  /** Maps new indexes of a lane's pending step back to names. */
  async #namer(lane: Lane, needed: boolean): Promise<(index: Bytes) => CellName> {
    const plan = needed ? await this.#planned() : undefined;
    if (plan === undefined) return () => ({ design: undefined, segment: -1 });
    return namer(lane, plan, (owner) => this.#holdings.get(owner)?.decoys === true);
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
