import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Bytes,
  type Clock,
  Closer,
  createLogger,
  noMetrics,
  silentLogger,
  systemClock,
  systemRandom,
} from '@millrace/base';
import type { Layout } from '@millrace/cli/parts';
import {
  chooseAddresses,
  type Installation,
  initInstallation,
  openInstallation,
  openSession,
} from '@millrace/cli/parts';
import { registerAll, type Session } from '@millrace/client';
import type { ControlNode, DistributionNode, KeysNode, SegmentsNode } from '@millrace/cloud/parts';
import {
  loadNodeConfig,
  nodeFiles,
  runControlNode,
  runDistributionNode,
  runKeysNode,
  runSegmentsNode,
} from '@millrace/cloud/parts';
import { openAuthority, type TlsIdentity } from '@millrace/identity';
import type { Addresses, NodeRole } from '@millrace/protocol';
import { type Answer, type CallOptions, call } from '../http.ts';
import { setMachine, setMaintenance } from '../settings.ts';
import { plainUsers } from '../test-installation.ts';
import { addMachine, addUser } from './parties.ts';
import { type Alteration, startTestAgent, type TestAgent } from './test-agent.ts';

/** Names of the licensed machine and another tenant's machine. */
export const SITE = 'virtual-1';
export const ELSEWHERE = 'elsewhere-1';
/** Registered rate of every machine, bytes per second. High, so that no test raises the alarm. */
const BYTES_PER_SECOND = 1e9;

export interface Nodes {
  control: ControlNode;
  distribution: DistributionNode;
  segments: SegmentsNode;
  keys: KeysNode;
}

/** A caller with a certificate of the installation. */
export type Caller = 'admin' | 'owner' | 'operator' | 'tenant' | NodeRole;

/**
 * An installation in a folder, with its four nodes in this process: real keys, real TLS, real stores. Tests of a
 * hostile party replace parts of its node or change its files.
 */
export interface HostileInstallation {
  readonly installation: Installation;
  readonly scratch: string;
  readonly addresses: Addresses;
  readonly nodes: Nodes;
  /** Ids of the licensed machine and another tenant's machine. */
  readonly machine: string;
  readonly elsewhere: string;
  readonly admin: Session;
  readonly owner: Session;
  readonly operator: Session;
  /** Another tenant: a user with other designs and another machine. */
  readonly tenant: Session;
  /**
   * An agent with the real keys of a machine, honest by default. It is closed when the machine's next agent starts, or
   * by `close`.
   */
  agent(name?: string, alteration?: Alteration): Promise<TestAgent>;
  call(node: 'control' | 'distribution', caller: Caller, options: CallOptions): Promise<Answer>;
  identity(caller: Caller): Promise<TlsIdentity>;
  close(): Promise<void>;
}

export interface HostileInstallationOptions {
  readonly periodMs?: number;
  readonly clock?: Clock;
  /** Collects log lines of all nodes. */
  readonly log?: string[];
  /** Starts the control node; by default one whose state is in its folder. */
  readonly startControl?: typeof runControlNode;
}

/** Opens a hostile installation. `close` stops everything that it started and removes everything that it wrote. */
export async function openHostileInstallation(options: HostileInstallationOptions = {}): Promise<HostileInstallation> {
  const closer = new Closer();
  const base = await mkdtemp(join(tmpdir(), 'millrace adversary '));
  closer.add({ close: () => rm(base, { recursive: true, force: true, maxRetries: 5 }) });
  try {
    return await build(base, closer, options);
  } catch (error) {
    await closer.close();
    throw error;
  }
}

