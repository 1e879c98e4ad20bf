import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MillraceError } from '@millrace/base';
import type { DesignView } from '../client/answers.ts';
import { deleteDesign, repairDesign, setMaintenance } from '../client/care.ts';
import { copiesFolder, openCopy } from '../client/copy.ts';
import { namedDesigns } from '../client/records.ts';
import { pick, type Session } from '../client/session.ts';
import { createProgress } from '../output/progress.ts';
import { type Context, withSession } from './context.ts';

async function find(session: Session, id: string): Promise<DesignView> {
  return pick('design', id, await namedDesigns(session), ({ design, name }) => [design, name]);
}

/** Deletes a design, and what an upload that was broken off left of it; an offline copy stays the owner's affair. */
export function remove(context: Context, id: string): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { design } = await find(session, id);
    const view = await deleteDesign(session, design);
    await rm(join(session.user.folder, 'uploads', design), { recursive: true, force: true });
    context.terminal.result(
      view,
      `Design ${design} is deleted: its keys are destroyed, its cells go with the next epoch. Nothing can be made of it.`,
    );
  });
}

/** Has a design's cells renewed in another mode from the next sweep on. */
export function maintain(context: Context, id: string, mode: string): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    if (mode !== 'rekey' && mode !== 'delta') throw new MillraceError('E_INPUT', 'the mode is rekey or delta');
    const { design } = await find(session, id);
    const view = await setMaintenance(session, design, mode);
    context.terminal.result(view, `Design ${design}: its cells are renewed by ${mode} from the next sweep on.`);
  });
}

/** Repairs a design from the offline copy in `folder`. */
export function repair(context: Context, id: string, folder: string | undefined): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { design } = await find(session, id);
    const copies = folder === undefined ? copiesFolder(session) : context.path(folder);
    const progress = createProgress(context.terminal, 'repair');
    const repaired = await repairDesign(
      session,
      design,
      () => openCopy(copies, design),
      (step, done, total) => progress.update(done, total, step === 'checking' ? 'checking the vault' : step),
    ).finally(() => progress.finish());
    context.terminal.result(
      { design, repaired },
      repaired === 0
        ? `Nothing of design ${design} is missing or damaged.`
        : `Design ${design}: ${repaired} segment(s) are stored again.`,
    );
  });
}
