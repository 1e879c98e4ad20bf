import {
  type Bytes,
  bytesOf,
  concatBytes,
  copyBytes,
  decodeCbor,
  encodeCbor,
  equalBytes,
  fromHex,
  MillraceError,
  parse,
  utf8,
} from '@millrace/base';
import {
  type Algorithm,
  keyId,
  parseSign1,
  type Signer,
  sign1,
  verifySign1,
  verifySignature,
} from '@millrace/identity';
import { z } from 'zod';
import { approveLicence, extendLicence, licensedMachines, transferLicence } from './amendment-documents.ts';
import { cameraPicture, watchCamera } from './camera-documents.ts';
import { creditPolicySchema, decideCase, reportCase } from './case-documents.ts';
import { CLOCK_SKEW_MS, nodeId } from './directory.ts';
import { common, identifier, machineKind, materialName } from './document-fields.ts';
import {
  cancelVisit,
  introduceMachine,
  recogniseCloud,
  requestVisa,
  requestVisit,
  visaSchema,
  visitReport,
} from './federation-documents.ts';
import { assignMachine, licensedGroups, setGroup } from './group-documents.ts';
import { lifeDocuments } from './life-documents.ts';
import {
  certifyMaterial,
  clearOdometer,
  licensedMaterial,
  loadSpool,
  odometerSchema,
  spoolInRequest,
  unloadSpool,
} from './material-documents.ts';
import { driverKey, isForOneMachine, licensedPackage } from './package-documents.ts';
import {
  enrolKey,
  inviteDevice,
  inviteMember,
  openSession,
  openUpload,
  registerOrganisation,
  requestCertificate,
  revocationListSchema,
} from './people-documents.ts';
import { fitsValidity } from './prices.ts';
import { cancelPrint, commandPrint, movePrintFirst, requestPrint } from './print-documents.ts';
import { rehearsalResult, requestRehearsal } from './rehearsal-documents.ts';
import { machineReport } from './report-documents.ts';
import { SEALED_SECRET_BYTES } from './sealed-keys.ts';
import { setMachineSettings, settingsReport } from './settings-documents.ts';
import { disclosures, objectName, priceSchema, transferPolicies } from './shapes.ts';
import { organisationSignIn, signInKey } from './sign-in-documents.ts';
import { createTokenSchema, revokeTokenSchema } from './tokens.ts';
import { webhookDocuments } from './webhooks.ts';

/** How fast a machine consumes data. Part of its registration, whose hash is in every licence. */
export const profileSchema = z.strictObject({
  /** Speed relative to real time; 1 for real machines. */
  factor: z.number().positive().max(1e9),
  /** Bytes per second at factor 1, for plain sinks. */
  bytesPerSecond: z.number().positive().optional(),
});
export type MachineProfile = z.output<typeof profileSchema>;

/** The token that holds a machine's key, as its PKCS #11 module described it. No manufacturer attests it. */
export const tokenSchema = z.strictObject({
  manufacturer: z.string().max(32),
  model: z.string().max(16),
  serial: z.string().max(16),
  /** Whether the module says that it is a hardware device. */
  hardware: z.boolean(),
});

export const machineSchema = z.strictObject({
  /** `keyName` of the public key. */
  machine: identifier,
  publicKey: bytesOf(65),
  serial: z.string().min(1).max(64),
  kind: machineKind,
  profile: profileSchema,
  /** Absent if the key is in a file. */
  token: tokenSchema.optional(),
});
/** A machine as it is registered. */
export type Machine = z.output<typeof machineSchema>;

const registerMachine = z.strictObject({ type: z.literal('machine.register'), ...common, machine: machineSchema });

const registerUser = z.strictObject({
  type: z.literal('user.register'),
  ...common,
  publicKey: bytesOf(33),
  name: z.string().min(1).max(64),
});

/** The administrator registers a permit key of control. Verifiers rely on this document, not on the log. */
const registerPermitKey = z.strictObject({
  type: z.literal('permit-key.register'),
  ...common,
  publicKey: bytesOf(65),
});

const addDesign = z.strictObject({
  type: z.literal('design.add'),
  ...common,
  design: identifier,
  /** SHA-256 of the manifest and of the content keys, which are sealed to the keys node. */
  manifestHash: bytesOf(32),
  keysHash: bytesOf(32),
});

/** The owner deletes a design. Its keys are destroyed at once, its cells in the next epoch. */
const deleteDesign = z.strictObject({ type: z.literal('design.delete'), ...common, design: identifier });

/** Maximum number of keys in one `design.share`. */
export const MAX_SHARES = 200;

/**
 * A designer of the owner's organisation lets other keys of the organisation open the design's private part. Another
 * document for the same key replaces the earlier one.
 */
