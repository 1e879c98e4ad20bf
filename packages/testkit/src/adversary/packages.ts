import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, concatBytes, copyBytes, MillraceError, systemClock, systemRandom } from '@millrace/base';
import { createPackage, type PackageTerms, requestPrint } from '@millrace/client';
import { prepareFile } from '@millrace/client/node';
import {
  loadMachineConfig,
  type MachineConfig,
  type PackageQueue,
  type PackageResult,
  readDriverKey,
  signDriverKey,
} from '@millrace/machine/agent';
import type { PackageSource } from '@millrace/vault';
import { randomDesign } from '../designs.ts';
import { SEGMENT } from './honest.ts';
import { type HostileInstallation, SITE } from './hostile-installation.ts';

/** A job package of the owner, for the driver at the licensed machine. */
export interface TestPackage {
  readonly bytes: Bytes;
  readonly content: Uint8Array;
  readonly licence: string;
  readonly design: string;
}

let made = 0;

/** @param segments of the design, whose content is random */
export async function packaged(
  system: HostileInstallation,
  { segments = 3, machine = SITE, ...terms }: Partial<PackageTerms> & { readonly segments?: number } = {},
): Promise<TestPackage> {
  const content = randomDesign(segments * SEGMENT - 100);
  const file = join(system.scratch, `package-${++made}.bin`);
  await writeFile(file, content);
  const parts: Bytes[] = [];
  const created = await createPackage(system.owner, {
    terms: {
      objects: 1,
      materials: [],
      days: 1,
      holder: 'operator',
      ...terms,
      machine,
      driver: await driverDocument(system, machine),
    },
    seal: (take) => prepareFile(system.owner, file, { kind: 'binary', bytesPerSecond: 1e9 }, () => undefined, take),
    write: async (bytes) => void parts.push(copyBytes(bytes)),
    progress: () => undefined,
  });
  return { ...created, content, bytes: concatBytes(...parts) };
}

export async function driverDocument(system: HostileInstallation, machine: string): Promise<Bytes> {
  const config = await configOf(system, machine);
  return signDriverKey(config, { clock: systemClock, random: systemRandom });
}

export function configOf({ installation }: HostileInstallation, machine: string): Promise<MachineConfig> {
  return loadMachineConfig(installation.layout.machine(machine));
}

/** The bytes of a package as a source. */
export function sourceOf(bytes: Uint8Array): PackageSource & { close(): Promise<void> } {
  return {
    size: bytes.length,
    read: async (offset, length) => copyBytes(bytes.subarray(offset, offset + length)),
    close: async () => undefined,
  };
}

export interface TestQueue extends PackageQueue {
  readonly results: readonly PackageResult[];
  /** Makes one object from the package. @returns how it ended */
  make(bytes: Uint8Array): Promise<PackageResult>;
}

/** Packages that a test gives to a driver. The operator orders each print. */
export async function packageQueue(system: HostileInstallation, machine = SITE): Promise<TestQueue> {
  const { folder } = await configOf(system, machine);
  const results: PackageResult[] = [];
  const waiting: { readonly bytes: Uint8Array; readonly ended: (result: PackageResult) => void }[] = [];
  let wake: () => void = () => undefined;
  return {
    driverKey: await readDriverKey(folder),
    results,
    make: (bytes) =>
      new Promise((ended) => {
        waiting.push({ bytes, ended });
        wake();
      }),
    next: async (signal) => {
      for (;;) {
        signal.throwIfAborted();
        const [next] = waiting;
        if (next !== undefined)
          return {
            name: 'test',
            open: async () => sourceOf(next.bytes),
            order: async (licence) => void (await requestPrint(system.operator, licence, system.machine)),
            ended: async (result) => {
              waiting.shift();
              results.push(result);
              next.ended(result);
            },
          };
        await new Promise<void>((resolve, reject) => {
          wake = resolve;
          signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        });
      }
    },
  };
}

/** Error code of a result, or `made`. */
export const codeOfResult = ({ error }: PackageResult): string =>
  error instanceof MillraceError ? error.code : 'made';
