import { loadSpool, pick, readSpoolTag, type SpoolContent, type SpoolView, unloadSpool } from '@millrace/client';
import { isMaterialText, parseMaterialText, readMaterial } from '@millrace/protocol';
import { formatTable } from '../output/format.ts';
import { type Context, withSession } from './context.ts';
import { machineNamed } from './machine-names.ts';
import { readGiven } from './materials.ts';

export function load(context: Context, code: string, options: { readonly machine: string }): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const content = await contentOf(context, code);
    const { machine, serial } = await machineNamed(session, options.machine);
    const spool = await loadSpool(session, machine, content);
    const certified = 'certificate' in content;
    const { name } = certified ? readMaterial(content.certificate) : content.description;
    context.terminal.result(
      { spool, machine, name, certified },
      certified
        ? `Spool ${spool} (${name}) is loaded on ${serial}.`
        : `Spool ${spool} (${name}) is loaded on ${serial}. Nobody certifies it: licences that name a supplier refuse it.`,
    );
  });
}

export function unload(context: Context, wanted: string): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const loaded = (await session.api.spools()).filter(({ machine }) => machine !== undefined);
    const view = pick<SpoolView>('loaded spool', wanted, loaded, ({ spool, serial }) =>
      serial === undefined ? [spool] : [spool, serial],
    );
    await unloadSpool(session, view);
    context.terminal.result({ spool: view.spool, machine: view.machine }, `Spool ${view.spool} is unloaded.`);
  });
}

export function list(context: Context): Promise<void> {
  return withSession(context, 'operator', async ({ api }) => {
    const spools = await api.spools();
    const serials = new Map((await api.machines()).map(({ machine, serial }) => [machine, serial]));
    context.terminal.result(
      { spools: spools.map((view) => ({ ...view, left: leftOf(view) })) },
      spools.length === 0
        ? 'No spools yet.'
        : formatTable(
            ['spool', 'material', 'serial', 'certified by', 'loaded on', 'left'],
            spools.map((view) => [
              view.spool,
              view.name,
              view.serial ?? '-',
              view.supplier?.name ?? 'nobody',
              view.machine === undefined ? '-' : (serials.get(view.machine) ?? view.machine),
              view.grams === undefined ? `${view.used} g used` : `${leftOf(view)} of ${view.grams} g`,
            ]),
          ),
    );
  });
}

function leftOf({ grams, used }: SpoolView): number | undefined {
  return grams === undefined ? undefined : Math.max(0, grams - used);
}

/** The certificate of a code, or the description in a tag. @throws {MillraceError} E_INPUT, E_NOT_FOUND */
async function contentOf(context: Context, given: string): Promise<SpoolContent> {
  if (isMaterialText(given)) return { certificate: parseMaterialText(given) };
  const bytes = await readGiven(context, given);
  const text = new TextDecoder().decode(bytes);
  return isMaterialText(text) ? { certificate: parseMaterialText(text) } : { description: readSpoolTag(bytes) };
}
