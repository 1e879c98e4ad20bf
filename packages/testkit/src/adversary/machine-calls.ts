import { join } from 'node:path';
import { type Bytes, silentLogger, systemClock, systemRandom } from '@millrace/base';
import { keyName } from '@millrace/identity';
import {
  type ControlCalls,
  connectCloud,
  createControlCalls,
  defaultTiming,
  loadMachineConfig,
  type MachineConfig,
} from '@millrace/machine/parts';
import { type MachineReport, type PermitRequest, signMachineDocument } from '@millrace/protocol';
import { permitRequest } from '../permit-request.mjs';
import type { HostileInstallation } from './hostile-installation.ts';

/** A caller that makes a machine's calls with the machine's keys. */
export interface MachineCaller {
  readonly config: MachineConfig;
  readonly calls: ControlCalls;
  readonly signal: AbortSignal;
  /** A permit request signed by the machine. Fields that are not given have honest values. */
  request(
    print: string,
    changes?: Partial<PermitRequest>,
  ): Promise<{ readonly bytes: Bytes; readonly body: PermitRequest }>;
  report(object: string, event: MachineReport['event'], changes?: Partial<MachineReport>): Promise<Bytes>;
  close(): void;
}

const MINUTE = 60_000;

export async function callAsMachine(system: HostileInstallation, name: string): Promise<MachineCaller> {
  const config = await loadMachineConfig(join(system.installation.layout.machine(name)));
  const { directory, machineKey, serial, material } = config;
  const link = connectCloud(
    { addresses: () => [system.addresses.distribution], directory, tls: () => config.tls, logger: silentLogger },
    { stream: () => undefined, lost: () => undefined },
  );
  const stop = new AbortController();
  await link.whenConnected(stop.signal);
  const common = () => {
    const now = systemClock.now();
    return { id: systemRandom(16), issued: now, expires: now + 10 * MINUTE };
  };
  return {
    config,
    calls: createControlCalls(link, { ...defaultTiming, callMs: 10_000, waitMs: 0 }),
    signal: stop.signal,
    request: async (print, changes = {}) => {
      const stated = await system.nodes.control.context.records.odometers.get(keyName(machineKey.publicKey));
      const body = permitRequest({
        ...{ print, serial, material },
        ...(stated && { odometer: stated.last }),
        ...changes,
      });
      return { body, bytes: await signMachineDocument(machineKey, directory.installation, body) };
    },
    report: (object, event, changes = {}) =>
      signMachineDocument(machineKey, directory.installation, {
        type: 'report',
        ...common(),
        object,
        run: systemRandom(16),
        event,
        facts: { serial, material, segments: 6 },
        ...changes,
      }),
    close: () => {
      stop.abort();
      link.close();
    },
  };
}
