import { basename, join } from 'node:path';
import { MillraceError } from '@millrace/base';
import { readRecord } from '@millrace/client';
import type { Context } from '../commands/context.ts';
import { formatTimes, sliceWithProgress } from '../commands/design.ts';
import { formatOutcome, resultOf } from '../commands/print.ts';
import { saySignInAddresses } from '../commands/sign-in-addresses.ts';
import { consoleOrigin, ledgerNotes, portNotes, start, untilAborted } from '../commands/up.ts';
import { initInstallation } from '../installation/init.ts';
import { userFiles } from '../installation/layout.ts';
import { type Installation, installationExists, openInstallation, readAddresses } from '../installation/open.ts';
import { firstOrganisations } from '../installation/people.ts';
import { type InstallationSession, openSession } from '../installation/session.ts';
import { commandName } from '../output/command-name.ts';
import { formatBytes, formatFields } from '../output/format.ts';
import { findSlicer } from '../slicing/find-slicer.ts';
import { isModel, modelSource, type SlicedModel } from '../slicing/model.ts';
import { format } from '../supervisor/children.ts';
import type { Running } from '../supervisor/up.ts';
import {
  expectRefusal,
  hashOf,
  type Job,
  license,
  type MadeObject,
  makeObject,
  OBJECTS,
  proveObject,
  storeDesign,
} from './job.ts';

export interface DemoOptions {
  readonly once?: boolean;
}

/** The main job: from a design to two parts, showing every step; then it keeps running. */
export async function demo(context: Context, file: string | undefined, options: DemoOptions): Promise<void> {
  const path = file === undefined ? context.sample : context.path(file);
  await requireUsable(context, path); // fail on a missing file before anything starts
  const installation = await openOrInit(context);
  const sliced = isModel(path) ? await sliceForOwner(context, installation, path) : undefined;
  try {
    await run(context, installation, { path, sliced, sha256: await hashOf(sliced?.path ?? path) }, options);
  } finally {
    await sliced?.remove();
  }
}

/** @throws {MillraceError} E_NOT_FOUND; E_SLICER if the file is a model and no slicer is installed */
async function requireUsable({ profile, env, signal }: Context, path: string): Promise<void> {
  if (!isModel(path)) return void (await hashOf(path));
  await modelSource(path, profile);
  await findSlicer(profile, env, signal);
}

function sliceForOwner(context: Context, { layout }: Installation, model: string): Promise<SlicedModel> {
  const { terminal, profile, env, signal } = context;
  const folder = join(layout.user('owner'), userFiles.uploads);
  return sliceWithProgress(terminal, { model, profile, folder, env, signal });
}

/** The design that the demo prints. */
interface Subject {
  readonly path: string;
  /** The sliced G-code, if the file is a model. */
  readonly sliced: SlicedModel | undefined;
  /** SHA-256 of the G-code. */
  readonly sha256: string;
}

async function run(
  context: Context,
  installation: Installation,
  subject: Subject,
  options: DemoOptions,
): Promise<void> {
  const { terminal } = context;
  const running = await startUnlessRunning(context, installation);
  try {
    // The first start has enrolled the people.
    const peopled = await openInstallation(installation.layout.home);
    showPeople(context);
    const owner = await sessionOf(context, peopled, 'owner');
    const operator = await sessionOf(context, peopled, 'operator');
    try {
      await showJob(context, owner, operator, subject);
    } finally {
      owner.close();
      operator.close();
    }
    if (options.once !== true && running !== undefined) {
      const origin = consoleOrigin(running);
      if (origin !== undefined) await saySignInAddresses(context, peopled, { origin, users: viewers });
      terminal.say('Millrace keeps running. Press Ctrl-C to stop it.');
      await untilAborted(context.signal);
    }
  } finally {
    if (running !== undefined) {
      terminal.say('stopping …');
      await running.supervisor.stop();
      terminal.say('stopped');
    }
  }
}

/** Folders of people who may want to look at the job in a browser. */
const viewers = ['brand-admin', 'owner', 'operator'];

async function openOrInit(context: Context): Promise<Installation> {
  const { home, clock, random } = context;
  const existed = await installationExists(home);
  if (!existed) await initInstallation({ home, clock, random, firstPeople: true });
  const installation = await openInstallation(home);
  step(context, 1, 'Installation', existed ? `found in ${home}` : `created in ${home}`);
  const { description } = installation;
  detail(context, [
    ['authority', 'its own, pinned in every check of a certificate'],
    ['machines', description.machines.map(({ name, material }) => `${name} (${material})`).join(', ')],
  ]);
  return installation;
}

/** The people and their organisations, each with a folder on this computer. */
function showPeople(context: Context): void {
  detail(
    context,
    firstOrganisations.flatMap(({ name: organisation, people }) =>
      people.map(({ user, name, roles }) => [user, `${name} of ${organisation}: ${roles.join(', ')}`] as const),
    ),
  );
}

