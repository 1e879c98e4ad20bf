import { type Clock, fromHex, type RandomSource } from '@millrace/base';
import { type MachineReport, signMachineDocument } from '@millrace/protocol';
import type { MachineConfig } from './config.ts';
import type { MachineOdometer } from './odometer.ts';
import type { Outbox } from './outbox.ts';
import type { SpoolState } from './spool-state.ts';

/** Validity of a report: it may wait a long time on the machine's disk. */
const REPORT_MS = 30 * 86_400_000;

/**
 * Signs a report of the machine's work and adds it to the outbox. Durable once it resolves.
 * @param of.started whether the machine may have moved for the object
 */
export type SendReport = (
  of: { readonly object: string; readonly run: string; readonly started: boolean },
  event: MachineReport['event'],
  facts: Pick<
    MachineReport['facts'],
    'segments' | 'contentMac' | 'code' | 'halt' | 'lines' | 'made' | 'photos' | 'resumed' | 'sealed'
  >,
) => Promise<void>;

export function createReports(options: {
  config: MachineConfig;
  outbox: Outbox;
  clock: Clock;
  random: RandomSource;
  spool: Pick<SpoolState, 'material'> & Partial<Pick<SpoolState, 'spool'>>;
  /** Absent in reports to a visited cloud. */
  odometer?: Pick<MachineOdometer, 'statement' | 'used'>;
}): SendReport {
  const { config, outbox, clock, random, spool, odometer } = options;
  return async ({ object, run, started }, event, facts) => {
    const issued = clock.now();
    const ended = event === 'completed' || event === 'failed';
    const signed = await signMachineDocument(config.machineKey, config.directory.installation, {
      type: 'report',
      id: random(16),
      issued,
      expires: issued + REPORT_MS,
      object,
      run: fromHex(run),
      event,
      ...(ended && odometer !== undefined ? await statementOf(odometer, spool, started) : {}),
      facts: { serial: config.serial, material: spool.material, ...facts },
    });
    await outbox.add(signed);
  };
}

/** The odometer, and what the object used of a stated spool. */
async function statementOf(
  odometer: Pick<MachineOdometer, 'statement' | 'used'>,
  { spool }: Partial<Pick<SpoolState, 'spool'>>,
  started: boolean,
): Promise<Pick<MachineReport, 'odometer' | 'used'>> {
  const stated = await odometer.statement();
  // Until an object begins, the odometer has what the object before it used.
  const used = started ? odometer.used : { metres: 0, grams: 0 };
  return { ...stated, ...(spool === undefined ? {} : { used: { spool, ...used } }) };
}
