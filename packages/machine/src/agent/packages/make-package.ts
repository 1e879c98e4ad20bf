import { MillraceError, toHex, toMillraceError } from '@millrace/base';
import type { P256Key } from '@millrace/identity';
import { PackageFile, type PackageSource } from '@millrace/vault';
import { type ControlCalls, isPassing } from '../control-calls.ts';
import type { AgentParts } from '../parts.ts';
import { Print } from '../print.ts';
import type { RunRecord } from '../run-record.ts';
import { type CheckedPackage, checkPackage } from './check-package.ts';

/** One package to make an object from. */
export interface QueuedPackage {
  /** For messages. */
  readonly name: string;
  open(): Promise<PackageSource & { close(): Promise<void> }>;
  /** Orders a print of this licence. Called if none is ordered. */
  order(licence: string): Promise<void>;
  /** @param result the object, or why there is none */
  ended(result: PackageResult): Promise<void>;
}

export interface PackageResult {
  readonly object?: string | undefined;
  readonly error?: MillraceError | undefined;
  /** Nothing was decided: the same package may be made later. */
  readonly later?: boolean;
}

/** Packages that wait for this machine. */
export interface PackageQueue {
  readonly driverKey: P256Key;
  /** Waits for the next package. It is the next one until it has ended. */
  next(signal: AbortSignal): Promise<QueuedPackage>;
  /** The driver was killed while the machine made an object of the package with this licence. Called before `next`. */
  interrupted?(licence: string): Promise<void>;
}

type Parts = AgentParts & { readonly calls: Pick<ControlCalls, 'callHome' | 'next'> };

interface Job {
  readonly queued: QueuedPackage;
  readonly driverKey: P256Key;
}

/** Makes one object from a package, and tells it how it ended. */
export async function makeFromPackage(parts: Parts, job: Job, signal: AbortSignal): Promise<'none' | 'later'> {
  const { activity, logger } = parts;
  const { queued } = job;
  let result: PackageResult;
  try {
    result = await makePackage(parts, job, signal);
  } catch (cause) {
    const error = toMillraceError(cause);
    result = { error, later: signal.aborted || isPassing(error) };
    if (result.later) activity.failed(error);
    logger.error({ err: error, package: queued.name }, `job package ${result.later ? 'not made yet' : 'refused'}`);
  }
  await queued.ended(result);
  return result.later === true ? 'later' : 'none';
}

async function makePackage(parts: Parts, { queued, driverKey }: Job, signal: AbortSignal): Promise<PackageResult> {
  const { config, clock, spool, driver, activity } = parts;
  const source = await queued.open();
  try {
    const file = await PackageFile.open(source);
    const { capabilities } = driver;
    const checks = { config, driverKey, capabilities, material: spool.material, now: clock.now(), signal };
    const checked = await checkPackage(file, checks);
    const record = await runOf(parts, checked, queued, signal);
    const outcome = await new Print(parts, record, signal, { checked, driverKey }).run();
    const { object, error } = activity.status().last ?? {};
    return { object, error, later: outcome === 'later' };
  } finally {
    await source.close();
  }
}

/** The unfinished run of this package, or a new one for a print that is or gets ordered. */
async function runOf(
  { calls, random, spool, runs, report }: Parts,
  { licence }: CheckedPackage,
  queued: QueuedPackage,
  signal: AbortSignal,
): Promise<RunRecord> {
  const earlier = await runs.read();
  if (earlier?.package === licence) return earlier;
  // The object of another job was permitted and not begun: its owner may credit it.
  if (earlier?.object !== undefined)
    await report({ ...earlier, object: earlier.object }, 'failed', { segments: 0, code: 'E_PACKAGE' });
  if (earlier !== undefined) await runs.clear();
  let next = await calls.next(signal, licence);
  if (next === undefined) {
    await queued.order(licence);
    next = await calls.next(signal, licence);
  }
  if (next === undefined || !('print' in next))
    throw new MillraceError('E_NOT_FOUND', 'the print that was ordered does not wait');
  await spool.take(next.spool);
  return { print: next.print, run: toHex(random(16)), started: false, segments: 0, package: licence };
}
