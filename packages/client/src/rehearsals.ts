import type { RehearsalView } from '@millrace/api';
import { equalBytes, fromBase64, MillraceError, sleep, toHex } from '@millrace/base';
import {
  onlyKey,
  type RehearsalResult,
  readTransaction,
  sha256,
  verifyMachineDocument,
  verifyMachineRegistration,
} from '@millrace/protocol';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

// Rehearsals: whether a design fits a machine, before anything is made.

const POLL_MS = 300;

/**
 * Asks a machine whether the design of a licence fits it. Counts no object.
 * @param startWithinMs the machine takes it within this time, or not at all
 * @returns its identifier
 */
export async function requestRehearsal(
  session: Session,
  licence: string,
  machine: string,
  startWithinMs?: number,
): Promise<string> {
  const body = { type: 'rehearsal.request', licence, machine } as const;
  const transaction = await signNew(session, body, session.random(16), startWithinMs);
  await session.api.submit(transaction.bytes);
  return transaction.id;
}

/** Waits until a rehearsal is answered, refused or expired. */
export async function watchRehearsal({ api, signal }: Session, rehearsal: string): Promise<RehearsalView> {
  for (;;) {
    const view = await api.rehearsal(rehearsal);
    if (view.state !== 'queued') return view;
    await sleep(POLL_MS, signal);
  }
}

/**
 * Verifies a machine's answer: its key, as the administrator has registered it, has signed it for this request, licence
 * and design.
 * @throws {MillraceError} E_NOT_FOUND (no answer, unknown machine), E_CONFLICT (control shows something else), E_SIGNATURE,
 *   E_AUTH
 */
export async function verifyRehearsal(
  { api, directory }: Pick<Session, 'api' | 'directory'>,
  view: RehearsalView,
): Promise<RehearsalResult> {
  const { rehearsal, licence, design, machine, result } = view;
  if (result === undefined) throw new MillraceError('E_NOT_FOUND', 'the machine has not answered this rehearsal');
  const found = (await api.machines()).find((known) => known.machine === machine);
  if (found === undefined) throw new MillraceError('E_NOT_FOUND', `there is no machine ${machine}`);
  const registered = await verifyMachineRegistration(fromBase64(found.document), directory);
  const { installation } = directory;
  const signer = onlyKey(registered.publicKey);
  const { body } = await verifyMachineDocument(fromBase64(result), installation, signer, 'any time');
  const request = fromBase64(view.request);
  const asked = readTransaction(request);
  const isOf =
    body.type === 'rehearsal.result' &&
    asked.type === 'rehearsal.request' &&
    equalBytes(body.request, sha256(request)) &&
    toHex(asked.id) === rehearsal &&
    registered.machine === machine &&
    [body, asked].every((document) => document.licence === licence && document.machine === machine) &&
    body.design === design &&
    (view.outcome === undefined ? body.outcome === 'refused' : body.outcome === view.outcome) &&
    body.rules.join() === (view.rules ?? []).join();
  if (!isOf)
    throw new MillraceError('E_CONFLICT', 'control shows the answer of another rehearsal', { data: { rehearsal } });
  return body;
}
