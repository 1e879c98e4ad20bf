import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, concatBytes, copyBytes, silentLogger } from '@millrace/base';
import { builtInDrivers } from '@millrace/machine';
import type { PackageQueue } from '@millrace/machine/agent';
import type { Timing } from '@millrace/machine/parts';
import {
  type Agent,
  type AgentModules,
  createAgent,
  loadMachineConfig,
  type MachineConfig,
} from '@millrace/machine/parts';
import type { Address } from '@millrace/protocol';

/** Changes to the installed agent. */
export interface Alteration {
  /** Settings or keys that replace those in the machine's folder. */
  readonly config?: Partial<MachineConfig>;
  readonly settings?: Partial<MachineConfig['agent']>;
  readonly modules?: Partial<AgentModules>;
  readonly distribution?: () => Address;
  readonly timing?: Partial<Timing>;
  /** For the driver of a workstation. */
  readonly packages?: PackageQueue;
}

/** A machine's agent in this process. Records every byte that its machine takes. */
export interface TestAgent {
  readonly agent: Agent;
  readonly config: MachineConfig;
  /** Taken bytes, one entry for each run of the machine. */
  readonly runs: readonly Bytes[];
  /** Bytes of all runs, in order. */
  executed(): Bytes;
  /** Names of the finished objects. */
  objects(): Promise<string[]>;
  close(): Promise<void>;
}

/** Short timeouts for tests. */
const quick: Partial<Timing> = {
  callMs: 10_000,
  waitMs: 2_000,
  offerMs: 3_000,
  backoff: { firstMs: 20, mostMs: 200 },
  changeMs: 0,
};

export async function startTestAgent(
  folder: string,
  distribution: Address,
  alteration: Alteration,
): Promise<TestAgent> {
  const loaded = await loadMachineConfig(folder);
  const config = { ...loaded, agent: { ...loaded.agent, ...alteration.settings }, ...alteration.config };
  const parts: Uint8Array[][] = [];
  const driver: AgentModules['driver'] = async ({ kind, serial, profile }) => {
    const made = await builtInDrivers().create(
      kind,
      { serial, ...profile },
      { onExecuted: (bytes) => void parts.at(-1)?.push(copyBytes(bytes)) },
    );
    const begin = made.begin.bind(made);
    made.begin = () => {
      parts.push([]);
      return begin();
    };
    return made;
  };
  const agent = await createAgent(
    {
      config,
      distribution: alteration.distribution ?? (() => distribution),
      timing: { ...quick, ...alteration.timing },
      ...(alteration.packages === undefined ? {} : { packages: alteration.packages }),
    },
    { logger: silentLogger, driver, ...alteration.modules },
  );
  let closed: Promise<void> | undefined;
  return {
    agent,
    config,
    get runs() {
      return parts.map((run) => concatBytes(...run));
    },
    executed: () => concatBytes(...parts.flat()),
    objects: async () => (await readdir(join(config.data, 'objects'))).filter((name) => name.endsWith('.json')),
    close: () => {
      closed ??= agent.close();
      return closed;
    },
  };
}