async function build(base: string, closer: Closer, options: HostileInstallationOptions): Promise<HostileInstallation> {
  const home = join(base, 'installation');
  const scratch = join(base, 'scratch');
  await mkdir(scratch);
  const { layout } = await initInstallation({ home, users: plainUsers, clock: systemClock, random: systemRandom });
  const authority = await openAuthority(await authorityFiles(layout), systemClock.now);
  await addUser(layout, authority, 'tenant');
  await addMachine(layout, authority, ELSEWHERE);
  for (const name of [SITE, ELSEWHERE])
    await setMachine(layout, name, { kind: 'sink', factor: 1, bytesPerSecond: BYTES_PER_SECOND, giveUpMs: 20_000 });
  // A long period: sweeps run only when a test starts one.
  await setMaintenance(layout, { periodMs: options.periodMs ?? 3_600_000, density: 50 });
  const installation = await openInstallation(home);
  const addresses = await chooseAddresses({}, { control: undefined, distribution: undefined });
  await mkdir(layout.run.folder, { recursive: true });
  await writeFile(layout.run.addresses, JSON.stringify(addresses));

  const nodes = await startNodes(layout, addresses, closer, options);
  const session = async (user: string): Promise<Session> => {
    const opened = await openSession({ installation, user, clock: systemClock, random: systemRandom });
    return closer.add(opened);
  };
  const admin = await session('admin');
  await registerAll(admin);

  const agents = new Map<string, TestAgent>();
  const identity: HostileInstallation['identity'] = (caller) => identityOf(layout, caller);
  return {
    installation,
    scratch,
    addresses,
    nodes,
    machine: machineId(installation, SITE),
    elsewhere: machineId(installation, ELSEWHERE),
    admin,
    owner: await session('owner'),
    operator: await session('operator'),
    tenant: await session('tenant'),
    agent: async (name = SITE, alteration = {}) => {
      // Close the machine's previous agent: two agents in one folder are not an attack of interest.
      await agents.get(name)?.close();
      const started = closer.add(await startTestAgent(layout.machine(name), addresses.distribution, alteration));
      agents.set(name, started);
      return started;
    },
    identity,
    call: async (node, caller, request) =>
      call(addresses[node], installation.directory, node, await identity(caller), request),
    close: () => closer.close(),
  };
}

async function startNodes(
  layout: Layout,
  addresses: Addresses,
  closer: Closer,
  options: HostileInstallationOptions,
): Promise<Nodes> {
  const config = (role: NodeRole) => loadNodeConfig(layout.node(role));
  const { clock, log } = options;
  const destination = { write: (line: string) => void log?.push(line) };
  const logger = log === undefined ? silentLogger : createLogger('node', { level: 'debug', destination });
  const modules = { logger, clock: clock ?? systemClock, metrics: noMetrics };
  const startControl = options.startControl ?? runControlNode;
  const control = await startControl({ config: await config('control'), address: addresses.control }, modules);
  closer.add(control);
  const distribution = closer.add(
    await runDistributionNode({ config: await config('distribution'), addresses }, modules),
  );
  const segments = closer.add(await runSegmentsNode({ config: await config('segments'), addresses }, modules));
  const keys = closer.add(await runKeysNode({ config: await config('keys'), addresses }, modules));
  return { control, distribution, segments, keys };
}

function machineId({ description }: Installation, name: string): string {
  const entry = description.machines.find((machine) => machine.name === name);
  if (entry === undefined) throw new Error(`no machine ${name}`);
  return entry.registration.machine;
}

async function authorityFiles({ authority }: Layout): Promise<TlsIdentity> {
  const key: Bytes = new Uint8Array(await readFile(authority.key));
  return { certificate: await readFile(authority.certificate, 'utf8'), key };
}

async function identityOf(layout: Layout, caller: Caller): Promise<TlsIdentity> {
  const users: readonly Caller[] = ['admin', 'owner', 'operator', 'tenant'];
  const folder = users.includes(caller) ? layout.user(caller) : layout.node(caller as NodeRole);
  return {
    certificate: await readFile(join(folder, nodeFiles.certificate), 'utf8'),
    key: new Uint8Array(await readFile(join(folder, nodeFiles.tlsKey))),
  };
}
