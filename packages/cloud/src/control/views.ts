import { disclosedTo, type GroupView, nextStep, type Page, type PageQuery, type SignerView } from '@millrace/api';
import { MillraceError, toBase64, toHex } from '@millrace/base';
import { type Attested, materialWords, type TransactionOf } from '@millrace/protocol';
import type { PageOptions } from '@millrace/stores';
import { type Actor, permits } from '../node/policy.ts';
import type { Table } from '../node/table.ts';
import { amended } from './amended.ts';
import { caseView } from './cases.ts';
import type { ControlContext } from './context.ts';
import { allowedObjects, amendmentsOf, type LicenceRecord, readLicence } from './licence-records.ts';
import { statusName } from './licence-status.ts';
import { lifeView } from './life.ts';
import { objectResource } from './life-records.ts';
import { ONLINE_MS } from './limits.ts';
import { invitationView, keyView, organisationView } from './people-views.ts';
import { countClaims } from './permits.ts';
import { type DesignRecord, type GroupRecord, type MachineRecord, type PrintRecord, placeOf } from './records.ts';
import type { RehearsalRecord } from './rehearsal-records.ts';
import { signerView, userOf } from './signers.ts';
import type { VisitRecord } from './visit-records.ts';

/** Events that a machine's report supports. */
const REPORTS: ReadonlySet<string> = new Set(['started', 'progressed', 'completed', 'failed']);

/** The party for which the actor reads: the organisation, or the key alone. */
export const groupOf = (actor: Actor): string => {
  if (actor.role !== 'user') return 'id' in actor ? actor.id : actor.name;
  return actor.member?.organisation ?? actor.name;
};

/** The designs of the actor's party. */
export function designsPage(context: ControlContext, actor: Actor, query: PageQuery) {
  const at = { index: 'owner', group: groupOf(actor) };
  return page(context, context.records.designs, at, query, async (design) =>
    permits(actor, 'design.read', design) ? designView(context, design) : undefined,
  );
}

/** Licences that the actor's party has granted or holds. */
export function licencesPage(context: ControlContext, actor: Actor, query: PageQuery) {
  const at = { index: 'party', group: groupOf(actor) };
  return page(context, context.records.licences, at, query, async (licence) =>
    permits(actor, 'licence.read', licence) ? licenceView(context, licence) : undefined,
  );
}

export function machinesPage(context: ControlContext, query: PageQuery) {
  return page(context, context.records.machines, {}, query, async (machine) => machineView(context, machine));
}

/** Every group and site: whoever sees the machines sees these. */
export function groupsPage(context: ControlContext, query: PageQuery): Promise<Page<GroupView>> {
  return page(context, context.records.groups, {}, query, (record) => groupView(context, record));
}

/** Prints of the party's designs and licences, the newest first. */
export function printsPage(context: ControlContext, actor: Actor, query: PageQuery) {
  const at = { index: 'party', group: groupOf(actor), reverse: true };
  return page(context, context.records.prints, at, query, async (print) =>
    permits(actor, 'print.read', print) ? printView(context, print, actor) : undefined,
  );
}

/** Visits that the user has requested, the newest first. */
export function visitsPage(context: ControlContext, user: string, query: PageQuery) {
  const at = { index: 'visitor', group: user, reverse: true };
  return page(context, context.records.visits, at, query, async (visit) => visitView(visit));
}

export function visitView({
  visit,
  cloud,
  print,
  licence,
  machine,
  state,
  created,
  startBy,
  code,
  reason,
}: VisitRecord) {
  const next = code === undefined ? undefined : nextStep(code);
  return { visit, cloud, print, licence, machine, state, created, startBy, code, reason, next };
}

/** Rehearsals of the party's designs and licences, the newest first. */
export function rehearsalsPage(context: ControlContext, actor: Actor, query: PageQuery) {
  const at = { index: 'party', group: groupOf(actor), reverse: true };
  return page(context, context.records.rehearsals, at, query, async (record) =>
    permits(actor, 'rehearsal.read', record) ? rehearsalView(context, record) : undefined,
  );
}

export async function rehearsalView(context: ControlContext, record: RehearsalRecord) {
  const { transaction, credential: _, result, state, ...shown } = record;
  const isExpired = state === 'queued' && record.startBy < context.clock.now();
  return {
    ...shown,
    requestedBy: await signerView(context, transaction),
    state: isExpired ? ('expired' as const) : state,
    request: toBase64(transaction),
    ...(result && { result: toBase64(result) }),
  };
}

