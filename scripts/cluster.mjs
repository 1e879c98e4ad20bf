// npm run cluster [-- --full] [--once] [--home FOLDER]: for trying, the whole cluster on this computer: Cassandra, Kafka
// and the four nodes, each with a folder of its own (docs/cluster.md). Ctrl-C stops it; the next start goes on.
// --full: three Cassandra nodes, three brokers and two of each node that can be several (some 5 GB). --once: stops when
// everything runs.
import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import { root, setup } from './setup.mjs';

const { values } = parseArgs({
  options: { full: { type: 'boolean' }, once: { type: 'boolean' }, home: { type: 'string' } },
});
setup();
const home = resolve(process.env.INIT_CWD ?? '.', values.home ?? join(root, '.millrace-cluster'));
const admin = join(home, 'admin');
const main = join(root, 'packages/cli/dist/program/main.js');
const port = (name, otherwise) => Number(process.env[name] ?? otherwise);
const engines = { cassandra: port('CASS_PORT', 9042), kafka: port('KAFKA_PORT', 19_092) };
/** Ports of the nodes that listen. */
const ports = {
  'control-1': port('MILLRACE_CONTROL_PORT', 7601),
  'control-2': port('MILLRACE_CONTROL_2_PORT', 7611),
  'distribution-1': port('MILLRACE_DISTRIBUTION_PORT', 7602),
  'distribution-2': port('MILLRACE_DISTRIBUTION_2_PORT', 7612),
};
/** Only the active control node serves the console. */
const consoles = {
  'control-1': port('MILLRACE_CONSOLE_PORT', 7604),
  'control-2': port('MILLRACE_CONSOLE_2_PORT', 7614),
};
/** In the order of their start: control before those that connect to it. */
const first = ['control-1', 'distribution-1', 'segments-1', 'keys-1'];
/** Added while the first ones run, each with its options of `node create` and `node admit`. */
const further = {
  'control-2': { create: ['--join'], admit: [] },
  'distribution-2': { create: [], admit: [] },
  'segments-2': { create: [], admit: ['--shared-cells'] },
  'keys-1-b': { create: ['--replica-of', 'keys-1'], replicaOf: 'keys-1' },
};
const roleOf = (id) => id.split('-')[0];
const inCluster = ['control', 'segments', 'keys'];
const folderOf = (id) => join(home, 'hosts', id);
const admission = (id) => join(home, 'hosts', `${id}.admission`);

const say = (text) => process.stdout.write(`${text}\n`);
const run = promisify(execFile);
const engine = (name, ...args) =>
  run(join(root, `scripts/cluster/${name}.sh`), args, {
    env: { ...process.env, MILLRACE_CLUSTER: join(home, 'engines') },
  });
const millrace = async (...args) => JSON.parse((await run(process.execPath, [main, ...args, '--json'])).stdout);

const stopping = new AbortController();
let failure;
process.on('SIGINT', () => stopping.abort());
process.on('SIGTERM', () => stopping.abort());

/** Number of servers of each engine, as it was chosen at the first start. */
async function sizeOf() {
  const file = join(home, 'servers');
  if (!existsSync(file)) await writeFile(file, values.full ? '3' : '1');
  const count = Number(await readFile(file, 'utf8'));
  if (values.full && count === 1) throw new Error(`${home} has one server of each engine: choose another --home`);
  return count;
}

async function startEngine(name, count) {
  say(`${name} (${count}) …`);
  await engine(name, String(count));
}

/** Settings of a node of the cluster. Everything is on this computer, so without TLS and logins. */
function clusterOf(role, count) {
  const at = (host, number) => `${host}:${number}`;
  const numbers = Array.from({ length: count }, (_, i) => i);
  return {
    contactPoints: numbers.map((i) => at(`127.0.0.${i + 1}`, engines.cassandra)),
    localDataCenter: 'datacenter1',
    keyspace: `millrace_${role}`,
    copies: count,
    ...(role === 'control' && {
      kafka: {
        brokers: numbers.map((i) => at('127.0.0.1', engines.kafka + i)),
        prefix: 'millrace',
        copies: count,
      },
    }),
  };
}

/** Makes the installation, without nodes. @returns its id, and the administrator's key */
async function installationOf() {
  const note = join(home, 'installation.json');
  if (!existsSync(note)) {
    say('installation …');
    const made = await millrace('init', '--without-nodes', '--name', 'Cluster', '--home', admin);
    await writeFile(note, JSON.stringify(made));
  }
  return JSON.parse(await readFile(note, 'utf8'));
}

