import { bytesOf, hexOf, MillraceError } from '@millrace/base';
import {
  activeLicence,
  CLOCK_SKEW_MS,
  type LicenceStatus,
  licenceStatusSchema,
  machineSchema,
  organisationKinds,
  personRoles,
  readTransaction,
  type TransactionOf,
} from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { type AnswerStore, keptAnswerSchema } from '../node/idempotency.ts';
import { Table, type TableOptions } from '../node/table.ts';

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

const machineRecordSchema = z.strictObject({
  registration: machineSchema,
  hash: bytesOf(32),
  /** The registration as the administrator signed it. */
  document: bytes,
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

const designSchema = z.strictObject({
  design: id,
  owner: id,
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
  transaction: bytes,
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
  deletion: z.strictObject({ transaction: bytes, announced: z.boolean() }).optional(),
  /** The maintenance mode by control's records; `rekey` by default. */
  maintenance: z.string().optional(),
  /** The owner's newest request for another mode, until the keys node has set it. */
  setting: z.strictObject({ id, mode: z.string(), transaction: bytes, announced: z.boolean() }).optional(),
  /** Parts that must still be mailed; removed when the mailbox holds them. */
  pending: z.strictObject({ manifest: bytes, keys: bytes }).optional(),
});

const licenceSchema = z.strictObject({
  licence: id,
  design: id,
  owner: id,
  holder: id,
  objects: uint,
  transaction: bytes,
  /** Sealed licence secret; removed when it has been mailed. */
  pending: bytes.optional(),
  /** The keys node lost its secret when an older backup was restored, or could not open it. */
  lost: z.boolean().optional(),
  /** Id of the restore, until the owner has stated how many objects are left. */
  suspended: id.optional(),
  /** Objects up to this number count as permitted, by the owner's statement after a restore. */
  floor: uint.optional(),
  /** Status set by the owner's statements. */
  status: licenceStatusSchema.optional(),
  /** The newest statement, and whether it is in the ledger and in the mail to both proactive nodes. */
  statement: z.strictObject({ id, transaction: bytes, announced: z.boolean() }).optional(),
});

const printSchema = z.strictObject({
  print: id,
  licence: id,
  design: id,
  machine: id,
  owner: id,
  holder: id,
  created: uint,
  /** Latest time of the start, by control's clock. */
  startBy: uint,
  state: z.enum(['queued', 'permitted', 'running', 'completed', 'failed', 'alarmed', 'refused', 'cancelled']),
  code: z.string().optional(),
  reason: z.string().optional(),
  transaction: bytes,
  /** The owner has cleared the alarm. */
  cleared: z.boolean().optional(),
  /** Set when an object of the licence has been claimed. */
  number: uint.optional(),
  object: z.string().optional(),
  run: bytesOf(16).optional(),
  /** The newest permit and the request that it answered. */
  permit: z
    .strictObject({ permitId: id, from: uint, bytes, request: bytes, requestHash: bytesOf(32), announced: z.boolean() })
    .optional(),
});

export type UserRecord = z.output<typeof userSchema>;
export type OrganisationRecord = z.output<typeof organisationSchema>;
export type InvitationRecord = z.output<typeof invitationSchema>;
export type MachineRecord = z.output<typeof machineRecordSchema>;
export type DesignRecord = z.output<typeof designSchema>;
export type LicenceRecord = z.output<typeof licenceSchema>;
export type PrintRecord = z.output<typeof printSchema>;

export interface Records {
  readonly users: Table<UserRecord>;
  readonly organisations: Table<OrganisationRecord>;
  readonly invitations: Table<InvitationRecord>;
  readonly machines: Table<MachineRecord>;
  readonly designs: Table<DesignRecord>;
  /** Private parts of designs: opaque here, kept for their owners. */
  readonly privates: Table<{ sealed: Uint8Array }>;
  readonly licences: Table<LicenceRecord>;
  readonly prints: Table<PrintRecord>;
  /** Object of a licence (licence/number) → the print that claimed it. Written once; authoritative. */
  readonly claims: Table<{ print: string }>;
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

/** The licence as its owner signed it. @throws {MillraceError} E_STORE */
export function readLicence({ transaction }: LicenceRecord): TransactionOf<'licence.grant'> {
  const terms = readTransaction(transaction);
  if (terms.type !== 'licence.grant') throw new MillraceError('E_STORE', 'the licence record holds no licence');
  return terms;
}

export function statusOf({ status }: LicenceRecord): LicenceStatus {
  return status ?? activeLicence;
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

/** Owner and holder of a licence, who see it and its prints. They may be the same user. */
const parties = ({ owner, holder }: { owner: string; holder: string }) => [...new Set([owner, holder])];

const byParty = (print: PrintRecord) => parties(print).map((group) => ({ group, order: print.created }));

/** Queued prints by machine, by licence, by design. */
function queuedBy({ state, machine, licence, design, created }: PrintRecord) {
  if (state !== 'queued') return [];
  return [`machine/${machine}`, `licence/${licence}`, `design/${design}`].map((group) => ({ group, order: created }));
}

/** Queued prints, ordered by expiry. */
const expiring = ({ state, startBy }: PrintRecord) => (state === 'queued' ? [{ group: 'all', order: startBy }] : []);

const all = (is: unknown) => (is === undefined ? [] : [{ group: 'all' }]);

/**
 * @param onDamaged called for each record that cannot be read. Lists leave these records out. Without it, a list throws
 * E_STORE
 */
export function openRecords(store: RecordStore, onDamaged?: TableOptions<never>['onDamaged']): Records {
  const table = <T>(name: string, schema: z.ZodType<T>, indexes: TableOptions<T>['indexes'] = {}) =>
    new Table(store, name, schema, { indexes, onDamaged });
  return {
    users: table('user', userSchema, {
      organisation: ({ member }) => (member ? [{ group: member.organisation, order: member.created }] : []),
    }),
    organisations: table('organisation', organisationSchema),
    invitations: table('invitation', invitationSchema, {
      organisation: ({ organisation, created }) => [{ group: organisation, order: created }],
      inviter: ({ invitedBy, created }) => [{ group: invitedBy, order: created }],
    }),
    machines: table('machine', machineRecordSchema),
    designs: table('design', designSchema, {
      owner: ({ owner }) => [{ group: owner }],
      damaged: ({ damage }) => all(damage),
      deletion: ({ deletion }) => all(deletion),
    }),
    privates: table('private', z.strictObject({ sealed: bytes })),
    licences: table('licence', licenceSchema, { party: (licence) => parties(licence).map((group) => ({ group })) }),
    prints: table('print', printSchema, {
      party: byParty,
      // Prints that have claimed an object.
      made: (print) => (print.object === undefined ? [] : byParty(print)),
      queued: queuedBy,
      expiring,
      // Permits that the ledger may not show yet.
      unannounced: ({ permit, licence }) => (permit?.announced === false ? [{ group: licence }] : []),
    }),
    claims: table('claim', z.strictObject({ print: id })),
    alarms: table('alarm', z.strictObject({ objects: z.array(z.string()) })),
    heads: table('head', z.strictObject({ role: z.enum(['segments', 'keys']), epoch: uint })),
    seen: table('seen', z.strictObject({ type: z.string(), until: uint }), {
      until: ({ until }) => [{ group: 'all', order: until }],
    }),
    answers: table('answer', keptAnswerSchema),
  };
}
