import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { equalBytes, utf8 } from '@millrace/base';
import { generateP256Key, verifySignature } from '@millrace/identity';
import { createTokenKey, openTokenKey } from '@millrace/identity/pkcs11';
import { until } from '@millrace/testkit/cli/helpers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// A machine's key in a TPM 2.0: the software TPM swtpm behind a resource manager, through tpm2-pkcs11. Its version 1.9.0
// (Debian 12) has no ECDH, so a key there is refused. MILLRACE_TPM_MODULE names a newer module.

const run = promisify(execFile);
const modules = ['x86_64', 'aarch64'].map((cpu) => `/usr/lib/${cpu}-linux-gnu/pkcs11/libtpm2_pkcs11.so`);
const module = process.env.MILLRACE_TPM_MODULE ?? modules.find((path) => existsSync(path)) ?? '';
const PIN = '5772';

function missing(): string | undefined {
  if (module === '') return 'tpm2-pkcs11 is not installed';
  for (const command of ['swtpm', 'tpm2-abrmd', 'tpm2_ptool', 'dbus-daemon'])
    if (spawnSync('which', [command]).status !== 0) return `there is no ${command}`;
  try {
    createRequire(import.meta.url).resolve('pkcs11js');
    return undefined;
  } catch {
    return 'the package pkcs11js is not installed';
  }
}
const why = missing();
if (why !== undefined) console.log(`keys in a TPM are not checked: ${why}`);

/** @returns the first of two free ports: that of the control channel has to follow it */
async function freePorts(): Promise<number> {
  const listen = async (port: number): Promise<Server | undefined> => {
    const server = createServer().listen(port, '127.0.0.1');
    return once(server, 'listening').then(
      () => server,
      () => undefined,
    );
  };
  for (;;) {
    const first = await listen(0);
    if (first === undefined) continue;
    const { port } = first.address() as AddressInfo;
    const second = await listen(port + 1);
    first.close();
    await once(first, 'close');
    if (second === undefined) continue;
    second.close();
    await once(second, 'close');
    return port;
  }
}

describe.skipIf(why !== undefined)('a machine’s key in a TPM', { timeout: 120_000 }, () => {
  let folder: string;
  const started: ChildProcess[] = [];
  const start = (command: string, args: string[]): ChildProcess => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    started.unshift(child);
    return child;
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-tpm-'));
    const [state, store] = [join(folder, 'state'), join(folder, 'store')];
    for (const path of [state, store]) await mkdir(path);
    const port = await freePorts();
    const bus = start('dbus-daemon', ['--session', '--nofork', '--print-address']);
    let address = '';
    bus.stdout?.on('data', (text) => {
      address += text;
    });
    await until(() => address.includes('\n'));
    process.env.DBUS_SESSION_BUS_ADDRESS = address.trim();
    const channels = ['--server', `type=tcp,port=${port}`, '--ctrl', `type=tcp,port=${port + 1}`];
    start('swtpm', [
      'socket',
      '--tpmstate',
      `dir=${state}`,
      '--tpm2',
      ...channels,
      '--flags',
      'not-need-init,startup-clear',
    ]);
    const manager = () =>
      start('tpm2-abrmd', ['--session', '--allow-root', '--tcti', `swtpm:host=127.0.0.1,port=${port}`]);
    let managing = manager();
    process.env.TPM2TOOLS_TCTI = process.env.TPM2_PKCS11_TCTI = 'tabrmd:bus_type=session';
    process.env.TPM2_PKCS11_STORE = store;
    const tool = (...args: string[]) => run('tpm2_ptool', [...args, '--path', store]);
    await until(async () => {
      if (managing.exitCode !== null) managing = manager(); // the TPM did not listen yet
      return tool('init').then(
        () => true,
        () => false,
      );
    });
    await tool('addtoken', '--pid=1', '--sopin=1414', `--userpin=${PIN}`, '--label=millrace');
    await writeFile(join(folder, 'pin'), PIN, { mode: 0o600 });
  }, 60_000);
  afterAll(async () => {
    for (const child of started)
      await new Promise((resolve) => {
        child.once('exit', resolve);
        if (!child.kill('SIGKILL')) resolve(undefined);
      });
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  it('signs and agrees, or is not made at all', async () => {
    const pin = { file: join(folder, 'pin'), refusal: join(folder, 'refused') };
    const place = { module, label: 'millrace', pin };
    const made = await createTokenKey(place, 'machine', { attended: true }).catch((error: unknown) => error as Error);
    if (made instanceof Error) {
      expect(made).toMatchObject({ code: 'E_HSM' });
      expect(made.message).toContain('has no ECDSA and ECDH');
      const { stdout } = await run('tpm2_ptool', ['listobjects', '--label=millrace', '--path', join(folder, 'store')]);
      expect(stdout.trim()).toBe('');
      console.log(`${module} has no ECDH: the key was refused, and none was made`);
      return;
    }
    expect(made.token.model).toContain('TPM');
    const key = await openTokenKey({ ...place, ...made });
    const message = utf8('a document');
    expect(verifySignature('ES256', key.publicKey, message, await key.sign(message))).toBe(true);
    const other = generateP256Key();
    expect(equalBytes(await key.agree(other.publicKey), await other.agree(key.publicKey))).toBe(true);
    key.close();
  });
});
