import { type Clock, fromHex, type RandomSource } from '@millrace/base';
import { type MachineReport, signMachineDocument } from '@millrace/protocol';
import type { MachineConfig } from './config.ts';
import type { Outbox } from './outbox.ts';

/** Validity of a report: it may wait a long time on the machine's disk. */
const REPORT_MS = 30 * 86_400_000;

/** Signs a report of the machine's work and adds it to the outbox. Durable once it resolves. */
export type SendReport = (
  of: { readonly object: string; readonly run: string },
  event: MachineReport['event'],
  facts: Pick<MachineReport['facts'], 'segments' | 'contentMac' | 'code' | 'sealed'>,
) => Promise<void>;

export function createReports(options: {
  config: MachineConfig;
  outbox: Outbox;
  clock: Clock;
  random: RandomSource;
}): SendReport {
  const { config, outbox, clock, random } = options;
  return async ({ object, run }, event, facts) => {
    const issued = clock.now();
    const signed = await signMachineDocument(config.machineKey, config.directory.installation, {
      type: 'report',
      id: random(16),
      issued,
      expires: issued + REPORT_MS,
      object,
      run: fromHex(run),
      event,
      facts: { serial: config.serial, material: config.material, ...facts },
    });
    await outbox.add(signed);
  };
}
