import { MillraceError } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { checkMachine, requireActive, requireCounting, type Signed, type TransactionOf } from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import { requireNoAlarm } from './alarms.ts';
import type { ControlContext } from './context.ts';
import { requireKept, requireStored } from './designs.ts';
import { signingActor } from './people.ts';
import { countClaims, requireHeld, requireNotSuspended } from './permits.ts';
import { type LicenceRecord, type MachineRecord, readLicence, statusOf } from './records.ts';
import { replay } from './replay.ts';

/** Maximum number of prints of one holder that may be queued for one machine. */
const MAX_QUEUED = 100;

/**
 * A holder requests a print. The checks of the machine's call are made here too, so that a print that can never be
 * permitted is not queued.
 * @throws {MillraceError} E_FORBIDDEN, E_STATE, E_LICENCE_INVALID, E_LICENCE_EXHAUSTED, E_LICENCE_SUSPENDED,
 * E_LICENCE_REVOKED, E_MACHINE_UNKNOWN, E_ALARM, E_QUOTA, E_REVOKED
 */
export function requestPrint(
  context: ControlContext,
  signed: Signed<TransactionOf<'print.request'>>,
  print: string,
): Promise<{ print: string }> {
  // One request at a time for each licence and each machine, so that two requests cannot both take the last place.
  const { licence, machine } = signed.body;
  return context.licensing.read(() =>
    context.mutexes.run(`licence/${licence}`, () =>
      context.mutexes.run(`queue/${machine}`, () => requestOnce(context, signed, print)),
    ),
  );
}

async function requestOnce(
  context: ControlContext,
  { body, signer, bytes }: Signed<TransactionOf<'print.request'>>,
  print: string,
) {
  const { records, clock, printQueue } = context;
  const licence = await records.licences.require(body.licence);
  authorize(await signingActor(context, keyName(signer)), 'print.request', licence);
  const design = await records.designs.require(licence.design);
  requireKept(design);
  requireHeld(licence); // first, because it is final
  requireActive(statusOf(licence), licence.licence);
  requireStored(design);
  requireNotSuspended(licence);
  requireCounting(context.directory, licence.owner, licence.transaction);
  const machine = await records.machines.get(body.machine);
  if (machine === undefined) throw new MillraceError('E_MACHINE_UNKNOWN', `no machine ${body.machine} is registered`);
  requireNamed(machine, licence);
  await requireLeft(context, licence);
  await requireNoAlarm(context, { licence: licence.licence, machine: body.machine });
  const waiting = await printQueue.waiting(context, 'machine', body.machine);
  if (waiting.filter(({ holder }) => holder === licence.holder).length >= MAX_QUEUED) {
    throw new MillraceError('E_QUOTA', `one holder may queue at most ${MAX_QUEUED} prints for a machine`, {
      data: { limit: MAX_QUEUED, machine: body.machine },
    });
  }
  const record = {
    print,
    licence: licence.licence,
    design: licence.design,
    machine: body.machine,
    owner: licence.owner,
    holder: licence.holder,
    created: clock.now(),
    startBy: clock.now() + Math.max(0, body.expires - body.issued),
    state: 'queued' as const,
    transaction: bytes,
  };
  if (!(await records.prints.create(print, record))) throw replay(print);
  printQueue.add(record);
  return { print };
}

/** @throws {MillraceError} E_LICENCE_INVALID, E_MACHINE_UNKNOWN when the licence names another registration */
function requireNamed({ registration }: MachineRecord, licence: LicenceRecord): void {
  checkMachine(registration, registration.machine, readLicence(licence));
}

/**
 * Limits permitted objects and queued prints together to the objects of the licence. @throws {MillraceError}
 * E_LICENCE_EXHAUSTED
 */
async function requireLeft(context: ControlContext, { licence, objects, ...record }: LicenceRecord): Promise<void> {
  const permitted = await countClaims(context, { licence, objects, ...record });
  // A print that has claimed its object is counted as permitted.
  const queued = (await context.printQueue.waiting(context, 'licence', licence)).filter(
    ({ number }) => number === undefined,
  );
  if (permitted + queued.length < objects) return;
  throw new MillraceError(
    'E_LICENCE_EXHAUSTED',
    permitted >= objects
      ? `all ${objects} objects of the licence have been permitted`
      : `of ${objects} objects of the licence, ${permitted} have been permitted and ${queued.length} are queued`,
    { data: { licence, objects, permitted, queued: queued.length } },
  );
}
