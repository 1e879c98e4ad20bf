import { toMillraceError } from '@millrace/base';
import { registerAll } from '@millrace/client';
import { type Installation, openInstallation } from '../installation/open.ts';
import { enrolFirstPeople } from '../installation/people.ts';
import { openSession } from '../installation/session.ts';
import { commandName } from '../output/command-name.ts';
import { formatFields } from '../output/format.ts';
import { noProcesses, type Processes, supervisedProcesses } from '../rotation/processes.ts';
import { renewDaily, renewDue } from '../rotation/upkeep.ts';
import { format } from '../supervisor/children.ts';
import type { ProcessStatus } from '../supervisor/managed-process.ts';
import { defaultPorts } from '../supervisor/ports.ts';
import { type Running, startInstallation } from '../supervisor/up.ts';
import { type Context, wholeNumber } from './context.ts';
import { saySignInAddresses } from './sign-in-addresses.ts';

/** Of the first company. Signs in at the console first, and invites the others. */
const FIRST_ADMINISTRATOR = 'brand-admin';

export interface PortOptions {
  readonly controlPort?: string;
  readonly distributionPort?: string;
  readonly ledgerPort?: string;
  readonly consolePort?: string;
  readonly browsersPort?: string;
}

export async function up(context: Context, options: PortOptions): Promise<void> {
  const installation = await openInstallation(context.home);
  const { firstPeople, users } = installation.description;
  const isFirst = firstPeople === true && !users.some(({ name }) => name === FIRST_ADMINISTRATOR);
  const running = await start(context, installation, options);
  const { addresses, supervisor } = running;
  const { terminal } = context;
  try {
    const { processes } = supervisor.status();
    terminal.result(
      { home: installation.layout.home, supervisor: process.pid, addresses, processes },
      [
        'Millrace is running.',
        formatFields(
          processes.map(({ name, pid }) => [name, `process ${pid}${whereOf(name, running)}`] as const),
          '  ',
        ),
        ...ledgerNotes(running),
        ...consoleNotes(running),
        ...portNotes(running),
        `Press Ctrl-C to stop. In another terminal: \`${commandName} status\`, \`${commandName} logs\`, \`${commandName} design add FILE\`.`,
      ].join('\n'),
    );
    const origin = consoleOrigin(running);
    if (isFirst && origin !== undefined)
      await saySignInAddresses(context, await openInstallation(context.home), { origin, users: [FIRST_ADMINISTRATOR] });
    await untilAborted(context.signal);
  } finally {
    terminal.say('stopping …');
    await supervisor.stop();
  }
  terminal.say('stopped');
}

/** Starts everything. The caller stops the supervisor. */
export async function start(context: Context, installation: Installation, options: PortOptions = {}): Promise<Running> {
  const { clock, random, signal, entries, terminal } = context;
  const port = (text: string | undefined, option: string) =>
    text === undefined ? undefined : wholeNumber(text, option, 1, 65_535);
  const { run } = installation.layout;
  const renewal = (processes: Processes) => ({ installation, processes, clock, random, signal });
  const renew = async (processes: Processes) => {
    try {
      const done = await renewDue(renewal(processes));
      if (done !== undefined) terminal.say(done);
    } catch (error) {
      // The installation runs anyway; `millrace status` keeps reporting this.
      terminal.say(toMillraceError(error).message);
    }
  };
  const running = await startInstallation({
    installation,
    clock,
    entries,
    signal,
    ports: {
      control: port(options.controlPort, '--control-port'),
      distribution: port(options.distributionPort, '--distribution-port'),
      ledger: port(options.ledgerPort, '--ledger-port'),
      console: port(options.consolePort, '--console-port'),
      browsers: port(options.browsersPort, '--browsers-port'),
    },
    onChange: (status) => {
      const news = newsOf(status);
      if (news !== undefined) terminal.say(news);
    },
    prepare: () => renew(noProcesses),
    register: async () => {
      const admin = await openSession({ installation, user: 'admin', clock, random, signal });
      try {
        await registerAll(admin);
        await enrolFirstPeople({ installation, admin, clock, random, signal });
      } finally {
        admin.close();
      }
    },
  });
  context.onSecondInterrupt(() => running.supervisor.kill());
  const daily = renewDaily(renewal(supervisedProcesses(run, clock, signal)), (line) => terminal.say(line));
  signal.addEventListener('abort', () => void daily.close(), { once: true });
  return running;
}

/** Important news for the user: a process ended, or is running again. */
export function newsOf({ name, state, pid, restarts, lastExit }: ProcessStatus): string | undefined {
  if (state === 'waiting') {
    const how = lastExit?.signal ? `by ${lastExit.signal}` : `with exit code ${lastExit?.code}`;
    return `${name} ended ${how} and is being restarted`;
  }
  if (state === 'running' && restarts > 0) return `${name} is running again (process ${pid}, restart ${restarts})`;
  return undefined;
}

function whereOf(name: string, { addresses }: Running): string {
  return name === 'control' || name === 'distribution' ? ` at ${format(addresses[name])}` : '';
}

/** Public address of the ledger. */
export function ledgerNotes({ addresses: { ledger } }: Pick<Running, 'addresses'>): string[] {
  return ledger === undefined ? [] : [`The ledger is public at https://${format(ledger)}/checkpoint`];
}

/** Address of the console, by name: browsers offer no passkeys for IP addresses. Undefined if it is switched off. */
export function consoleOrigin({
  addresses,
  consoleOrigin: set,
}: Pick<Running, 'addresses' | 'consoleOrigin'>): string | undefined {
  const { console: pages } = addresses;
  return pages === undefined ? undefined : (set ?? `http://localhost:${pages.port}`);
}

function consoleNotes(running: Running): string[] {
  const origin = consoleOrigin(running);
  return origin === undefined ? [] : [`The console is at ${origin}`];
}

/** Notes for default ports that were taken. */
export function portNotes({ addresses }: Pick<Running, 'addresses'>): string[] {
  const { control, distribution } = addresses;
  if (control.port === defaultPorts.control && distribution.port === defaultPorts.distribution) return [];
  return [
    `The default ports ${defaultPorts.control} and ${defaultPorts.distribution} are not both free: ` +
      `control ${control.port}, distribution ${distribution.port}.`,
  ];
}

export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    // Keeps the event loop alive while idle.
    const timer = setInterval(() => undefined, 60_000);
    signal.addEventListener(
      'abort',
      () => {
        clearInterval(timer);
        resolve();
      },
      { once: true },
    );
  });
}
