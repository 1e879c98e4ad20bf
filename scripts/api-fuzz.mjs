// node scripts/api-fuzz.mjs [--who WHO…] [--examples N] [--seed N] [-- OPTIONS of `schemathesis run`…]: runs Schemathesis (https://schemathesis.io) against
// the OpenAPI document of a control node that it starts, in a folder of its own, after a whole job on a virtual machine.
//
// WHO: guest (nobody), token (a read-only API token), owner, admin (with their certificates); default: all, in turn.
// Schemathesis is not installed by this: `pip install schemathesis`, or MILLRACE_SCHEMATHESIS=/path/to/schemathesis.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { tokenScopes } from '../packages/protocol/dist/index.js';

const program = fileURLToPath(new URL('../packages/cli/dist/program/main.js', import.meta.url));
const hooks = fileURLToPath(new URL('api_fuzz_hooks.py', import.meta.url));
const tester = process.env.MILLRACE_SCHEMATHESIS ?? 'schemathesis';
/** Server name of callers without a certificate. */
const GUEST = 'guest.millrace.invalid';

const scopes = tokenScopes.filter((scope) => scope.endsWith(':read'));

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    who: { type: 'string', multiple: true, default: ['guest', 'token', 'owner', 'admin'] },
    examples: { type: 'string', default: '40' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
});

if (spawnSync(tester, ['--version']).status !== 0) {
  console.log('skipped: Schemathesis is not installed (pip install schemathesis, or MILLRACE_SCHEMATHESIS=PATH)');
  process.exit(0);
}

const home = mkdtempSync(join(tmpdir(), 'millrace-api-fuzz-'));
const up = [];
try {
  const failed = await fuzz();
  if (failed.length > 0) console.log(`\nfound something as: ${failed.join(', ')} (--seed ${values.seed})`);
  else console.log(`\nnothing found (--seed ${values.seed})`);
  process.exitCode = failed.length > 0 ? 1 : 0;
} finally {
  for (const { child, ended } of up) {
    child.kill('SIGTERM');
    await ended;
  }
  rmSync(home, { recursive: true, force: true, maxRetries: 5 });
}

/** @returns as whom Schemathesis found something */
async function fuzz() {
  console.log('a whole job first, so that there is something to read …');
  millrace('demo', '--once');
  const child = spawn(process.execPath, [program, 'up', '--home', home], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  up.push({ child, ended });
  child.stdout.resume();
  for (let attempt = 0; !isUp(); attempt++) {
    if (attempt === 60 || child.exitCode !== null) throw new Error('the nodes did not start');
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
  const created = millrace(
    'token',
    'create',
    '--json',
    '--name',
    'fuzz',
    '--user',
    'brand-admin',
    '--scope',
    ...scopes,
  );
  const { text: token } = JSON.parse(created);
  const failed = [];
  for (const who of values.who) {
    console.log(`\n== ${who}`);
    const proxy = await proxyAs(who);
    try {
      if ((await schemathesis(proxy, who, who === 'token' ? token : undefined)) !== 0) failed.push(who);
    } finally {
      proxy.close();
      proxy.closeAllConnections();
    }
  }
  return failed;
}

function millrace(...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args, '--home', home], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`millrace ${args[0]} ended with ${status}: ${stderr || stdout}`);
  return stdout;
}

function isUp() {
  return spawnSync(process.execPath, [program, 'machine', 'list', '--user', 'admin', '--home', home]).status === 0;
}

/**
 * Plain HTTP on this computer, passed on to control as one caller: Schemathesis cannot choose the server name that
 * control expects of callers without a certificate.
 */
async function proxyAs(who) {
  const { control } = JSON.parse(readFileSync(join(home, 'run/addresses.json'), 'utf8'));
  const folder = join(home, 'users', who);
  const identity = ['guest', 'token'].includes(who)
    ? { servername: GUEST }
    : { cert: readFileSync(join(folder, 'tls.crt.pem')), key: readFileSync(join(folder, 'tls.key.pem')) };
  // Control's certificate names no host; this proxy leaves it unchecked, because it only reaches this computer.
  const agent = new Agent({ keepAlive: true, rejectUnauthorized: false, ...identity });
  const server = createServer((incoming, outgoing) => {
    const { method, url, headers } = incoming;
    const passed = request({ ...control, agent, method, path: url, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.pipe(outgoing);
    });
    passed.on('error', () => outgoing.destroy());
    incoming.pipe(passed);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

/** With a certificate, every request of the proxy is authenticated, whatever Schemathesis leaves out. */
function settingsFor(who) {
  const off = ['guest', 'token'].includes(who) ? '' : '[checks]\nignored_auth.enabled = false\n';
  const file = join(home, `api-fuzz-${who}.toml`);
  writeFileSync(
    file,
    `hooks = ${JSON.stringify(hooks)}
continue-on-failure = true
request-timeout = 30.0
suppress-health-check = ["all"]
${off}`,
  );
  return file;
}

function schemathesis(proxy, who, token) {
  const url = `http://127.0.0.1:${proxy.address().port}`;
  const args = ['--config-file', settingsFor(who), 'run', `${url}/v1/openapi.json`, '--url', url];
  args.push('--max-examples', values.examples, '--seed', values.seed, ...positionals);
  if (token !== undefined) args.push('--header', `Authorization: Bearer ${token}`);
  return new Promise((resolve) => {
    spawn(tester, args, { stdio: ['ignore', 'inherit', 'inherit'], cwd: home }).once('exit', resolve);
  });
}
