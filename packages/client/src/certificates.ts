import { type Bytes, fromHex, MillraceError, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { parseVerifierKey, type VerifiedCertificate, verifyCertificate } from '@millrace/ledger';
import { type Directory, logKeysOf } from '@millrace/protocol';
import { Documents } from './certificate/documents.ts';
import type { Trusted } from './certificate/licence.ts';
import { type ProvenObject, proveObject } from './certificate/object.ts';
import { type Verdict, verdictOf } from './certificate/verdict.ts';

/** Whom to believe: the log by its key, and the owner or the installation's administrator by theirs. */
export interface CertificateTrust {
  /** Verifier key string of the log; several of one log whose key was rotated. */
  readonly logKey: string | readonly string[];
  /** secp256k1 keys, 33 bytes; one of them at least. */
  readonly owner?: Bytes | undefined;
  readonly authority?: Bytes | undefined;
  /** Verifier keys of witnesses, type 0x04, and how many of them must have signed (default 0). */
  readonly witnesses?: readonly string[];
  readonly quorum?: number;
}

/** What a certificate says, once everything in it has been verified. */
export interface CertificateSummary extends Verdict {
  readonly object: string;
  readonly state: string;
  readonly design: string;
  readonly licence: string;
  /** The owner's key, and the name of the key. */
  readonly owner: { readonly key: string; readonly user: string };
  readonly number: number;
  readonly of: number;
  readonly machine: { readonly machine: string; readonly serial: string } | undefined;
  readonly material: string | undefined;
  readonly log: string;
  readonly size: number;
  readonly events: readonly { readonly type: string; readonly time: string; readonly actor: string }[];
  /** Signed documents that were verified, the log's own signature aside. */
  readonly signatures: number;
}

/**
 * Verifies a certificate offline. No key is taken from it: the owner's is the verifier's, or one that the administrator
 * whom the verifier named has registered; all others follow from what the owner signed.
 * @throws {MillraceError} E_CERTIFICATE, E_LEDGER_CHECKPOINT, E_LEDGER_PROOF or E_LEDGER_ENTRY when the log does not
 * hold it; E_EVIDENCE when a signed document is missing, foreign or says something else; E_INPUT for keys that are none
 */
export async function checkCertificate(bytes: Uint8Array, trust: CertificateTrust): Promise<CertificateSummary> {
  const { logKey, witnesses = [], quorum = 0, ...trusted } = trust;
  const installation = installationOf([logKey].flat()[0] ?? '');
  requireKeys(trusted);
  const certificate = verifyCertificate(bytes, { logKey, witnesses, quorum });
  const documents = new Documents(installation);
  const object = await proveObject(certificate, trusted, documents);
  return {
    ...summarise(certificate, object),
    signatures: documents.verified,
    ...verdictOf(certificate, object, trusted),
  };
}

/** Of an installation that the caller has joined: its log and its administrator. */
export function trustOf({ directory }: { readonly directory: Directory }): CertificateTrust {
  return { logKey: logKeysOf(directory), authority: fromHex(directory.adminKey) };
}

/** Logs are named after their installation, to which every signature is bound. */
function installationOf(logKey: string): string {
  const installation = /^millrace\/([0-9a-f]{32})$/.exec(parseVerifierKey(logKey).name)?.[1];
  if (installation === undefined) {
    throw new MillraceError('E_INPUT', 'the log key is not of a Millrace installation (millrace/…)');
  }
  return installation;
}

function requireKeys({ owner, authority }: Trusted): void {
  const keys = [owner, authority].filter((key) => key !== undefined);
  if (keys.length === 0)
    throw new MillraceError('E_INPUT', 'name the owner or the authority for whom the certificate is verified');
  if (keys.some((key) => key.length !== 33))
    throw new MillraceError('E_INPUT', 'the owner’s and the authority’s keys have 33 bytes');
}

function summarise(certificate: VerifiedCertificate, object: ProvenObject) {
  const { licence, number, machine, request } = object;
  const { terms, owner } = licence;
  return {
    object: certificate.object,
    state: certificate.state,
    design: terms.design,
    licence: toHex(terms.id),
    owner: { key: toHex(owner), user: keyName(owner) },
    number,
    of: terms.objects,
    machine: machine && { machine: machine.machine, serial: machine.serial },
    material: request?.material,
    log: certificate.checkpoint.origin,
    size: certificate.checkpoint.size,
    events: certificate.events.map(({ event }) => ({
      type: event.type,
      time: new Date(event.time).toISOString(),
      actor: event.actor,
    })),
  };
}
