import { X509Certificate } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  type Bytes,
  bytesUpTo,
  decodeCbor,
  encodeCbor,
  fileExists,
  hexOf,
  MillraceError,
  parse,
  removeDurably,
  wipe,
  writeDurably,
} from '@millrace/base';
import {
  certificatesOf,
  createTlsKey,
  isIssuedBy,
  isTlsPair,
  keyName,
  type MachineKey,
  p256Key,
  partyOf,
  tlsPublicKey,
} from '@millrace/identity';
import {
  createMachineKey,
  createMachineKeyInToken,
  type NewToken,
  writeMachineDirectory,
  writeMachineSettings,
} from '@millrace/machine/admin';
import { machineFiles, openKeyInToken, type TokenSettings, tokenSettings } from '@millrace/machine/agent';
import {
  type Address,
  addressSchema,
  directoryAt,
  MAX_PAIRING_MESSAGE,
  type Pairing,
  type PairingAnswer,
  type SignedDirectory,
} from '@millrace/protocol';
import { z } from 'zod';

/** Files of a machine's folder beside those of `machineFiles`. */
const files = {
  /** Where the machine's identity key is, if it is in a token. */
  token: 'token.json',
  /** The answer that the agent has accepted, until the administrator has admitted the machine. */
  pairing: 'pairing.cbor',
  /** The machine's name at its cloud, and where the agent connects. */
  cloud: 'cloud.json',
} as const;

const acceptedSchema = z.strictObject({
  version: z.literal(1),
  id: hexOf(16),
  offer: bytesUpTo(MAX_PAIRING_MESSAGE + 64),
  answer: bytesUpTo(MAX_PAIRING_MESSAGE + 64),
});
export type AcceptedPairing = Omit<z.output<typeof acceptedSchema>, 'version'>;

const cloudSchema = z.strictObject({ name: z.string().min(1).max(64), distribution: addressSchema });
export type CloudFile = z.output<typeof cloudSchema>;

/** The keys of a machine. They were made in its folder or token and never leave it. */
export interface MachineKeys {
  readonly identity: MachineKey;
  /** Only of a key in a token: its settings for machine.json. */
  readonly token?: TokenSettings | undefined;
  /** PEM. */
  readonly tls: Bytes;
  /** SubjectPublicKeyInfo. */
  readonly tlsPublic: Bytes;
  /** Wipes the keys. */
  close(): void;
}

/**
 * Reads the keys of a machine, or makes them. A key stays where it was made.
 * @param newToken where to make the identity key; in a file if absent
 * @throws {MillraceError} E_CONFIG, E_HSM, E_PIN
 */
export async function openMachineKeys(folder: string, newToken?: NewToken): Promise<MachineKeys> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { identity, token } = await openIdentity(folder, newToken);
  try {
    const tls = await openTlsKey(join(folder, machineFiles.tlsKey));
    return {
      ...{ identity, token, tls, tlsPublic: tlsPublicKey(tls) },
      close: () => {
        identity.close();
        wipe(tls);
      },
    };
  } catch (cause) {
    identity.close();
    throw new MillraceError('E_CONFIG', `${folder} does not hold the keys of a machine`, { cause });
  }
}