/** Failure cases of the party's designs and licences, the newest first. */
export function casesPage(context: ControlContext, actor: Actor, query: PageQuery) {
  const at = { index: 'party', group: groupOf(actor), reverse: true };
  return page(context, context.records.cases, at, query, async (record) =>
    permits(actor, 'case.read', record) ? caseView(record) : undefined,
  );
}

/** Objects of the party's designs and licences, and parts that it owns, is offered or inspects; the newest first. */
export function objectsPage(context: ControlContext, actor: Actor, query: PageQuery) {
  const at = { index: 'made', group: groupOf(actor), reverse: true };
  return page(context, context.records.prints, at, query, async (print) =>
    permits(actor, 'object.read', objectResource(print))
      ? objectView(context, print, permits(actor, 'print.readInFull', print))
      : undefined,
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

/**
 * Applies `show` to each record. Leaves out records that the actor may not read (`show` returns undefined) and records
 * that cannot be used; the status lists the latter.
 */
export async function page<T, V>(
  { damaged }: ControlContext,
  table: Table<T>,
  at: Omit<PageOptions, 'limit' | 'after'>,
  { limit, cursor }: PageQuery,
  show: (record: T) => Promise<V | undefined>,
): Promise<Page<V>> {
  const after = cursor === undefined ? {} : { after: Buffer.from(cursor, 'base64url') };
  const { records, next } = await table.page({ ...at, ...after, limit });
  const items: V[] = [];
  for (const [id, record] of records)
    await damaged.attempt(table.name, id, async () => {
      const shown = await show(record);
      if (shown !== undefined) items.push(shown);
    });
  return { items, ...(next && { next: Buffer.from(next).toString('base64url') }) };
}

export async function designView(context: ControlContext, record: DesignRecord) {
  const addedBy = await signerView(context, record.transaction);
  const { design, name, custody, kind, size, segments, state, code, reason, damage, repair, setting } = record;
  const maintenance = record.maintenance ?? 'rekey';
  return {
    design,
    name,
    owner: record.owner,
    addedBy,
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
  const { terms, needed, approvedBy, pending } = await amended(context, record);
  const { licence, design, objects, holder, suspended } = record;
  const permitted = await countClaims(context, record);
  return {
    licence,
    design,
    objects,
    credits: record.credits,
    permitted,
    suspended: suspended === undefined ? undefined : { restore: suspended, most: allowedObjects(record) - permitted },
    status: approvedBy.length < needed && statusName(record) === 'active' ? ('pending' as const) : statusName(record),
    approvals: { needed, by: [...approvedBy], waiting: pending.length },
    transfer: terms.transfer,
    price: terms.price,
    creditPolicy: terms.creditPolicy,
    statement: record.statement && toBase64(record.statement.transaction),
    statedBy: record.statement && (await signerView(context, record.statement.transaction)),
    owner: record.owner,
    grantedBy: await signerView(context, record.transaction),
    document: toBase64(record.transaction),
    credential: toBase64(record.credential),
    holder,
    machines: terms.machines.map(({ machine }) => machine),
    groups: await licensedGroups(context, terms),
    materials: terms.materials.map(materialWords),
    notBefore: terms.notBefore,
    notAfter: terms.notAfter,
    disclose: terms.disclose,
  };
}

async function licensedGroups({ records }: ControlContext, { groups = [] }: TransactionOf<'licence.grant'>) {
  return Promise.all(
    groups.map(async ({ group, organisation, machines, kinds }) => {
      const known = await records.groups.get(group);
      const named = known?.organisation === organisation ? { kind: known.kind, name: known.name } : {};
      return { group, organisation, machines, kinds, ...named };
    }),
  );
}

export async function licenceDocuments({ records }: ControlContext, record: LicenceRecord) {
  const { core } = await records.designs.require(record.design);
  const view = ({ transaction, credential }: Attested) => ({
    transaction: toBase64(transaction),
    credential: toBase64(credential),
  });
  return { grant: view(record), amendments: amendmentsOf(record).map(view), core: toBase64(core) };
}

export function machineView(context: ControlContext, record: MachineRecord) {
  const { registration, hash, document, cloud, organisation, assignment } = record;
  const { machine, serial, kind, profile, token } = registration;
  const seen = context.machinesSeen.get(machine) ?? 0;
  const online = context.clock.now() - seen < ONLINE_MS;
  const signed = { registration: toHex(hash), document: toBase64(document) };
  return {
    ...{ machine, serial, kind, profile, token, ...signed, online },
    ...(organisation === undefined ? {} : { organisation }),
    ...(assignment && { assignment: toBase64(assignment.transaction), assigned: assignment.number }),
    ...(cloud === undefined ? {} : { cloud }),
    ...(context.looks.has(machine, context.clock.now()) ? { camera: true } : {}),
  };
}

export async function groupView(context: ControlContext, record: GroupRecord): Promise<GroupView> {
  const { group, organisation, kind, name, address, number, machines, transaction, credential } = record;
  const stated = { group, organisation, kind, name, address, number, machines };
  const by = await context.records.organisations.get(organisation);
  return {
    ...stated,
    organisationName: by?.name ?? organisation,
    statedBy: await signerView(context, transaction),
    document: toBase64(transaction),
    credential: toBase64(credential),
  };
}

/** @param actor owner or holder; the holder sees only what the licence discloses */
export async function printView(context: ControlContext, record: PrintRecord, actor: Actor) {
  const { print, licence, design, machine, state, created, startBy, object, cleared, halt } = record;
  const { code, reason } = record.code === undefined ? (record.refusal ?? record) : record;
  const next = code === undefined ? undefined : nextStep(code);
  const { segments } = await context.records.designs.require(design);
  const progress = await progressFor(context, record, actor);
  const times = { created, startBy, ...(state === 'queued' ? { place: placeOf(record) } : {}) };
  const parties = { owner: record.owner, holder: record.holder };
  const who = { ...parties, orderedBy: await signerView(context, record.transaction) };
  return {
    print,
    licence,
    design,
    machine,
    ...who,
    state,
    ...times,
    object,
    code,
    reason,
    next,
    cleared,
    halt,
    segments,
    progress,
  };
}

async function progressFor(context: ControlContext, print: PrintRecord, actor: Actor) {
  const known = print.object === undefined ? undefined : context.progress.get(print.object);
  if (known === undefined) return undefined;
  const { at, machineAt, ...progress } = known;
  const shown = permits(actor, 'print.readInFull', print)
    ? progress
    : disclosedTo(progress, readLicence(await context.records.licences.require(print.licence)).disclose);
  const ageOf = (time: number) => Math.max(0, context.clock.now() - time);
  const showsMachine = Object.values(shown.machine ?? {}).some((value) => value !== undefined);
  return {
    ...shown,
    ...(shown.acked !== undefined && { age: ageOf(at) }),
    ...(showsMachine && machineAt !== undefined && { machineAge: ageOf(machineAt) }),
  };
}

/**
 * @param forOwner includes the machine's signed reports, whose sealed parts only the owner can open
 * @throws {MillraceError} E_NOT_FOUND
 */
export async function objectView(context: ControlContext, print: PrintRecord, forOwner: boolean) {
  const { ledger, records } = context;
  const { object = '' } = print;
  const events = await ledger.account(object);
  const head = await ledger.head(object);
  if (events.length === 0 || head === undefined) throw new MillraceError('E_NOT_FOUND', `no object ${object}`);
  const design = events[0]?.event.body.design;
  const reports = forOwner ? events.filter(({ event }) => REPORTS.has(event.type)) : [];
  const users = new Map<string, SignerView>();
  for (const { event } of events) {
    const user = users.has(event.actor) ? undefined : await userOf(context, event.actor);
    if (user !== undefined) users.set(event.actor, user);
  }
  const machine = reports[0] && (await records.machines.require(reports[0].event.actor)).registration;
  return {
    object,
    state: head.state,
    design: typeof design === 'string' ? design : undefined,
    life: lifeView(print),
    events: events.map(({ index, event }) => ({
      index,
      sequence: event.sequence,
      type: event.type,
      time: event.time,
      actor: event.actor,
      by: users.get(event.actor),
      body: Object.fromEntries(
        Object.entries(event.body).map(([key, value]) => [key, value instanceof Uint8Array ? toHex(value) : value]),
      ),
      ...(machine !== undefined && REPORTS.has(event.type) && event.evidence?.[0] !== undefined
        ? { report: { signed: toBase64(event.evidence[0]), key: toBase64(machine.publicKey) } }
        : {}),
    })),
  };
}

/** A print of the actor's party on this machine, if there is one that the actor may read. */
export async function printOn(
  { records }: Pick<ControlContext, 'records'>,
  actor: Actor,
  machine: string,
): Promise<PrintRecord | undefined> {
  for await (const [, print] of records.prints.list({ index: 'party', group: groupOf(actor) }))
    if (print.machine === machine && permits(actor, 'odometer.read', print)) return print;
  return undefined;
}