/** Undefined if another process already runs this installation. That one is then used, and left running. */
async function startUnlessRunning(context: Context, installation: Installation): Promise<Running | undefined> {
  try {
    const running = await start(context, installation);
    const { processes } = running.supervisor.status();
    step(context, 2, 'Processes', `${processes.length} are running, each with its own folder and key`);
    const { addresses } = running;
    detail(
      context,
      processes.map(({ name, pid }) => {
        const where = name === 'control' || name === 'distribution' ? `, listens on ${format(addresses[name])}` : '';
        return [name, `process ${pid}${where}`] as const;
      }),
    );
    for (const note of [...ledgerNotes(running), ...portNotes(running)]) context.terminal.say(`   ${note}`);
    return running;
  } catch (error) {
    if (!(error instanceof MillraceError && error.code === 'E_CONFLICT' && 'pid' in error.data)) throw error;
    await readAddresses(installation);
    step(
      context,
      2,
      'Processes',
      `already running under process ${String(error.data.pid)}; they are used and left running`,
    );
    return undefined;
  }
}

function sessionOf(
  { clock, random, signal }: Context,
  installation: Installation,
  user: string,
): Promise<InstallationSession> {
  return openSession({ installation, user, clock, random, signal });
}

async function showJob(
  context: Context,
  owner: InstallationSession,
  operator: InstallationSession,
  subject: Subject,
): Promise<void> {
  const { terminal } = context;
  const [entry] = owner.installation.description.machines;
  if (entry === undefined) throw new MillraceError('E_CONFIG', 'the installation has no machine');
  const { machine, serial, profile } = entry.registration;
  const job: Job = {
    owner,
    operator,
    terminal,
    machine: { name: entry.name, machine, material: entry.material },
    sha256: subject.sha256,
  };

  step(
    context,
    3,
    'Design',
    `${basename(subject.path)}: sealed here by the owner; the cloud receives sealed segments only`,
  );
  const design = await storeDesign(job, subject.path, subject.sliced);
  const record = await readRecord(owner, design.design);
  detail(context, [
    ['design', design.design],
    ['size', `${formatBytes(design.size)} in ${design.segments} segments`],
    ['sliced', record?.sliced && `by ${record.sliced.slicer} with ${record.sliced.profile}`],
    ['time', record && formatTimes(record.time)],
    ['state', design.state],
  ]);

  step(context, 4, 'Licence', `${OBJECTS} objects on ${entry.name}, signed by the owner`);
  const licence = await license(job, design);
  detail(context, [
    ['licence', licence],
    ['machine', `${serial}, ${profile.factor} times faster than real time, as its profile says`],
    ['material', entry.material],
  ]);

  step(context, 5, 'Print', `the operator prints ${OBJECTS} times`);
  const made: MadeObject[] = [];
  for (let number = 1; number <= OBJECTS; number += 1) {
    const outcome = await makeObject(job, licence, `   object ${number}`);
    const proven = await proveObject(job, outcome);
    made.push(proven);
    terminal.say(`   object ${number} is complete: the machine executed bytes with the SHA-256 of the design`);
    terminal.say(formatOutcome(outcome, '      ', proven.record));
  }

  step(context, 6, 'One more', 'the licence is exhausted');
  const refusal = await expectRefusal(job, licence);
  detail(context, [['refused', `${refusal.code}: ${refusal.message}`]]);

  step(context, 7, 'Proof', 'certificates verified offline with the keys of owner, authority and log');
  for (const { summary, certificate, picture } of made) {
    detail(context, [
      ['object', summary.object],
      ['events', `${summary.events.map(({ type }) => type).join(', ')} (${summary.signatures} signatures verified)`],
      ['certificate', certificate],
      ['tool path', picture],
    ]);
  }
  terminal.result(
    {
      home: owner.installation.layout.home,
      design,
      licence,
      objects: made.map(({ outcome, record, certificate, picture, summary }) => ({
        ...resultOf(outcome),
        ...record,
        overhead: record.wire / record.bytes,
        certificate,
        picture,
        summary,
      })),
      refused: refusal.toJSON(),
    },
    summaryText(context, owner, design.design, licence, made),
  );
}

function summaryText(
  context: Context,
  owner: InstallationSession,
  design: string,
  licence: string,
  made: readonly MadeObject[],
): string {
  const command = commandOf(context, owner.installation.layout.home);
  const first = made[0];
  return [
    '',
    `Done: ${made.length} objects made, one more refused, ${made.length} certificates verified.`,
    '',
    'Next steps:',
    `  ${command('status')}`,
    `  ${command('object show', first?.object ?? '')}`,
    `  ${command('certificate verify', JSON.stringify(first?.certificate ?? ''))}`,
    `  ${command('ledger verify')}`,
    `  ${command('vault check', '--deep')}`,
    `  ${command('licence grant', `--design ${design.slice(0, 8)} --objects 1 --machine virtual-1`)}`,
    `  ${command('print', `--licence ${licence.slice(0, 8)} --watch`)}   (refused: exhausted)`,
    `  ${command('logs', '--follow')}`,
    '',
  ].join('\n');
}

/** The command as this user can type it: through npm in a checkout, and with --home if it is not the default. */
function commandOf({ cwd, path }: Context, home: string) {
  const usual = path('.millrace') === home && cwd !== '';
  return (name: string, rest = '') =>
    [commandName, name, rest, usual ? '' : `--home ${JSON.stringify(home)}`].filter((word) => word !== '').join(' ');
}

function step({ terminal }: Context, number: number, title: string, text: string): void {
  terminal.say(`\n${number}  ${title}: ${text}`);
}

function detail({ terminal }: Context, fields: readonly (readonly [string, string | undefined])[]): void {
  terminal.say(formatFields(fields, '   '));
}
