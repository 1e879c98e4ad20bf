import { bytesOf, hexOf, MillraceError, toHex } from '@millrace/base';
import { parseSign1 } from '@millrace/identity';
import {
  CLOCK_SKEW_MS,
  groupKinds,
  haltSchema,
  machineSchema,
  nodeId,
  organisationKinds,
  personRoles,
  readTransaction,
  type TransactionOf,
  tokenScopes,
} from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { type AnswerStore, keptAnswerSchema } from '../node/idempotency.ts';
import { PeriodCounts } from '../node/period-counts.ts';
import { Table, type TableOptions } from '../node/table.ts';
import { type CaseRecord, caseSchema } from './case-records.ts';
import { type LicenceRecord, licenceSchema } from './licence-records.ts';
import { lifeSchema, ofObject } from './life-records.ts';
import {
  type MaterialRecord,
  materialIndexes,
  materialSchema,
  type OdometerRecord,
  odometerRecordSchema,
  type SpoolRecord,
  type SpoolStatementRecord,
  spoolIndexes,
  spoolSchema,
  spoolStatementIndexes,
  spoolStatementSchema,
} from './material-records.ts';
import { type RehearsalRecord, rehearsalIndexes, rehearsalSchema } from './rehearsal-records.ts';
import { type SettingsRecord, settingsSchema } from './settings-records.ts';
import { type SignInEntry, signInEntrySchema, signInIndexes } from './sign-in-records.ts';
import { type VisitRecord, visitIndexes, visitSchema } from './visit-records.ts';
import {
  type WebhookMessageRecord,
  type WebhookRecord,
  webhookIndexes,
  webhookMessageIndexes,
  webhookMessageSchema,
  webhookSchema,
} from './webhooks/records.ts';

const bytes = z.instanceof(Uint8Array);
const id = hexOf(16);
const uint = z.number().int().nonnegative();

const userSchema = z.strictObject({
  user: id,
  name: z.string(),
  publicKey: bytesOf(33),
  /** Proves the key's owner to holders of the administrator's key (credentials.ts). */
  document: bytes,
  /** Absent when the administrator registered the key directly. */
  member: z
    .strictObject({
      organisation: id,
      person: id,
      roles: z.array(z.enum(personRoles)),
      device: z.string(),
      until: uint,
      created: uint,
      invitation: id,
      invitedBy: id,
    })
    .optional(),
});

const organisationSchema = z.strictObject({
  organisation: id,
  name: z.string(),
  kinds: z.array(z.enum(organisationKinds)),
  created: uint,
  /** The registration as the administrator signed it. */
  document: bytes,
});

const invitationSchema = z.strictObject({
  /** `keyName` of the invitation's key. */
  invitation: id,
  organisation: id,
  person: id,
  name: z.string(),
  roles: z.array(z.enum(personRoles)),
  created: uint,
  expires: uint,
  invitedBy: id,
  document: bytes,
  /** Credential of the signer, or the registration of the organisation. */
  signer: bytes,
  /** The key enrolled with this invitation. Written once. */
  usedBy: id.optional(),
});

const signInSchema = z.strictObject({
  organisation: id,
  /** Id of the document, by which enrolments and revocations name it. */
  signIn: id,
  issued: uint,
  /** The key that signed it. */
  setBy: id,
  /** `organisation.signin` as it was signed. */
  document: bytes,
  /** Credential of the signer, or the registration of the organisation. */
  signer: bytes,
});

const tokenSchema = z.strictObject({
  token: id,
  name: z.string(),
  scopes: z.array(z.enum(tokenScopes)),
  /** SHA-256 of the token's text. */
  hash: bytesOf(32),
  /** The key that created it. */
  key: id,
  organisation: id.optional(),
  created: uint,
  until: uint,
  lastUsed: uint.optional(),
  revoked: z.strictObject({ at: uint, by: id }).optional(),
  /** `token.create` as it was signed. */
  document: bytes,
});