const shareDesign = z.strictObject({
  type: z.literal('design.share'),
  ...common,
  design: identifier,
  shares: z
    .array(
      z.strictObject({
        /** Key name of the recipient. */
        key: identifier,
        /** The key of the private part, sealed to the recipient's sealing key. */
        sealed: bytesOf(SEALED_SECRET_BYTES),
      }),
    )
    .min(1)
    .max(MAX_SHARES)
    .refine((shares) => new Set(shares.map(({ key }) => key)).size === shares.length, 'a key is named twice'),
});

/** The owner chooses how a design's cells are renewed, from the next sweep on. The newest `issued` counts. */
const setMaintenance = z.strictObject({
  type: z.literal('design.maintenance'),
  ...common,
  design: identifier,
  mode: z.enum(['rekey', 'delta']),
});
/**
 * The owner has investigated an alarm. The machine may get permits of that licence again; the object remains stopped.
 */
const clearAlarm = z.strictObject({ type: z.literal('alarm.clear'), ...common, object: objectName });

const grantLicence = z
  .strictObject({
    type: z.literal('licence.grant'),
    ...common,
    design: identifier,
    /** SHA-256 of the design's core (vault.md, 2), which commits to every byte, their order and the length. */
    core: bytesOf(32),
    objects: z.number().int().min(1).max(1_000_000),
    machines: licensedMachines,
    groups: licensedGroups.optional(),
    materials: z.array(licensedMaterial).max(100),
    notBefore: z.number().int().nonnegative(),
    notAfter: z.number().int().nonnegative(),
    /** Who may order prints: the operators of an organisation, by its identifier, or one secp256k1 key alone. */
    holder: z.union([bytesOf(33), identifier]),
    /** SHA-256 of the licence secret, which is sealed to the keys node. */
    secretHash: bytesOf(32),
    /** The owner's P-256 point, to which machines seal state that only the owner may read. */
    telemetryKey: bytesOf(65),
    /** Information that the holder and people at the machine may get about a print. */
    disclose: z.array(z.enum(disclosures)).max(disclosures.length),
    /** Whether the holder may transfer what is left, and whether the owner has to approve it. Absent: not at all. */
    transfer: z.enum(transferPolicies).optional(),
    /** What the holder owes for its use. Absent: nothing that is counted here. */
    price: priceSchema.optional(),
    /** Which failed objects the owner credits by this signature. Absent: none. */
    creditPolicy: creditPolicySchema.optional(),
    /** The job package from which objects are made. Absent: objects are streamed. */
    package: licensedPackage.optional(),
  })
  .refine(isForOneMachine, 'a job package is for one machine of this cloud')
  .refine(fitsValidity, 'the subscription has to begin while the licence is valid, and end within 100 years');

/**
 * The owner's statement of how many objects of the licence are left, after a backup was restored without the current
 * state of control. Other objects that have not started can no longer start.
 */
const resumeLicence = z.strictObject({
  type: z.literal('licence.resume'),
  ...common,
  licence: identifier,
  /** The restore that suspended the licence. The statement is not valid for a later restore. */
  restore: identifier,
  objects: z.number().int().min(0).max(1_000_000),
});

/**
 * Order of the owner's statements on a licence: the highest number takes precedence. Milliseconds since 1970 by the
 * owner's clock, or the previous number plus one, whichever is larger.
 */
const statement = { ...common, licence: identifier, number: z.number().int().positive() };

/** No object of the licence may begin until the owner reinstates it. Objects that have begun are finished. */
const suspendLicence = z.strictObject({ type: z.literal('licence.suspend'), ...statement });
const reinstateLicence = z.strictObject({ type: z.literal('licence.reinstate'), ...statement });
/** No further object of the licence may begin. With `stop`, objects that have begun are also stopped. */
const revokeLicence = z.strictObject({ type: z.literal('licence.revoke'), ...statement, stop: z.boolean() });

const transactionSchema = z.discriminatedUnion('type', [
  registerMachine,
  assignMachine,
  setGroup,
  setMachineSettings,
  registerUser,
  registerPermitKey,
  registerOrganisation,
  inviteMember,
  inviteDevice,
  enrolKey,
  requestCertificate,
  openSession,
  openUpload,
  certifyMaterial,
  loadSpool,
  unloadSpool,
  clearOdometer,
  createTokenSchema,
  revokeTokenSchema,
  ...webhookDocuments,
  organisationSignIn,
  signInKey,
  addDesign,
  deleteDesign,
  shareDesign,
  setMaintenance,
  clearAlarm,
  grantLicence,
  approveLicence,
  extendLicence,
  transferLicence,
  resumeLicence,
  suspendLicence,
  reinstateLicence,
  revokeLicence,
  requestPrint,
  cancelPrint,
  movePrintFirst,
  commandPrint,
  watchCamera,
  requestRehearsal,
  reportCase,
  decideCase,
  ...lifeDocuments,
  recogniseCloud,
  introduceMachine,
  requestVisit,
  cancelVisit,
]);

