import {
  type Bytes,
  copyBytes,
  equalBytes,
  errorCodes,
  isErrorCode,
  MillraceError,
  systemRandom,
  toHex,
} from '@millrace/base';
import { type MachineReport, type Outcome, outcomeOf, reportFact, verifyMachineDocument } from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import type { PrintRecord } from './records.ts';

/** Codes that a damaged cell may have caused. The vault is checked at once, before another print fails the same way. */
const SUSPICIOUS = new Set(['E_CELL_MISSING', 'E_CELL_DAMAGED', 'E_SEAL']);

/**
 * Appends a machine's signed report to the ledger, once. The same report again gets the same answer.
 * @param caller key name in the certificate of the machine's link
 */
export async function takeReport(context: ControlContext, caller: string, bytes: Bytes): Promise<void> {
  const { records, directory, ledger } = context;
  const machine = await records.machines.get(caller);
  if (machine === undefined) throw new MillraceError('E_MACHINE_UNKNOWN', `no machine ${caller} is registered`);
  const key = copyBytes(machine.registration.publicKey);
  // A report may have waited on the machine's disk for days. Its id, not its age, prevents replay.
  const { body } = await verifyMachineDocument(
    bytes,
    directory.installation,
    (id) => (toHex(id) === caller ? key : undefined),
    'any time',
  );
  if (body.type !== 'report') throw new MillraceError('E_INPUT', 'not a report');
  const eventId = `report/${toHex(body.id)}`;
  if ((await ledger.find(eventId)) !== undefined) return;
  const print = await printOf(context, body.object);
  authorize({ role: 'machine', name: caller }, 'print.run', print);
  if (!(print.run && equalBytes(print.run, body.run)))
    throw new MillraceError('E_FORBIDDEN', 'the object belongs to another run');
  const design = await records.designs.require(print.design);
  const outcome = outcomeOf(body, design.contentMac);
  await ledger.append({ ...reportFact(body, caller, design.contentMac), evidence: [bytes], eventId });
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
    if (current.state === 'alarmed' || state === undefined) return current;
    const { code } = outcome;
    return { ...current, state, ...(code === undefined ? {} : { code, reason: reasonOf(outcome, body) }) };
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

export async function printOf({ records }: ControlContext, object: string): Promise<PrintRecord> {
  const [licence, number] = [object.slice(0, 32), object.slice(33)];
  const claim = await records.claims.get(`${licence}/${number}`);
  if (claim === undefined || object[32] !== '-') throw new MillraceError('E_NOT_FOUND', `no object ${object}`);
  return records.prints.require(claim.print);
}
