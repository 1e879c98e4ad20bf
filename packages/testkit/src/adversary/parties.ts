import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { toHex } from '@millrace/base';
import { type Layout, machineFiles, machineToJson, userFiles } from '@millrace/cli/parts';
import {
  type Authority,
  generateP256Key,
  generateUserKey,
  keyName,
  type MemorySigner,
  type TlsIdentity,
} from '@millrace/identity';

type Json = Record<string, unknown>;

async function addTo(layout: Layout, list: 'users' | 'machines', entry: Json): Promise<void> {
  const json = JSON.parse(await readFile(layout.installation, 'utf8')) as Json;
  const entries = [...(json[list] as Json[]), entry];
  await writeFile(layout.installation, JSON.stringify({ ...json, [list]: entries }));
}

async function writeTls(
  folder: string,
  files: { readonly certificate: string; readonly tlsKey: string },
  { certificate, key }: TlsIdentity,
): Promise<void> {
  await writeFile(join(folder, files.certificate), certificate);
  await writeFile(join(folder, files.tlsKey), key, { mode: 0o600 });
}

/** Registers another user in the administrator's name. */
export async function addUser(
  layout: Layout,
  authority: Authority,
  name: string,
  key: MemorySigner = generateUserKey(),
): Promise<void> {
  const folder = layout.user(name);
  await mkdir(folder, { recursive: true });
  const user = keyName(key.publicKey);
  await writeFile(join(folder, userFiles.key), key.exportSecret(), { mode: 0o600 });
  await writeTls(folder, userFiles, await authority.issue({ role: 'user', name: user }));
  await addTo(layout, 'users', { name, user, publicKey: toHex(key.publicKey) });
  key.close();
}

/** Registers another machine with its own key and serial number. */
export async function addMachine(layout: Layout, authority: Authority, name: string): Promise<void> {
  const folder = layout.machine(name);
  await mkdir(join(folder, machineFiles.data), { recursive: true });
  const key = generateP256Key();
  const machine = keyName(key.publicKey);
  const [first] = (JSON.parse(await readFile(layout.installation, 'utf8')) as { machines: { name: string }[] })
    .machines;
  const model = await readFile(join(layout.machine(first?.name ?? ''), machineFiles.settings), 'utf8');
  const serial = `${name}-${machine.slice(0, 8)}`;
  const settings = { ...(JSON.parse(model) as Json & { kind: 'virtual'; profile: { factor: number } }), serial };
  await writeFile(join(folder, machineFiles.settings), JSON.stringify(settings));
  await copyFile(layout.directory, join(folder, machineFiles.directory));
  await writeFile(join(folder, machineFiles.identity), key.exportSecret(), { mode: 0o600 });
  await writeTls(folder, machineFiles, await authority.issue({ role: 'machine', name: machine }));
  const { kind, profile } = settings;
  const registration = machineToJson({ machine, publicKey: key.publicKey, serial, kind, profile });
  await addTo(layout, 'machines', { name, material: 'PLA', registration });
  key.close();
}
