import { MillraceError, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { type LoggedEvent, parseVerifierKey, type VerifiedCertificate, verifyCertificate } from '@millrace/ledger';
import { verifyMachineDocument, verifyPermit, verifyTransaction } from '@millrace/protocol';

/** What a certificate says, once everything in it has been verified. */
export interface CertificateSummary {
  readonly object: string;
  readonly state: string;
  readonly design: string | undefined;
  readonly licence: string | undefined;
  readonly log: string;
  readonly size: number;
  readonly events: readonly { readonly type: string; readonly time: string; readonly actor: string }[];
  /** Signatures of owner, holder, control node and machine that the events carry, all verified. */
  readonly signatures: number;
}

/**
 * Verifies a certificate offline: with nothing but its bytes and the log's key.
 * @throws {MillraceError} E_CERTIFICATE, E_LEDGER_CHECKPOINT, E_LEDGER_PROOF or E_LEDGER_ENTRY, with what is wrong;
 * E_INPUT for a log key that is none
 */
export async function checkCertificate(bytes: Uint8Array, logKey: string): Promise<CertificateSummary> {
  const installation = installationOf(logKey);
  const verified = await verifyCertificate(bytes, {
    logKey,
    verifyEvidence: (logged) => verifyEvidence(logged, installation),
  });
  return summarise(verified);
}

/** Logs are named after their installation, to which every signature is bound. */
function installationOf(logKey: string): string {
  const installation = /^millrace\/([0-9a-f]{32})$/.exec(parseVerifierKey(logKey).name)?.[1];
  if (installation === undefined) {
    throw new MillraceError('E_INPUT', 'the log key is not of a Millrace installation (millrace/…)');
  }
  return installation;
}

/** The signed document behind an event: its signer is the event's actor, and it says what the event says. */
async function verifyEvidence({ event }: LoggedEvent, installation: string): Promise<void> {
  const { evidence, evidenceKey, actor } = event;
  if (evidence === undefined || evidenceKey === undefined) throw mismatch('its key is missing');
  if (keyName(evidenceKey) !== actor) throw mismatch('its signer is not the actor');
  const key = () => new Uint8Array(evidenceKey);
  switch (event.type) {
    case 'licensed': {
      const { body } = await verifyTransaction(evidence, installation, key, 'any time');
      if (body.type !== 'licence.grant' || !event.account.endsWith(toHex(body.id))) throw mismatch('another licence');
      if (body.objects !== event.body.objects || body.design !== event.body.design) throw mismatch('other terms');
      return;
    }
    case 'ordered': {
      const { body } = await verifyTransaction(evidence, installation, key, 'any time');
      if (body.type !== 'print.request' || !event.account.startsWith(`${body.licence}-`))
        throw mismatch('another order');
      return;
    }
    case 'permitted': {
      const { body } = await verifyPermit(evidence, installation, key, 'any time');
      if (body.object !== event.account) throw mismatch('another object');
      return;
    }
    case 'started':
    case 'progressed':
    case 'completed':
    case 'failed': {
      const { body } = await verifyMachineDocument(evidence, installation, key, 'any time');
      if (body.type !== 'report' || body.object !== event.account) throw mismatch('another object');
      // Control turns "completed" into "failed" when the executed bytes are not the design's.
      if (body.event !== event.type && !(body.event === 'completed' && event.type === 'failed'))
        throw mismatch('another report');
      return;
    }
    default:
      await verifyAny(evidence, installation, key, evidenceKey);
  }
}

/** Facts about machines: signed by the administrator (registration) or by the control node (a resumed stream). */
async function verifyAny(
  evidence: Uint8Array,
  installation: string,
  key: () => Uint8Array<ArrayBuffer>,
  evidenceKey: Uint8Array,
): Promise<void> {
  if (evidenceKey.length === 33) await verifyTransaction(evidence, installation, key, 'any time');
  else await verifyPermit(evidence, installation, key, 'any time');
}

function mismatch(why: string): MillraceError {
  return new MillraceError('E_LEDGER_ENTRY', `the signed document does not fit the event: ${why}`);
}

function summarise(verified: VerifiedCertificate): CertificateSummary {
  const ordered = verified.events.find(({ event }) => event.type === 'ordered')?.event.body;
  const text = (value: unknown) => (typeof value === 'string' ? value : undefined);
  return {
    object: verified.object,
    state: verified.state,
    design: text(ordered?.design),
    licence: text(ordered?.licence)?.replace(/^licence:/, ''),
    log: verified.checkpoint.origin,
    size: verified.checkpoint.size,
    events: verified.events.map(({ event }) => ({
      type: event.type,
      time: new Date(event.time).toISOString(),
      actor: event.actor,
    })),
    signatures: verified.evidence.verified,
  };
}