const machineRecordSchema = z.strictObject({
  registration: machineSchema,
  hash: bytesOf(32),
  /** The registration as the administrator signed it; for a machine of another cloud, that cloud's administrator. */
  document: bytes,
  /** The machine's cloud, if it is another one. */
  cloud: id.optional(),
  /** The organisation that holds it, by the administrator's newest statement. */
  organisation: id.optional(),
  /** `machine.assign`, and whether it is in the mail to the proactive nodes. */
  assignment: z.strictObject({ id, number: uint, transaction: bytes, announced: z.boolean() }).optional(),
});

const damageSchema = z.strictObject({
  /** Numbers of segments, ascending. */
  missing: z.array(uint),
  damaged: z.array(uint),
  /** The keys node's own records of the design are damaged. An offline copy cannot repair them. */
  keys: z.boolean(),
  found: uint,
});
export type Damage = z.output<typeof damageSchema>;

/** A signed transaction, and the credential of its signer at that time. */
const attested = { transaction: bytes, credential: bytes };

const designSchema = z.strictObject({
  design: id,
  /** The organisation that owns it, or the key name of an owner without one. */
  owner: id,
  /** The key that added it. */
  ownerKey: bytesOf(33),
  name: z.string(),
  /** The owner's commitment. Clients compare it with the id. */
  core: bytes,
  custody: z.enum(['owner', 'keys']),
  kind: z.string(),
  size: uint,
  segments: uint,
  contentMac: bytesOf(32),
  state: z.enum(['uploading', 'storing', 'stored', 'refused', 'deleting', 'deleted']),
  code: z.string().optional(),
  reason: z.string().optional(),
  ...attested,
  /** Damage that checks have found and no repair has fixed. */
  damage: damageSchema.optional(),
  /** The newest repair. */
  repair: z
    .strictObject({
      repair: id,
      state: z.enum(['running', 'done', 'failed']),
      segments: uint,
      code: z.string().optional(),
      reason: z.string().optional(),
    })
    .optional(),
  /** The owner's signed deletion, and whether it was mailed to both proactive nodes. */
  deletion: z.strictObject({ ...attested, announced: z.boolean() }).optional(),
  /** The maintenance mode by control's records; `rekey` by default. */
  maintenance: z.string().optional(),
  /** The owner's newest request for another mode, until the keys node has set it. */
  setting: z.strictObject({ id, mode: z.string(), ...attested, announced: z.boolean() }).optional(),
  /** Parts that must still be mailed; removed when the mailbox holds them. */
  pending: z.strictObject({ manifest: bytes, keys: bytes }).optional(),
});

const groupSchema = z.strictObject({
  group: id,
  organisation: id,
  kind: z.enum(groupKinds),
  name: z.string(),
  address: z.string().optional(),
  number: uint,
  machines: z.array(id),
  /** Id of the statement. */
  id,
  ...attested,
  /** Whether it is in the mail to the proactive nodes. */
  announced: z.boolean(),
});

const shareSchema = z.strictObject({ design: id, ...attested });
type ShareRecord = z.output<typeof shareSchema>;

const printSchema = z.strictObject({
  print: id,
  licence: id,
  design: id,
  machine: id,
  /** As in the licence. */
  owner: id,
  holder: id,
  created: uint,
  /** Latest time of the start, by control's clock. */
  startBy: uint,
  /** Made from a job package. */
  packaged: z.literal(true).optional(),
  /** Place in the queue, after its holder has moved it; see `placeOf`. */
  place: uint.optional(),
  state: z.enum(['queued', 'permitted', 'running', 'completed', 'failed', 'alarmed', 'refused', 'cancelled']),
  code: z.string().optional(),
  reason: z.string().optional(),
  ...attested,
  /** Why a proactive node will not stream the permitted object. */
  refusal: z.strictObject({ code: z.string(), reason: z.string() }).optional(),
  /** The owner has cleared the alarm. */
  cleared: z.boolean().optional(),
  /** Set when an object of the licence has been claimed. */
  number: uint.optional(),
  object: z.string().optional(),
  /** Why its machine stands still. */
  halt: haltSchema.optional(),
  run: bytesOf(16).optional(),
  /** The machine's cloud, if it is another one. */
  cloud: id.optional(),
  /** What the machine of another cloud has shown when the object began. */
  admission: z
    .strictObject({
      ...{ visa: bytes, request: bytes, key: bytes },
      signers: z.strictObject({ operator: bytes, supplier: bytes }).optional(),
    })
    .optional(),
  /** The membership of the machine in a group of the licence when the object began. */
  membership: z.strictObject({ statement: z.strictObject(attested), assignment: bytes }).optional(),
  /** The newest permit and the request that it answered. */
  permit: z
    .strictObject({
      permitId: id,
      from: uint,
      bytes,
      request: bytes,
      requestHash: bytesOf(32),
      announced: z.boolean(),
      /** The distribution node over which the machine has asked, if there are several. */
      distribution: nodeId.optional(),
    })
    .optional(),
  life: lifeSchema.optional(),
});

