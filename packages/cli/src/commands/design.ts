import { basename, join } from 'node:path';
import { MillraceError } from '@millrace/base';
import {
  approvalDemand,
  createNames,
  type DesignFile,
  type DesignView,
  namedDesigns,
  type PreparedDesign,
  type PrepareOptions,
  readRecord,
  type Session,
  SLICED_KIND,
  storeDesign,
} from '@millrace/client';
import { type Custody, type DesignCore, type MaintenanceMode, maintenanceModes } from '@millrace/vault';
import { userFiles } from '../installation/layout.ts';
import type { InstallationSession } from '../installation/session.ts';
import { commandName } from '../output/command-name.ts';
import { formatBytes, formatDuration, formatFields, formatTable } from '../output/format.ts';
import { createProgress, type Progress } from '../output/progress.ts';
import type { Terminal } from '../output/terminal.ts';
import { isModel, modelSource, type SlicedModel, type SliceOptions, sliceModel } from '../slicing/model.ts';
import { type Context, wholeNumber, withSession } from './context.ts';
import { exampleMachine } from './machine-names.ts';

export interface AddOptions {
  readonly name?: string;
  readonly kind?: string;
  readonly rate?: string;
  readonly material?: string;
  readonly profile?: string;
  readonly maintenance?: string;
  readonly custody?: string;
  readonly keep?: string | true;
  readonly approvals?: string;
  readonly approver?: readonly string[];
}

/** How to seal the design, and where to keep an offline copy (true: the default folder). */
type StoreOptions = PrepareOptions & { readonly keep?: string | true | undefined };

export function add(context: Context, file: string, options: AddOptions): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { terminal } = context;
    const path = context.path(file);
    const prepare: StoreOptions = {
      name: options.name,
      kind: options.kind,
      bytesPerSecond: rateOf(options.rate),
      material: options.material,
      maintenance: modeOf(options.maintenance),
      custody: custodyOf(options.custody),
      approvals: await approvalsOf(session, options),
      keep: typeof options.keep === 'string' ? context.path(options.keep) : options.keep,
    };
    const model = isModel(path) && (options.kind ?? SLICED_KIND) === SLICED_KIND;
    if (options.profile !== undefined && !model) {
      throw new MillraceError('E_INPUT', '--profile is for models (STL, 3MF), which are sliced here');
    }
    const profile = options.profile === undefined ? context.profile : context.path(options.profile);
    const design = model
      ? await addModel(context, session, { path, profile }, prepare)
      : await addDesign(session, terminal, path, prepare);
    const record = await readRecord(session, design.design);
    const machine = await exampleMachine(session);
    terminal.result(
      { ...design, time: record?.time, box: record?.box, material: record?.material, sliced: record?.sliced },
      [
        `Design ${design.design} is stored.`,
        formatFields(
          [
            ['name', design.name],
            ['kind', design.kind],
            ['size', formatBytes(design.size)],
            ['segments', String(design.segments)],
            ['secret', custodyText[design.custody]],
            ...aboutPart(record),
          ],
          '  ',
        ),
        `License it with \`${commandName} licence grant --design ${design.design} --objects 2 --machine ${machine}\`.`,
      ].join('\n'),
    );
  });
}

/** @throws {MillraceError} E_INPUT, E_NOT_FOUND */
async function approvalsOf(
  session: Session,
  { approvals, approver = [] }: AddOptions,
): Promise<DesignCore['approvals']> {
  if (approvals === undefined && approver.length === 0) return undefined;
  if (approver.length === 0) throw new MillraceError('E_INPUT', '--approvals: name the approvers with --approver');
  const needed = wholeNumber(approvals ?? String(approver.length), '--approvals', 1, approver.length);
  return approvalDemand(session, needed, approver);
}

/** Fields of the owner's record, for display. */
function aboutPart(record: DesignFile | undefined): (readonly [string, string | undefined])[] {
  if (record === undefined) return [];
  const { time, sliced, material, box } = record;
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = box ?? [];
  return [
    ['sliced', sliced && `by ${sliced.slicer} with ${sliced.profile}`],
    ['time', formatTimes(time)],
    ['material', material.grams > 0 ? `${material.name}, ${material.grams.toFixed(1)} g` : undefined],
    ['box', box && `${[d - a, e - b, f - c].map((side) => side.toFixed(1)).join(' × ')} mm`],
  ];
}

/** Compares the motion model's time with the slicer's. */
export function formatTimes({ model, slicer }: DesignFile['time']): string {
  const own = `${formatDuration(model * 1_000)} by the motion model, heating and homing included`;
  if (slicer === undefined || slicer === 0) return own;
  return `${own}; ${formatDuration(slicer * 1_000)} by the slicer (ratio ${(model / slicer).toFixed(2)})`;
}

