import type { ControlClient, MaintenanceReport } from '@millrace/api';
import {
  type Clock,
  type Closable,
  encodeCbor,
  type Logger,
  type Metrics,
  MillraceError,
  Mutex,
  type RwLock,
  sleep,
  toHex,
  toMillraceError,
} from '@millrace/base';
import type { Directory } from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import {
  type Playbook,
  POINTS_BYTES,
  SEGMENT_BYTES,
  STEP,
  type StoredMessage,
  type StoreMessage,
} from '@millrace/vault';
import type { MailClient } from '../node/mail-client.ts';
import { runsOf } from '../node/runs.ts';
import type { MaintenanceSettings } from '../settings.ts';
import { Budget } from './budget.ts';
import { CheckDriver } from './check-driver.ts';
import { SweepSchedule } from './sweep-schedule.ts';
import type { VaultKeys } from './vault-keys.ts';
import { type VaultAnswer, VaultMail } from './vault-mail.ts';

export interface MaintenanceModules {
  readonly playbook: Playbook;
  /** Stores the time at which the next sweep is due. */
  readonly store: RecordStore;
  readonly mail: MailClient;
  readonly vaultKeys: VaultKeys;
  readonly directory: Directory;
  readonly control: Pick<ControlClient, 'nodes'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /**
   * A sweep's message is built and posted under an exclusive lock. Every message that names a place is therefore posted
   * before it or takes it into account.
   */
  readonly order: RwLock;
}

/** Interval between progress reports of a long sweep to control, ms. */
const TELL_MS = 10_000;
/** Maximum number of lost decoys that one message replaces: a megabyte of cells. */
const DECOYS = 64;
const DECOYS_OF_POINTS = 8;
const MONTH_MS = 30 * 86_400_000;

/**
 * Runs the keys node's part of maintenance: a sweep in every period, decoys up to the density, checks. One message is
 * unanswered at a time. After an interruption it continues from the playbook's durable state.
 */
export class Maintenance implements Closable {
  readonly #modules: MaintenanceModules;
  readonly #periodMs: number;
  readonly #budget: Budget;
  readonly #stop = new AbortController();
  readonly #vaultMail: VaultMail;
  readonly #checks: CheckDriver;
  /** Steps of sweeps and parts of checks take turns. */
  readonly #turn = new Mutex();
  #schedule: SweepSchedule | undefined;
  #running: Promise<void> = Promise.resolve();
  #problems = 0;
  /** Decoys that checks found missing or damaged and that are not yet replaced. A restarted node finds them again. */
  readonly #lostDecoys = { cells: new Set<number>(), points: new Set<number>() };

