import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, concatBytes, createLogger, fromHex } from '@millrace/base';
import type { createReceiver } from '@millrace/live-matrix';
import type { Driver, ObjectRecord, Timing } from '@millrace/machine/parts';
import {
  type Agent,
  builtInDrivers,
  createAgent,
  loadMachineConfig,
  type MachineConfig,
} from '@millrace/machine/parts';
import { firstDocument, signDirectory } from '@millrace/protocol';
import { onTestFailed } from 'vitest';
import { TestCloud } from './agent-cloud.ts';
import type { CloudOptions } from './agent-cloud-stream.ts';

/** Short timeouts for tests. */
export const quick: Timing = {
  callMs: 5_000,
  waitMs: 500,
  offerMs: 2_000,
  backoff: { firstMs: 20, mostMs: 100 },
  changeMs: 0,
  directoryMs: 300_000,
  quietMs: 20_000,
};

export interface Bench {
  readonly cloud: TestCloud;
  readonly folder: string;
  readonly config: MachineConfig;
  /** All log lines of the agents. */
  readonly log: string[];
  agent: Agent;
  /** All bytes that the machine has executed, in order. */
  executed(): Buffer;
  restart(): Promise<void>;
  object(id: string): Promise<ObjectRecord>;
  close(): Promise<void>;
}

export interface BenchOptions extends Omit<CloudOptions, 'machine'> {
  readonly kind?: string;
  readonly factor?: number;
  readonly bytesPerSecond?: number;
  readonly driver?: Record<string, unknown>;
  readonly agent?: Record<string, unknown>;
  /** Contents of the machine's safety.json. */
  readonly safety?: Record<string, unknown>;
  /** Contents of the machine's camera.json. */
  readonly camera?: Record<string, unknown>;
  /** Settings of the token that holds the machine's key. */
  readonly token?: Record<string, unknown> & { readonly publicKey: string };
  /** Replaces or changes the configured driver. */
  readonly wrapDriver?: (driver: Driver) => Driver;
  readonly receiver?: typeof createReceiver;
  readonly timing?: Partial<Timing>;
  /** Clock of the agent. The machine's clock is not affected. */
  readonly clock?: Clock;
  /** False: does not start the agent. */
  readonly start?: boolean;
}

export const settingsOf = (cloud: TestCloud, options: Partial<BenchOptions> = {}) => ({
  role: 'machine',
  installation: cloud.directory.installation,
  adminKey: cloud.directory.adminKey,
  serial: cloud.registration.serial,
  kind: cloud.registration.kind,
  profile: cloud.registration.profile,
  material: 'PLA',
  driver: options.driver ?? {},
  ...(options.token === undefined ? {} : { token: options.token }),
  agent: { order: 16, suite: 'turboshake128', hints: 'dense', stallMs: 400, giveUpMs: 5_000, ...options.agent },
});

/** Writes a machine's folder for the test's cloud. */
export async function writeFolder(cloud: TestCloud, settings: unknown): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-agent-'));
  await mkdir(join(folder, 'data'));
  await writeFile(join(folder, 'machine.json'), JSON.stringify(settings));
  const signed = await signDirectory(cloud.admin, firstDocument(cloud.directory, 1));
  await writeFile(join(folder, 'directory.json'), JSON.stringify(signed));
  await writeFile(join(folder, 'tls.crt.pem'), cloud.machineTls.certificate);
  await writeFile(join(folder, 'tls.key.pem'), cloud.machineTls.key);
  if (cloud.options.publicKey === undefined)
    await writeFile(join(folder, 'identity.key'), cloud.machineKey.exportSecret());
  return folder;
}

export async function startBench(options: BenchOptions): Promise<Bench> {
  const log: string[] = [];
  onTestFailed(() => console.log(log.join('')));
  const { kind = 'sink', factor = 1_000_000, bytesPerSecond = 100_000 } = options;
  const profile = kind === 'sink' ? { factor, bytesPerSecond } : { factor };
  const cloud = await TestCloud.start({
    ...options,
    machine: { serial: 'MR-TEST-1', kind, profile },
    ...(options.token === undefined ? {} : { publicKey: fromHex(options.token.publicKey) }),
  });
  const folder = await writeFolder(cloud, settingsOf(cloud, options));
  if (options.safety !== undefined) await writeFile(join(folder, 'safety.json'), JSON.stringify(options.safety));
  if (options.camera !== undefined) await writeFile(join(folder, 'camera.json'), JSON.stringify(options.camera));
  const config = await loadMachineConfig(folder);
  const logger = createLogger('machine', { level: 'debug', destination: { write: (line) => void log.push(line) } });
  const executed: Uint8Array[] = [];
  const safety = config.safety === undefined ? {} : { safety: config.safety };
  const driver = async () => {
    const made = await builtInDrivers().create(
      kind,
      { serial: config.serial, ...profile, ...config.driver },
      { onExecuted: (bytes) => void executed.push(bytes.slice()), ...safety },
    );
    return options.wrapDriver?.(made) ?? made;
  };
  const start = () =>
    createAgent(
      { config, distribution: () => cloud.address, timing: { ...quick, ...options.timing } },
      {
        logger,
        driver,
        ...(options.receiver === undefined ? {} : { receiver: options.receiver }),
        ...(options.clock === undefined ? {} : { clock: options.clock }),
      },
    );
  const idle: Agent = {
    changed: new AbortController().signal,
    status: () => {
      throw new Error('no agent was started');
    },
    close: async () => undefined,
  };
  const bench: Bench = {
    cloud,
    folder,
    config,
    log,
    agent: options.start === false ? idle : await start(),
    executed: () => Buffer.from(concatBytes(...executed)),
    restart: async () => {
      await bench.agent.close();
      bench.agent = await start();
    },
    object: async (id) =>
      JSON.parse(await readFile(join(folder, 'data', 'objects', `${id}.json`), 'utf8')) as ObjectRecord,
    close: async () => {
      await bench.agent.close();
      await cloud.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return bench;
}

/** The content of every file below the folder, by path. */
export async function filesBelow(folder: string): Promise<Map<string, Buffer>> {
  const out = new Map<string, Buffer>();
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    out.set(path, await readFile(path));
  }
  return out;
}
