import type { ControlClient, MaintenanceReport } from '@millrace/api';
import {
  type Clock,
  type Closable,
  encodeCbor,
  equalBytes,
  type Logger,
  type Metrics,
  MillraceError,
  noTracer,
  RwLock,
  sleep,
  type Tracer,
  toMillraceError,
} from '@millrace/base';
import type { RecordStore } from '@millrace/stores';
import { lanesFor, type Playbook, type StoreMessage } from '@millrace/vault';
import type { MailClient } from '../node/mail-client.ts';
import { runsOf } from '../node/runs.ts';
import type { MaintenanceSettings } from '../settings.ts';
import { Budget } from './budget.ts';
import { CheckDriver } from './check-driver.ts';
import type { Destruction } from './replicas/leader.ts';
import type { SegmentsMembers } from './segments-members.ts';
import type { Storing } from './storing.ts';
import { SweepDriver } from './sweep-driver.ts';
import { SweepSchedule } from './sweep-schedule.ts';
import type { VaultKeys } from './vault-keys.ts';
import { type VaultAnswer, VaultMail } from './vault-mail.ts';

export interface MaintenanceModules {
  readonly playbook: Playbook;
  /** Stores the time at which the next sweep is due. */
  readonly store: RecordStore;
  readonly mail: MailClient;
  readonly vaultKeys: VaultKeys;
  readonly members: SegmentsMembers;
  readonly storing: Storing;
  readonly control: Pick<ControlClient, 'nodes'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly tracer?: Tracer;
  /**
   * A sweep's message is built and posted under an exclusive lock. Every message that names a place is therefore posted
   * before it or takes it into account.
   */
  readonly order: RwLock;
  /** If the node has replicas. */
  readonly destruction?: (() => Destruction) | undefined;
}

/** Interval between progress reports of a long sweep to control, ms. */
const TELL_MS = 10_000;
/** Maximum number of lost decoys that one message replaces: a megabyte of cells. */
const DECOYS = 64;
const DECOYS_OF_POINTS = 8;
const MONTH_MS = 30 * 86_400_000;

/**
 * Runs the keys node's part of maintenance: a sweep in every period, decoys up to the density, checks. After an
 * interruption it continues from the playbook's durable state.
 */
export class Maintenance implements Closable {
  readonly #modules: MaintenanceModules;
  readonly #periodMs: number;
  readonly #budget: Budget;
  readonly #stop = new AbortController();
  readonly #vaultMail: VaultMail;
  readonly #checks: CheckDriver;
  /** Steps of sweeps, which share it, and parts of checks take turns. */
  readonly #turn = new RwLock();
  readonly #driver: SweepDriver;
  /** When the sweep began and when control was last told, on the monotonic clock. */
  #began = 0;
  #told = 0;
  #schedule: SweepSchedule | undefined;
  #running: Promise<void> = Promise.resolve();
  #problems = 0;
  /** Decoys that checks found missing or damaged and that are not yet replaced. A restarted node finds them again. */
  readonly #lostDecoys = { cells: new Set<number>(), points: new Set<number>() };

  constructor(modules: MaintenanceModules, settings: MaintenanceSettings) {
    this.#modules = modules;
    this.#periodMs = settings.periodMs;
    this.#budget = new Budget(settings.budget, modules.clock);
    const { playbook, vaultKeys, members, storing, clock, order } = modules;
    const { signal } = this.#stop;
    this.#vaultMail = new VaultMail({ keys: vaultKeys, members, clock, signal });
    const shared = { playbook, vaultMail: this.#vaultMail, turn: this.#turn, signal };
    this.#checks = new CheckDriver({ ...shared, sweepTo: () => this.#sweepTo() });
    this.#driver = new SweepDriver({
      ...shared,
      vaultKeys,
      members,
      storing,
      order,
      budget: this.#budget,
      metrics: modules.metrics,
      onProblem: ({ design, segment }) => {
        this.#problems++;
        modules.logger.error(
          { code: 'E_CELL_MISSING', design: design ?? 'decoys', segment },
          'cell missing or damaged: the owner has to repair the design',
        );
      },
      onStep: () => this.#tell(),
    });
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Resolves the message to which the segments node's answer belongs. */
  answered(message: VaultAnswer, from: string): void {
    this.#vaultMail.answered(message, from);
  }

  /** Sends unanswered messages to a segments node again, because it has lost the keys to open them. */
  restarted(node: string): void {
    this.#vaultMail.restarted(node);
  }

