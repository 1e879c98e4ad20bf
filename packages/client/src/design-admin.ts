import type { CheckView, DesignView } from '@millrace/api';
import { isErrorCode, MillraceError, sleep } from '@millrace/base';
import { MAX_REPAIR } from '@millrace/protocol';
import type { DesignCopy } from './prepared.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

// An owner's operations on a stored design.

const POLL_MS = 200;
const CHECK_LIMIT_MS = 60 * 60_000;
const ANSWER_LIMIT_MS = 60_000;

/**
 * Signs the deletion and waits until the keys node has destroyed the keys.
 * @throws {MillraceError} E_TIMEOUT; the keys node then does it when it next runs
 */
export async function deleteDesign(session: Session, design: string): Promise<DesignView> {
  const { api, clock, signal } = session;
  await api.submit((await signNew(session, { type: 'design.delete', design })).bytes);
  const end = clock.monotonic() + ANSWER_LIMIT_MS;
  for (;;) {
    const view = await api.design(design);
    if (view.state === 'deleted') return view;
    if (clock.monotonic() > end)
      throw new MillraceError('E_TIMEOUT', 'the deletion is noted, but the keys node has not answered yet');
    await sleep(POLL_MS, signal);
  }
}

/**
 * Signs another mode of maintenance and waits until the keys node has accepted it.
 * @throws {MillraceError} E_MODE_FIXED, E_TIMEOUT
 */
export async function setMaintenance(session: Session, design: string, mode: 'rekey' | 'delta'): Promise<DesignView> {
  const { api, clock, signal } = session;
  await api.submit((await signNew(session, { type: 'design.maintenance', design, mode })).bytes);
  const end = clock.monotonic() + ANSWER_LIMIT_MS;
  for (;;) {
    const view = await api.design(design);
    if (view.wanted === undefined) return view;
    if (clock.monotonic() > end)
      throw new MillraceError('E_TIMEOUT', 'the request is stored, but the keys node has not answered yet');
    await sleep(POLL_MS, signal);
  }
}

/** Checks the whole vault and waits for the result. */
export async function checkVault(session: Session, deep: boolean): Promise<CheckView> {
  const { api, clock, signal } = session;
  const check = await api.beginVaultCheck(deep);
  const end = clock.monotonic() + CHECK_LIMIT_MS;
  for (;;) {
    const view = await api.vaultCheck(check);
    if (view.state !== 'running') return view;
    if (clock.monotonic() > end) throw new MillraceError('E_TIMEOUT', 'the check of the vault does not end');
    await sleep(POLL_MS, signal);
  }
}

/**
 * Uploads exactly the segments of the design that the vault is known to have lost, and has them stored again.
 * @param check runs a deep check of the vault first; only an administrator may. Others repair what is already known
 * @returns the number of repaired segments
 * @throws {MillraceError} E_CELL_DAMAGED if the keys node's records are lost, which no copy can repair; E_SEGMENT,
 *   E_UPLOAD
 */
export async function repairDesign(
  session: Session,
  design: string,
  openCopy: () => Promise<DesignCopy>,
  progress: (step: 'checking' | 'uploading' | 'storing', done: number, total: number) => void,
  check?: () => Promise<unknown>,
): Promise<number> {
  const { api } = session;
  progress('checking', 0, 1);
  await check?.();
  const { damage } = await api.design(design);
  if (damage === undefined) return 0;
  if (damage.keys) {
    throw new MillraceError('E_CELL_DAMAGED', 'the keys node has lost keys or manifest of the design', {
      data: { design },
    });
  }
  const wanted = [...new Set([...damage.missing, ...damage.damaged])].sort((a, b) => a - b);
  const copy = await openCopy();
  try {
    for (let from = 0; from < wanted.length; from += MAX_REPAIR) {
      const segments = wanted.slice(from, from + MAX_REPAIR);
      for (const [i, segment] of segments.entries()) {
        await api.upload(design, segment, await copy.read(segment));
        progress('uploading', from + i + 1, wanted.length);
      }
      const repair = await api.repair(design, segments);
      progress('storing', from + segments.length, wanted.length);
      await untilRepaired(session, design, repair);
    }
  } finally {
    await copy.close();
  }
  return wanted.length;
}

async function untilRepaired({ api, signal }: Session, design: string, id: string): Promise<void> {
  for (;;) {
    const { repair } = await api.design(design);
    if (repair?.repair !== id) throw new MillraceError('E_CONFLICT', 'another repair of the design has begun');
    if (repair.state === 'done') return;
    if (repair.state === 'failed') {
      const code = isErrorCode(repair.code) ? repair.code : 'E_SEGMENT';
      throw new MillraceError(code, `the vault did not take the segments: ${repair.reason ?? 'no reason was given'}`);
    }
    await sleep(POLL_MS, signal);
  }
}