async function openIdentity(
  folder: string,
  newToken: NewToken | undefined,
): Promise<Pick<MachineKeys, 'identity' | 'token'>> {
  const path = join(folder, machineFiles.identity);
  let token = await readToken(folder);
  if (token === undefined && newToken !== undefined && !(await fileExists(path))) {
    const made = await createMachineKeyInToken(folder, `millrace ${basename(folder)}`, newToken, { attended: false });
    token = made.settings;
    await writeDurably(join(folder, files.token), json(token));
  }
  if (token !== undefined) return { identity: await openKeyInToken(folder, token), token };
  if (!(await fileExists(path))) await createMachineKey(folder);
  const secret = new Uint8Array(await readFile(path));
  try {
    return { identity: p256Key(secret) };
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${path} holds no P-256 key`, { cause });
  } finally {
    wipe(secret);
  }
}

async function readToken(folder: string): Promise<TokenSettings | undefined> {
  const path = join(folder, files.token);
  return (await fileExists(path)) ? readSettings(tokenSettings, path) : undefined;
}

/** PEM. */
async function openTlsKey(path: string): Promise<Bytes> {
  if (!(await fileExists(path))) {
    const key = createTlsKey();
    await writeDurably(path, key).finally(() => wipe(key));
  }
  return new Uint8Array(await readFile(path));
}

export const isPaired = (folder: string): Promise<boolean> => fileExists(join(folder, machineFiles.settings));

/** Forgets the cloud and keeps the keys, so that the machine can be paired again. */
export async function forgetCloud(folder: string): Promise<void> {
  for (const name of [machineFiles.settings, files.pairing]) await removeDurably(join(folder, name));
}

export async function readAccepted(folder: string): Promise<AcceptedPairing | undefined> {
  const path = join(folder, files.pairing);
  if (!(await fileExists(path))) return undefined;
  const decoded = decodeCbor(new Uint8Array(await readFile(path)), path, 'E_STORE');
  const { version: _, ...accepted } = parse(acceptedSchema, decoded, path, 'E_STORE');
  return accepted;
}

export function writeAccepted(folder: string, accepted: AcceptedPairing): Promise<void> {
  return writeDurably(join(folder, files.pairing), encodeCbor({ version: 1, ...accepted } as never));
}

/** @throws {MillraceError} E_CONFIG */
export async function readCloud(folder: string): Promise<CloudFile> {
  return readSettings(cloudSchema, join(folder, files.cloud));
}

async function readSettings<T>(schema: z.ZodType<T>, path: string): Promise<T> {
  try {
    return parse(schema, JSON.parse(await readFile(path, 'utf8')), path, 'E_CONFIG');
  } catch (cause) {
    if (cause instanceof MillraceError) throw cause;
    throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
  }
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

export interface Admission {
  readonly pairing: Pairing;
  readonly answer: PairingAnswer;
  readonly certificate: string;
  /** Verified against the administrator's key in the answer. */
  readonly directory: SignedDirectory;
  /** Address of the distribution node. */
  readonly distribution: Address;
  readonly additional: boolean;
}

/** The first machine of an agent may have a table of order 24 (some 130 MB); twenty such tables are too much. */
const matrixOf = (additional: boolean) =>
  additional ? { order: 16, suite: 'turboshake128' } : { order: 'auto', suite: 'auto' };

/**
 * Writes what an agent needs to work for the cloud. The settings are written last: with them, the folder is complete.
 * @throws {MillraceError} E_AUTH for a certificate of another key or another authority
 */
export async function writeAdmission(
  folder: string,
  keys: MachineKeys,
  { pairing, answer, certificate, directory, distribution, additional }: Admission,
  now: number,
): Promise<void> {
  const { authority } = directoryAt(directory.directory, now);
  requireOwn(certificate, keys, authority);
  const { serial, kind, profile } = pairing.machine;
  await writeMachineDirectory(folder, directory);
  await writeDurably(join(folder, files.cloud), json({ name: pairing.name, distribution }), 0o644);
  const { installation, adminKey } = answer;
  await writeMachineSettings(
    folder,
    { certificate, key: new Uint8Array(keys.tls) },
    {
      ...{ role: 'machine', installation, adminKey, serial, kind, profile, material: pairing.material },
      driver: JSON.parse(pairing.driver) as unknown,
      agent: { ...matrixOf(additional), hints: 'dense' },
      ...(keys.token && { token: keys.token }),
    },
  );
  await removeDurably(join(folder, files.pairing));
}

function requireOwn(certificate: string, { identity, tls }: MachineKeys, authority: string): void {
  try {
    const party = partyOf(new X509Certificate(certificate));
    const named = party?.role === 'machine' && party.name === keyName(identity.publicKey);
    if (
      named &&
      isTlsPair({ certificate, key: tls }) &&
      certificatesOf(authority).some((one) => isIssuedBy(certificate, one))
    )
      return;
  } catch (cause) {
    throw new MillraceError('E_AUTH', 'control sends a certificate that cannot be read', { cause });
  }
  throw new MillraceError('E_AUTH', 'control sends a certificate of another machine or another authority');
}
