import { equalBytes, MillraceError, toHex } from '@millrace/base';
import { CLOCK_SKEW_MS, type MessageOf, requireLicensed, type TransactionOf } from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import type { GroupRecord, MachineRecord, PrintRecord } from './records.ts';
import type { Submitted } from './submitted.ts';

// Groups of machines, sites, and which organisation holds a machine. Both proactive nodes get each statement by mail,
// before any later opening. No permit overlaps a statement.

/**
 * Records which organisation holds a machine, by the administrator's statement.
 * @throws {MillraceError} E_FORBIDDEN, E_MACHINE_UNKNOWN, E_LICENCE_INVALID (another registration), E_NOT_FOUND (unknown
 *   organisation), E_CONFLICT (a newer statement is known, or the machine belongs to another cloud), E_CLOCK
 */
export function assignMachine(
  context: ControlContext,
  { body, actor, bytes }: Submitted<TransactionOf<'machine.assign'>>,
): Promise<{ machine: string }> {
  const { records, licensing } = context;
  return licensing.write(async () => {
    authorize(actor, 'machine.assign');
    const { machine, organisation, number } = body;
    const record = await records.machines.get(machine);
    if (record === undefined) throw new MillraceError('E_MACHINE_UNKNOWN', `no machine ${machine} is registered`);
    if (record.cloud !== undefined)
      throw new MillraceError('E_CONFLICT', `the machine ${machine} belongs to another cloud`);
    if (!equalBytes(body.registration, record.hash))
      throw new MillraceError('E_MACHINE_UNKNOWN', 'the machine is registered differently');
    if (organisation !== undefined) await records.organisations.require(organisation);
    const id = toHex(body.id);
    if (record.assignment?.id !== id) {
      await announceAssignment(context, machine); // completes an earlier, interrupted assignment
      requireNewer(context, 'machine', number, record.assignment?.number);
      const assignment = { id, number, transaction: bytes, announced: false };
      await records.machines.update(machine, ({ organisation: _former, ...current }) => ({
        ...current,
        ...(organisation === undefined ? {} : { organisation }),
        assignment,
      }));
    }
    await announceAssignment(context, machine);
    return { machine };
  });
}

/**
 * Records the members of a group or site, as its organisation states them.
 * @throws {MillraceError} E_FORBIDDEN (no owner-admin or operator; a group of another organisation; a machine that the
 *   organisation does not hold), E_CONFLICT (a newer statement is known; another kind; a machine is at another site),
 *   E_CLOCK
 */
export function setGroup(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<TransactionOf<'group.set'>>,
): Promise<{ group: string }> {
  const { records, licensing } = context;
  return licensing.write(async () => {
    const { group, organisation, kind, name, address, number, machines } = body;
    const known = await records.groups.get(group);
    authorize(actor, 'group.set', { organisation });
    if (known !== undefined) authorize(actor, 'group.set', known);
    const id = toHex(body.id);
    if (known?.id !== id) {
      if (known !== undefined) await announceGroup(context, group); // completes an earlier, interrupted statement
      requireNewer(context, kind, number, known?.number);
      if (known !== undefined && known.kind !== kind)
        throw new MillraceError('E_CONFLICT', `${known.name} is a ${known.kind}, not a ${kind}`);
      await requireFree(context, body, known);
      const stated = { group, organisation, kind, name, number, machines, id, transaction: bytes, credential };
      const record = { ...stated, ...(address === undefined ? {} : { address }), announced: false };
      if (known === undefined) await records.groups.create(group, record);
      else await records.groups.update(group, () => record);
    }
    await announceGroup(context, group);
    return { group };
  });
}

/** @throws {MillraceError} E_CONFLICT, E_CLOCK: a number far ahead would prevent every later statement */
function requireNewer({ clock }: ControlContext, what: string, number: number, known: number | undefined): void {
  if (known !== undefined && number <= known)
    throw new MillraceError('E_CONFLICT', `a newer statement on this ${what} is known`, { data: { newest: known } });
  if (number > Math.max(clock.now() + CLOCK_SKEW_MS, (known ?? 0) + 1))
    throw new MillraceError('E_CLOCK', 'the number of the statement is dated in the future');
}

