import { setInterval } from 'node:timers';
import { createLogger, type MillraceError, toBase64, writeDurably } from '@millrace/base';
import { requestPrint } from '@millrace/client';
import { keyName } from '@millrace/identity';
import {
  type AgentStatus,
  createAgent,
  loadMachineConfig,
  type MachineConfig,
  makeConsumerKey,
  openPackageSource,
  PackageFolder,
  type PackageQueue,
  type PackageResult,
  type QueuedPackage,
  readDriverKey,
  signDriverKey,
} from '@millrace/machine/agent';
import { readAddresses } from '../installation/open.ts';
import { commandName } from '../output/command-name.ts';
import { createProgress, type Progress } from '../output/progress.ts';
import { type Context, wholeNumber, withSession } from './context.ts';
import { machineFolder } from './machine-folder.ts';
import { withJobPackage } from './package-3mf.ts';

/** Interval at which a watched folder is read, ms. A package has to stand still for one interval. */
const POLL_MS = 1_000;
const PROGRESS_MS = 500;

export interface KeyOptions {
  readonly out: string;
  readonly '3mf'?: string;
}

export async function key(context: Context, machine: string, { out, ...options }: KeyOptions): Promise<void> {
  const config = await loadMachineConfig(await machineFolder(context, machine), context.clock);
  const path = context.path(out);
  const document = await signDriverKey(config, context);
  await writeDurably(path, `${toBase64(document)}\n`, 0o644);
  const consumer = options['3mf'] === undefined ? undefined : context.path(options['3mf']);
  if (consumer !== undefined) {
    const { publicKey } = await makeConsumerKey(config.folder);
    await writeDurably(consumer, publicKey.export({ type: 'spki', format: 'pem' }), 0o644);
  }
  config.machineKey.close();
  context.terminal.result(
    { machine, file: path, ...(consumer !== undefined && { consumer }) },
    `The key of the driver is in ${path}. Give it to the owner, who seals packages to it within 30 days:\n` +
      `\`${commandName} package create FILE --driver ${out} --machine ${machine} --objects N --out part.mrjob\`` +
      (consumer === undefined ? '' : `\nIts RSA key for 3MF is in ${consumer}.`),
  );
}

/** Makes objects from one package, or from the one in a 3MF file. @returns the exit code */
export function make(
  context: Context,
  machine: string,
  file: string,
  options: { readonly objects: string },
): Promise<number> {
  const objects = wholeNumber(options.objects, '--objects', 1, 1_000);
  const path = context.path(file);
  return drive(context, machine, ({ config, ...parts }) =>
    withJobPackage(config, path, (job) => makeObjects(context, parts, { machine, path, job, objects })),
  );
}

interface Making {
  readonly machine: string;
  /** The file that the user named. */
  readonly path: string;
  /** The job package: that file, or what it contains. */
  readonly job: string;
  readonly objects: number;
}

/** @returns the exit code */
async function makeObjects(
  { terminal }: Context,
  { driverKey, order, run }: Omit<Drive, 'config'>,
  { machine, path, job, objects }: Making,
): Promise<number> {
  const results: PackageResult[] = [];
  let finish: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const queued: QueuedPackage = {
    name: path,
    open: () => openPackageSource(job),
    order,
    ended: async (result) => {
      if (result.later !== true) results.push(result);
      const { object } = result;
      if (result.error === undefined) terminal.say(`made ${object}`);
    },
  };
  const queue: PackageQueue = {
    driverKey,
    // Asked for the next one, the agent has delivered its reports.
    next: async (signal) => {
      const isOver = results.length === objects || results.some(({ error }) => error !== undefined);
      if (!isOver) return queued;
      finish();
      return whenAborted(signal);
    },
  };
  await run(queue, finished);
  const failure = results.find(({ error }) => error !== undefined)?.error;
  const made = results.flatMap(({ object, error }) => (error === undefined && object !== undefined ? [object] : []));
  if (failure === undefined || made.length > 0)
    terminal.result(
      { machine, file: path, objects: made, ...(failure && { error: failure.toJSON() }) },
      `${made.length} of ${objects} objects made: ${made.join(', ')}`,
    );
  if (failure !== undefined) terminal.error(failure);
  return failure?.exit ?? 0;
}

/** Makes one object from every package that appears in the folder. */
export function watch(context: Context, machine: string, folder: string): Promise<void> {
  const path = context.path(folder);
  return drive(context, machine, async ({ driverKey, order, run, logger }) => {
    const { terminal, signal } = context;
    const ended = (name: string, { object, error, later }: PackageResult) => {
      if (error === undefined) terminal.say(`${name}: made ${object}`);
      else terminal.say(`${name}: ${error.code}: ${error.message}${later === true ? '; tried again' : ''}`);
    };
    const queue = new PackageFolder({ folder: path, driverKey, pollMs: POLL_MS, logger, order, ended });
    await queue.look();
    terminal.say(`Watching ${path}. Made packages go to made, others to refused. Stop with Ctrl-C.`);
    await run(queue, whenEnded(signal));
  });
}

interface Drive {
  readonly config: MachineConfig;
  readonly driverKey: Awaited<ReturnType<typeof readDriverKey>>;
  readonly logger: ReturnType<typeof createLogger>;
  order(licence: string): Promise<void>;
  /** Runs the driver until `until` resolves or the user interrupts the command. */
  run(packages: PackageQueue, until: Promise<void>): Promise<void>;
}

/** Opens the machine's folder and a session in which prints are ordered. */
function drive<T>(context: Context, machine: string, work: (drive: Drive) => Promise<T>): Promise<T> {
  return withSession(context, 'operator', async (session) => {
    const { terminal, signal } = context;
    const config = await loadMachineConfig(await machineFolder(context, machine), context.clock);
    const driverKey = await readDriverKey(config.folder);
    const { distribution } = await readAddresses(session.installation);
    const destination = { write: (line: string) => void context.stderr.write(line) };
    const logger = createLogger('driver', { level: context.env.MILLRACE_LOG ?? 'error', destination });
    const name = keyName(config.machineKey.publicKey);
    try {
      return await work({
        config,
        driverKey,
        logger,
        order: async (licence) => void (await requestPrint(session, licence, name)),
        run: async (packages, until) => {
          const agent = await createAgent({ config, distribution: () => distribution, packages }, { logger });
          const progress = createProgress(terminal, 'print ');
          const timer = setInterval(() => show(progress, agent.status()), PROGRESS_MS);
          try {
            await Promise.race([until, whenEnded(signal)]);
          } finally {
            clearInterval(timer);
            progress.finish();
            await agent.close();
          }
        },
      });
    } finally {
      driverKey.close();
      config.machineKey.close();
    }
  });
}

function show(progress: Progress, { print, problem, step }: AgentStatus): void {
  if (print?.segments !== undefined) return progress.update(print.taken, print.segments, print.object);
  progress.update(0, 1, problemOf(problem) ?? step);
}

const problemOf = (problem: MillraceError | undefined): string | undefined =>
  problem && `${problem.code}: ${problem.message}`;

const whenEnded = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });

const whenAborted = async (signal: AbortSignal): Promise<never> => {
  await whenEnded(signal);
  throw signal.reason;
};