export type UserRecord = z.output<typeof userSchema>;
export type OrganisationRecord = z.output<typeof organisationSchema>;
export type InvitationRecord = z.output<typeof invitationSchema>;
export type SignInRecord = z.output<typeof signInSchema>;
export type TokenRecord = z.output<typeof tokenSchema>;
export type GroupRecord = z.output<typeof groupSchema>;
export type MachineRecord = z.output<typeof machineRecordSchema>;
export type DesignRecord = z.output<typeof designSchema>;
export type PrintRecord = z.output<typeof printSchema>;

export interface Records {
  readonly users: Table<UserRecord>;
  readonly organisations: Table<OrganisationRecord>;
  readonly invitations: Table<InvitationRecord>;
  /** By organisation: how its people sign in. */
  readonly signIns: Table<SignInRecord>;
  /** Sign-ins at the console. */
  readonly signInLog: Table<SignInEntry>;
  readonly tokens: Table<TokenRecord>;
  readonly webhooks: Table<WebhookRecord>;
  readonly webhookMessages: Table<WebhookMessageRecord>;
  readonly machines: Table<MachineRecord>;
  /** Groups of machines, and sites. */
  readonly groups: Table<GroupRecord>;
  readonly materials: Table<MaterialRecord>;
  readonly spools: Table<SpoolRecord>;
  readonly spoolStatements: Table<SpoolStatementRecord>;
  readonly odometers: Table<OdometerRecord>;
  readonly designs: Table<DesignRecord>;
  /** Private parts of designs: opaque here, kept for their owners. */
  readonly privates: Table<{ sealed: Uint8Array }>;
  /** How far each design goes, sealed to the machines of its licences. */
  readonly envelopes: Table<{ sealed: Uint8Array }>;
  /** Design and key (design/key) → the newest `design.share` for that key. */
  readonly shares: Table<ShareRecord>;
  readonly licences: Table<LicenceRecord>;
  readonly prints: Table<PrintRecord>;
  readonly visits: Table<VisitRecord>;
  readonly rehearsals: Table<RehearsalRecord>;
  /** By machine: the newest settings from elsewhere. */
  readonly settings: Table<SettingsRecord>;
  /** Failure cases by object. */
  readonly cases: Table<CaseRecord>;
  /** What holders show of failed objects: sealed to the owners. */
  readonly evidence: Table<{ sealed: Uint8Array }>;
  /** Object of a licence (licence/number) → the print that claimed it. Written once; authoritative. */
  readonly claims: Table<{ print: string }>;
  /** Prints that have claimed an object, in each period of a subscription that limits them. */
  readonly periods: PeriodCounts;
  /** Licence and machine (licence/machine) → objects with an alarm that the owner has not cleared. */
  readonly alarms: Table<{ objects: string[] }>;
  /** Newest epoch that each proactive node has reported. */
  readonly heads: Table<{ role: 'segments' | 'keys'; epoch: number }>;
  /** Ids of signed documents that were carried out, with the time until which each must be remembered. */
  readonly seen: Table<SeenRecord>;
  /** Answers to writes with an idempotency key. */
  readonly answers: AnswerStore;
}

interface SeenRecord {
  readonly type: string;
  readonly until: number;
}

/** Key name of the key that signed a document which was verified when it was recorded. */
export function signerOf(document: Uint8Array): string {
  return toHex(parseSign1(document).keyId);
}

