import { nextStep, type Page, type PageQuery } from '@millrace/api';
import { MillraceError, toBase64, toHex } from '@millrace/base';
import type { PageOptions } from '@millrace/stores';
import { type Actor, permits, userActor } from '../node/policy.ts';
import type { Table } from '../node/table.ts';
import type { ControlContext } from './context.ts';
import { statusName } from './licence-status.ts';
import { invitationView, keyView, organisationView } from './people-views.ts';
import { countClaims } from './permits.ts';
import { disclosedTo } from './progress.ts';
import { type DesignRecord, type LicenceRecord, type MachineRecord, type PrintRecord, readLicence } from './records.ts';

/** A machine whose agent polled within this time is online. */
const ONLINE_MS = 45_000;

/** Events that a machine's report supports. */
const REPORTS: ReadonlySet<string> = new Set(['started', 'progressed', 'completed', 'failed']);

/** The designs of an owner. */
export function designsPage(context: ControlContext, user: string, query: PageQuery) {
  const at = { index: 'owner', group: user };
  return page(context, context.records.designs, at, query, async (design) => designView(design));
}

/** Licences that the user has granted or holds. */
export function licencesPage(context: ControlContext, user: string, query: PageQuery) {
  const at = { index: 'party', group: user };
  return page(context, context.records.licences, at, query, (licence) => licenceView(context, licence));
}

export function machinesPage(context: ControlContext, query: PageQuery) {
  return page(context, context.records.machines, {}, query, async (machine) => machineView(context, machine));
}

/** Prints of the user's designs and licences, the newest first. */
export function printsPage(context: ControlContext, user: string, query: PageQuery) {
  const at = { index: 'party', group: user, reverse: true };
  return page(context, context.records.prints, at, query, (print) =>
    printView(context, print, userActor(context.directory, user)),
  );
}

/** Objects of the user's designs and licences, the newest first. */
export function objectsPage(context: ControlContext, user: string, query: PageQuery) {
  const at = { index: 'made', group: user, reverse: true };
  return page(context, context.records.prints, at, query, async (print) =>
    objectView(context, print.object ?? '', permits(userActor(context.directory, user), 'print.readInFull', print)),
  );
}

/** Every organisation. */
export function organisationsPage(context: ControlContext, query: PageQuery) {
  return page(context, context.records.organisations, {}, query, async (record) => organisationView(record));
}

/** Keys of an organisation's people. */
export function keysPage(context: ControlContext, organisation: string, query: PageQuery) {
  const at = { index: 'organisation', group: organisation };
  return page(context, context.records.users, at, query, async (record) => keyView(context, record));
}

export function invitationsPage(context: ControlContext, organisation: string, query: PageQuery) {
  const at = { index: 'organisation', group: organisation, reverse: true };
  return page(context, context.records.invitations, at, query, async (record) => invitationView(context, record));
}

/** Applies `show` to each record. Leaves out records that cannot be used; the status lists them. */
async function page<T, V>(
  { damaged }: ControlContext,
  table: Table<T>,
  at: Omit<PageOptions, 'limit' | 'after'>,
  { limit, cursor }: PageQuery,
  show: (record: T) => Promise<V>,
): Promise<Page<V>> {
  const after = cursor === undefined ? {} : { after: Buffer.from(cursor, 'base64url') };
  const { records, next } = await table.page({ ...at, ...after, limit });
  const items: V[] = [];
  for (const [id, record] of records)
    await damaged.attempt(table.name, id, async () => void items.push(await show(record)));
  return { items, ...(next && { next: Buffer.from(next).toString('base64url') }) };
}

export function designView(record: DesignRecord) {
  const { design, name, custody, kind, size, segments, state, code, reason, damage, repair, setting } = record;
  const maintenance = record.maintenance ?? 'rekey';
  return {
    design,
    name,
    core: toBase64(record.core),
    custody,
    kind,
    size,
    segments,
    state,
    code,
    reason,
    damage,
    repair,
    maintenance,
    wanted: setting?.mode,
  };
}

export async function licenceView(context: ControlContext, record: LicenceRecord) {
  const terms = readLicence(record);
  const { licence, design, objects, holder, suspended } = record;
  const permitted = await countClaims(context, record);
  return {
    licence,
    design,
    objects,
    permitted,
    suspended: suspended === undefined ? undefined : { restore: suspended, most: objects - permitted },
    status: statusName(record),
    statement: record.statement === undefined ? undefined : toBase64(record.statement.transaction),
    holder,
    machines: terms.machines.map(({ machine }) => machine),
    materials: terms.materials,
    notBefore: terms.notBefore,
    notAfter: terms.notAfter,
    disclose: terms.disclose,
  };
}

export function machineView(context: ControlContext, { registration, hash, document }: MachineRecord) {
  const { machine, serial, kind, profile } = registration;
  const seen = context.machinesSeen.get(machine) ?? 0;
  const online = context.clock.now() - seen < ONLINE_MS;
  return { machine, serial, kind, profile, registration: toHex(hash), document: toBase64(document), online };
}

/** @param actor owner or holder; the holder sees only what the licence discloses */
export async function printView(context: ControlContext, record: PrintRecord, actor: Actor) {
  const { print, licence, design, machine, state, created, startBy, object, code, reason, cleared } = record;
  const next = code === undefined ? undefined : nextStep(code);
  const { segments } = await context.records.designs.require(design);
  const progress = await progressFor(context, record, actor);
  const times = { created, startBy };
  return { print, licence, design, machine, state, ...times, object, code, reason, next, cleared, segments, progress };
}

async function progressFor(context: ControlContext, print: PrintRecord, actor: Actor) {
  const progress = print.object === undefined ? undefined : context.progress.get(print.object);
  if (progress === undefined || permits(actor, 'print.readInFull', print)) return progress;
  return disclosedTo(progress, readLicence(await context.records.licences.require(print.licence)).disclose);
}

/**
 * @param forOwner includes the machine's signed reports, whose sealed parts only the owner can open
 * @throws {MillraceError} E_NOT_FOUND
 */
export async function objectView({ ledger, records }: ControlContext, object: string, forOwner: boolean) {
  const events = await ledger.account(object);
  const head = await ledger.head(object);
  if (events.length === 0 || head === undefined) throw new MillraceError('E_NOT_FOUND', `no object ${object}`);
  const design = events[0]?.event.body.design;
  const reports = forOwner ? events.filter(({ event }) => REPORTS.has(event.type)) : [];
  const machine = reports[0] && (await records.machines.require(reports[0].event.actor)).registration;
  return {
    object,
    state: head.state,
    design: typeof design === 'string' ? design : undefined,
    events: events.map(({ index, event }) => ({
      index,
      sequence: event.sequence,
      type: event.type,
      time: event.time,
      actor: event.actor,
      body: Object.fromEntries(
        Object.entries(event.body).map(([key, value]) => [key, value instanceof Uint8Array ? toHex(value) : value]),
      ),
      ...(machine !== undefined && REPORTS.has(event.type) && event.evidence?.[0] !== undefined
        ? { report: { signed: toBase64(event.evidence[0]), key: toBase64(machine.publicKey) } }
        : {}),
    })),
  };
}