/** Checks the machines that are new in the group: a machine that was taken away must not prevent its removal. */
async function requireFree(
  { records }: ControlContext,
  { organisation, kind, machines }: TransactionOf<'group.set'>,
  known: GroupRecord | undefined,
): Promise<void> {
  const added = machines.filter((machine) => known === undefined || !known.machines.includes(machine));
  for (const machine of added)
    if ((await records.machines.get(machine))?.organisation !== organisation)
      throw new MillraceError('E_FORBIDDEN', `the organisation does not hold machine ${machine}`, {
        data: { machine },
      });
  if (kind !== 'site') return;
  for await (const [, other] of records.groups.list({ index: 'organisation', group: organisation })) {
    const there = other.kind === 'site' && added.find((machine) => other.machines.includes(machine));
    if (there)
      throw new MillraceError('E_CONFLICT', `machine ${there} is at site ${other.name}: remove it there first`);
  }
}

/** Mails the newest assignment of a machine to both kinds of proactive nodes. Safe to repeat. */
export async function announceAssignment(context: ControlContext, machine: string): Promise<void> {
  const { assignment } = await context.records.machines.require(machine);
  if (assignment === undefined || assignment.announced) return;
  const { id, transaction } = assignment;
  await sendAll(context, `assign/${id}`, { type: 'machine.assign', transaction });
  await context.records.machines.update(machine, (current) =>
    current.assignment?.id === id ? { ...current, assignment: { ...current.assignment, announced: true } } : current,
  );
}

/** Mails the newest statement on a group to both kinds of proactive nodes. Safe to repeat. */
export async function announceGroup(context: ControlContext, group: string): Promise<void> {
  const { id, transaction, credential, announced } = await context.records.groups.require(group);
  if (announced) return;
  await sendAll(context, `group/${id}`, { type: 'group.set', transaction, credential });
  await context.records.groups.update(group, (current) =>
    current.id === id ? { ...current, announced: true } : current,
  );
}

/** Licences of every design may name the group, so every node gets it. */
async function sendAll(
  { mailbox }: ControlContext,
  id: string,
  message: MessageOf<'group.set' | 'machine.assign'>,
): Promise<void> {
  for (const role of ['segments', 'keys'] as const) await mailbox.sendAll(role, id, message);
}

/**
 * The membership that a licence needs for this machine, by control's records. Of several groups, one whose statement
 * counts: the key that signed another one may be revoked. Undefined if the licence names the machine alone, or if the
 * machine is no member.
 */
export async function membershipOf(
  { records, directory }: Pick<ControlContext, 'records' | 'directory'>,
  terms: Pick<TransactionOf<'licence.grant'>, 'machines' | 'groups'>,
  { registration, organisation, assignment }: MachineRecord,
): Promise<PrintRecord['membership']> {
  const { machine, kind } = registration;
  const entry = terms.machines.find((named) => named.machine === machine);
  if (assignment === undefined || organisation === undefined) return undefined;
  if (entry !== undefined && entry.groups === undefined) return undefined;
  let refused: PrintRecord['membership'];
  for (const { group, organisation: of, machines, kinds } of terms.groups ?? []) {
    if (of !== organisation) continue;
    const fits = machines === 'any' && (kinds === undefined || kinds.includes(kind));
    if (!fits && !entry?.groups?.includes(group)) continue;
    const known = await records.groups.get(group);
    if (known === undefined || known.organisation !== of || !known.machines.includes(machine)) continue;
    const { transaction, credential } = known;
    const membership = { statement: { transaction, credential }, assignment: assignment.transaction };
    try {
      await requireLicensed(registration, machine, terms, { membership, directory });
      return membership;
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      refused ??= membership;
    }
  }
  return refused;
}

/** The print's membership, unless the licence names its machine alone: a machine is then shown without one. */
export function neededMembership(
  { machines }: Pick<TransactionOf<'licence.grant'>, 'machines'>,
  { machine, membership }: Pick<PrintRecord, 'machine' | 'membership'>,
): PrintRecord['membership'] {
  const entry = machines.find((named) => named.machine === machine);
  return entry !== undefined && entry.groups === undefined ? undefined : membership;
}