/** Slices a model locally, then adds the result. An interrupted upload continues without slicing again. */
async function addModel(
  { terminal, env }: Context,
  session: InstallationSession,
  { path, profile }: { readonly path: string; readonly profile: string },
  options: StoreOptions,
): Promise<DesignView> {
  const earlier = await session.storage.prepared.find(await modelSource(path, profile));
  if (earlier !== undefined) return storePrepared(session, terminal, earlier, options.keep);
  const sliced = await sliceWithProgress(terminal, {
    model: path,
    profile,
    folder: join(session.user.folder, userFiles.uploads),
    env,
    signal: session.signal,
  });
  try {
    return await addDesign(session, terminal, sliced.path, { name: basename(path), ...defined(options), sliced });
  } finally {
    await sliced.remove();
  }
}

export function sliceWithProgress(terminal: Terminal, options: Omit<SliceOptions, 'progress'>): Promise<SlicedModel> {
  return withProgress(createProgress(terminal, 'slice '), (progress) =>
    sliceModel({ ...options, progress: (percent) => progress.update(percent, 100, basename(options.model)) }),
  );
}

function defined({ name, ...rest }: StoreOptions): StoreOptions {
  return name === undefined ? rest : { name, ...rest };
}

/** Seals a file, uploads it and waits until the vault has stored it, showing progress. */
export async function addDesign(
  session: InstallationSession,
  terminal: Terminal,
  file: string,
  options: StoreOptions = {},
): Promise<DesignView> {
  // Only this command needs the vault and the motion model.
  const { prepareFile } = await import('@millrace/client/node');
  const prepared = await withProgress(createProgress(terminal, 'seal  '), (progress) =>
    prepareFile(session, file, options, (done, total) =>
      progress.update(done, total, `${formatBytes(done)} of ${formatBytes(total)}`),
    ),
  );
  return storePrepared(session, terminal, prepared, options.keep);
}

async function storePrepared(
  session: InstallationSession,
  terminal: Terminal,
  prepared: PreparedDesign,
  keep: string | true | undefined,
): Promise<DesignView> {
  if (keep !== undefined) {
    const { copiesFolder, keepCopy } = await import('@millrace/client/node');
    await keepCopy(prepared, keep === true ? copiesFolder(session.user) : keep);
  }
  const stored = await withProgress(createProgress(terminal, 'store '), (progress) =>
    storeDesign(session, prepared, (step, done, total) =>
      progress.update(
        done,
        total,
        step === 'uploading' ? `${done} of ${total} segments uploaded` : 'waiting for the vault',
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

function modeOf(text: string | undefined): MaintenanceMode | undefined {
  const mode = maintenanceModes.find((one) => one === text);
  if (text === undefined || mode !== undefined) return mode;
  throw new MillraceError('E_INPUT', `--maintenance: expected one of ${maintenanceModes.join(', ')}`);
}

const custodyText = {
  owner: 'held by you alone; the cloud cannot open the design',
  keys: 'held by the keys node; machines can be added without you',
} as const;

function custodyOf(text: string | undefined): Custody | undefined {
  if (text === undefined || text === 'owner' || text === 'keys') return text;
  throw new MillraceError('E_INPUT', '--custody: expected owner or keys');
}

function rateOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const rate = Number(text);
  if (!(rate > 0 && Number.isFinite(rate))) throw new MillraceError('E_INPUT', '--rate: expected bytes a second');
  return rate;
}

function stateOf({ state, code, reason, damage }: DesignView): string {
  if (code !== undefined) return `${state} (${code}: ${reason ?? ''})`;
  if (damage === undefined) return state;
  const { missing, damaged, keys } = damage;
  const found = [
    ...(missing.length > 0 ? [`${missing.length} missing`] : []),
    ...(damaged.length > 0 ? [`${damaged.length} damaged`] : []),
    ...(keys ? ['keys damaged'] : []),
  ];
  return `${state}, segments: ${found.join(', ')}`;
}

export function list(context: Context): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const designs = await namedDesigns(session);
    const names = createNames(session);
    const adders = await Promise.all(designs.map(({ addedBy }) => names.key(addedBy.key)));
    context.terminal.result(
      { designs },
      designs.length === 0
        ? 'No designs yet.'
        : formatTable(
            ['design', 'name', 'kind', 'size', 'segments', 'secret', 'added by', 'state'],
            designs.map((view, i) => [
              view.design,
              view.name,
              view.kind,
              formatBytes(view.size),
              String(view.segments),
              view.custody === 'owner' ? 'owner' : 'custody',
              adders[i] ?? view.addedBy.key,
              stateOf(view),
            ]),
          ),
    );
  });
}
