import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, type Clock, hexOf, MillraceError, parse, systemClock, wipe } from '@millrace/base';
import { type MachineKey, p256Key, type TlsIdentity } from '@millrace/identity';
import { engineNames } from '@millrace/live-matrix';
import {
  type Directory,
  type DirectoryFile,
  directoryFiles,
  type MachineProfile,
  machineKind,
  openDirectory,
  openTlsFiles,
  profileSchema,
} from '@millrace/protocol';
import { z } from 'zod';
import { builtInDrivers } from '../drivers/built-in.ts';
import { loadDriverModule } from '../drivers/driver-module.ts';
import type { DriverRegistry } from '../drivers/registry.ts';

/** Contents of a machine's folder. Written when the machine is set up; read by the agent when it starts. */
export const machineFiles = {
  settings: 'machine.json',
  /** The directory as signed by the administrator. */
  directory: directoryFiles.directory,
  certificate: 'tls.crt.pem',
  tlsKey: 'tls.key.pem',
  /** 32 bytes, P-256: the machine's identity key if it has no PKCS#11 token. */
  identity: 'identity.key',
  data: 'data',
} as const;

const settingsSchema = z.strictObject({
  role: z.literal('machine'),
  /** Set at installation. The agent accepts a directory only with this administrator's signature. */
  installation: hexOf(16),
  adminKey: hexOf(33),
  /** The serial number that the machine must report on every connect. */
  serial: z.string().min(1).max(64),
  /** Kind of machine. Selects the driver. */
  kind: machineKind,
  /** As registered: the profile that licences refer to. */
  profile: profileSchema,
  /** The loaded material. */
  material: z.string().min(1).max(64),
  /**
   * Settings of the driver. `factor` is the machine's real speed; by default the speed of its profile applies. The
   * cloud raises the alarm for a machine that runs faster than its profile.
   */
  driver: z.record(z.string(), z.unknown()).default({}),
  /**
   * Modules with more drivers: names of installed packages, or paths, which may be relative to this folder. Their code
   * runs in the agent with the agent's access.
   */
  driverModules: z.array(z.string().min(1).max(4_096)).max(16).default([]),
  agent: z.strictObject({
    /**
     * `auto`: order 24 with keccak256 if this computer is fast enough, otherwise order 16 with turboshake128
     * (docs/adr/0016).
     */
    order: z.union([z.literal(16), z.literal(24), z.literal('auto')]).default('auto'),
    suite: z.enum(['keccak256', 'turboshake128', 'auto']).default('auto'),
    /** With `auto`: a table that takes longer than this is too slow; ms. */
    slowTableMs: z.number().int().min(1).max(600_000).default(8_000),
    hints: z.enum(['dense', 'sparse']),
    threads: z.number().int().min(0).max(256).optional(),
    /** `gpu` computes tables on a graphics card if one is present; the fastest other engine computes the rest. */
    engine: z.enum(['auto', 'gpu', ...engineNames]).optional(),
    /** A stream is resumed after this much silence while something is due; ms. */
    stallMs: z.number().int().min(100).max(600_000).default(5_000),
    /** A print fails after receiving nothing for this long; ms. */
    giveUpMs: z.number().int().min(100).max(86_400_000).default(600_000),
  }),
});

export type MatrixSettings = z.output<typeof settingsSchema>['agent'];

export interface MachineConfig {
  readonly folder: string;
  readonly data: string;
  /** Its fields always reflect the newest directory. */
  readonly directory: Directory;
  /** Reloads directory and certificate. */
  readonly renewal?: Pick<DirectoryFile, 'refresh' | 'sequence' | 'offer' | 'revocations' | 'offerRevocations'>;
  readonly serial: string;
  readonly kind: string;
  readonly profile: MachineProfile;
  readonly material: string;
  readonly driver: Readonly<Record<string, unknown>>;
  /** Drivers available to this machine. */
  readonly drivers: DriverRegistry;
  readonly agent: MatrixSettings;
  /** The identity currently in the folder. */
  readonly tls: TlsIdentity;
  readonly machineKey: MachineKey;
}

/** @throws {MillraceError} E_CONFIG with the file and the field that is missing or wrong; E_DIRECTORY */
export async function loadMachineConfig(folder: string, clock: Clock = systemClock): Promise<MachineConfig> {
  const read = async (name: keyof typeof machineFiles): Promise<Bytes> => {
    const path = join(folder, machineFiles[name]);
    try {
      return new Uint8Array(await readFile(path));
    } catch (cause) {
      throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
    }
  };
  const settings = parse(
    settingsSchema,
    readJson(await read('settings'), join(folder, machineFiles.settings)),
    machineFiles.settings,
    'E_CONFIG',
  );
  const { installation, adminKey, driverModules, ...own } = settings;
  const drivers = await driversFor(own.kind, driverModules, folder);
  const directories = await openDirectory({
    path: join(folder, machineFiles.directory),
    folder,
    anchor: { installation, adminKey },
    clock,
  });
  const tls = await openTlsFiles({
    certificate: join(folder, machineFiles.certificate),
    key: join(folder, machineFiles.tlsKey),
  });
  const renewal = {
    get sequence() {
      return directories.sequence;
    },
    get revocations() {
      return directories.revocations;
    },
    offer: directories.offer,
    offerRevocations: directories.offerRevocations,
    refresh: async () => {
      const renewed = await tls.refresh();
      return (await directories.refresh()) || renewed;
    },
  };
  const secret = await read('identity');
  try {
    return {
      ...own,
      drivers,
      folder,
      data: join(folder, machineFiles.data),
      directory: directories.directory,
      renewal,
      get tls() {
        return tls.identity;
      },
      machineKey: readKey(secret, join(folder, machineFiles.identity)),
    };
  } finally {
    wipe(secret);
  }
}

async function driversFor(kind: string, modules: readonly string[], folder: string): Promise<DriverRegistry> {
  const drivers = builtInDrivers();
  for (const specifier of modules) drivers.add(await loadDriverModule(specifier, folder));
  if (!drivers.has(kind)) {
    const known = drivers.kinds.join(', ');
    throw new MillraceError('E_CONFIG', `${machineFiles.settings}.kind: no driver for ${kind} (there are: ${known})`);
  }
  return drivers;
}

function readJson(bytes: Bytes, path: string): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${path} is not JSON`, { cause });
  }
}

function readKey(secret: Bytes, path: string): MachineKey {
  if (secret.length !== 32) throw new MillraceError('E_CONFIG', `${path} must hold 32 bytes`);
  try {
    return p256Key(secret);
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${path} holds no P-256 key`, { cause });
  }
}
