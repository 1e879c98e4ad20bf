import { type Bytes, MillraceError, systemRandom, toHex } from '@millrace/base';
import { type Attested, MAX_REPAIR, type MessageOf, signUploadTicket, type TransactionOf } from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import { ranges } from '../node/runs.ts';
import type { ControlContext } from './context.ts';
import { sendToBoth } from './mailbox.ts';
import { refuseQueued } from './queued-prints.ts';
import { type Damage, type DesignRecord, signerOf } from './records.ts';
import type { Submitted } from './submitted.ts';

// The life of a stored design: damage that checks find, repair, deletion.

/** @throws {MillraceError} E_DESIGN_DELETED when the owner has deleted the design */
export function requireKept({ design, state }: DesignRecord): void {
  if (state === 'deleting' || state === 'deleted')
    throw new MillraceError('E_DESIGN_DELETED', 'the owner has deleted the design', { data: { design } });
}

/**
 * Refuses to claim an object before the vault holds the whole design.
 * @param packaged objects are made from a job package, which holds the design
 * @throws {MillraceError} E_STATE
 */
export function requireStored({ design, state }: Pick<DesignRecord, 'design' | 'state'>, packaged: boolean): void {
  if (state === 'stored' || (packaged && state !== 'refused')) return;
  const how = state === 'refused' ? 'the vault has refused it' : 'the owner has to finish the upload';
  throw new MillraceError('E_STATE', `the design is not stored (${state}): ${how}`, { data: { design, state } });
}

/**
 * Refuses a print, before the machine moves, if any segment at or after `from` is damaged.
 * @throws {MillraceError} E_CELL_MISSING, E_CELL_DAMAGED with the numbers of the segments
 */
export function requireSound({ design, damage }: DesignRecord, from: number): void {
  const ahead = (numbers: readonly number[] | undefined) => (numbers ?? []).filter((number) => number >= from);
  const [missing, damaged] = [ahead(damage?.missing), ahead(damage?.damaged)];
  if (missing.length + damaged.length === 0) return;
  const segments = [...missing, ...damaged].sort((a, b) => a - b);
  throw new MillraceError(
    missing.length > 0 ? 'E_CELL_MISSING' : 'E_CELL_DAMAGED',
    `the vault has lost segments of the design: ${ranges(segments)}; the owner can repair it`,
    { data: { design, segments: segments.slice(0, 1_000), count: segments.length } },
  );
}

/** Applies the owner's signed deletion. Does nothing when the design is already deleted. */
export async function deleteDesign(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<TransactionOf<'design.delete'>>,
) {
  const { records } = context;
  await records.designs.update(body.design, (current) => {
    authorize(actor, 'design.delete', current);
    if (current.state === 'deleting' || current.state === 'deleted') return current;
    const { damage: _gone, repair: _too, ...kept } = current;
    return { ...kept, state: 'deleting', deletion: { transaction: bytes, credential, announced: false } };
  });
  await announceDeletion(context, body.design);
  return { design: body.design };
}

/**
 * Mails a deletion to both proactive nodes and refuses the design's queued prints. Safe to repeat. The segments node
 * gets its mail first, so that it stops storing the design before a sweep removes the design's cells.
 */
export async function announceDeletion({ records, mailbox }: ControlContext, design: string): Promise<void> {
  const { deletion } = await records.designs.require(design);
  if (deletion === undefined || deletion.announced) return;
  const { transaction, credential } = deletion;
  const message = { type: 'design.delete' as const, design, transaction, credential };
  await sendToBoth(mailbox, design, `delete/${design}`, message);
  const refusal = { code: 'E_DESIGN_DELETED', reason: 'the owner has deleted the design' };
  await refuseQueued({ records }, 'design', design, refusal);
  await records.designs.update(design, (current) => ({ ...current, deletion: { ...deletion, announced: true } }));
}

/** Every deletion that an owner has signed, for nodes that were restored to a state before it. */
export async function deletionsOf({ records }: ControlContext): Promise<({ readonly design: string } & Attested)[]> {
  const found: ({ readonly design: string } & Attested)[] = [];
  for await (const [design, { deletion }] of records.designs.list({ index: 'deletion', group: 'all' }))
    if (deletion !== undefined)
      found.push({ design, transaction: deletion.transaction, credential: deletion.credential });
  return found;
}

/** Handles the report that the keys node has destroyed the design's keys. Its cells can no longer be opened. */
export async function takeDeleted(
  { records, ledger }: ControlContext,
  { design }: MessageOf<'design.deleted'>,
): Promise<void> {
  const record = await records.designs.require(design);
  if (record.deletion === undefined) throw new MillraceError('E_STATE', `nobody asked to delete design ${design}`);
  const account = `design:${design}`;
  // A design that was never stored has no account to retire.
  const head = await ledger.head(account);
  if (head !== undefined) {
    await ledger.append({
      account,
      type: 'retired',
      actor: signerOf(record.deletion.transaction),
      body: { reason: 'deleted by its owner' },
      evidence: [record.deletion.transaction, record.deletion.credential],
      eventId: `deleted/${design}`,
    });
  }
  await records.privates.remove(design);
  await records.envelopes.remove(design);
  for await (const [id] of records.shares.list({ index: 'design', group: design })) await records.shares.remove(id);
  await records.designs.update(design, (current) => ({ ...current, state: 'deleted' }));
}

