import { type Bytes, equalBytes, errorCodes, isErrorCode, MillraceError, systemRandom, toHex } from '@millrace/base';
import {
  type MachineReport,
  type Outcome,
  onlyKey,
  outcomeOf,
  reportFact,
  verifyMachineDocument,
} from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { creditEarlyFailure } from './early-failures.ts';
import { printOf } from './object-prints.ts';
import { countReport, permittedSpool } from './odometers.ts';
import { isBegun, type PrintRecord } from './records.ts';
import { takeRehearsal } from './rehearsals.ts';
import { takeSettingsReport } from './settings.ts';
import { takeVisitReport } from './visits.ts';

/** Codes that a damaged cell may have caused. The vault is checked at once, before another print fails the same way. */
const SUSPICIOUS = new Set(['E_CELL_MISSING', 'E_CELL_DAMAGED', 'E_SEAL']);

/**
 * Appends a machine's signed report to the ledger, once. The same report again gets the same answer.
 * @param caller key name in the certificate of the machine's link
 * @param cloud the machine's cloud, if it is another one
 */
export async function takeReport(context: ControlContext, caller: string, bytes: Bytes, cloud?: string): Promise<void> {
  const { records, directory, ledger } = context;
  const machine = await records.machines.get(caller);
  if (machine === undefined || machine.cloud !== cloud)
    throw new MillraceError('E_MACHINE_UNKNOWN', `no machine ${caller} is registered`);
  const signer = onlyKey(machine.registration.publicKey);
  // A report may have waited on the machine's disk for days. Its id, not its age, prevents replay.
  const { body } = await verifyMachineDocument(bytes, directory.installation, signer, 'any time');
  if (body.type === 'visit.report') return takeVisitReport(context, caller, bytes, body);
  if (body.type === 'rehearsal.result' && cloud === undefined) return takeRehearsal(context, caller, bytes, body);
  if (body.type === 'settings.report' && cloud === undefined) return takeSettingsReport(context, caller, bytes, body);
  if (body.type !== 'report') throw new MillraceError('E_INPUT', 'not a report');
  const eventId = `report/${toHex(body.id)}`;
  const print = await printOf(context, body.object);
  authorize({ role: 'machine', name: caller, cloud }, 'print.run', print);
  if (!(print.run && equalBytes(print.run, body.run)))
    throw new MillraceError('E_FORBIDDEN', 'the object belongs to another run');
  const design = await records.designs.require(print.design);
  const outcome = outcomeOf(body, design.contentMac);
  // If control was killed after this report was logged, the print's record does not show it yet.
  const logged = (await ledger.find(eventId)) !== undefined;
  if (logged && !isBegun(print)) return;
  if (!logged) {
    await countReport(context, body, { machine: print.machine, account: body.object, spool: permittedSpool(print) });
    await ledger.append({ ...reportFact(body, caller, design.contentMac), evidence: [bytes], eventId });
  }
  if (isBegun(print)) await creditEarlyFailure(context, print, body, bytes);
  if (outcome.code !== undefined && SUSPICIOUS.has(outcome.code)) {
    const check = toHex(systemRandom(16));
    await context.mailbox.send({ role: 'keys', partition: print.design }, `check/${eventId}`, {
      type: 'vault.check',
      check,
      deep: true,
    });
  }
  await records.prints.update(print.print, (current) => {
    const state = stateAfter(outcome);
    if (current.state === 'alarmed' || (logged && !isBegun(current))) return current;
    const { halt: earlier, ...print } = current;
    if (state === undefined) {
      const halt = body.facts.halt ?? (body.facts.resumed ? undefined : earlier);
      return halt === undefined ? print : { ...print, halt };
    }
    const { code } = outcome;
    const reason = current.refusal?.code === code ? current.refusal?.reason : reasonOf(outcome, body);
    return { ...print, state, ...(code === undefined ? {} : { code, reason }) };
  });
  if (outcome.type === 'completed' || outcome.type === 'failed') context.progress.delete(body.object);
}

/** The machine gives its full reason only to the owner, because the text may quote the design. */
function reasonOf({ code = '' }: Outcome, { event }: MachineReport): string {
  if (event === 'completed') return 'the executed bytes are not those of the design';
  return isErrorCode(code) ? errorCodes[code].meaning : '';
}

function stateAfter({ type, code }: Outcome): PrintRecord['state'] | undefined {
  switch (type) {
    case 'started':
      return 'running';
    case 'progressed':
      return undefined;
    case 'completed':
      return 'completed';
    case 'failed':
      // The node that raised the alarm reports it to control itself.
      return code === 'E_ALARM' ? 'alarmed' : 'failed';
  }
}
