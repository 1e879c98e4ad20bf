import { type Bytes, type Closable, equalBytes, fromHex, MillraceError, Mutex, toMillraceError } from '@millrace/base';
import { keyName } from '@millrace/identity';
import {
  type MachineReport,
  recognisedCloud,
  requireCounting,
  requireRole,
  requireSameVisit,
  signMachineDocument,
  type VisitReport,
  verifyCredential,
  verifyVisaOf,
} from '@millrace/protocol';
import { type ControlCalls, createVisitorCalls, isPassing, type Visa } from './control-calls.ts';
import { listIfThere } from './files.ts';
import { countedOnly } from './odometer.ts';
import type { AgentParts } from './parts.ts';
import type { GrantedVisit } from './permit.ts';
import { Print, type PrintOutcome } from './print.ts';
import type { RunRecord } from './run-record.ts';
import type { SpoolState } from './spool-state.ts';
import { cloudsFolder, openVisitedCloud, type VisitedCloud } from './visiting-cloud.ts';

/** Validity of a request for a visa, and of a report on a visit, which may wait on the machine's disk. */
const REQUEST_MS = 10 * 60_000;
const REPORT_MS = 30 * 86_400_000;

/** A run that makes an object of another cloud. */
type VisitRun = RunRecord & { readonly visit: NonNullable<RunRecord['visit']> };

export function isVisit(record: RunRecord): record is VisitRun {
  return record.visit !== undefined;
}

interface Open {
  readonly cloud: VisitedCloud;
  users: number;
}

/**
 * Objects that this machine makes for clouds that its own cloud recognises. The machine's own cloud gives it the visit
 * and the visa; everything else of the print goes to and comes from the other cloud. Both get its reports.
 */
export class Visits implements Closable {
  readonly #parts: AgentParts & { readonly calls: ControlCalls };
  readonly #clouds = new Map<string, Open>();
  readonly #mutex = new Mutex();
  readonly #stop = new AbortController();

  /** @param parts those of the machine at its own cloud */
  constructor(parts: AgentParts & { readonly calls: ControlCalls }) {
    this.#parts = parts;
  }

