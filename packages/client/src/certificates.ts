import { type Bytes, fromHex, MillraceError, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { parseVerifierKey, type VerifiedCertificate, verifyCertificate } from '@millrace/ledger';
import { type Directory, logKeysOf } from '@millrace/protocol';
import { Documents } from './certificate/documents.ts';
import type { Trusted } from './certificate/licence.ts';
import { type ProvenObject, proveObject } from './certificate/object.ts';
import { type Verdict, verdictOf } from './certificate/verdict.ts';

/** Trusted keys: of the log, and of the owner or the installation's administrator. */
export interface CertificateTrust {
  /** Verifier key string of the log, or several if its key was rotated. */
  readonly logKey: string | readonly string[];
  /** secp256k1 keys, 33 bytes; at least one. */
  readonly owner?: Bytes | undefined;
  readonly authority?: Bytes | undefined;
  /** Verifier keys of witnesses, type 0x04, and the minimum number of their signatures (default 0). */
  readonly witnesses?: readonly string[];
  readonly quorum?: number;
}

/** Contents of a certificate after everything in it was verified. */
export interface CertificateSummary extends Verdict {
  readonly object: string;
  readonly state: string;
  readonly design: string;
  readonly licence: string;
  /** The owner's key, and the key name. */
  readonly owner: { readonly key: string; readonly user: string };
  readonly number: number;
  readonly of: number;
  readonly machine: { readonly machine: string; readonly serial: string } | undefined;
  readonly material: string | undefined;
  readonly log: string;
  readonly size: number;
  readonly events: readonly { readonly type: string; readonly time: string; readonly actor: string }[];
  /** Number of verified signed documents, without the log's signature. */
  readonly signatures: number;
}

/**
 * Verifies a certificate offline. No key is taken from it: the owner's key comes from the verifier, or was registered
 * by the administrator whom the verifier named; all others follow from what the owner signed.
 * @throws {MillraceError} E_CERTIFICATE, E_LEDGER_CHECKPOINT, E_LEDGER_PROOF or E_LEDGER_ENTRY if the log does not
 *   contain it; E_EVIDENCE if a signed document is missing, foreign or inconsistent; E_INPUT for invalid keys
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
