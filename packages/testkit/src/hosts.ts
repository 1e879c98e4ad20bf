import { execFile } from 'node:child_process';
import { chmod, chown, copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Closer } from '@millrace/base';
import { program } from './cli.ts';
import { Managed } from './process.ts';

// Hosts of an installation, as far as one computer can have them: each has a folder of its own, which only its own
// system user can read if the test runs as root, and they exchange files only where a person would carry them.

const isRoot = process.getuid?.() === 0;
const FIRST_UID = 21_000;
const killAtRename = new URL('./kill-at-rename.mjs', import.meta.url).href;
/** Programs of one version. */
export interface Build {
  /** The command `millrace`. */
  readonly program: string;
  /** The agent of a site. */
  readonly agent: string;
}

export const presentBuild: Build = {
  program,
  agent: fileURLToPath(new URL('../../agent/dist/main.js', import.meta.url)),
};

export interface Host {
  readonly name: string;
  /** Folder of the node, agent or person on this host. */
  readonly home: string;
  path(file: string): string;
  /** Runs a command in the host's folder, as its user. @returns its JSON document. Throws what it says if it fails. */
  millrace<T = Record<string, never>>(...args: readonly string[]): Promise<T>;
  /** What a command says when it fails; throws if it succeeds. */
  refusal(...args: readonly string[]): Promise<string>;
  /**
   * Runs a command that is killed before its durable write number `at`.
   * @returns whether it was killed: false if it has fewer writes and ended
   */
  killed(at: number, ...args: readonly string[]): Promise<boolean>;
  /** Writes further settings into `node.json` of the node on this host. */
  set(settings: object): Promise<void>;
  /** Carries a file from another host to this one. @returns its path here */
  carry(file: string): Promise<string>;
  /** Takes over a folder of another host, as its administrator copies it. @param name path below this host's folder */
  take(from: string, name: string, filter: (file: string) => boolean): Promise<void>;
  /** Starts `node run` and waits until the node serves. */
  runNode(...args: readonly string[]): Promise<Managed>;
  /** Installs another version, for what starts from now on. */
  install(build: Build): void;
  /** Starts an agent of a site. */
  runAgent(...args: readonly string[]): Promise<Managed>;
  log(): Promise<string>;
}

export interface Hosts {
  /** A new host. */
  add(name: string): Promise<Host>;
  close(): Promise<void>;
}

/** @param build version that is installed on every host at first */
export async function createHosts(build: Build = presentBuild): Promise<Hosts> {
  const closer = new Closer();
  const base = await mkdtemp(join(tmpdir(), 'millrace-hosts-'));
  // The users of the hosts pass through it, each to its own folder.
  await chmod(base, 0o711);
  if (process.env.MILLRACE_KEEP) process.stdout.write(`kept: ${base}\n`);
  else closer.add({ close: () => rm(base, { recursive: true, force: true, maxRetries: 5 }) });
  let uid = FIRST_UID;
  return {
    add: async (name) => createHost(join(base, name), name, uid++, closer, build),
    close: () => closer.close(),
  };
}

async function createHost(folder: string, name: string, uid: number, closer: Closer, first: Build): Promise<Host> {
  let build = first;
  const within = isRoot ? ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--'] : [];
  await mkdir(folder, { mode: 0o700 });
  if (isRoot) await chown(folder, uid, uid);
  const home = join(folder, 'home');
  const logFile = `${folder}.log`;
  const env = { PATH: process.env.PATH ?? '', HOME: folder };
  const command = (args: readonly string[], more: Readonly<Record<string, string>> = {}) =>
    new Promise<{ exit: number | undefined; stdout: string; stderr: string }>((resolve, reject) => {
      const [first, ...rest] = [...within, process.execPath, build.program, ...args, '--home', home, '--json'];
      const options = { cwd: folder, env: { ...env, ...more }, timeout: 120_000, maxBuffer: 1 << 26 };
      execFile(first as string, rest, options, (error, stdout, stderr) => {
        if (error?.signal === 'SIGKILL') return resolve({ exit: undefined, stdout, stderr });
        const exit = error === null ? 0 : error.code;
        if (typeof exit !== 'number') return reject(error ?? new Error(`${name}: killed`));
        resolve({ exit, stdout, stderr });
      });
    });
  const start = async (spec: { entry: string; args: readonly string[] }) => {
    const process = new Managed({ name, ...spec }, logFile, { within, env: { ...env, MILLRACE_DUMPABLE: undefined } });
    closer.add({ close: () => process.kill() });
    await process.start();
    return process;
  };
  return {
    name,
    home,
    path: (file) => join(folder, file),
    millrace: async (...args) => {
      const { exit, stdout, stderr } = await command(args);
      if (exit !== 0) throw new Error(`${name}: millrace ${args.join(' ')}: ${stderr}`);
      return JSON.parse(stdout);
    },
    refusal: async (...args) => {
      const { exit, stderr } = await command(args);
      if (exit === 0) throw new Error(`${name}: millrace ${args.join(' ')} was not refused`);
      return stderr;
    },
    killed: async (at, ...args) => {
      const preload = { NODE_OPTIONS: `--import ${killAtRename}`, MILLRACE_KILL_AT: String(at) };
      const { exit, stderr } = await command(args, preload);
      if (exit !== undefined && exit !== 0) throw new Error(`${name}: millrace ${args.join(' ')}: ${stderr}`);
      return exit === undefined;
    },
    set: async (settings) => {
      const file = join(home, 'node.json');
      await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), ...settings }));
    },
    carry: async (file) => {
      const here = join(folder, basename(file));
      await copyFile(file, here);
      if (isRoot) await chown(here, uid, uid);
      return here;
    },
    take: async (from, name, filter) => {
      const to = join(folder, name);
      await cp(from, to, { recursive: true, filter });
      if (!isRoot) return;
      for (const file of [to, ...(await readdir(to, { recursive: true })).map((below) => join(to, below))])
        await chown(file, uid, uid);
    },
    install: (next) => {
      build = next;
    },
    runNode: (...args) => start({ entry: build.program, args: ['node', 'run', '--home', home, ...args] }),
    runAgent: (...args) => start({ entry: build.agent, args: ['--folder', home, ...args] }),
    log: () => readFile(logFile, 'utf8'),
  };
}

/** A port that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
