import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Path of Chromium, if it is installed. */
export const chromium = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((file) => existsSync(file));

const types: Readonly<Record<string, string>> = {
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

const packageFolder = (name: string) => fileURLToPath(new URL(`../../../${name}/`, import.meta.url));

/** Folders that the server publishes: the built packages as published, without a bundler. */
const roots: Readonly<Record<string, string>> = {
  'live-matrix': packageFolder('live-matrix'),
  base: packageFolder('base'),
  noble: dirname(fileURLToPath(import.meta.resolve('@noble/hashes/sha2.js'))),
  vectors: fileURLToPath(new URL('../../../../vectors/live-matrix/', import.meta.url)),
};

interface Manifest {
  readonly exports: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Path of a package's export for browsers: the condition "browser", if present. */
function browserExport(name: string, path: string): string {
  const manifest = JSON.parse(readFileSync(join(packageFolder(name), 'package.json'), 'utf8')) as Manifest;
  const conditions = manifest.exports[path] ?? {};
  const chosen = (conditions.browser ?? conditions) as { readonly default: string };
  return `/${name}/${chosen.default.replace(/^\.\//, '')}`;
}

const addresses: readonly (readonly [name: string, address: string])[] = [
  ['@millrace/live-matrix/browser', browserExport('live-matrix', './browser')],
  ['@millrace/live-matrix/gpu', browserExport('live-matrix', './gpu')],
  ['@millrace/base/core', browserExport('base', './core')],
  ['@noble/hashes/', '/noble/'],
];

/** Replaces imports by package name with imports by address, as a bundler does. Import maps do not apply to workers. */
function withAddresses(script: string): string {
  return addresses.reduce((text, [name, address]) => text.replaceAll(`from '${name}`, `from '${address}`), script);
}

export interface PageOptions {
  /** Source of a module. It ends with `await say(text)`. */
  readonly script: string;
  /** Value that the module gets from `await given()`. */
  readonly given?: unknown;
  /** Sends the headers that let pages share memory with workers. */
  readonly isolated?: boolean;
  readonly flags?: readonly string[];
}

/** Runs a page in a new Chromium process. Returns the page's text, or the reason why there is none. */
export async function pageSays(program: string, options: PageOptions): Promise<string> {
  const profile = mkdtempSync(join(tmpdir(), 'millrace-page-'));
  const page = `<!doctype html><script>
    const say = (body) => fetch('/said', { method: 'POST', body });
    const given = async () => (await fetch('/given')).json();
    addEventListener('error', ({ message }) => say(message));
    addEventListener('unhandledrejection', ({ reason }) => say(reason?.stack ?? String(reason)));
    </script><script type="module">${withAddresses(options.script)}</script>`;
  let child: ChildProcess | undefined;
  let said: (text: string) => void = () => undefined;
  const answer = new Promise<string>((resolve) => {
    said = resolve;
  });
  const send = (response: ServerResponse, type: string, body: string | Buffer) =>
    response.setHeader('content-type', type).end(body);
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname;
    if (options.isolated === true) {
      response.setHeader('cross-origin-opener-policy', 'same-origin');
      response.setHeader('cross-origin-embedder-policy', 'require-corp');
    }
    if (path === '/') return send(response, 'text/html', page);
    if (path === '/given') return send(response, 'application/json', JSON.stringify(options.given ?? null));
    if (path === '/said') {
      let body = '';
      request.on('data', (part) => {
        body += String(part);
      });
      request.on('end', () => {
        response.end();
        said(body);
      });
      return;
    }
    const [, root = '', ...rest] = path.split('/');
    const file = join(roots[root] ?? '/nowhere', ...rest);
    if (existsSync(file)) {
      const bytes = readFileSync(file);
      const isScript = extname(file) === '.js';
      return send(response, types[extname(file)] ?? 'text/plain', isScript ? withAddresses(String(bytes)) : bytes);
    }
    response.writeHead(404).end();
    if (path.endsWith('.js')) said(`there is no ${path}`);
  });
  try {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    const flags = ['--headless', '--no-sandbox', '--disable-dev-shm-usage', `--user-data-dir=${profile}`];
    child = spawn(program, [...flags, ...(options.flags ?? []), `http://127.0.0.1:${address.port}/`], {
      stdio: 'ignore',
      detached: true, // a separate process group, which is killed as a whole
    });
    child.on('error', (error) => said(error.message));
    child.on('exit', (status) => said(`Chromium ended with ${status}`));
    const guard = setTimeout(() => said('no answer'), 100_000); // do not leave a browser running
    return await answer.finally(() => clearTimeout(guard));
  } finally {
    const gone = new Promise((resolve) => child?.once('exit', resolve));
    if (child?.exitCode === null && endGroup(child)) await gone;
    server.closeAllConnections();
    server.close();
    try {
      // Child processes may still write shortly after the browser exits.
      rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
    } catch (error) {
      process.stdout.write(`${profile} is left behind: ${String(error)}\n`);
    }
  }
}

function endGroup({ pid }: ChildProcess): boolean {
  try {
    return pid !== undefined && process.kill(-pid, 'SIGKILL');
  } catch {
    return false; // it has already exited
  }
}
