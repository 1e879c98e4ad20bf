import type { rehearsalWork } from '@millrace/api';
import { type Bytes, equalBytes, MillraceError } from '@millrace/base';
import {
  MAX_REHEARSALS,
  machineSchema,
  type RehearsalResult,
  readMachineDocument,
  readTransaction,
  rehearsalFact,
  rehearsedFact,
  requireActive,
  requireApproved,
  requireLicensed,
  sha256,
  type TransactionOf,
} from '@millrace/protocol';
import type { z } from 'zod';
import { authorize } from '../node/policy.ts';
import { amended, requireAnnounced } from './amended.ts';
import type { ControlContext } from './context.ts';
import { requireKept } from './designs.ts';
import { membershipOf } from './groups.ts';
import { amendmentsOf, type LicenceRecord, readLicence, statusOf } from './licence-records.ts';
import { requireSignerCounting } from './people.ts';
import { type MachineRecord, signerOf } from './records.ts';
import type { RehearsalRecord } from './rehearsal-records.ts';
import { replay } from './replay.ts';
import { leftOn } from './spools.ts';
import type { Submitted } from './submitted.ts';

// Rehearsals: a machine compares the sealed envelope of a design with its policy and its spool (docs/adr/0067). Nothing
// here releases keys or segments, and nothing counts an object.

/**
 * A holder asks whether a design fits a machine.
 * @throws {MillraceError} E_FORBIDDEN, E_STATE (the design has no envelope), E_QUOTA, and as `requireRehearsable`
 */
export function requestRehearsal(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<TransactionOf<'rehearsal.request'>>,
  rehearsal: string,
): Promise<{ rehearsal: string }> {
  const { records, clock, printQueue, mutexes } = context;
  const { machine } = body;
  // One at a time for each licence, so that two requests cannot both be the last that is allowed.
  return mutexes.run(`rehearsals/${body.licence}`, async () => {
    const licence = await records.licences.require(body.licence);
    authorize(actor, 'rehearsal.request', licence);
    if ((await records.rehearsals.get(rehearsal)) !== undefined) throw replay(rehearsal);
    await requireRehearsable(context, licence, await machineOf(context, machine));
    let asked = 0;
    for await (const _ of records.rehearsals.list({ index: 'pair', group: `${body.licence}/${machine}` })) asked++;
    if (asked >= MAX_REHEARSALS)
      throw new MillraceError('E_QUOTA', `a licence is rehearsed on a machine at most ${MAX_REHEARSALS} times`, {
        data: { limit: MAX_REHEARSALS, machine },
      });
    const { design, owner, holder } = licence;
    const created = clock.now();
    const record = {
      ...{ rehearsal, licence: body.licence, design, machine, owner, holder, created },
      startBy: created + Math.max(0, body.expires - body.issued),
      state: 'queued' as const,
      ...{ transaction: bytes, credential },
    };
    if (!(await records.rehearsals.create(rehearsal, record))) throw replay(rehearsal);
    printQueue.add({ machine });
    return { rehearsal };
  });
}

/** @throws {MillraceError} E_MACHINE_UNKNOWN */
async function machineOf({ records }: ControlContext, machine: string): Promise<MachineRecord> {
  const record = await records.machines.get(machine);
  if (record !== undefined && record.cloud === undefined) return record;
  throw new MillraceError('E_MACHINE_UNKNOWN', `no machine ${machine} of this cloud is registered`);
}

/**
 * Requires that an object of the licence could be made on the machine, apart from what is counted.
 * @throws {MillraceError} E_DESIGN_DELETED, E_STATE (no envelope), E_LICENCE_SUSPENDED, E_LICENCE_REVOKED,
 *   E_LICENCE_PENDING, E_LICENCE_INVALID, E_EXPIRED, E_MACHINE_UNKNOWN, E_REVOKED
 */
