import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { removeDurably, toHex, wipe, writeDurably } from '@millrace/base';
import type { SafetyPolicy } from '@millrace/gcode';
import { generateP256Key, keyName, type TlsIdentity } from '@millrace/identity';
import { createTokenKey } from '@millrace/identity/pkcs11';
import { discardStagedTls, type Machine, replaceTls, type SignedDirectory, stageTls } from '@millrace/protocol';
import { machineFiles, pinSource, type TokenSettings } from '../agent/config.ts';

export type { OperatorRequest, OperatorStatus } from '../agent/operator-messages.ts';
export { operate, operatorCommands, statusText } from './operate.ts';

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

export interface NewToken {
  /** Path of the PKCS #11 module. */
  readonly module: string;
  readonly label: string;
  /** File with the PIN; absolute, or relative to the machine's folder. */
  readonly pinFile?: string | undefined;
}

/**
 * Creates the machine's key in a token.
 * @param name label of the key
 * @param attended somebody is at the terminal: a PIN that was refused before may be tried again
 * @returns public key, the token as it describes itself, and the settings for machine.json
 * @throws {MillraceError} E_CONFIG, E_HSM, E_PIN
 */
export async function createMachineKeyInToken(
  folder: string,
  name: string,
  { module, label, pinFile }: NewToken,
  { attended }: { readonly attended: boolean },
): Promise<Pick<Machine, 'machine' | 'publicKey' | 'token'> & { settings: TokenSettings }> {
  await mkdir(join(folder, machineFiles.data), { recursive: true, mode: 0o700 });
  const place = { module, label, pin: pinSource(folder, pinFile) };
  const { id, publicKey, token, counter } = await createTokenKey(place, name, { attended });
  const settings = {
    module,
    label,
    serial: token.serial,
    id: toHex(id),
    publicKey: toHex(publicKey),
    ...(pinFile === undefined ? {} : { pinFile }),
    ...(counter === undefined ? {} : { counter }),
  };
  return { machine: keyName(publicKey), publicKey, token, settings };
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

/** The agent reads the policy when it starts. @param policy undefined: there is none from now on */
export async function writeSafetyPolicy(folder: string, policy: SafetyPolicy | undefined): Promise<void> {
  const path = join(folder, machineFiles.safety);
  if (policy === undefined) await removeDurably(path);
  else await writeDurably(path, json(policy), 0o644);
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