/** The print as its holder signed it. @throws {MillraceError} E_STORE */
export function readPrint({ transaction }: PrintRecord): TransactionOf<'print.request'> {
  const print = readTransaction(transaction);
  if (print.type !== 'print.request') throw new MillraceError('E_STORE', 'the print record holds no print request');
  return print;
}

/** Extra time for which an id is remembered, so that an old document is refused even after a clock was set back. */
const SEEN_MARGIN_MS = 24 * 3_600_000;

/** After `until` the document is refused because it has expired. */
export function seenRecord({ type, expires }: { type: string; expires: number }): SeenRecord {
  return { type, until: expires + CLOCK_SKEW_MS + SEEN_MARGIN_MS };
}

export async function forgetSeen(seen: Table<SeenRecord>, now: number): Promise<void> {
  for await (const [id] of seen.list({ index: 'until', group: 'all', below: Math.max(0, now) })) await seen.remove(id);
}

/** Owner and holder of a licence, who see it and its prints, and its approvers, who see it. Some may be the same. */
const parties = ({ owner, holder, approvers = [] }: Pick<LicenceRecord, 'owner' | 'holder' | 'approvers'>) => [
  ...new Set([owner, holder, ...approvers.map(({ party }) => party)]),
];

const byParty = (print: Pick<PrintRecord, 'owner' | 'holder' | 'created'>) =>
  parties(print).map((group) => ({ group, order: print.created }));

/** Whether the print has a permit and no end. */
export const isBegun = ({ state }: PrintRecord): boolean => state === 'permitted' || state === 'running';

/** Places in the queue for each millisecond. Prints can be moved between those of one millisecond and the previous. */
const PLACES_PER_MS = 1_024;

/** Place in a machine's queue: the lowest is made first. */
export function placeOf({ created, place }: { readonly created: number; readonly place?: number | undefined }): number {
  return place ?? created * PLACES_PER_MS;
}

/** Queued prints by machine, by licence, by design. */
function queuedBy(print: PrintRecord) {
  const { state, machine, licence, design } = print;
  if (state !== 'queued') return [];
  const order = placeOf(print);
  return [`machine/${machine}`, `licence/${licence}`, `design/${design}`].map((group) => ({ group, order }));
}

/** Queued prints, ordered by expiry. */
const expiring = ({ state, startBy }: PrintRecord) => (state === 'queued' ? [{ group: 'all', order: startBy }] : []);

/** Key names of the signers of these documents. */
const signersOf = (...documents: readonly (Uint8Array | undefined)[]) =>
  [...new Set(documents.flatMap((document) => (document === undefined ? [] : [signerOf(document)])))].map((group) => ({
    group,
  }));

const all = (is: unknown) => (is === undefined ? [] : [{ group: 'all' }]);

/** The index of what a killed process left unfinished: `finishInterrupted` reads it at each start. */
const unfinishedIf = (is: unknown) => (is ? [{ group: 'all' }] : []);
/** As the index lists them. */
export const UNFINISHED = { index: 'unfinished', group: 'all' } as const;

/** Tables whose records a permit reads several times, or that are verified when they are read. */
const recent = new Set(['machine', 'design', 'licence', 'print', 'user', 'token']);

/**
 * @param onDamaged called for each record that cannot be read. Lists leave these records out. Without it, a list throws
 * E_STORE
 */