/** One problem in a check's report (packages/vault, CheckProblem) that concerns a design. */
interface Finding {
  readonly kind: string;
  readonly design?: string | undefined;
  readonly segments?: readonly number[] | undefined;
}

/** Records the damage that a check found. Only a deep check can tell that a damaged cell is sound again. */
export async function takeFindings(
  { records, clock }: ControlContext,
  report: { readonly deep: boolean; readonly problems: readonly Finding[] },
): Promise<void> {
  const found = new Map<string, { missing: number[]; damaged: number[]; records: boolean }>();
  for (const { kind, design, segments = [] } of report.problems) {
    if (design === undefined) continue;
    const entry = found.get(design) ?? { missing: [], damaged: [], records: false };
    if (kind === 'missing' || kind === 'damaged') entry[kind].push(...segments);
    else entry.records = true;
    found.set(design, entry);
  }
  const known = new Set(found.keys());
  for await (const [design] of records.designs.list({ index: 'damaged', group: 'all' })) known.add(design);
  for (const design of known) {
    const entry = found.get(design);
    if ((await records.designs.get(design))?.state !== 'stored') continue;
    await records.designs.update(design, (current) => {
      if (current.state !== 'stored') return current;
      const { damage: before, ...kept } = current;
      const missing = [...(entry?.missing ?? [])];
      const stays = report.deep ? [] : (before?.damaged ?? []).filter((number) => !missing.includes(number));
      const damaged = [...new Set([...stays, ...(entry?.damaged ?? [])])];
      return withDamage(kept, { missing, damaged, keys: entry?.records ?? false, found: clock.now() });
    });
  }
}

function withDamage(record: DesignRecord, damage: Damage): DesignRecord {
  const { missing, damaged, keys } = damage;
  if (missing.length + damaged.length === 0 && !keys) return record;
  const sorted = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b);
  return { ...record, damage: { ...damage, missing: sorted(missing), damaged: sorted(damaged) } };
}

/** Lifetime of an upload ticket, ms. The owner's client requests another one when it expires. */
const TICKET_MS = 24 * 3_600_000;

/**
 * Lets a user who acts for the owner stage segments of the design, for storing or repair.
 * @param user key name
 * @throws {MillraceError} E_DESIGN_DELETED, E_STATE
 */
export function uploadTicket(context: ControlContext, design: DesignRecord, user: string): Promise<Bytes> {
  const { clock, directory, permitKey } = context;
  requireKept(design);
  if (design.state === 'refused') throw new MillraceError('E_STATE', 'the design was refused: add it again');
  const issued = clock.now();
  return signUploadTicket(permitKey, directory.installation, {
    type: 'upload.ticket',
    id: systemRandom(16),
    issued,
    expires: issued + TICKET_MS,
    design: design.design,
    user,
    owner: design.owner,
    segments: design.segments,
  });
}

/**
 * Starts a repair: the owner has uploaded sealed segments of a stored design again. A segments node compares and stores
 * them.
 */
export async function beginRepair(
  { records, mailbox }: ControlContext,
  design: string,
  segments: readonly number[],
): Promise<string> {
  const repair = toHex(systemRandom(16));
  const record = await records.designs.update(design, (current) => {
    requireKept(current);
    if (current.state !== 'stored') throw new MillraceError('E_STATE', `the design is ${current.state}`);
    if (segments.length === 0 || segments.length > MAX_REPAIR)
      throw new MillraceError('E_INPUT', `a repair has 1 to ${MAX_REPAIR} segments`);
    for (const number of segments)
      if (number >= current.segments) throw new MillraceError('E_INPUT', `the design has no segment ${number}`);
    return { ...current, repair: { repair, state: 'running', segments: segments.length } };
  });
  await mailbox.sendAll('segments', `repair/${repair}`, {
    type: 'design.repair',
    design: record.design,
    repair,
    segments: [...segments],
  });
  return repair;
}

/** Clears the damage of segments that the segments node has stored again. */
export async function takeRepaired(
  { records, ledger }: ControlContext,
  message: MessageOf<'design.repaired'>,
): Promise<void> {
  const { design, repair, code, reason } = message;
  const mended = new Set(message.segments);
  const record = await records.designs.update(design, (current) => {
    if (current.state !== 'stored') return current;
    const { damage, ...kept } = current;
    const left = (numbers: readonly number[]) => numbers.filter((number) => !mended.has(number));
    const after =
      damage === undefined
        ? kept
        : withDamage(kept, { ...damage, missing: left(damage.missing), damaged: left(damage.damaged) });
    // A node that was frozen may report a failure after another one has finished the repair.
    if (current.repair?.repair !== repair || current.repair.state !== 'running') return after;
    const state = code === undefined ? ('done' as const) : ('failed' as const);
    return { ...after, repair: { ...current.repair, state, code, reason } };
  });
  if (mended.size === 0) return;
  await ledger.append({
    account: `design:${design}`,
    type: 'stored',
    actor: signerOf(record.transaction),
    body: { fact: 'repaired', segments: mended.size },
    eventId: `repaired/${repair}`,
  });
}
