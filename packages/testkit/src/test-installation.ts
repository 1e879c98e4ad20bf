import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Closer, sleep, systemClock, systemRandom } from '@millrace/base';
import {
  builtEntries,
  chooseAddresses,
  type Entries,
  type Installation,
  initInstallation,
  machineProcess,
  nodeFiles,
  nodeProcess,
  openInstallation,
  openSession,
  type UserSession,
} from '@millrace/cli/parts';
import { registerAll } from '@millrace/client';
import type { TlsIdentity } from '@millrace/identity';
import { type Addresses, type NodeRole, nodeOf } from '@millrace/protocol';
import { healthOf } from './health.ts';
import { type Answer, type CallOptions, call } from './http.ts';
import { Managed, type ProcessEnvironment } from './process.ts';
import { Recorder } from './recorder.ts';
import type { Recording } from './recording.ts';
import { type MachineChoice, type MaintenanceChoice, setMachine, setMaintenance, setNode } from './settings.ts';
import { createTestCluster, inCassandra } from './test-engines.ts';
import { type CountingProxy, createCountingProxy, type ProxyOptions } from './wire.ts';

export const MACHINE = 'virtual-1';
export type ProcessName = NodeRole | 'machine';
export const processNames = ['control', 'distribution', 'segments', 'keys', 'machine'] as const;

const moduleEntries: Entries = {
  node: fileURLToPath(new URL('../../cloud/dist/main.js', import.meta.url)),
  machine: fileURLToPath(new URL('../../machine/dist/main.js', import.meta.url)),
};

export interface TestInstallationOptions {
  readonly machine?: MachineChoice;
  readonly maintenance?: MaintenanceChoice;
  /** Fields to add to the settings of nodes. */
  readonly settings?: Partial<Record<NodeRole, Readonly<Record<string, unknown>>>>;
  /** Processes to start at once; all by default. */
  readonly start?: readonly ProcessName[];
  /** Address of the nodes, where `environment` starts them; 127.0.0.1 by default. */
  readonly host?: string;
  /** Puts proxies with the TLS keys into every link to control and distribution. */
  readonly record?: boolean;
  /** Environment of the processes. */
  readonly environment?: Partial<Record<ProcessName, ProcessEnvironment>>;
  /** Network emulation of the machine's counting proxy. */
  readonly proxy?: ProxyOptions;
  /** Serves the console. */
  readonly console?: boolean;
  /** Puts a proxy that counts bytes between the machine and distribution. */
  readonly count?: boolean;
}

/** An installation in a temporary folder, run as its real processes. */
export interface TestInstallation {
  readonly installation: Installation;
  readonly home: string;
  /** Scratch folder outside the installation. */
  readonly scratch: string;
  /** Addresses on which the nodes themselves listen. */
  readonly addresses: Addresses;
  readonly processes: Readonly<Record<ProcessName, Managed>>;
  /** Id of the machine. */
  readonly machine: string;
  /** The counting proxy on the machine's link, if `count` is set. */
  readonly wire: CountingProxy | undefined;
  session(user: 'admin' | 'owner' | 'operator'): Promise<UserSession>;
  /** Sends one HTTPS request with any certificate of the installation. */
  call(node: 'control' | 'distribution', caller: Caller, options: CallOptions): Promise<Answer>;
  identity(caller: Caller): Promise<TlsIdentity>;
  recordings(): Recording[];
  log(name: ProcessName): Promise<string>;
  close(): Promise<void>;
}

/** Users without an organisation, whom the administrator registers directly. */
export const plainUsers = ['owner', 'operator'] as const;
export type Caller = 'admin' | (typeof plainUsers)[number] | NodeRole | 'machine';

/** Creates a test installation. `close` stops everything that it started and removes everything that it wrote. */
export async function createTestInstallation(options: TestInstallationOptions = {}): Promise<TestInstallation> {
  const closer = new Closer();
  const base = await mkdtemp(join(tmpdir(), 'millrace system '));
  // MILLRACE_KEEP keeps folders and logs for inspection.
  if (process.env.MILLRACE_KEEP) process.stdout.write(`kept: ${base}\n`);
  else closer.add({ close: () => rm(base, { recursive: true, force: true, maxRetries: 5 }) });
  try {
    return await build(base, closer, options);
  } catch (error) {
    await closer.close();
    throw error;
  }
}

