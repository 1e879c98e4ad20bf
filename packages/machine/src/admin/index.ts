import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { wipe, writeDurably } from '@millrace/base';
import { generateP256Key, keyName, type TlsIdentity } from '@millrace/identity';
import { discardStagedTls, type Machine, replaceTls, type SignedDirectory, stageTls } from '@millrace/protocol';
import { machineFiles } from '../agent/config.ts';

// Administrator operations on a machine's folder. A running agent loads a new certificate without a restart.

/** @returns the public key, and the name derived from it */
export async function createMachineKey(folder: string): Promise<Pick<Machine, 'machine' | 'publicKey'>> {
  await mkdir(join(folder, machineFiles.data), { recursive: true, mode: 0o700 });
  const key = generateP256Key();
  const secret = key.exportSecret();
  try {
    await writeDurably(join(folder, machineFiles.identity), secret);
    return { machine: keyName(key.publicKey), publicKey: key.publicKey };
  } finally {
    wipe(secret);
    key.close();
  }
}

/** Wipes the TLS key. @param settings contents of machine.json */
export async function writeMachineSettings(
  folder: string,
  tls: TlsIdentity,
  settings: Readonly<Record<string, unknown>>,
): Promise<void> {
  await writeDurably(join(folder, machineFiles.certificate), tls.certificate, 0o644);
  await writeDurably(join(folder, machineFiles.tlsKey), tls.key);
  wipe(tls.key);
  await writeDurably(join(folder, machineFiles.settings), json(settings), 0o644);
}

export async function writeMachineDirectory(folder: string, directory: SignedDirectory): Promise<void> {
  await writeDurably(join(folder, machineFiles.directory), json(directory), 0o644);
}

/** Wipes the key. */
export function stageMachineCertificate(folder: string, tls: TlsIdentity): Promise<void> {
  return stageTls(folder, machineFiles, tls);
}

export function discardMachineCertificate(folder: string, isAccepted: (certificate: string) => boolean): Promise<void> {
  return discardStagedTls(folder, machineFiles, isAccepted);
}

export function replaceMachineCertificate(folder: string): Promise<boolean> {
  return replaceTls(folder, machineFiles);
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
