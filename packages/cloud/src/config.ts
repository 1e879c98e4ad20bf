import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, type Clock, hexOf, MillraceError, parse, systemClock } from '@millrace/base';
import { type P256Key, p256Key, type TlsIdentity } from '@millrace/identity';
import {
  type BoxUse,
  type Directory,
  type DirectoryFile,
  directoryFiles,
  type NodeRole,
  openDirectory,
} from '@millrace/protocol';
import { z } from 'zod';
import { DEFAULT_STAGING, type StagingSettings, stagingSchema } from './distribution/staging.ts';
import { budgetSchema } from './keys/budget.ts';
import type { MaintenanceSettings } from './keys/maintenance.ts';
import type { BoxPeriod } from './node/own-boxes.ts';

/** Contents of a node's folder; written by `millrace init`, read by the node when it starts. */
export const nodeFiles = {
  settings: 'node.json',
  /** As the administrator signed it. */
  directory: directoryFiles.directory,
  certificate: 'tls.crt.pem',
  tlsKey: 'tls.key.pem',
  /** 32 bytes, P-256: the node's identity. */
  identity: 'identity.key',
  /** Control only: 32 bytes, P-256, signs permits. */
  permitKey: 'permit.key',
  /** Control only: the administrator's signed word for the permit key; public. */
  permitKeyDocument: 'permit-key.register',
  /** Control only: 32 bytes, Ed25519 seed, signs checkpoints. */
  logKey: 'log.key',
  /** Control only: the log key before, with which checkpoints are signed, too, while it counts. */
  formerLogKey: 'log.former.key',
  /** Keys only: 32 bytes, wraps every key at rest. */
  kek: 'kek.key',
  data: 'data',
  /** In `data`: slots of the keys to which mail, and what owners attach, is sealed. In no backup: they are made anew. */
  boxes: { mail: 'mail.boxes', attachments: 'attachments.boxes' },
  /** Segments only, in `data`: the bodies of the cells; which is which, the store beside it says. */
  cells: 'cells.bin',
} as const;

const boxPeriod = z.strictObject({ periodMs: z.number().int().min(100), retentionMs: z.number().int().min(0) });

const settingsSchema = z.strictObject({
  role: z.enum(['control', 'segments', 'keys', 'distribution']),
  /** What it is installed with: the directory is believed with this administrator's signature. */
  installation: hexOf(16),
  adminKey: hexOf(33),
  /** Keys node: how often every cell is renewed, the share of cells that are real, in percent, and what it may cost. */
  maintenance: z
    .strictObject({
      periodMs: z.number().int().min(100),
      density: z.number().int().min(1).max(100),
      budget: budgetSchema.optional(),
    })
    .optional(),
  /** How often box keys are made, and how long owners may seal to the one before (spec/protocol.md, section 4). */
  boxes: z.strictObject({ mail: boxPeriod.optional(), attachments: boxPeriod.optional() }).optional(),
  /** Keys node: chaff hints for every 100 of data, in streams whose hints are sparse (the machine's own setting). */
  chaffPercent: z.number().int().min(0).max(100).optional(),
  /** Keys node: how often it checks the vault by itself, ms; 0 is never. */
  checks: z
    .strictObject({
      everyMs: z.number().int().min(0),
      deepEveryMs: z.number().int().min(0),
      afterStartMs: z.number().int().min(0),
    })
    .optional(),
  /** Distribution node: how much is staged at a time. */
  staging: stagingSchema.optional(),
});

/** After every start and once an hour; every cell is read once a day. */
const DEFAULT_CHECKS = { everyMs: 3_600_000, deepEveryMs: 86_400_000, afterStartMs: 2_000 } as const;

/**
 * Mail is sealed anew when its key has gone, so that none has to stay. What an owner has sealed may lie on the owner's disk
 * until a broken-off upload is resumed.
 */
const DEFAULT_BOXES = {
  mail: { periodMs: 600_000, retentionMs: 0 },
  attachments: { periodMs: 3_600_000, retentionMs: 86_400_000 },
} as const;

export interface NodeConfig {
  readonly role: NodeRole;
  readonly folder: string;
  /** Its fields are those that count now. */
  readonly directory: Directory;
  /** Where the directory is read from, and read again. */
  readonly directories?: DirectoryFile;
  readonly tls: TlsIdentity;
  readonly identity: P256Key;
  readonly maintenance: MaintenanceSettings & { readonly density: number };
  readonly boxes: { readonly [use in BoxUse]: BoxPeriod };
  readonly chaffPercent: number;
  readonly checks: { readonly everyMs: number; readonly deepEveryMs: number; readonly afterStartMs: number };
  readonly staging: StagingSettings;
  /** Reads another secret of the folder, 32 bytes; the caller wipes it. */
  secret(name: 'permitKey' | 'logKey' | 'formerLogKey' | 'kek'): Promise<Bytes>;
}

/** @throws {MillraceError} E_CONFIG naming the file that is missing or wrong, E_DIRECTORY */
export async function loadNodeConfig(folder: string, clock: Clock = systemClock): Promise<NodeConfig> {
  const read = async (name: Exclude<keyof typeof nodeFiles, 'boxes'>): Promise<Bytes> => {
    const path = join(folder, nodeFiles[name]);
    try {
      return new Uint8Array(await readFile(path));
    } catch (cause) {
      throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
    }
  };
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(await read('settings')));
  } catch (cause) {
    if (cause instanceof MillraceError) throw cause;
    throw new MillraceError('E_CONFIG', `${join(folder, nodeFiles.settings)} is not JSON`, { cause });
  }
  const settings = parse(settingsSchema, json, nodeFiles.settings, 'E_CONFIG');
  const { installation, adminKey } = settings;
  const directories = await openDirectory({
    path: join(folder, nodeFiles.directory),
    folder,
    anchor: { installation, adminKey },
    clock,
  });
  const identity = await read('identity');
  try {
    return {
      role: settings.role,
      folder,
      directory: directories.directory,
      directories,
      tls: { certificate: new TextDecoder().decode(await read('certificate')), key: await read('tlsKey') },
      identity: p256Key(identity),
      maintenance: settings.maintenance ?? { periodMs: 120_000, density: 50 },
      boxes: {
        mail: settings.boxes?.mail ?? DEFAULT_BOXES.mail,
        attachments: settings.boxes?.attachments ?? DEFAULT_BOXES.attachments,
      },
      chaffPercent: settings.chaffPercent ?? 0,
      checks: settings.checks ?? DEFAULT_CHECKS,
      staging: settings.staging ?? DEFAULT_STAGING,
      secret: read,
    };
  } finally {
    identity.fill(0);
  }
}
