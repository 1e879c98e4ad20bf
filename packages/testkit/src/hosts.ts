import { execFile } from 'node:child_process';
import { chmod, chown, copyFile, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
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
const agentEntry = fileURLToPath(new URL('../../agent/dist/main.js', import.meta.url));

export interface Host {
  readonly name: string;
  /** Folder of the node, agent or person on this host. */
  readonly home: string;
  path(file: string): string;
  /** Runs a command in the host's folder, as its user. @returns its JSON document. Throws what it says if it fails. */
  millrace<T = Record<string, never>>(...args: readonly string[]): Promise<T>;
  /** What a command says when it fails; throws if it succeeds. */
  refusal(...args: readonly string[]): Promise<string>;
  /** Carries a file from another host to this one. @returns its path here */
  carry(file: string): Promise<string>;
  /** Starts `node run` and waits until the node serves. */
  runNode(...args: readonly string[]): Promise<Managed>;
  /** Starts an agent of a site. */
  runAgent(...args: readonly string[]): Promise<Managed>;
  log(): Promise<string>;
}

export interface Hosts {
  /** A new host. */
  add(name: string): Promise<Host>;
  close(): Promise<void>;
}

export async function createHosts(): Promise<Hosts> {
  const closer = new Closer();
  const base = await mkdtemp(join(tmpdir(), 'millrace-hosts-'));
  // The users of the hosts pass through it, each to its own folder.
  await chmod(base, 0o711);
  if (process.env.MILLRACE_KEEP) process.stdout.write(`kept: ${base}\n`);
  else closer.add({ close: () => rm(base, { recursive: true, force: true, maxRetries: 5 }) });
  let uid = FIRST_UID;
  return {
    add: async (name) => createHost(join(base, name), name, uid++, closer),
    close: () => closer.close(),
  };
}

async function createHost(folder: string, name: string, uid: number, closer: Closer): Promise<Host> {
  const within = isRoot ? ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--'] : [];
  await mkdir(folder, { mode: 0o700 });
  if (isRoot) await chown(folder, uid, uid);
  const home = join(folder, 'home');
  const logFile = `${folder}.log`;
  const env = { PATH: process.env.PATH ?? '', HOME: folder };
  const command = (args: readonly string[]) =>
    new Promise<{ exit: number; stdout: string; stderr: string }>((resolve, reject) => {
      const [first, ...rest] = [...within, process.execPath, program, ...args, '--home', home, '--json'];
      const options = { cwd: folder, env, timeout: 120_000, maxBuffer: 1 << 26 };
      execFile(first as string, rest, options, (error, stdout, stderr) => {
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
    carry: async (file) => {
      const here = join(folder, basename(file));
      await copyFile(file, here);
      if (isRoot) await chown(here, uid, uid);
      return here;
    },
    runNode: (...args) => start({ entry: program, args: ['node', 'run', '--home', home, ...args] }),
    runAgent: (...args) => start({ entry: agentEntry, args: ['--folder', home, ...args] }),
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