  constructor(modules: MaintenanceModules, settings: MaintenanceSettings) {
    this.#modules = modules;
    this.#periodMs = settings.periodMs;
    this.#budget = new Budget(settings.budget, modules.clock);
    const { playbook, vaultKeys, directory } = modules;
    const { signal } = this.#stop;
    this.#vaultMail = new VaultMail(vaultKeys, directory, signal);
    const { vaultMail, turn } = { vaultMail: this.#vaultMail, turn: this.#turn };
    this.#checks = new CheckDriver({ playbook, vaultMail, turn, sweepTo: () => this.#sweepTo(), signal });
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Resolves the message to which the segments node's answer belongs. */
  answered(message: VaultAnswer): void {
    this.#vaultMail.answered(message);
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
    const { playbook, store, clock, logger } = this.#modules;
    while (!this.#stop.signal.aborted) {
      try {
        this.#schedule ??= await SweepSchedule.open(store, clock, this.#periodMs);
        await this.#makeDecoys();
        await this.#remakeDecoys();
        const underWay = playbook.status().sweep !== undefined;
        if (underWay || this.#schedule.wait === 0) {
          const began = clock.monotonic();
          // Under the mutex, because a sweep cannot begin while a check holds the vault.
          if (!underWay && (await this.#turn.run(() => playbook.beginSweep()))) await this.#schedule.begun();
          await this.#sweep(began);
        }
        await sleep(Math.max(10, Math.min(500, this.#schedule.wait)), this.#stop.signal);
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        logger.error({ err: toMillraceError(error) }, 'maintenance interrupted; continuing in a second');
        await sleep(1_000, this.#stop.signal).catch(() => undefined);
      }
    }
  }

  async #sweep(began: number): Promise<void> {
    const { playbook, vaultKeys, clock, logger } = this.#modules;
    const budget = this.#budget;
    budget.begin();
    this.#problems = 0;
    let told = began;
    const cellsOfStep = () => budget.step(STEP, SEGMENT_BYTES);
    await playbook.lookAhead(cellsOfStep()); // compute in advance, while slices are still sent
    while (playbook.status().sweep !== undefined) {
      const step = await this.#turn.run(() => this.#step(cellsOfStep));
      if (step === undefined) {
        if (playbook.status().sweep !== undefined) await sleep(50, this.#stop.signal); // a check holds the vault
        continue;
      }
      const { cells, points, workMs, wireBytes, outcome } = step;
      for (const { design, segment } of [...(outcome?.missing ?? []), ...(outcome?.damaged ?? [])]) {
        this.#problems++;
        logger.error(
          { code: 'E_CELL_MISSING', design: design ?? 'decoys', segment },
          'cell missing or damaged: the owner has to repair the design',
        );
      }
      const wait = budget.spend({
        cells,
        points,
        bytes: cells * SEGMENT_BYTES + points * POINTS_BYTES,
        workMs,
        wireBytes,
      });
      const progress = playbook.status().sweep?.progress ?? 1;
      if (progress < 1 && clock.monotonic() - told >= TELL_MS) {
        told = clock.monotonic();
        await this.#report(told - began, progress);
      }
      if (wait > 0) await sleep(wait, this.#stop.signal);
    }
    // Steps of this epoch that were recorded on their way cannot be opened any more.
    await vaultKeys.renew();
    const sweepMs = clock.monotonic() - began;
    this.#modules.metrics.histogram('millrace_sweep_ms', 'duration of a sweep of the vault, ms').observe(sweepMs);
    await this.#report(sweepMs, 1);
  }

  /** Sends one message of the sweep and awaits its answer. @returns undefined when the sweep has no further message */
  async #step(limit: () => number) {
    const { playbook, order } = this.#modules;
    await this.#vaultMail.ready();
    const step = await order.write(async () => {
      const message = await playbook.nextMaintenance(limit());
      if (message === undefined) return undefined;
      const { to, number } = message;
      const cells = message.items.count + message.masked.count;
      const points = message.points.count;
      const posted = await this.#vaultMail.post(message, (reply) =>
        reply.type === 'maintained' && reply.to === to && reply.number === number ? reply : undefined,
      );
      return { cells, points, posted };
    });
    if (step === undefined) return undefined;
    const { posted, ...counts } = step;
    const [answer] = await Promise.all([posted.answer(), playbook.lookAhead(limit())]);
    return { ...counts, workMs: answer.work, wireBytes: posted.bytes, outcome: await playbook.maintained(answer) };
  }

  async #makeDecoys(): Promise<void> {
    const { playbook } = this.#modules;
    for (let work = await playbook.decoyWork(); work !== undefined; work = await playbook.decoyWork())
      await playbook.stored(await this.#makeSome(work));
  }

  /** Replaces lost decoys. Those that are no longer needed stay in the set and are skipped. */
  async #remakeDecoys(): Promise<void> {
    const { playbook, logger } = this.#modules;
    for (const points of [false, true]) {
      const lost = this.#lostDecoys[points ? 'points' : 'cells'];
      for (const run of runsOf(lost, points ? DECOYS_OF_POINTS : DECOYS)) {
        const work = await playbook.decoysAgain(run[0] ?? 0, run.length, points);
        if (work === undefined) continue;
        await this.#makeSome(work);
        for (const segment of run) lost.delete(segment);
        logger.info({ decoys: run.length, points }, 'lost decoys replaced');
      }
    }
  }

  async #makeSome(work: StoreMessage): Promise<StoredMessage> {
    const { design, from } = work;
    const posted = await this.#vaultMail.post(work, (message) =>
      message.type === 'stored' && message.from === from && toHex(message.design) === toHex(design)
        ? message
        : undefined,
    );
    return posted.answer();
  }

  /** @param progress share of the sweep that is complete, above 0; 1 when it has ended */
  async #report(sweepMs: number, progress: number): Promise<void> {
    const { epoch, cells, decoys, designs } = this.#modules.playbook.status();
    const reachedPeriodMs = Math.round(Math.max(this.#periodMs, sweepMs / Math.max(progress, 1e-6)));
    const held = reachedPeriodMs <= this.#periodMs;
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
