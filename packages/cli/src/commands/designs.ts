import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MillraceError } from '@millrace/base';
import {
  checkVault,
  type DesignView,
  deleteDesign,
  namedDesigns,
  pick,
  repairDesign,
  type Session,
  setMaintenance,
  shareDesign,
} from '@millrace/client';
import { copiesFolder, openCopy } from '@millrace/client/node';
import { openInstallation } from '../installation/open.ts';
import { openSession } from '../installation/session.ts';
import { formatTable } from '../output/format.ts';
import { createProgress } from '../output/progress.ts';
import { type Context, withSession } from './context.ts';

async function find(session: Session, id: string): Promise<DesignView> {
  return pick('design', id, await namedDesigns(session), ({ design, name }) => [design, name]);
}

/**
 * Deletes a design and the leftovers of an interrupted upload. An offline copy is kept; deleting it is up to the owner.
 */
export function remove(context: Context, id: string): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { design } = await find(session, id);
    const view = await deleteDesign(session, design);
    await rm(join(session.user.folder, 'uploads', design), { recursive: true, force: true });
    context.terminal.result(
      view,
      `Design ${design} is deleted: its keys are destroyed, its cells are deleted with the next epoch. It can no longer be printed.`,
    );
  });
}

/** Lets other designers of the organisation, or other devices, open the design. */
export function share(context: Context, id: string, wanted: readonly string[] | undefined): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { design } = await find(session, id);
    const recipients = await shareDesign(session, design, wanted);
    context.terminal.result(
      { design, recipients },
      recipients.length === 0
        ? 'There is no other designer in the organisation.'
        : [
            `Design ${design} can be opened by:`,
            formatTable(
              ['key', 'name', 'device'],
              recipients.map(({ key, name, device }) => [key, name, device]),
            ),
          ].join('\n'),
    );
  });
}

/** Sets another mode of maintenance for a design, from the next sweep on. */
export function maintain(context: Context, id: string, mode: string): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    if (mode !== 'rekey' && mode !== 'delta') throw new MillraceError('E_INPUT', 'the mode is rekey or delta');
    const { design } = await find(session, id);
    const view = await setMaintenance(session, design, mode);
    context.terminal.result(view, `Design ${design}: its cells are renewed by ${mode} from the next sweep on.`);
  });
}

/** A session of the administrator, if its key is on this computer. The administrator may have the vault checked. */
async function openAdmin({ home, clock, random, signal }: Context): Promise<Session | undefined> {
  const installation = await openInstallation(home);
  try {
    return await openSession({ installation, user: 'admin', clock, random, signal });
  } catch (error) {
    if (error instanceof MillraceError && (error.code === 'E_NOT_FOUND' || error.code === 'E_CONFIG')) return undefined;
    throw error;
  }
}

/** Repairs a design from the offline copy in `folder`. */
export function repair(context: Context, id: string, folder: string | undefined): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { design } = await find(session, id);
    const copies = folder === undefined ? copiesFolder(session.user) : context.path(folder);
    const progress = createProgress(context.terminal, 'repair');
    const admin = await openAdmin(context);
    const check = admin && (() => checkVault(admin, true));
    const repaired = await repairDesign(
      session,
      design,
      () => openCopy(copies, design),
      (step, done, total) => progress.update(done, total, step === 'checking' ? 'checking the vault' : step),
      check,
    ).finally(() => {
      progress.finish();
      admin?.close();
    });
    const nothing = admin
      ? `Nothing of design ${design} is missing or damaged.`
      : `No damage of design ${design} is known. An administrator can search for damage with millrace vault check --deep`;
    context.terminal.result(
      { design, repaired, checked: admin !== undefined },
      repaired === 0 ? nothing : `Design ${design}: ${repaired} segment(s) were stored again.`,
    );
  });
}