const requestPermit = z.strictObject({
  type: z.literal('permit.request'),
  ...common,
  print: identifier,
  serial: z.string().min(1).max(64),
  material: materialName,
  ...spoolInRequest,
  /** Of the machine when it asks. */
  odometer: odometerSchema.optional(),
  /** Fresh P-256 point of this session. */
  ephemeral: bytesOf(65),
  /** 16 random bytes, chosen when the agent starts this object. A resumed stream has the same value. */
  run: bytesOf(16),
  /** First requested segment; above 0 only to resume. */
  from: z.number().int().nonnegative(),
  order: z.union([z.literal(16), z.literal(24)]),
  suite: z.enum(['keccak256', 'turboshake128']),
  hints: z.enum(['dense', 'sparse']),
  /** Time to compute one table on this machine, ms. */
  tableMs: z.number().int().nonnegative(),
});

const machineDocumentSchema = z.discriminatedUnion('type', [
  requestPermit,
  machineReport,
  rehearsalResult,
  settingsReport,
  cameraPicture,
  requestVisa,
  visitReport,
  driverKey,
]);

const permitSchema = z.strictObject({
  type: z.literal('permit'),
  ...common,
  print: identifier,
  licence: identifier,
  object: objectName,
  number: z.number().int().positive(),
  design: identifier,
  machine: identifier,
  /** SHA-256 of the permit request. */
  request: bytesOf(32),
  count: z.literal(1),
});

/**
 * A node's key for a period. Mail, or attachments of owners, are sealed to it until the next key (spec/protocol.md, 4).
 */
const boxKeySchema = z.strictObject({
  type: z.literal('box'),
  /** Id of the node that made the key. */
  node: nodeId,
  use: z.enum(['mail', 'attachments']),
  /** Increases with every key of this node and use. */
  number: z.number().int().positive(),
  /** Uncompressed P-256 point. */
  point: bytesOf(65),
  issued: common.issued,
  expires: common.expires,
});

const uploadTicketSchema = z.strictObject({
  type: z.literal('upload.ticket'),
  ...common,
  design: identifier,
  /** Key name of who may upload with it. */
  user: identifier,
  /** The design's owner: an organisation, or the key name of an owner without one. Quotas are for each owner. */
  owner: identifier,
  segments: z.number().int().positive(),
});

export type Transaction = z.output<typeof transactionSchema>;
export type TransactionOf<T extends Transaction['type']> = Extract<Transaction, { type: T }>;
export type MachineDocument = z.output<typeof machineDocumentSchema>;
export type PermitRequest = z.output<typeof requestPermit>;
export type MachineReport = z.output<typeof machineReport>;
export type SettingsReport = z.output<typeof settingsReport>;
export type RehearsalResult = z.output<typeof rehearsalResult>;
export type Permit = z.output<typeof permitSchema>;
export type Visa = z.output<typeof visaSchema>;
export type VisitReport = z.output<typeof visitReport>;
export type BoxKey = z.output<typeof boxKeySchema>;
export type UploadTicket = z.output<typeof uploadTicketSchema>;
export type RevocationList = z.output<typeof revocationListSchema>;
export type RevocationEntry = RevocationList['entries'][number];

/** A document whose signature has been verified. */
export interface Signed<T> {
  readonly body: T;
  readonly signer: Bytes;
  readonly bytes: Bytes;
}

interface Kind<T> {
  readonly label: string;
  readonly algorithm: Algorithm;
  parse(input: unknown): T;
}

const transactions: Kind<Transaction> = {
  label: 'transaction',
  algorithm: 'ES256K',
  parse: (input) => parse(transactionSchema, input, 'transaction'),
};
const machineDocuments: Kind<MachineDocument> = {
  label: 'machine document',
  algorithm: 'ES256',
  parse: (input) => parse(machineDocumentSchema, input, 'machine document'),
};
const permits: Kind<Permit> = {
  label: 'permit',
  algorithm: 'ES256',
  parse: (input) => parse(permitSchema, input, 'permit', 'E_PERMIT'),
};
const visas: Kind<Visa> = {
  label: 'visa',
  algorithm: 'ES256',
  parse: (input) => parse(visaSchema, input, 'visa', 'E_VISA'),
};
const boxKeys: Kind<BoxKey> = {
  label: 'box key',
  algorithm: 'ES256',
  parse: (input) => parse(boxKeySchema, input, 'box key'),
};

const uploadTickets: Kind<UploadTicket> = {
  label: 'upload ticket',
  algorithm: 'ES256',
  parse: (input) => parse(uploadTicketSchema, input, 'upload ticket'),
};

const revocationLists: Kind<RevocationList> = {
  label: 'revocations',
  algorithm: 'ES256K',
  parse: (input) => parse(revocationListSchema, input, 'revocations'),
};

