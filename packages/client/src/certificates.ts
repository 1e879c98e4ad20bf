import { type Bytes, fromHex, MillraceError, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { parseVerifierKey, type VerifiedCertificate, verifyCertificate } from '@millrace/ledger';
import { type Directory, logKeysOf, partyName } from '@millrace/protocol';
import { Documents, type Signatory, type Trusted } from './certificate/documents.ts';
import type { ProvenLife } from './certificate/life.ts';
import { type ProvenObject, proveObject } from './certificate/object.ts';
import { type Verdict, verdictOf } from './certificate/verdict.ts';
import { type VerdictWords, verdictEnglish } from './certificate/verdict-words.ts';

/** Trusted keys: of the log, and of the owner or the installation's administrator. */
export interface CertificateTrust {
  /** Verifier key string of the log, or several if its key was rotated. */
  readonly logKey: string | readonly string[];
  /** secp256k1 keys, 33 bytes; at least one. `owner` is the key that signed the licence. */
  readonly owner?: Bytes | undefined;
  readonly authority?: Bytes | undefined;
  /** Identifier of the organisation that must own the design. Needs `authority`. */
  readonly organisation?: string | undefined;
  /** Verifier keys of witnesses, type 0x04, and the minimum number of their signatures (default 0). */
  readonly witnesses?: readonly string[];
  readonly quorum?: number;
}

/** A key, its name, and its person and organisation if the administrator's key proves them. */
export interface SignatoryView {
  readonly key: string;
  readonly user: string;
  readonly name?: string;
  readonly organisation?: { readonly organisation: string; readonly name: string };
}

/** Transfers, inspections and retirement of a part. Parties are organisations, or key names of users without one. */
export interface LifeSummary {
  readonly owner: string;
  /** SHA-256 of the newest document, hexadecimal. */
  readonly newest?: string;
  readonly transfers: readonly { readonly from: string; readonly to: string; readonly acceptedBy: SignatoryView }[];
  readonly inspections: readonly {
    readonly result: string;
    readonly by: SignatoryView;
    readonly byOwner: boolean;
    readonly method?: string;
    /** SHA-256 of the inspection report, hexadecimal. */
    readonly document?: string;
  }[];
  readonly retired?: { readonly reason: string; readonly by: SignatoryView };
}

/** Contents of a certificate after everything in it was verified. */
export interface CertificateSummary extends Verdict {
  readonly object: string;
  readonly state: string;
  readonly design: string;
  readonly licence: string;
  /** Who signed the licence for the owner, and the order for the holder. */
  readonly owner: SignatoryView;
  readonly holder: SignatoryView;
  readonly number: number;
  readonly of: number;
  readonly machine: { readonly machine: string; readonly serial: string } | undefined;
  readonly material: string | undefined;
  /** The spool that an operator had loaded, and who certifies it. */
  readonly spool: { readonly spool: string; readonly serial?: string; readonly supplier?: string } | undefined;
  /** Whether the machine made exactly what the owner licensed, and the owner has not credited the object since. */
  readonly made: boolean;
  /** The part's life after its completion. */
  readonly life: LifeSummary;
  readonly log: string;
  readonly size: number;
  /** Number of first entries of the log in which, by the map, there is no other event; undefined without a map. */
  readonly completeTo: number | undefined;
  readonly events: readonly { readonly type: string; readonly time: string; readonly actor: string }[];
  /** Number of verified signed documents, without the log's signature. */
  readonly signatures: number;
}

/**
 * Verifies a certificate offline. No key is taken from it: the owner's key comes from the verifier, or was registered
 * by the administrator whom the verifier named; all others follow from what the owner signed.
 * @param words of the verdict
 * @throws {MillraceError} E_CERTIFICATE, E_LEDGER_CHECKPOINT, E_LEDGER_PROOF or E_LEDGER_ENTRY if the log does not
 *   contain it; E_EVIDENCE if a signed document is missing, foreign or inconsistent; E_INPUT for invalid keys
 */
export async function checkCertificate(
  bytes: Uint8Array,
  trust: CertificateTrust,
  words: VerdictWords = verdictEnglish,
): Promise<CertificateSummary> {
  const { logKey, witnesses = [], quorum = 0, ...trusted } = trust;
  const installation = installationOf([logKey].flat()[0] ?? '');
  requireKeys(trusted);
  const certificate = verifyCertificate(bytes, { logKey, witnesses, quorum });
  const documents = new Documents(installation);
  const object = await proveObject(certificate, trusted, documents);
  return {
    ...summarise(certificate, object, trusted),
    signatures: documents.verified,
    ...verdictOf(certificate, object, trusted, words),
  };
}

/** Trusted keys of an installation that the caller has joined: its log's and its administrator's. */
export function trustOf({ directory }: { readonly directory: Directory }): CertificateTrust {
  return { logKey: logKeysOf(directory), authority: fromHex(directory.adminKey) };
}

/** A log is named after its installation. Every signature is bound to the installation. */
function installationOf(logKey: string): string {
  const installation = /^millrace\/([0-9a-f]{32})$/.exec(parseVerifierKey(logKey).name)?.[1];
  if (installation === undefined) {
    throw new MillraceError('E_INPUT', 'the log key is not of a Millrace installation (millrace/…)');
  }
  return installation;
}

function requireKeys({ owner, authority, organisation }: Trusted): void {
  if (organisation !== undefined && authority === undefined)
    throw new MillraceError('E_INPUT', 'only the authority proves who acts for an organisation: name it');
  const keys = [owner, authority].filter((key) => key !== undefined);
  if (keys.length === 0)
    throw new MillraceError('E_INPUT', 'name the owner or the authority for whom the certificate is verified');
  if (keys.some((key) => key.length !== 33))
    throw new MillraceError('E_INPUT', 'the owner’s and the authority’s keys have 33 bytes');
}

function summarise(certificate: VerifiedCertificate, object: ProvenObject, trusted: Trusted) {
  const { licence, number, machine, request, spool } = object;
  const { terms } = licence;
  return {
    object: certificate.object,
    state: certificate.state,
    design: terms.design,
    licence: toHex(terms.id),
    owner: signatoryView(licence.signatory, trusted),
    holder: signatoryView(object.orderedBy, trusted),
    number,
    of: terms.objects,
    machine: machine && { machine: machine.machine, serial: machine.serial },
    material: request?.material,
    spool: spool && {
      spool: spool.spool,
      ...(spool.serial === undefined ? {} : { serial: spool.serial }),
      ...(spool.certified && { supplier: spool.certified.supplier.name }),
    },
    made: object.made,
    life: lifeSummary(object.life, trusted),
    log: certificate.checkpoint.origin,
    size: certificate.checkpoint.size,
    completeTo: certificate.completeTo,
    events: certificate.events.map(({ event }) => ({
      type: event.type,
      time: new Date(event.time).toISOString(),
      actor: event.actor,
    })),
  };
}

function lifeSummary({ owner, newest, transfers, inspections, retired }: ProvenLife, trusted: Trusted): LifeSummary {
  return {
    owner: partyName(owner),
    ...(newest && { newest: toHex(newest) }),
    transfers: transfers.map(({ from, to, acceptedBy }) => ({
      from: partyName(from),
      to: partyName(to),
      acceptedBy: signatoryView(acceptedBy, trusted),
    })),
    inspections: inspections.map(({ result, method, document, by, byOwner }) => ({
      ...{ result, by: signatoryView(by, trusted), byOwner },
      ...(method && { method }),
      ...(document && { document: toHex(document) }),
    })),
    ...(retired && { retired: { reason: retired.reason, by: signatoryView(retired.by, trusted) } }),
  };
}

function signatoryView({ publicKey, name, member }: Signatory, { authority }: Trusted): SignatoryView {
  const key = { key: toHex(publicKey), user: keyName(publicKey) };
  if (authority === undefined) return key;
  if (member === undefined) return { ...key, name };
  return { ...key, name, organisation: { organisation: member.organisation, name: member.organisationName } };
}
