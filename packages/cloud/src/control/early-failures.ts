import { type Bytes, copyBytes, MillraceError, toHex } from '@millrace/base';
import {
  type Attested,
  earlyLines,
  licenceOf,
  MAX_CREDITS,
  type MachineReport,
  verifyEarlyFailure,
} from '@millrace/protocol';
import { announceCase } from './cases.ts';
import type { ControlContext } from './context.ts';
import { isIncluded, readLicence } from './licence-records.ts';
import type { PrintRecord } from './records.ts';

/**
 * Credits an object of which its machine reports that it failed early, if the licence's policy covers it and has not
 * been used up. The owner's signature is the licence, so nobody decides. Both proactive nodes verify it themselves. Safe
 * to repeat. Call it before the print's record shows the failure, so that a killed process gets the report again.
 */
export async function creditEarlyFailure(
  context: ControlContext,
  { print, machine, licence, design, owner, holder }: PrintRecord,
  report: MachineReport,
  bytes: Bytes,
): Promise<void> {
  const { records, clock, mutexes } = context;
  const { object } = report;
  const terms = readLicence(await records.licences.require(licence));
  const { creditPolicy } = terms;
  if (creditPolicy === undefined || earlyLines(report, terms) === undefined) return;
  const registered = await records.machines.require(machine);
  const documents = { transaction: bytes, credential: copyBytes(registered.document) };
  if (!(await isVerified(context, documents, terms))) return;
  await mutexes.run(`licence/${licence}`, async () => {
    let credited = 0;
    let byPolicy = 0;
    for await (const [known, each] of records.cases.list({ prefix: `${licence}-` })) {
      if (licenceOf(known) !== licence) continue;
      if (each.state === 'credited') credited++;
      if (each.byPolicy) byPolicy++;
    }
    const isKnown = (await records.cases.get(object)) !== undefined;
    const used = credited >= MAX_CREDITS || byPolicy >= creditPolicy.most;
    if (!isKnown && (used || isIncluded(await records.licences.require(licence), report))) return;
    if (!isKnown)
      await records.cases.create(object, {
        ...{ object, print, licence, design, owner, holder },
        reason: 'machine-stopped',
        created: clock.now(),
        state: 'credited',
        report: { ...documents, announced: false },
        byPolicy: true,
      });
    await announceCase(context, object);
  });
}

/** Whether others will verify the credit too. The machine may have been added or registered again after the grant. */
async function isVerified(
  { directory, logger }: ControlContext,
  documents: Attested,
  terms: Parameters<typeof verifyEarlyFailure>[1],
): Promise<boolean> {
  try {
    await verifyEarlyFailure(documents, terms, directory);
    return true;
  } catch (error) {
    if (!(error instanceof MillraceError && error.code === 'E_LICENCE_INVALID')) throw error;
    logger.warn({ err: error, licence: toHex(terms.id) }, 'early failure not credited: the holder can open a case');
    return false;
  }
}