function context(kind: Kind<unknown>, installation: string): Bytes {
  return concatBytes(utf8(`millrace/v1/${kind.label}/`), fromHex(installation));
}

const signWith =
  <T>(kind: Kind<T>) =>
  (signer: Signer, installation: string, document: T): Promise<Bytes> =>
    sign1(signer, keyId(signer.publicKey), encodeCbor(document as never), context(kind, installation));

/** Looks up the public key for a key id; undefined if it is unknown. */
export type KeyLookup = (id: Bytes) => Bytes | undefined | Promise<Bytes | undefined>;

/** Knows one key only: the document has to be signed by it. */
export function onlyKey(publicKey: Uint8Array): (id: Bytes) => Bytes | undefined {
  const known = keyId(publicKey);
  return (id) => (equalBytes(id, known) ? copyBytes(publicKey) : undefined);
}

const verifyWith =
  <T extends { readonly issued: number; readonly expires: number }>(kind: Kind<T>) =>
  async (bytes: Uint8Array, installation: string, lookup: KeyLookup, now: number | 'any time'): Promise<Signed<T>> => {
    const message = parseSign1(bytes);
    const signer = await lookup(message.keyId);
    if (signer === undefined) throw new MillraceError('E_AUTH', `${kind.label}: unknown signer`);
    verifySign1(message, kind.algorithm, signer, context(kind, installation), verifySignature);
    const body = kind.parse(decodeCbor(message.payload, kind.label));
    if (now === 'any time') return { body, signer, bytes: new Uint8Array(bytes) };
    if (now > body.expires + CLOCK_SKEW_MS) throw new MillraceError('E_EXPIRED', `${kind.label}: expired`);
    if (body.issued > now + CLOCK_SKEW_MS) throw new MillraceError('E_CLOCK', `${kind.label}: dated in the future`);
    return { body, signer, bytes: new Uint8Array(bytes) };
  };

/** Signed by users (owner, holder, admin). */
export const signTransaction = signWith(transactions);
/** @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT, E_EXPIRED, E_CLOCK */
export const verifyTransaction = verifyWith(transactions);
/** Signed by the machine's identity key. */
export const signMachineDocument = signWith(machineDocuments);
/** @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT, E_EXPIRED, E_CLOCK */
export const verifyMachineDocument = verifyWith(machineDocuments);
/** Signed by the control node. */
export const signPermit = signWith(permits);
/** @throws {MillraceError} E_SIGNATURE, E_AUTH, E_PERMIT, E_EXPIRED, E_CLOCK */
export const verifyPermit = verifyWith(permits);
/** Signed by the control node of a visiting machine's cloud, with the key of its permits. */
export const signVisa = signWith(visas);
/** @throws {MillraceError} E_SIGNATURE, E_AUTH, E_VISA, E_EXPIRED, E_CLOCK */
export const verifyVisa = verifyWith(visas);
/** Signed by a node's identity key. */
export const signBoxKey = signWith(boxKeys);
/** @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT, E_EXPIRED, E_CLOCK */
export const verifyBoxKey = verifyWith(boxKeys);
/**
 * Reads a key that was verified when it was stored. Does not verify it again, because its signer's key may have
 * changed.
 * @throws {MillraceError} E_SIGNATURE, E_INPUT
 */
export function readStoredBoxKey(bytes: Uint8Array): BoxKey {
  return boxKeys.parse(decodeCbor(parseSign1(bytes).payload, 'box key'));
}

/** Signed by an owner-admin of the organisation, or by the administrator. */
export const signRevocationList = signWith(revocationLists);
/** @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT */
export const verifyRevocationList = verifyWith(revocationLists);

/** Signed by the control node. Allows the distribution node to stage segments of an owner's design. */
export const signUploadTicket = signWith(uploadTickets);
/** @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT, E_EXPIRED, E_CLOCK */
export const verifyUploadTicket = verifyWith(uploadTickets);

/** Reads a document that this process made, without verifying it. @throws {MillraceError} E_SIGNATURE, E_INPUT */
export function readTransaction(bytes: Uint8Array): Transaction {
  return transactions.parse(decodeCbor(parseSign1(bytes).payload, 'transaction'));
}

/** Reads a permit that this process made, without verifying it. @throws {MillraceError} E_SIGNATURE, E_PERMIT */
export function readPermit(bytes: Uint8Array): Permit {
  return permits.parse(decodeCbor(parseSign1(bytes).payload, 'permit'));
}

/** Reads a machine's document that was verified when it was stored. @throws {MillraceError} E_SIGNATURE, E_INPUT */
export function readMachineDocument(bytes: Uint8Array): MachineDocument {
  return machineDocuments.parse(decodeCbor(parseSign1(bytes).payload, 'machine document'));
}
