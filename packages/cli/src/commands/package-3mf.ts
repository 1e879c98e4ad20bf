import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MillraceError } from '@millrace/base';
import { keyName } from '@millrace/identity';
import {
  consumerKeyId,
  loadMachineConfig,
  type MachineConfig,
  openPackageSource,
  readConsumerKey,
} from '@millrace/machine/agent';
import { packagedMachine, readTransaction } from '@millrace/protocol';
import { PackageFile } from '@millrace/vault';
import { commandName } from '../output/command-name.ts';
import { readThreeMf } from '../three-mf/read.ts';
import { readConsumerPublicKey, writeThreeMf } from '../three-mf/write.ts';
import type { Context } from './context.ts';
import { machineFolder } from './machine-folder.ts';
import { newFile } from './new-file.ts';

export interface ExportOptions {
  readonly consumer: string;
  readonly '3mf': string;
}

/** Puts a job package into a 3MF file for the machine that it is for. */
export async function exportFile(context: Context, file: string, options: ExportOptions): Promise<void> {
  const publicKey = readConsumerPublicKey(await readText(context.path(options.consumer)));
  const source = await openPackageSource(context.path(file));
  const out = context.path(options['3mf']);
  try {
    const machine = machineOf(await PackageFile.open(source));
    const target = await newFile(out);
    try {
      await writeThreeMf(target.part, source, { id: machine, publicKey }, context.random);
      await target.finish();
    } catch (error) {
      await target.discard();
      throw error;
    }
    context.terminal.result(
      { file: out, consumer: machine, key: consumerKeyId(publicKey) },
      `3MF file ${out}, for the machine ${machine}. There: \`${commandName} driver make MACHINE FILE\`.`,
    );
  } finally {
    await source.close();
  }
}

/**
 * The machine in a package's licence. The licence is not verified: its machine does that, and here it is only the name
 * of the consumer.
 */
function machineOf({ trailer }: PackageFile): string {
  const licence = readTransaction(trailer.licence);
  if (licence.type !== 'licence.grant') throw new MillraceError('E_PACKAGE', 'the job package has no licence');
  return packagedMachine(licence).machine;
}

export interface ImportOptions {
  readonly machine: string;
  readonly out: string;
}

/** Takes the job package out of a 3MF file. */
export async function importFile(context: Context, file: string, { machine, out }: ImportOptions): Promise<void> {
  const config = await loadMachineConfig(await machineFolder(context, machine), context.clock);
  const path = context.path(out);
  try {
    const target = await newFile(path);
    try {
      await unpack(config, context.path(file), target.part);
      await target.finish();
    } catch (error) {
      await target.discard();
      throw error;
    }
    context.terminal.result(
      { file: path, machine },
      `Job package ${path}. Make it: \`${commandName} driver make ${machine} FILE\`.`,
    );
  } finally {
    config.machineKey.close();
  }
}

/**
 * Calls `work` with the path of a job package: the file itself, or what a 3MF file contains, which is removed
 * afterwards.
 */
export async function withJobPackage<T>(
  config: MachineConfig,
  path: string,
  work: (path: string) => Promise<T>,
): Promise<T> {
  if (!(await isZip(path))) return work(path);
  const folder = await mkdtemp(join(tmpdir(), 'millrace-3mf-'));
  try {
    const unpacked = join(folder, 'package.mrjob');
    await unpack(config, path, unpacked);
    return await work(unpacked);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** @throws {MillraceError} as `readThreeMf`; E_PACKAGE if what the 3MF file contains is no job package */
async function unpack({ folder, machineKey }: MachineConfig, file: string, target: string): Promise<void> {
  const key = await readConsumerKey(folder);
  await readThreeMf(file, target, { id: keyName(machineKey.publicKey), keyId: consumerKeyId(key.publicKey), key });
  const source = await openPackageSource(target);
  await PackageFile.open(source).finally(() => source.close());
}

async function isZip(path: string): Promise<boolean> {
  const source = await openPackageSource(path);
  try {
    return source.size > 4 && Buffer.from(await source.read(0, 4)).toString('latin1') === 'PK\x03\x04';
  } finally {
    await source.close();
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new MillraceError('E_NOT_FOUND', `cannot read ${path}`, { cause });
  }
}