async function requireRehearsable(context: ControlContext, licence: LicenceRecord, machine: MachineRecord) {
  const { records, directory, clock } = context;
  const design = await records.designs.require(licence.design);
  requireKept(design);
  requireActive(statusOf(licence), licence.licence);
  requireSignerCounting(directory, licence);
  requireAnnounced(licence);
  const { notBefore, notAfter } = readLicence(licence);
  if (clock.now() < notBefore) throw new MillraceError('E_LICENCE_INVALID', 'the licence is not valid yet');
  if (clock.now() > notAfter) throw new MillraceError('E_EXPIRED', 'the licence has expired');
  const licensed = await amended(context, licence);
  requireApproved(licensed);
  const membership = await membershipOf(context, licensed.terms, machine);
  await requireLicensed(machine.registration, machine.registration.machine, licensed.terms, { membership, directory });
  const envelope = await records.envelopes.get(licence.design);
  if (envelope === undefined) throw new MillraceError('E_STATE', 'designs of this kind cannot be rehearsed');
  const own = licensed.terms.machines.find((entry) => entry.machine === machine.registration.machine);
  if (own?.secret === undefined && own?.envelopeKey === undefined)
    throw new MillraceError(
      'E_STATE',
      'the licence gives this machine no key for a rehearsal: extend it to the machine',
    );
  return { core: design.core, envelope: envelope.sealed, membership };
}

/**
 * What a machine needs for a rehearsal. One that is possible no more is refused.
 * @returns undefined if it was refused
 */
export async function rehearsalFor(
  context: ControlContext,
  { rehearsal, licence: id, machine, transaction, credential }: RehearsalRecord,
): Promise<z.input<typeof rehearsalWork> | undefined> {
  const { records, directory } = context;
  try {
    const licence = await records.licences.require(id);
    requireSignerCounting(directory, { transaction, credential });
    const record = await machineOf(context, machine);
    const { core, envelope, membership } = await requireRehearsable(context, licence, record);
    const left = await leftOn(context, machine);
    return {
      rehearsal,
      request: { transaction, credential },
      licence: { transaction: licence.transaction, credential: licence.credential },
      amendments: amendmentsOf(licence),
      ...{ core, envelope, machine: machineSchema.parse(record.registration) },
      ...(membership === undefined ? {} : { membership }),
      ...(left === undefined ? {} : { left }),
    };
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code === 'E_UNAVAILABLE') throw error;
    const { code } = error;
    await records.rehearsals.update(rehearsal, (now) =>
      now.state === 'queued' ? { ...now, state: 'refused', code } : now,
    );
    return undefined;
  }
}

/**
 * Records a machine's answer: in the ledger first, for both sides. The first answer counts.
 * @param caller key name in the certificate of the machine's link
 * @throws {MillraceError} E_NOT_FOUND, E_FORBIDDEN (another machine, licence, design or request)
 */
export async function takeRehearsal(
  { records, ledger }: ControlContext,
  caller: string,
  bytes: Bytes,
  body: RehearsalResult,
): Promise<void> {
  const record = await records.rehearsals.require(body.rehearsal);
  authorize({ role: 'machine', name: caller }, 'rehearsal.run', { machine: record.machine });
  const { rehearsal, licence, design, machine, transaction, credential } = record;
  const isOf = body.licence === licence && body.design === design && body.machine === machine;
  if (!isOf || !equalBytes(body.request, sha256(transaction)))
    throw new MillraceError('E_FORBIDDEN', 'the answer belongs to another request');
  if (record.state !== 'queued') return;
  const request = readTransaction(transaction);
  if (request.type !== 'rehearsal.request') throw new MillraceError('E_STORE', 'the record holds no request');
  // If control was killed after an answer was logged, that one counts.
  const logged = await ledger.find(`rehearsed/${rehearsal}`);
  const result = logged?.event.evidence?.[0] ?? bytes;
  const counting = readMachineDocument(result);
  if (counting.type !== 'rehearsal.result') throw new MillraceError('E_STORE', 'the ledger holds no answer');
  await ledger.appendMany([
    {
      ...rehearsalFact(request, signerOf(transaction)),
      evidence: [transaction, credential],
      eventId: `rehearsal/${rehearsal}`,
    },
    { ...rehearsedFact(counting, caller), evidence: [result], eventId: `rehearsed/${rehearsal}` },
  ]);
  const { outcome, rules, policy, code } = counting;
  await records.rehearsals.update(rehearsal, (now) => {
    if (now.state !== 'queued') return now;
    if (outcome === 'refused') return { ...now, state: 'refused', result, ...(code && { code }) };
    return { ...now, state: 'answered', outcome, rules, policy, result };
  });
}
