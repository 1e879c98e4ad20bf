import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Bytes, type Clock, fromHex, hexOf, MillraceError, parse, systemClock, wipe } from '@millrace/base';
import { type SafetyPolicy, safetyPolicySchema } from '@millrace/gcode';
import { type MachineKey, p256Key, type TlsIdentity } from '@millrace/identity';
import { openTokenKey, type PinSource } from '@millrace/identity/pkcs11';
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
import { type CameraSettings, cameraSchema } from '../camera/settings.ts';
import { builtInDrivers } from '../drivers/built-in.ts';
import { loadDriverModule } from '../drivers/driver-module.ts';
import type { DriverRegistry } from '../drivers/registry.ts';
import { readIfThere } from './files.ts';
import { type OwnSettings, type RemoteVersion, readRemoteSettings, underRemote } from './remote-settings.ts';

/** Contents of a machine's folder. Written when the machine is set up; read by the agent when it starts. */
export const machineFiles = {
  settings: 'machine.json',
  /** The safety policy of the machine's owner, if there is one. */
  safety: 'safety.json',
  /** The camera that watches the machine, if there is one. */
  camera: 'camera.json',
  /** The directory as signed by the administrator. */
  directory: directoryFiles.directory,
  certificate: 'tls.crt.pem',
  tlsKey: 'tls.key.pem',
  /** 32 bytes, P-256: the machine's identity key if it has no PKCS#11 token. */
  identity: 'identity.key',
  /** 32 bytes, P-256: the key of the driver that makes objects from job packages here. */
  driverKey: 'driver.key',
  /** RSA, PKCS #8: the key of the driver as a consumer of 3MF files. */
  consumerKey: 'consumer.key',
  /** The token has refused the PIN. */
  pinRefused: 'pin.refused',
  data: 'data',
} as const;

/** The machine's identity key in a PKCS #11 token. */
export const tokenSettings = z.strictObject({
  /** Path of the PKCS #11 module. */
  module: z.string().min(1).max(4_096),
  /** Label and serial number of the token. */
  label: z.string().min(1).max(32),
  serial: z.string().max(16),
  /** CKA_ID of the key, and the public key that it must have. */
  id: hexOf(16),
  publicKey: hexOf(65),
  /** File with the PIN. By default the PIN agent gives it, whose socket MILLRACE_PIN_SOCKET names. */
  pinFile: z.string().min(1).max(4_096).optional(),
  /** The machine counts its objects with the token's monotonic counter, which said this when the key was made. */
  counter: z.number().int().nonnegative().optional(),
});

const settingsSchema = z.strictObject({
  role: z.literal('machine'),
  /** Set at installation. The agent accepts a directory only with this administrator's signature. */
  installation: hexOf(16),
  adminKey: hexOf(33),
  /** The serial number that the machine must report on every connect. */
  serial: z.string().min(1).max(64),
  /** Kind of machine. Selects the driver. */
  kind: machineKind,
  /** Absent if the key is in a file of this folder. */
  token: tokenSettings.optional(),
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
  /**
   * Whether the organisation that holds the machine may set some settings from elsewhere by signed statements
   * (docs/adr/0068). It can never loosen the safety policy in this folder.
   */
  remoteSettings: z.boolean().default(true),
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
    /** A print fails after receiving nothing that was due for this long; ms. */
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
  readonly renewal?: Pick<
    DirectoryFile,
    'refresh' | 'sequence' | 'hash' | 'offer' | 'revocations' | 'offerRevocations'
  >;
  readonly serial: string;
  readonly kind: string;
  readonly profile: MachineProfile;
  readonly material: string;
  readonly driver: Readonly<Record<string, unknown>>;
  readonly remoteSettings: boolean;
  /** The settings of this folder alone, and the version of those from elsewhere that apply as well. */
  readonly own: OwnSettings;
  readonly remote?: RemoteVersion | undefined;
  /** What designs may do on this machine. Without a policy: whatever the machine can do. */
  readonly safety?: SafetyPolicy | undefined;
  readonly camera?: CameraSettings | undefined;
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
  const { installation, adminKey, driverModules, token, ...own } = settings;
  const drivers = await driversFor(own.kind, driverModules, folder);
  const safety = await loadSafetyPolicy(folder);
  if (safety !== undefined && drivers.get(own.kind).appliesSafety === undefined)
    throw new MillraceError(
      'E_CONFIG',
      `the ${own.kind} driver cannot apply a safety policy: remove ${machineFiles.safety}`,
    );
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
    get hash() {
      return directories.hash;
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
  const machineKey =
    token === undefined
      ? readKey(await read('identity'), join(folder, machineFiles.identity))
      : await openKeyInToken(folder, token);
  const data = join(folder, machineFiles.data);
  const local = { ...own, safety };
  const remote = own.remoteSettings ? await readRemoteSettings(data, { key: machineKey, installation }) : undefined;
  return {
    ...(remote === undefined ? local : underRemote(local, remote.settings, drivers)),
    own: local,
    remote,
    camera: await loadIfThere(folder, 'camera', cameraSchema),
    drivers,
    folder,
    data,
    directory: directories.directory,
    renewal,
    get tls() {
      return tls.identity;
    },
    machineKey,
  };
}

export type TokenSettings = z.output<typeof tokenSettings>;

/** @throws {MillraceError} E_CONFIG, E_HSM, E_PIN */
export function openKeyInToken(
  folder: string,
  { id, publicKey, pinFile, ...place }: TokenSettings,
): Promise<MachineKey> {
  return openTokenKey({ ...place, pin: pinSource(folder, pinFile), id: fromHex(id), publicKey: fromHex(publicKey) });
}

/** @param file absolute, or relative to the machine's folder; the PIN agent of the environment if undefined */
export function pinSource(folder: string, file: string | undefined): PinSource {
  return {
    file: file && resolve(folder, file),
    socket: process.env.MILLRACE_PIN_SOCKET,
    refusal: join(folder, machineFiles.pinRefused),
  };
}

/**
 * The safety policy in a machine's folder.
 * @throws {MillraceError} E_CONFIG if it is wrong: a machine never works with half a policy
 */
export function loadSafetyPolicy(folder: string): Promise<SafetyPolicy | undefined> {
  return loadIfThere(folder, 'safety', safetyPolicySchema);
}

/** @throws {MillraceError} E_CONFIG if the file is wrong: a machine never works with half a setting */
async function loadIfThere<S extends z.ZodType>(
  folder: string,
  name: keyof typeof machineFiles,
  schema: S,
): Promise<z.output<S> | undefined> {
  const path = join(folder, machineFiles[name]);
  let bytes: Bytes | undefined;
  try {
    bytes = await readIfThere(path);
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
  }
  return bytes && parse(schema, readJson(bytes, path), machineFiles[name], 'E_CONFIG');
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

/** Wipes the secret. */
function readKey(secret: Bytes, path: string): MachineKey {
  if (secret.length !== 32) throw new MillraceError('E_CONFIG', `${path} must hold 32 bytes`);
  try {
    return p256Key(secret);
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${path} holds no P-256 key`, { cause });
  } finally {
    wipe(secret);
  }
}
