import { MillraceError } from '@millrace/base';
import type { DesignView } from '../client/answers.ts';
import type { PrepareOptions } from '../client/prepare.ts';
import { namedDesigns } from '../client/records.ts';
import type { Session } from '../client/session.ts';
import { storeDesign } from '../client/upload.ts';
import { commandName } from '../output/command-name.ts';
import { formatBytes, formatFields, formatTable } from '../output/format.ts';
import { createProgress, type Progress } from '../output/progress.ts';
import type { Terminal } from '../output/terminal.ts';
import { type Context, withSession } from './context.ts';

export interface AddOptions {
  readonly name?: string;
  readonly kind?: string;
  readonly rate?: string;
  readonly material?: string;
}

export function add(context: Context, file: string, options: AddOptions): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { terminal } = context;
    const design = await addDesign(session, terminal, context.path(file), {
      name: options.name,
      kind: kindOf(options.kind),
      bytesPerSecond: rateOf(options.rate),
      material: options.material,
    });
    terminal.result(
      design,
      [
        `Design ${design.design} is stored.`,
        formatFields(
          [
            ['name', design.name],
            ['kind', design.kind],
            ['size', formatBytes(design.size)],
            ['segments', String(design.segments)],
          ],
          '  ',
        ),
        `License it with \`${commandName} licence grant --design ${design.design} --objects 2 --machine virtual-1\`.`,
      ].join('\n'),
    );
  });
}

/** Seals a file, uploads it and waits until the vault has it, with progress. */
export async function addDesign(
  session: Session,
  terminal: Terminal,
  file: string,
  options: PrepareOptions = {},
): Promise<DesignView> {
  // The vault and the motion model are loaded for this alone.
  const { prepareFile } = await import('../client/prepare.ts');
  const prepared = await withProgress(createProgress(terminal, 'seal  '), (progress) =>
    prepareFile(session, file, options, (done, total) =>
      progress.update(done, total, `${formatBytes(done)} of ${formatBytes(total)}`),
    ),
  );
  const stored = await withProgress(createProgress(terminal, 'store '), (progress) =>
    storeDesign(session, prepared, (step, done, total) =>
      progress.update(
        done,
        total,
        step === 'uploading' ? `${done} of ${total} segments uploaded` : 'the vault is at work',
      ),
    ),
  );
  return { ...stored, name: prepared.state.name };
}

async function withProgress<T>(progress: Progress, work: (progress: Progress) => Promise<T>): Promise<T> {
  try {
    return await work(progress);
  } finally {
    progress.finish();
  }
}

function kindOf(text: string | undefined): 'gcode' | 'binary' | undefined {
  if (text === undefined || text === 'gcode' || text === 'binary') return text;
  throw new MillraceError('E_INPUT', '--kind: expected gcode or binary');
}

function rateOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const rate = Number(text);
  if (!(rate > 0 && Number.isFinite(rate))) throw new MillraceError('E_INPUT', '--rate: expected bytes a second');
  return rate;
}

export function list(context: Context): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const designs = await namedDesigns(session);
    context.terminal.result(
      { designs },
      designs.length === 0
        ? 'No designs yet.'
        : formatTable(
            ['design', 'name', 'kind', 'size', 'segments', 'state'],
            designs.map((view) => [
              view.design,
              view.name,
              view.kind,
              formatBytes(view.size),
              String(view.segments),
              view.code === undefined ? view.state : `${view.state} (${view.code}: ${view.reason ?? ''})`,
            ]),
          ),
    );
  });
}
