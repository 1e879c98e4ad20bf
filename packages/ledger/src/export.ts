import { type Bytes, MillraceError, toMillraceError } from '@millrace/base';
import { type CertificateParts, encodeCertificate, linkedKinds, linkOf } from './certificate.ts';
import { openCheckpoint } from './checkpoint.ts';
import type { Ledger } from './ledger.ts';
import { formatNote, parseVerifierKey, signatureBy } from './note.ts';
import type { LoggedEvent } from './opening.ts';

export interface ExportOptions {
  /** A checkpoint of this log that witnesses have signed. Default: the newest, signed only by the log. */
  readonly checkpoint?: Uint8Array;
  /** Verifier key strings of the witnesses whose signatures go into the certificate. */
  readonly witnesses?: readonly string[];
}

/**
 * Certificate of an object: all its events up to the checkpoint and those of the licences and machines that they name,
 * each with its inclusion proof. Signature lines by keys other than those of the log and the given witnesses are
 * omitted, so that the file contains nothing unverified.
 * @throws {MillraceError} E_NOT_FOUND if the object does not exist, E_INPUT for a checkpoint that this log cannot prove
 *   to
 */
export async function exportCertificate(ledger: Ledger, object: string, options: ExportOptions = {}): Promise<Bytes> {
  const logKey = ledger.logKeys.map(parseVerifierKey);
  const witnesses = (options.witnesses ?? []).map(parseVerifierKey);
  const { note, size } = openCheckpoint(options.checkpoint ?? ledger.checkpoint(), {
    logKey,
    witnesses,
  });
  const signatures = [...logKey, ...witnesses].flatMap((key) => signatureBy(note, key) ?? []);
  const eventsOf = async (account: string) => (await ledger.account(account)).filter(({ index }) => index < size);

  const own = await eventsOf(object);
  if (own[0] === undefined) throw new MillraceError('E_NOT_FOUND', `the ledger has no object ${object}`);
  if (own[0].event.type !== 'ordered') throw new MillraceError('E_INPUT', `${object} is not the account of an object`);
  const linked = new Set(own.flatMap(({ event }) => linkedKinds.flatMap((kind) => linkOf(event.body, kind) ?? [])));
  const all: LoggedEvent[] = [...own];
  for (const account of linked) {
    const events = await eventsOf(account);
    if (events.length === 0) {
      throw new MillraceError('E_CERTIFICATE', `${object} names ${account}, of which the ledger has no event`);
    }
    all.push(...events);
  }
  all.sort((a, b) => a.index - b.index);
  try {
    const entries = await Promise.all(
      all.map(async ({ index, opening }) => ({
        index,
        opening,
        proof: [...(await ledger.proveInclusion(index, size))],
      })),
    );
    const map = await completeness(ledger, all, size);
    return encodeCertificate({ object, checkpoint: formatNote({ text: note.text, signatures }), entries, ...map });
  } catch (error) {
    throw toMillraceError(error);
  }
}

/**
 * Proofs that these are all events of their accounts. None if the newest logged map is not under the checkpoint or does
 * not cover every account.
 */
async function completeness(
  ledger: Ledger,
  events: readonly LoggedEvent[],
  size: number,
): Promise<Pick<CertificateParts, 'map'>> {
  const first = new Map<string, number>();
  for (const { event, index } of events) if (!first.has(event.account)) first.set(event.account, index);
  const map = await ledger.mapProofs([...first.keys()]);
  if (map === undefined || map.logged.index >= size) return {};
  const { index, opening } = map.logged;
  if ([...first.values()].some((begun) => begun > index)) return {};
  const accounts = map.proofs.map(({ siblings }) => [...siblings]);
  return { map: { index, opening, proof: [...(await ledger.proveInclusion(index, size))], accounts } };
}
