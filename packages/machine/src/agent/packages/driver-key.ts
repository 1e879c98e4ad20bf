import { join } from 'node:path';
import { type Bytes, type Clock, MillraceError, type RandomSource, wipe, writeDurably } from '@millrace/base';
import { generateP256Key, type P256Key, p256Key } from '@millrace/identity';
import { signMachineDocument } from '@millrace/protocol';
import { type MachineConfig, machineFiles } from '../config.ts';
import { readIfThere } from '../files.ts';

/** How long owners may seal packages to a driver's key after the machine has signed it. */
const VALID_MS = 30 * 86_400_000;

/** The driver's key in a machine's folder. @throws {MillraceError} E_NOT_FOUND if there is none, E_CONFIG */
export async function readDriverKey(folder: string): Promise<P256Key> {
  const path = join(folder, machineFiles.driverKey);
  const secret = await readIfThere(path);
  if (secret === undefined)
    throw new MillraceError('E_NOT_FOUND', 'this driver has no key yet: make it with `millrace driver key`');
  try {
    return p256Key(secret);
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${path} holds no P-256 key`, { cause });
  } finally {
    wipe(secret);
  }
}

/**
 * Makes the driver's key if there is none.
 * @returns the key as the machine has signed it, for owners
 */
export async function signDriverKey(
  { folder, machineKey, directory }: Pick<MachineConfig, 'folder' | 'machineKey' | 'directory'>,
  { clock, random }: { readonly clock: Clock; readonly random: RandomSource },
): Promise<Bytes> {
  const path = join(folder, machineFiles.driverKey);
  if ((await readIfThere(path)) === undefined) {
    const made = generateP256Key();
    const secret = made.exportSecret();
    await writeDurably(path, secret).finally(() => wipe(secret));
    made.close();
  }
  const key = await readDriverKey(folder);
  const driver = key.publicKey;
  key.close();
  const issued = clock.now();
  const times = { issued, expires: issued + VALID_MS };
  const body = { type: 'driver.key', id: random(16), ...times, driver } as const;
  return signMachineDocument(machineKey, directory.installation, body);
}