export function openRecords(
  store: RecordStore,
  onDamaged?: TableOptions<never>['onDamaged'],
  onChange?: (table: string, id: string, record: unknown) => void,
): Records {
  const table = <T>(name: string, schema: z.ZodType<T>, indexes: TableOptions<T>['indexes'] = {}) =>
    new Table(store, name, schema, {
      ...{ indexes, onDamaged, keepsRecent: recent.has(name) },
      onChange: onChange && ((id, record) => onChange(name, id, record)),
    });
  return {
    users: table('user', userSchema, {
      organisation: ({ member }) => (member ? [{ group: member.organisation, order: member.created }] : []),
    }),
    organisations: table('organisation', organisationSchema),
    invitations: table('invitation', invitationSchema, {
      organisation: ({ organisation, created }) => [{ group: organisation, order: created }],
      inviter: ({ invitedBy, created }) => [{ group: invitedBy, order: created }],
    }),
    signIns: table('sign-in', signInSchema),
    signInLog: table('sign-in-log', signInEntrySchema, signInIndexes),
    tokens: table('token', tokenSchema, {
      key: ({ key, created }) => [{ group: key, order: created }],
      organisation: ({ organisation, created }) =>
        organisation === undefined ? [] : [{ group: organisation, order: created }],
      until: ({ until }) => [{ group: 'all', order: until }],
    }),
    webhooks: table('webhook', webhookSchema, webhookIndexes),
    webhookMessages: table('webhook-message', webhookMessageSchema, webhookMessageIndexes),
    machines: table('machine', machineRecordSchema, {
      unfinished: ({ assignment }) => unfinishedIf(assignment?.announced === false),
    }),
    groups: table('group', groupSchema, {
      organisation: ({ organisation }) => [{ group: organisation }],
      signer: ({ transaction }) => signersOf(transaction),
      unfinished: ({ announced }) => unfinishedIf(!announced),
    }),
    materials: table('material', materialSchema, materialIndexes),
    spools: table('spool', spoolSchema, spoolIndexes),
    spoolStatements: table('spool-statement', spoolStatementSchema, spoolStatementIndexes),
    odometers: table('odometer', odometerRecordSchema),
    designs: table('design', designSchema, {
      owner: ({ owner }) => [{ group: owner }],
      damaged: ({ damage }) => all(damage),
      deletion: ({ deletion }) => all(deletion),
      signer: ({ deletion }) => signersOf(deletion?.transaction),
      unfinished: ({ pending, deletion, setting }) =>
        unfinishedIf(pending || deletion?.announced === false || setting?.announced === false),
    }),
    privates: table('private', z.strictObject({ sealed: bytes })),
    envelopes: table('envelope', z.strictObject({ sealed: bytes })),
    shares: table('share', shareSchema, { design: ({ design }) => [{ group: design }] }),
    licences: table('licence', licenceSchema, {
      party: (licence) => parties(licence).map((group) => ({ group })),
      signer: ({ transaction, statement, amendments = [] }) =>
        signersOf(transaction, statement?.transaction, ...amendments.map((amendment) => amendment.transaction)),
      unfinished: ({ pending, statement, amendments = [] }) =>
        unfinishedIf(pending || statement?.announced === false || amendments.some(({ announced }) => !announced)),
    }),
    prints: table('print', printSchema, {
      party: byParty,
      // Prints that have claimed an object.
      made: (print) => (print.object === undefined ? [] : ofObject(print, parties(print))),
      queued: queuedBy,
      expiring,
      // Permits that the ledger may not show yet.
      unannounced: ({ permit, licence }) => (permit?.announced === false ? [{ group: licence }] : []),
      unfinished: ({ permit, life }) => unfinishedIf(permit?.announced === false || life?.pending !== undefined),
    }),
    visits: table('visit', visitSchema, visitIndexes),
    rehearsals: table('rehearsal', rehearsalSchema, rehearsalIndexes),
    settings: table('settings', settingsSchema),
    cases: table('case', caseSchema, {
      party: byParty,
      decider: ({ decision }) => (decision === undefined ? [] : [{ group: signerOf(decision.transaction) }]),
      unfinished: ({ report, decision }) => unfinishedIf(!report.announced || decision?.announced === false),
    }),
    evidence: table('evidence', z.strictObject({ sealed: bytes })),
    claims: table('claim', z.strictObject({ print: id })),
    periods: new PeriodCounts(store),
    alarms: table('alarm', z.strictObject({ objects: z.array(z.string()) })),
    heads: table('head', z.strictObject({ role: z.enum(['segments', 'keys']), epoch: uint })),
    seen: table('seen', z.strictObject({ type: z.string(), until: uint }), {
      until: ({ until }) => [{ group: 'all', order: until }],
    }),
    answers: table('answer', keptAnswerSchema),
  };
}