  /** Sends reports that wait for visited clouds since an earlier process. */
  async start(): Promise<void> {
    for (const installation of await listIfThere(cloudsFolder(this.#parts.config))) {
      try {
        await this.#acquire(installation);
        this.#release(installation);
      } catch (error) {
        this.#parts.logger.warn({ err: error, cloud: installation }, 'reports for a visited cloud wait');
      }
    }
  }

  /**
   * Makes one object.
   * @throws {MillraceError} errors of asking for the visa that may pass
   */
  async make(record: VisitRun, signal: AbortSignal): Promise<PrintOutcome> {
    const { logger, runs } = this.#parts;
    const { visit, cloud } = record.visit;
    let granted: { readonly visit: GrantedVisit; readonly shown: Visa };
    let visited: VisitedCloud;
    try {
      granted = await this.#ask(record, signal);
      visited = await this.#acquire(cloud);
    } catch (cause) {
      if (signal.aborted || isPassing(cause)) throw cause;
      const error = toMillraceError(cause);
      logger.error({ err: error, visit, cloud }, 'visit not begun');
      await this.report(record, 'failed', { segments: 0, code: error.code });
      await runs.clear();
      return 'refused';
    }
    let begun = false;
    try {
      let refusal = 'E_PERMIT';
      const { callHome } = createVisitorCalls(visited.link, this.#parts.timing, granted.shown);
      const parts: AgentParts = {
        ...this.#parts,
        config: visited.config,
        link: visited.link,
        inbox: visited.inbox,
        outbox: visited.outbox,
        visit: granted.visit,
        commands: undefined,
        spool: statedOnly(this.#parts.spool),
        odometer: countedOnly(this.#parts.odometer, () => {
          begun = true;
        }),
        calls: {
          callHome: (request, aborted) =>
            callHome(request, aborted).catch((error: unknown) => {
              refusal = toMillraceError(error).code;
              throw error;
            }),
        },
        refreshRevocations: async (aborted) => {
          await visited.refreshRevocations(aborted).catch((error: unknown) => {
            logger.warn({ err: error }, 'cannot ask the visited cloud for revoked keys: going on with those known');
          });
        },
        report: async (of, event, facts) => {
          await visited.report(of, event, facts);
          await this.#tell(record, event, { code: facts.code, begun });
        },
      };
      const outcome = await new Print(parts, record, signal).run();
      if (outcome === 'refused') await this.#tell(record, 'failed', { code: refusal, begun });
      return outcome;
    } finally {
      this.#release(cloud);
    }
  }

  /** Reports a run without a print, to both clouds. If its cloud is no longer recognised, only to the own one. */
  async report(
    record: VisitRun,
    event: 'failed',
    facts: Pick<MachineReport['facts'], 'segments' | 'code' | 'sealed'>,
  ): Promise<void> {
    const { object, run, started, visit } = record;
    if (object !== undefined)
      try {
        const cloud = await this.#acquire(visit.cloud);
        await cloud.report({ object, run, started }, event, facts).finally(() => this.#release(visit.cloud));
      } catch (error) {
        this.#parts.logger.error({ err: error, object }, 'cannot report to the visited cloud');
      }
    await this.#tell(record, event, { code: facts.code, begun: record.started });
  }

  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_STATE', 'the agent stops'));
    await this.#mutex.run(async () => {
      for (const { cloud } of this.#clouds.values()) await cloud.close();
      this.#clouds.clear();
    });
  }

  /** Asks the own cloud for the visa, and verifies it. The same run may ask again until it has started. */
  async #ask({ print, run, visit }: VisitRun, signal: AbortSignal) {
    const { calls, clock, config, random } = this.#parts;
    const { directory, machineKey } = config;
    const issued = clock.now();
    const request = await signMachineDocument(machineKey, directory.installation, {
      type: 'visa.request',
      id: random(16),
      issued,
      expires: issued + REQUEST_MS,
      visit: visit.visit,
      run: fromHex(run),
    });
    const { credential, ...shown } = await calls.visa(request, signal);
    recognisedCloud(directory, visit.cloud);
    const visitor = await verifyCredential(credential, directory);
    requireRole(visitor, 'operator');
    const key = visitor.publicKey;
    const { visa, request: asked } = await verifyVisaOf(directory, shown, key, clock.now());
    requireSameVisit(visa, asked);
    requireCounting(directory, keyName(key), shown.request);
    const fits =
      visa.visit === visit.visit &&
      visa.cloud === visit.cloud &&
      visa.print === print &&
      visa.machine === keyName(machineKey.publicKey) &&
      equalBytes(visa.run, fromHex(run));
    if (!fits) throw new MillraceError('E_VISA', 'the visa is for another visit, machine or run');
    const { proof } = this.#parts.spool;
    // Nobody but its operator answers for a spool without a certificate.
    const load = proof?.supplier && proof.load;
    const granted: GrantedVisit = { home: directory.installation, licence: visa.licence, visitor: key, load };
    return { visit: granted, shown };
  }

  /** Tells the own cloud how the visit goes, and at its end what it used. @param begun whether the machine has moved */
  async #tell(
    { run, visit }: VisitRun,
    event: MachineReport['event'],
    { code, begun }: { readonly code: string | undefined; readonly begun: boolean },
  ): Promise<void> {
    if (event === 'progressed') return;
    const { clock, config, odometer, outbox, random, spool } = this.#parts;
    const used = begun && spool.spool !== undefined ? { used: { spool: spool.spool, ...odometer.used } } : {};
    const ended = event === 'started' ? {} : { ...(await odometer.statement()), ...used };
    const issued = clock.now();
    const common = { id: random(16), issued, expires: issued + REPORT_MS };
    const about: Pick<VisitReport, 'visit' | 'run' | 'event'> = { visit: visit.visit, run: fromHex(run), event };
    const body = {
      type: 'visit.report' as const,
      ...common,
      ...about,
      ...ended,
      ...(code === undefined ? {} : { code }),
    };
    const report: Bytes = await signMachineDocument(config.machineKey, config.directory.installation, body);
    await outbox.add(report);
  }

  #acquire(installation: string): Promise<VisitedCloud> {
    return this.#mutex.run(async () => {
      let open = this.#clouds.get(installation);
      if (open === undefined) {
        const known = recognisedCloud(this.#parts.config.directory, installation);
        open = { cloud: await openVisitedCloud(this.#parts, known), users: 0 };
        this.#clouds.set(installation, open);
      }
      open.users++;
      return open.cloud;
    });
  }

  /** The link stays until the other cloud has every report, so that the machine can go on with other work. */
  #release(installation: string): void {
    const open = this.#clouds.get(installation);
    if (open === undefined) return;
    open.users--;
    const closing = async () => {
      await open.cloud.outbox.whenEmpty(this.#stop.signal);
      await this.#mutex.run(async () => {
        if (open.users > 0 || this.#clouds.get(installation) !== open) return;
        this.#clouds.delete(installation);
        await open.cloud.close();
      });
    };
    closing().catch((error: unknown) => {
      if (!this.#stop.signal.aborted)
        this.#parts.logger.error({ err: error }, 'cannot close the link to a visited cloud');
    });
  }
}

/** The other cloud learns the name of the material, and the statement on a certified spool, which the visit has. */
function statedOnly(spool: SpoolState): SpoolState {
  return {
    get material() {
      return spool.material;
    },
    proof: undefined,
    spool: undefined,
    get filament() {
      return spool.filament;
    },
    take: (proof) => spool.take(proof),
  };
}
