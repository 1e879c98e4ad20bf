import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import type { Closable } from '@millrace/base';
import { WebSocket } from 'ws';
import { chromium } from '../live-matrix/page.ts';

/** A Chromium with a profile in files that nothing observes unless somebody is connected: its memory is its own. */
export interface OwnChromium extends Closable {
  /** Address for `consolePeople`, which connects to it. */
  readonly endpoint: string;
  /** Its processes by kind: `browser`, `renderer`, `gpu-process`, `utility`, each with a number. */
  processes(): ReadonlyMap<string, number>;
  /** Evaluates an expression in the first page that has the address, without recording its network. */
  evaluate(origin: string, expression: string): Promise<unknown>;
}

/** @param profile folder that it may fill */
export async function startOwnChromium(profile: string): Promise<OwnChromium> {
  const flags = ['--headless=new', '--no-sandbox', '--no-first-run', '--disable-background-networking'];
  const places = [`--user-data-dir=${profile}`, '--remote-debugging-port=0'];
  const child = spawn(chromium ?? '', [...flags, ...places, 'about:blank'], { stdio: ['ignore', 'ignore', 'pipe'] });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const endpoint = await endpointOf(child);
  return {
    endpoint,
    processes: () => processesOf(child.pid ?? 0),
    evaluate: async (origin, expression) => {
      const list = (await (await fetch(`http://${new URL(endpoint).host}/json/list`)).json()) as Target[];
      const page = list.find(({ type, url }) => type === 'page' && url.startsWith(`${origin}/`));
      if (page === undefined) throw new Error(`no page of ${origin}`);
      return evaluateIn(page.webSocketDebuggerUrl, expression);
    },
    close: async () => {
      process.off('exit', kill);
      child.kill('SIGTERM');
      await ended;
    },
  };
}

interface Target {
  readonly type: string;
  readonly url: string;
  readonly webSocketDebuggerUrl: string;
}

function endpointOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stderr?.on('data', (part: unknown) => {
      text += String(part);
      const found = /DevTools listening on (ws:\S+)/.exec(text)?.[1];
      if (found !== undefined) resolve(found);
    });
    child.once('close', () => reject(new Error(`Chromium ended: ${text}`)));
    child.once('error', reject);
  });
}

function evaluateIn(address: string, expression: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(address);
    socket.once('error', reject);
    socket.once('open', () => {
      const params = { expression, awaitPromise: true, returnByValue: true };
      socket.send(JSON.stringify({ id: 1, method: 'Runtime.evaluate', params }));
    });
    socket.on('message', (data) => {
      const { id, result } = JSON.parse(String(data)) as { id?: number; result?: { result?: { value?: unknown } } };
      if (id !== 1) return;
      socket.close();
      resolve(result?.result?.value);
    });
  });
}

/** The process and all its descendants. */
function processesOf(root: number): ReadonlyMap<string, number> {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const parent = /^\d+$/.test(name) ? /\nPPid:\s+(\d+)/.exec(textOf(name, 'status'))?.[1] : undefined;
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  const found = new Map<string, number>([['browser', root]]);
  const isOurs = (pid: number): boolean => pid === root || (parents.has(pid) && isOurs(parents.get(pid) ?? 0));
  for (const pid of parents.keys()) {
    if (pid === root || !isOurs(pid)) continue;
    const kind = /--type=([\w-]+)/.exec(textOf(String(pid), 'cmdline'))?.[1];
    if (kind !== undefined && kind !== 'zygote') found.set(`${kind} ${pid}`, pid);
  }
  return found;
}

/** Empty if the process has ended. */
function textOf(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}
