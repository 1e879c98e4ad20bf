// A client process of the race for permits: signs all its requests in advance, and sends them when its parent says so.
// Plain JavaScript, because Node runs it without a build.
import { readFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { encodeCbor, errorOfProblem, fromHex, systemRandom, toBase64 } from '@millrace/base';
import { nodeFiles, openInstallation } from '@millrace/cli/parts';
import { p256Key, userKey } from '@millrace/identity';
import { clientTls, nodeOf, signMachineDocument, signTransaction } from '@millrace/protocol';
import { permitRequest } from './permit-request.mjs';

const MINUTE = 60_000;
/** Connections of this process for each caller. */
const CONNECTIONS = 16;
/** Runs of a machine that call home for one print at once. */
const RUNS = 3;

const jobs = [];
let installation;
let address;
let holder;
let links;

async function prepare({ home, control, secret, licences, requests }) {
  installation = await openInstallation(home);
  address = control;
  holder = userKey(fromHex(secret));
  links = { operator: await link('operator'), distribution: await link('distribution') };
  for (const { licence, machine, key, serial } of licences) {
    const transactions = [];
    for (let i = 0; i < requests; i++) transactions.push(await sign({ type: 'print.request', licence, machine }));
    jobs.push({ licence, machine, key: p256Key(fromHex(key)), serial, transactions });
  }
}

/** Keeps its connections, so that the race is about requests and not about handshakes. */
async function link(caller) {
  const { layout, directory } = installation;
  const folder = caller === 'operator' ? layout.user(caller) : layout.node(caller);
  const identity = {
    certificate: await readFile(join(folder, nodeFiles.certificate), 'utf8'),
    key: new Uint8Array(await readFile(join(folder, nodeFiles.tlsKey))),
  };
  const pin = nodeOf(directory, 'control').fingerprint;
  const tls = clientTls({ authority: directory.authority, identity, pin });
  return { tls, agent: new Agent({ ...tls, keepAlive: true, maxSockets: CONNECTIONS }) };
}

function sign(body) {
  const issued = Date.now();
  const document = { ...body, id: systemRandom(16), issued, expires: issued + 30 * MINUTE };
  return signTransaction(holder, installation.directory.installation, document);
}

/** @returns {Promise<{ code: string, text: string }>} */
function post({ tls, agent }, path, type, body) {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': type, 'content-length': Buffer.byteLength(body) };
    const outgoing = request({ ...address, ...tls, agent, method: 'POST', path, headers }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('latin1');
        const code = response.statusCode === 200 ? 'accepted' : errorOfProblem(JSON.parse(text))?.code;
        resolve({ code: code ?? `status ${response.statusCode}`, text });
      });
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

async function askForPrint(transaction) {
  const body = JSON.stringify({ transaction: toBase64(transaction) });
  const { code, text } = await post(links.operator, '/v1/transactions', 'application/json', body);
  return { code, print: code === 'accepted' ? JSON.parse(text).print : undefined };
}

async function callHome({ machine, key, serial }, print) {
  const request = permitRequest({ print, serial });
  const document = await signMachineDocument(key, installation.directory.installation, request);
  const path = `/v1/machines/${machine}/call-home`;
  return post(links.distribution, path, 'application/octet-stream', encodeCbor({ request: document }));
}

/** Sends the requests of all licences in turn. Calls home for each accepted print at once, with several runs. */
async function race() {
  const outcomes = [];
  const lane = async (job) => {
    for (let transaction = job.transactions.pop(); transaction !== undefined; transaction = job.transactions.pop()) {
      const { code, print } = await askForPrint(transaction);
      outcomes.push({ licence: job.licence, step: 'print', code });
      if (print === undefined) continue;
      const answers = await Promise.all(Array.from({ length: RUNS }, () => callHome(job, print)));
      for (const answer of answers) outcomes.push({ licence: job.licence, step: 'permit', code: answer.code, print });
    }
  };
  await Promise.all(jobs.flatMap((job) => [lane(job), lane(job)]));
  return outcomes;
}

/** Calls home for prints of all processes. */
async function callAgain(prints) {
  const calls = prints.flatMap(({ licence, print }) => {
    const job = jobs.find((known) => known.licence === licence);
    return job === undefined ? [] : [callHome(job, print)];
  });
  return (await Promise.all(calls)).map(({ code }) => code);
}

process.on('message', async ({ id, task, data }) => {
  const result = await { prepare, race, callAgain }[task](data);
  process.send({ id, result });
});
process.on('disconnect', () => process.exit(0));