/** Makes a node's folder and its request. Repeated after an interruption, it makes the same one. */
async function createNode(id, count, ...more) {
  const { installation, adminKey } = await installationOf();
  const role = roleOf(id);
  const options = ['--installation', installation, '--admin-key', adminKey, '--home', folderOf(id), ...more];
  if (id in ports) options.push('--address', `127.0.0.1:${ports[id]}`);
  if (id in consoles) options.push('--console', `127.0.0.1:${consoles[id]}`);
  if (inCluster.includes(role)) {
    const file = join(home, 'hosts', `${role}.cluster.json`);
    await writeFile(file, JSON.stringify(clusterOf(role, count), null, 2));
    options.push('--cluster', file);
  }
  const out = join(home, 'hosts', `${id}.request`);
  return millrace('node', 'create', '--role', role, '--id', id, '--out', out, ...options);
}

const admit = (requests, ...more) =>
  millrace(
    ...['node', 'admit', ...requests.map(({ request }) => request)],
    ...['--fingerprint', ...requests.map(({ fingerprint }) => fingerprint)],
    ...['--out', join(home, 'hosts'), '--home', admin, ...more],
  );

/** Makes and admits the first node of each role, as docs/several-hosts.md describes. */
async function admitFirst(count) {
  if (first.every((id) => existsSync(admission(id)))) return;
  const requests = [];
  for (const id of first) requests.push(await createNode(id, count));
  await admit(requests);
}

async function admitFurther(id, count) {
  if (existsSync(admission(id))) return;
  const { create, admit: options, replicaOf } = further[id];
  const made = await createNode(id, count, ...create);
  if (replicaOf === undefined) return void (await admit([made], ...options));
  const { request, fingerprint } = made;
  const where = ['--home', folderOf(replicaOf), '--out', admission(id)];
  await millrace('node', 'replicate', request, '--fingerprint', fingerprint, ...where);
}

/** Address of the console at the active control node. */
async function consoleOrigin(ids) {
  while (!stopping.signal.aborted) {
    for (const id of ids.filter((one) => one in consoles)) {
      const origin = `http://localhost:${consoles[id]}`;
      const served = await fetch(origin).then(
        ({ ok }) => ok,
        () => false,
      );
      if (served) return origin;
    }
    await sleep(200);
  }
}

const nodes = [];

/** Resolves when the node serves. */
function startNode(id) {
  say(`${id} …`);
  const child = spawn(process.execPath, [main, 'node', 'run', '--home', folderOf(id), '--admission', admission(id)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true, // Ctrl-C goes to this process alone, which stops the nodes in order
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  nodes.unshift({ child, ended });
  const errors = createInterface({ input: child.stderr });
  let last = '';
  errors.on('line', (line) => {
    last = line;
  });
  const ready = new Promise((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('{"ready":true')) resolve();
      else last = line;
    });
  });
  const died = ended.then((code) => {
    if (stopping.signal.aborted) return;
    failure ??= new Error(`${id} ended with code ${code}: ${last}`);
    stopping.abort();
  });
  return Promise.race([ready, died]);
}

const untilStopped = () =>
  new Promise((resolve) => {
    if (stopping.signal.aborted) resolve();
    stopping.signal.addEventListener('abort', resolve, { once: true });
  });

async function start() {
  await mkdir(join(home, 'hosts'), { recursive: true, mode: 0o700 });
  const count = await sizeOf();
  await startEngine('cassandra', count);
  await startEngine('kafka', count);
  await admitFirst(count);
  const ids = count === 1 ? first : [...first, ...Object.keys(further)];
  for (const id of ids) {
    if (stopping.signal.aborted) return;
    if (id in further) await admitFurther(id, count);
    await startNode(id);
  }
  const origin = await consoleOrigin(ids);
  if (stopping.signal.aborted) return;
  const { url } = await millrace('console', '--origin', origin, '--home', admin);
  say(
    `\nEverything runs. The console is at ${origin}. This address signs one browser in, within two minutes:\n\n${url}\n`,
  );
  say(`Commands: npx millrace … --home ${admin}. Ctrl-C stops everything.`);
  if (!values.once) await untilStopped();
}

async function stop() {
  stopping.abort();
  say('stopping …');
  for (const { child, ended } of nodes) {
    child.kill('SIGTERM');
    await ended;
  }
  await engine('kafka', 'down');
  await engine('cassandra', 'down');
  say('stopped');
}

try {
  await start();
} catch (error) {
  failure ??= error;
}
await stop();
if (failure !== undefined) {
  process.stderr.write(`\n  error   ${String(failure.stderr || failure.message).trim()}\n`);
  process.exit(1);
}
process.exit(0);
