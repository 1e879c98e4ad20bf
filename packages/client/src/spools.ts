import type { SpoolView } from '@millrace/api';
import { type Bytes, MillraceError, toHex } from '@millrace/base';
import { readMaterial, type SpoolDescription } from '@millrace/protocol';
import { checkMaterial } from './materials.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

/** A spool with its certificate, or only described. */
export type SpoolContent = { readonly certificate: Bytes } | { readonly description: SpoolDescription };

/**
 * Signs that the spool is loaded on the machine. A certificate is verified first.
 * @returns the id of the spool
 * @throws {MillraceError} as `checkMaterial`; E_CONFLICT (loaded on another machine), E_STATE (the machine has another
 *   spool), E_MATERIAL (used up), E_FORBIDDEN (no operator)
 */
export async function loadSpool(session: Session, machine: string, content: SpoolContent): Promise<string> {
  if ('certificate' in content) await checkMaterial(session, content.certificate);
  const known = 'certificate' in content ? toHex(readMaterial(content.certificate).id) : undefined;
  const spools = await session.api.spools();
  const number = numberAfter(
    session,
    spools.find(({ spool }) => spool === known),
  );
  const { id, bytes } = await signNew(session, { type: 'spool.load', machine, number, ...content });
  await session.api.submit(bytes);
  return known ?? id;
}

/** Signs that the spool is no longer loaded. @throws {MillraceError} E_STATE, E_FORBIDDEN */
export async function unloadSpool(session: Session, view: SpoolView): Promise<void> {
  const { spool, machine } = view;
  if (machine === undefined) throw new MillraceError('E_STATE', `spool ${spool} is not loaded`);
  const { bytes } = await signNew(session, {
    type: 'spool.unload',
    machine,
    spool,
    number: numberAfter(session, view),
  });
  await session.api.submit(bytes);
}

/** Above the number of the newest statement that control shows. */
function numberAfter({ clock }: Session, view: SpoolView | undefined): number {
  return Math.max(clock.now(), (view?.number ?? 0) + 1);
}
