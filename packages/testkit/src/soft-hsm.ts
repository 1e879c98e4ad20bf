import { execFile, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const modules = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so',
];

/** SoftHSM2 with tokens in a folder of the test. A process can open one, because the module reads its settings once. */
export interface SoftHsm {
  /** Path of the PKCS #11 module. */
  readonly module: string;
  readonly folder: string;
  /** The module does not see tokens that are added after its first use in this process. */
  addToken(label: string, pin: string): Promise<{ readonly serial: string }>;
  /** Writes a PIN to a file that only its owner may read. */
  pinFile(name: string, pin: string): Promise<string>;
  /** Pulls all tokens out. The module does not see them again in this process. */
  pull(): Promise<void>;
  putBack(): Promise<void>;
  close(): Promise<void>;
}

/**
 * SoftHSM2 with a monotonic counter, which it does not have itself: a module compiled here that passes all else on.
 * @param step by which a read increases the counter
 * @returns path of the module
 */
export async function addCounter({ module, folder }: SoftHsm, step = 1): Promise<string> {
  const [made, file] = [join(folder, `counter-${step}.so`), join(folder, `counter-${step}`)];
  const includes = join(dirname(createRequire(import.meta.url).resolve('pkcs11js/package.json')), 'includes');
  const defined = [`REAL_MODULE="${module}"`, `COUNTER_FILE="${file}"`, `COUNTER_STEP=${step}`].map(
    (text) => `-D${text}`,
  );
  const source = fileURLToPath(new URL('token-counter.c', import.meta.url));
  await promisify(execFile)('cc', ['-shared', '-fPIC', ...defined, `-I${includes}`, '-o', made, source, '-ldl']);
  return made;
}

/**
 * @param compiler needed for `addCounter`
 * @returns why there is none, if something is not installed
 */
export async function openSoftHsm({ compiler = false } = {}): Promise<SoftHsm | string> {
  if (compiler && spawnSync('cc', ['--version']).status !== 0)
    return 'there is no C compiler: counters of tokens are not checked';
  const module = modules.find((path) => existsSync(path));
  if (module === undefined) return 'SoftHSM2 is not installed: keys in tokens are not checked';
  try {
    createRequire(import.meta.url).resolve('pkcs11js');
  } catch {
    return 'the package pkcs11js is not installed: keys in tokens are not checked';
  }
  const folder = await mkdtemp(join(tmpdir(), 'millrace-hsm-'));
  const [tokens, away, settings] = ['tokens', 'away', 'softhsm2.conf'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await mkdir(tokens);
  await writeFile(settings, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  process.env.SOFTHSM2_CONF = settings;
  const tool = promisify(execFile);
  return {
    module,
    folder,
    addToken: async (label, pin) => {
      const before = new Set(await readdir(tokens));
      await tool('softhsm2-util', ['--init-token', '--free', '--label', label, '--pin', pin, '--so-pin', '00000000']);
      // The folder is named after a UUID that ends with the serial number.
      const made = (await readdir(tokens)).find((name) => !before.has(name)) ?? '';
      return { serial: made.replaceAll('-', '').slice(-16) };
    },
    pinFile: async (name, pin) => {
      const file = join(folder, name);
      await writeFile(file, `${pin}\n`, { mode: 0o600 });
      return file;
    },
    pull: async () => {
      await rename(tokens, away);
      await mkdir(tokens);
    },
    putBack: async () => {
      await rm(tokens, { recursive: true });
      await rename(away, tokens);
    },
    close: () => rm(folder, { recursive: true, force: true }),
  };
}
