import { type LimitedPeriod, limitedPeriod, quotaError, readPermit } from '@millrace/protocol';
import type { ControlContext } from './context.ts';
import { type LicenceRecord, readLicence } from './licence-records.ts';
import { printOf } from './object-prints.ts';
import type { PrintRecord } from './records.ts';

/**
 * Counts an object in the period in which its permit is issued, if the licence's subscription limits its objects. The
 * permit that the ledger shows decides: an object that is resumed in a later period is not counted again. Call it for
 * one print of a licence at a time.
 * @param issued of the permit that is about to be signed
 * @throws {MillraceError} E_LICENCE_QUOTA, E_LICENCE_INVALID (before the subscription begins)
 */
export async function countInPeriod(
  context: ControlContext,
  licence: LicenceRecord,
  print: PrintRecord,
  issued: number,
): Promise<void> {
  const { records, ledger } = context;
  const terms = readLicence(licence);
  if (terms.price?.per !== 'period') return;
  if (print.number !== undefined && (await ledger.find(`permitted/${print.print}`)) !== undefined) return;
  const period = limitedPeriod(terms, issued);
  if (period === undefined) return;
  const before = print.permit && limitedPeriod(terms, readPermit(print.permit.bytes).issued);
  if (before?.number === period.number) return;
  await records.periods.take({
    ...{ licence: licence.licence, period, name: print.print },
    // With its number, the print gets a permit, if necessary after a restart.
    begun: async (last) => (await records.prints.get(last))?.number !== undefined,
    credited: () => creditedIn(context, licence, period),
  });
}

/**
 * Refuses a print that would exceed the quota of the present period together with those that are queued.
 * @throws {MillraceError} E_LICENCE_QUOTA, E_LICENCE_INVALID (before the subscription begins)
 */
export async function requireInQuota(context: ControlContext, licence: LicenceRecord, queued: number): Promise<void> {
  const period = limitedPeriod(readLicence(licence), context.clock.now());
  if (period === undefined) return;
  const used = (await context.records.periods.count(licence.licence, period.number)) + queued;
  if (used < period.quota || used < period.quota + (await creditedIn(context, licence, period))) return;
  throw quotaError(period, licence.licence);
}

/** Number of credited objects that began in a period. */
async function creditedIn(context: ControlContext, licence: LicenceRecord, period: LimitedPeriod): Promise<number> {
  let count = 0;
  for (const object of licence.credits) {
    const { print } = await printOf(context, object);
    const [permit] = (await context.ledger.find(`permitted/${print}`))?.event.evidence ?? [];
    if (permit === undefined) continue;
    const { issued } = readPermit(permit);
    if (issued >= period.from && issued < period.to) count++;
  }
  return count;
}
