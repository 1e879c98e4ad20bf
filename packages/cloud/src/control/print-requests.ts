import { MillraceError } from '@millrace/base';
import {
  recognisedCloud,
  requireActive,
  requireApproved,
  requireLicensed,
  type TransactionOf,
} from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import { requireNoAlarm } from './alarms.ts';
import { amended, requireAnnounced } from './amended.ts';
import type { ControlContext } from './context.ts';
import { requireKept, requireStored } from './designs.ts';
import { membershipOf } from './groups.ts';
import { allowedObjects, type LicenceRecord, readLicence, statusOf } from './licence-records.ts';
import { requireSignerCounting } from './people.ts';
import { countClaims, requireHeld, requireNotSuspended } from './permits.ts';
import { replay } from './replay.ts';
import type { Submitted } from './submitted.ts';
import { requireInQuota } from './subscriptions.ts';

/** Maximum number of prints of one holder that may be queued for one machine. */
const MAX_QUEUED = 100;

/**
 * A holder requests a print. The checks of the machine's call are made here too, so that a print that can never be
 * permitted is not queued.
 * @throws {MillraceError} E_FORBIDDEN, E_STATE, E_LICENCE_INVALID, E_LICENCE_PENDING, E_LICENCE_EXHAUSTED,
 * E_LICENCE_QUOTA,
 * E_LICENCE_SUSPENDED, E_LICENCE_REVOKED, E_MACHINE_UNKNOWN, E_ALARM, E_QUOTA, E_REVOKED
 */
export function requestPrint(
  context: ControlContext,
  signed: Submitted<TransactionOf<'print.request'>>,
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
  { body, actor, credential, bytes }: Submitted<TransactionOf<'print.request'>>,
  print: string,
) {
  const { records, clock, printQueue } = context;
  const licence = await records.licences.require(body.licence);
  authorize(actor, 'print.request', licence);
  // First: a repeated request must not count its own print and be refused for want of objects.
  if ((await records.prints.get(print)) !== undefined) throw replay(print);
  const design = await records.designs.require(licence.design);
  requireKept(design);
  requireHeld(licence); // first, because it is final
  requireActive(statusOf(licence), licence.licence);
  const packaged = readLicence(licence).package !== undefined;
  requireStored(design, packaged);
  requireNotSuspended(licence);
  requireSignerCounting(context.directory, licence);
  const machine = await records.machines.get(body.machine);
  if (machine === undefined) throw new MillraceError('E_MACHINE_UNKNOWN', `no machine ${body.machine} is registered`);
  requireAnnounced(licence);
  const licensed = await amended(context, licence);
  requireApproved(licensed);
  await requireLicensed(machine.registration, body.machine, licensed.terms, {
    cloud: machine.cloud,
    membership: await membershipOf(context, licensed.terms, machine),
    directory: context.directory,
  });
  if (machine.cloud !== undefined) recognisedCloud(context.directory, machine.cloud);
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
    credential,
    ...(machine.cloud === undefined ? {} : { cloud: machine.cloud }),
    ...(packaged && { packaged }),
  };
  if (!(await records.prints.create(print, record))) throw replay(print);
  printQueue.add(record);
  return { print };
}

/**
 * Limits permitted objects and queued prints together to the objects of the licence, and to those of the present period
 * of its subscription.
 * @throws {MillraceError} E_LICENCE_EXHAUSTED, E_LICENCE_QUOTA, E_LICENCE_INVALID
 */
async function requireLeft(context: ControlContext, record: LicenceRecord): Promise<void> {
  const { licence } = record;
  const objects = allowedObjects(record);
  const permitted = await countClaims(context, record);
  // A print that has claimed its object is counted as permitted.
  const queued = (await context.printQueue.waiting(context, 'licence', licence)).filter(
    ({ number }) => number === undefined,
  );
  if (permitted + queued.length < objects) return requireInQuota(context, record, queued.length);
  throw new MillraceError(
    'E_LICENCE_EXHAUSTED',
    permitted >= objects
      ? `all ${objects} objects of the licence have been permitted`
      : `of ${objects} objects of the licence, ${permitted} have been permitted and ${queued.length} are queued`,
    { data: { licence, objects, permitted, queued: queued.length } },
  );
}