  /** Checks the whole vault, once for all requests, and reports to control. */
  async check(checks: readonly string[], deep: boolean): Promise<void> {
    const { mail } = this.#modules;
    const report = await this.#checks.run(deep);
    for (const problem of report.problems)
      if (problem.kind !== 'extra' && 'segments' in problem && problem.design === undefined)
        for (const segment of problem.segments) this.#lostDecoys[problem.points ? 'points' : 'cells'].add(segment);
    for (const check of checks)
      await mail.send(
        { role: 'control', partition: check },
        { type: 'check.result', check, report: encodeCbor(report as never) },
      );
  }

  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
    await this.#running;
  }

  /** The target epoch of the sweep that is in progress or due. */
  #sweepTo(): number | undefined {
    const { sweep, epoch } = this.#modules.playbook.status();
    if (sweep !== undefined) return sweep.to;
    return this.#schedule?.wait === 0 ? epoch + 1 : undefined;
  }

  async #run(): Promise<void> {
    const { playbook, store, clock, logger, tracer = noTracer } = this.#modules;
    while (!this.#stop.signal.aborted) {
      try {
        this.#schedule ??= await SweepSchedule.open(store, clock, this.#periodMs);
        await this.#makeDecoys();
        await this.#remakeDecoys();
        const began = clock.monotonic();
        if (this.#schedule.wait === 0) await this.#begin(this.#schedule);
        const { sweep, cells } = playbook.status();
        if (sweep !== undefined) await tracer.run('sweep', { cells }, () => this.#sweep(began));
        await sleep(Math.max(10, Math.min(500, this.#schedule.wait)), this.#stop.signal);
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        logger.error({ err: toMillraceError(error) }, 'maintenance interrupted; continuing in a second');
        await sleep(1_000, this.#stop.signal).catch(() => undefined);
      }
    }
  }

  /** Begins a sweep, unless one is in progress or a check that compares the places holds it up. */
  async #begin(schedule: SweepSchedule): Promise<void> {
    const { playbook, members } = this.#modules;
    const lanes = members.shared ? lanesFor(playbook.status().cells, members.answering.length) : 1;
    if (await this.#turn.write(() => playbook.beginSweep(lanes))) await schedule.begun();
  }

  async #sweep(began: number): Promise<void> {
    const { playbook, vaultKeys, clock } = this.#modules;
    this.#budget.begin();
    this.#problems = 0;
    this.#began = this.#told = began;
    await playbook.lookAhead(); // compute in advance, while slices are still sent
    await this.#driver.run();
    // Steps of this epoch that were recorded on their way cannot be opened any more.
    vaultKeys.renew();
    const sweepMs = clock.monotonic() - began;
    this.#modules.metrics.histogram('millrace_sweep_ms', 'duration of a sweep of the vault, ms').observe(sweepMs);
    await this.#report(sweepMs, 1);
  }

  /** Reports the progress of a long sweep. */
  async #tell(): Promise<void> {
    const { playbook, clock } = this.#modules;
    const progress = playbook.status().sweep?.progress ?? 1;
    const now = clock.monotonic();
    if (progress >= 1 || now - this.#told < TELL_MS) return;
    this.#told = now;
    await this.#report(now - this.#began, progress);
  }

  async #makeDecoys(): Promise<void> {
    const { playbook } = this.#modules;
    for (;;) {
      const node = await this.#vaultMail.ready();
      const work = await playbook.decoyWork({ node });
      if (work === undefined) return;
      await this.#makeSome(work, node);
    }
  }

  /** Replaces lost decoys. Those that are no longer needed stay in the set and are skipped. */
  async #remakeDecoys(): Promise<void> {
    const { playbook, logger } = this.#modules;
    for (const points of [false, true]) {
      const lost = this.#lostDecoys[points ? 'points' : 'cells'];
      for (const run of runsOf(lost, points ? DECOYS_OF_POINTS : DECOYS)) {
        const node = await this.#vaultMail.ready();
        const work = await playbook.decoysAgain(run[0] ?? 0, run.length, { points, node });
        if (work === undefined || !(await this.#makeSome(work, node))) continue;
        for (const segment of run) lost.delete(segment);
        logger.info({ decoys: run.length, points }, 'lost decoys replaced');
      }
    }
  }

  /** @returns whether the node has made the decoys; false if it is silent, and another can be told to */
  async #makeSome(work: StoreMessage, node: string): Promise<boolean> {
    const { design, from } = work;
    const isReport = (message: VaultAnswer) =>
      message.type === 'stored' && message.from === from && equalBytes(message.design, design);
    const posted = await this.#vaultMail.post(work, (message) => isReport(message) || undefined, node);
    return (await posted.answer()) === true;
  }

  /** @param progress share of the sweep that is complete, above 0; 1 when it has ended */
  async #report(sweepMs: number, progress: number): Promise<void> {
    const { epoch, cells, decoys, designs } = this.#modules.playbook.status();
    const reachedPeriodMs = Math.round(Math.max(this.#periodMs, sweepMs / Math.max(progress, 1e-6)));
    const held = reachedPeriodMs <= this.#periodMs;
    const destroyed = this.#modules.destruction?.();
    const perSweep = this.#budget.money / Math.max(progress, 1e-6);
    const report: MaintenanceReport = {
      epoch,
      cells,
      decoys,
      designs,
      periodMs: this.#periodMs,
      reachedPeriodMs,
      lastSweepMs: Math.round(sweepMs),
      progress: Math.round(progress * 1_000) / 1_000,
      heldBackBy: held ? 'no' : (this.#budget.heldBackBy ?? 'speed'),
      moneyPerMonth: Number(((perSweep * MONTH_MS) / reachedPeriodMs).toPrecision(3)),
      problems: this.#problems,
      ...(destroyed && { replicas: { destroyedThrough: destroyed.through, owing: [...destroyed.owing] } }),
    };
    const { logger, metrics } = this.#modules;
    metrics.gauge('millrace_vault_epoch', 'epoch of the vault').set(epoch);
    metrics.gauge('millrace_vault_cells', 'cells in the vault, decoys included').set(cells);
    metrics.gauge('millrace_vault_problems', 'missing or damaged cells that the last sweep found').set(this.#problems);
    logger.info(report, progress < 1 ? 'sweep in progress' : 'sweep complete');
    await this.#modules.control.nodes
      .maintenance({ body: report }, { timeoutMs: 2_000 })
      .catch((error: unknown) => logger.debug({ err: error }, 'maintenance report not delivered to control'));
  }
}