async function build(base: string, closer: Closer, options: TestInstallationOptions): Promise<TestInstallation> {
  const home = join(base, 'installation');
  const { layout } = await initInstallation({ home, users: plainUsers, clock: systemClock, random: systemRandom });
  await setMachine(layout, MACHINE, options.machine ?? {});
  if (options.maintenance !== undefined) await setMaintenance(layout, options.maintenance);
  const cluster = await createTestCluster(join(base, 'cluster'));
  if (cluster !== undefined) {
    closer.add(cluster);
    for (const role of inCassandra) await setNode(layout, role, cluster.settings[role]);
  }
  for (const [role, fields] of Object.entries(options.settings ?? {})) await setNode(layout, role as NodeRole, fields);
  const installation = await openInstallation(home);
  const scratch = join(base, 'scratch');
  await mkdir(scratch);
  await mkdir(layout.run.logs, { recursive: true });

  const {
    console: pages,
    browsers,
    ...nodes
  } = await chooseAddresses(
    {},
    {
      control: await anyPort(),
      distribution: await anyPort(),
      ledger: await anyPort(),
    },
  );
  const chosen: Addresses = options.console ? { ...nodes, console: pages, browsers } : nodes;
  const addresses: Addresses = options.host === undefined ? chosen : movedTo(options.host, chosen);
  const identity = (caller: Caller) => identityOf(installation, caller);
  const recorders = options.record ? await record(installation, addresses, identity) : undefined;
  for (const recorder of Object.values(recorders ?? {})) closer.add(recorder);
  const reached: Addresses = {
    control: recorders?.control.address ?? addresses.control,
    distribution: recorders?.distribution.address ?? addresses.distribution,
    ledger: addresses.ledger,
  };
  const wire = options.count ? closer.add(await createCountingProxy(reached.distribution, options.proxy)) : undefined;
  // In a cluster, a control node that was killed waits at its next start for its own lease to end.
  const untilActive = async () => {
    const caller = await identity('control');
    const health = () => healthOf(installation.directory, caller, addresses.control);
    while (processes.control.running && (await health()) !== 'active') await sleep(100);
  };
  const started = cluster === undefined ? undefined : untilActive;
  const processes = makeProcesses(installation, addresses, reached, wire, options.environment, started);
  closer.add({
    close: async () => {
      await Promise.all(processNames.map((name) => processes[name].kill()));
    },
  });
  await writeFile(layout.run.addresses, JSON.stringify(reached));

  const sessions: UserSession[] = [];
  closer.add({
    close: () => {
      for (const session of sessions) session.close();
    },
  });
  const session: TestInstallation['session'] = async (user) => {
    const opened = await openSession({ installation, user, clock: systemClock, random: systemRandom });
    sessions.push(opened);
    return opened;
  };

  const machine = installation.description.machines[0]?.registration.machine;
  if (machine === undefined) throw new Error('the installation has no machine');
  const wanted = new Set<ProcessName>(options.start ?? processNames);
  if (wanted.has('control')) {
    await processes.control.start();
    await registerAll(await session('admin'));
  }
  for (const name of ['distribution', 'segments', 'keys', 'machine'] as const)
    if (wanted.has(name)) await processes[name].start();

  return {
    installation,
    home,
    scratch,
    addresses,
    processes,
    machine,
    wire,
    session,
    identity,
    call: async (node, caller, request) =>
      call(addresses[node], installation.directory, node, await identity(caller), request),
    recordings: () => [...(recorders?.control.recordings() ?? []), ...(recorders?.distribution.recordings() ?? [])],
    log: (name) => readFile(processes[name].logFile, 'utf8'),
    close: () => closer.close(),
  };
}

/** The same ports at another address, which need not be one of this process's network namespace. */
function movedTo(host: string, { control, distribution, ...others }: Addresses): Addresses {
  return { ...others, control: { ...control, host }, distribution: { ...distribution, host } };
}

function makeProcesses(
  { layout }: Installation,
  own: Addresses,
  reached: Addresses,
  wire: CountingProxy | undefined,
  environment: TestInstallationOptions['environment'] = {},
  controlStarted?: () => Promise<void>,
): Record<ProcessName, Managed> {
  // A passive node listens at its own address and reaches the other one through the proxy.
  const addressesOf = (role: NodeRole): Addresses => ({
    control: role === 'control' ? own.control : reached.control,
    distribution: role === 'distribution' ? own.distribution : reached.distribution,
    ...(role === 'control' ? { ledger: own.ledger } : {}),
    ...{ console: own.console, browsers: own.browsers },
  });
  const managed = (name: ProcessName): Managed => {
    const entries = environment[name]?.modules === true ? moduleEntries : builtEntries;
    const spec =
      name === 'machine'
        ? machineProcess(entries, layout, MACHINE, {
            ...reached,
            distribution: wire?.address ?? reached.distribution,
          })
        : nodeProcess(entries, layout, name, addressesOf(name));
    const started = name === 'control' ? controlStarted : undefined;
    return new Managed({ ...spec, name }, join(layout.run.logs, `${name}.log`), environment[name], started);
  };
  return {
    control: managed('control'),
    distribution: managed('distribution'),
    segments: managed('segments'),
    keys: managed('keys'),
    machine: managed('machine'),
  };
}

async function record(
  { directory }: Installation,
  addresses: Addresses,
  identity: (caller: Caller) => Promise<TlsIdentity>,
): Promise<Record<'control' | 'distribution', Recorder>> {
  const everybody = ['admin', 'owner', 'operator', 'control', 'distribution', 'segments', 'keys', 'machine'] as const;
  const callers = await Promise.all(everybody.map(identity));
  const open = async (node: 'control' | 'distribution') =>
    Recorder.open({
      node,
      target: addresses[node],
      authority: directory.authority,
      identity: await identity(node),
      pin: nodeOf(directory, node).fingerprint,
      callers,
    });
  return { control: await open('control'), distribution: await open('distribution') };
}

export function folderOf({ layout }: Installation, caller: Caller): string {
  if (caller === 'machine') return layout.machine(MACHINE);
  return ['admin', ...plainUsers].includes(caller) ? layout.user(caller) : layout.node(caller as NodeRole);
}

async function identityOf(installation: Installation, caller: Caller): Promise<TlsIdentity> {
  const folder = folderOf(installation, caller);
  return {
    certificate: await readFile(join(folder, nodeFiles.certificate), 'utf8'),
    key: new Uint8Array(await readFile(join(folder, nodeFiles.tlsKey))),
  };
}

async function anyPort(): Promise<number> {
  const probe = await createCountingProxy({ host: '127.0.0.1', port: 1 });
  await probe.close();
  return probe.address.port;
}
