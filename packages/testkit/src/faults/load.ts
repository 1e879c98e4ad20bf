import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeCbor, encodeCbor, MillraceError, sleep, systemRandom, toHex } from '@millrace/base';
import { grantLicence, type PrintView, requestPrint, type Session, storeDesign } from '@millrace/client';
import { prepareFile } from '@millrace/client/node';
import { generateP256Key, keyName } from '@millrace/identity';
import {
  type Address,
  addressesOf,
  createHttpClient,
  type HttpClient,
  signMachineDocument,
  signTransaction,
  tlsTo,
} from '@millrace/protocol';
import { noisyGcode } from '../designs.ts';
import type { OwnMachine } from '../enrol.ts';
import { license, order, store } from '../job.ts';
import { permitRequest } from '../permit-request.mjs';
import type { TestInstallation } from '../test-installation.ts';
import { type Activity, repeat, type Success } from './activity.ts';

// What an installation does while its parts are broken: a machine prints, machines ask for permits, an owner uploads, the
// keys node renews cells. Everything that was acknowledged is noted, and compared at the end with what is there.

/** Time between attempts, and the limit of one request, ms. */
const AGAIN_MS = 200;
const CALL_MS = 20_000;
const LIMIT_MS = 180_000;
/** Requests that a machine signs for one run. */
const REQUESTS = 3;

/** A permit that control has given. */
export interface Given {
  readonly print: string;
  readonly licence: string;
  /** The signed permit, hexadecimal. */
  readonly permit: string;
}

/** What was acknowledged. */
export interface Acknowledged {
  readonly permits: Given[];
  readonly prints: PrintView[];
  readonly designs: string[];
}

/** Which permits were looked at already, so that no look repeats another. */
export interface Checked {
  permits: number;
  /** By print. */
  readonly permitOf: Map<string, string>;
  /** By object. */
  readonly printOf: Map<string, string>;
  /** Completed objects whose report is in the ledger. */
  readonly reported: Set<string>;
}

export interface Load {
  readonly acknowledged: Acknowledged;
  readonly checked: Checked;
  readonly activities: Readonly<Record<'permits' | 'streams' | 'uploads', Activity>>;
  /** Times at which control said that a print had advanced. */
  readonly progress: readonly number[];
  /** Licence of the prints. */
  readonly licence: string;
  /** Licence of the permits that are asked for all the time. */
  readonly permitLicence: string;
  /** Grants a licence for the machines that race. */
  grant(objects: number): Promise<string>;
  race(licence: string, objects: number): Promise<void>;
  /** A race in which each print's permit is asked for at all the addresses, at each by itself. */
  raceAt(licence: string, objects: number, addresses: readonly Address[]): Promise<string[]>;
  close(): Promise<void>;
}

export interface LoadOptions {
  readonly system: TestInstallation;
  readonly owner: Session;
  readonly operator: Session;
  readonly admin: Session;
  /** What the machine prints, again and again. */
  readonly part: Uint8Array;
  readonly racers: number;
  /** Factor for the pauses between permits and between uploads. */
  readonly pauses: number;
}

export async function startLoad(options: LoadOptions): Promise<Load> {
  const { system, owner, operator, admin, part, racers, pauses } = options;
  const { design } = await store(system, owner, part);
  const licence = await license(system, owner, design, 10_000);
  const machines = await registerMachines(admin, system, racers);
  const small = await store(system, owner, noisyGcode(20_000), { name: 'small.gcode' });
  const grant = (objects: number) =>
    grantLicence(owner, {
      ...{ design: small.design, objects, materials: [], days: 1, holder: 'operator' },
      machines: machines.map(({ machine }) => machine),
    });
  const permitLicence = await grant(10_000);

  const acknowledged: Acknowledged = { permits: [], prints: [], designs: [design, small.design] };
  const clients = await openCallers(system);
  const everywhere = [...clients];
  const home = (machine: OwnMachine, print: string, at: readonly HttpClient[], limitMs?: number) =>
    callHome(system, at, machine, print, limitMs);

  let turn = 0;
  const permits = repeat('permits', 500 * pauses, async () => {
    const machine = machines[turn++ % machines.length] as OwnMachine;
    const print = await requestPrint(operator, permitLicence, machine.machine);
    const permit = await home(machine, print, everywhere);
    if (permit.startsWith('E_')) throw new MillraceError(permit as never, 'no permit');
    acknowledged.permits.push({ print, licence: permitLicence, permit });
  });
  const progress: number[] = [];
  const streams = repeat('streams', 0, async (signal) => {
    const print = await order(system, operator, licence);
    let acked = 0;
    for (let view: PrintView | undefined; ; await sleep(250, signal)) {
      view = await operator.api.print(print).catch(retryable);
      if (view === undefined) continue;
      const now = view.progress?.acked ?? 0;
      if (now > acked) progress.push(Date.now());
      acked = Math.max(acked, now);
      if (['queued', 'permitted', 'running'].includes(view.state)) continue;
      acknowledged.prints.push(view);
      if (view.state !== 'completed') throw new Error(`a print has ended as ${JSON.stringify(view)}`);
      return;
    }
  });
  let uploaded = 0;
  const uploads = repeat('uploads', 2_000 * pauses, async () => {
    const file = join(system.scratch, `upload-${++uploaded}.gcode`);
    await writeFile(file, noisyGcode(40_000 + uploaded));
    const prepared = await prepareFile(owner, file, {}, () => undefined);
    for (const end = Date.now() + LIMIT_MS; ; await sleep(AGAIN_MS))
      try {
        const view = await storeDesign(owner, prepared, () => undefined);
        acknowledged.designs.push(view.design);
        return;
      } catch (error) {
        if (!(error instanceof MillraceError) || !error.retryable || Date.now() > end) throw error;
      }
  });
  const activities = { permits, streams, uploads };

  const race: Load['raceAt'] = async (raced, objects, addresses) => {
    const callers = addresses.length > 0 ? await Promise.all(addresses.map((at) => clientOf(system, [at]))) : clients;
    const answers = await Promise.all(
      Array.from({ length: objects * 2 }, async (_, i) => {
        const machine = machines[i % machines.length] as OwnMachine;
        const print = await ordered(operator, raced, machine.machine);
        if (print.startsWith('E_')) return [print];
        // Two runs of the machine: the first is granted, the other refused, whatever they ask.
        const runs = [0, 1].map(() =>
          Promise.all(
            callers.map((caller) => home(machine, print, [caller], addresses.length > 0 ? 60_000 : undefined)),
          ),
        );
        const all = (await Promise.all(runs)).flat();
        const granted = new Set(all.filter((answer) => !answer.startsWith('E_')));
        for (const permit of granted) acknowledged.permits.push({ print, licence: raced, permit });
        if (granted.size > 1) throw new Error(`${granted.size} permits of the print ${print}`);
        return [...granted, ...all.filter((answer) => answer.startsWith('E_'))];
      }),
    );
    if (addresses.length > 0) for (const caller of callers) caller.close();
    const exhausted = answers.filter(([first]) => first === 'E_LICENCE_EXHAUSTED').length;
    const granted = answers.filter(([first]) => first !== undefined && !first.startsWith('E_')).length;
    if (exhausted !== objects || granted !== objects)
      throw new Error(
        `${granted} permits and ${exhausted} refusals for ${objects} objects: ${JSON.stringify(answers.map((all) => all.map((one) => one.slice(0, 24))))}`,
      );
    return answers.flat();
  };
  return {
    checked: { permits: 0, permitOf: new Map(), printOf: new Map(), reported: new Set() },
    ...{ acknowledged, activities, progress, licence, permitLicence, grant },
    race: async (raced, objects) => void (await race(raced, objects, [])),
    raceAt: race,
    close: async () => {
      await Promise.all(Object.values(activities).map((activity) => activity.close()));
      for (const client of clients) client.close();
    },
  };
}

/** Times at which epochs were committed, and their numbers, from the logs of the replicas of the keys node. */
export async function commitsOf(
  logFiles: readonly string[],
): Promise<{ readonly at: number; readonly epoch: number }[]> {
  const lines = (await textOf(logFiles)).split('\n').filter((line) => line.includes('"sweep complete"'));
  return lines
    .map((line) => {
      const { time, epoch } = JSON.parse(line) as { time: string; epoch: number };
      return { at: Date.parse(time), epoch };
    })
    .sort((a, b) => a.at - b.at);
}

/** How often a replica of the keys node became active. */
export async function takeoversOf(logFiles: readonly string[]): Promise<number> {
  return (await textOf(logFiles)).split('"this keys process is active"').length - 1;
}

const textOf = async (files: readonly string[]): Promise<string> =>
  (await Promise.all(files.map((file) => readFile(file, 'utf8')))).join('\n');

/** Commits as operations: each begins with the one before. */
export function asSuccesses(commits: readonly { readonly at: number }[]): Success[] {
  return commits.slice(1).map(({ at }, i) => ({ began: commits[i]?.at ?? 0, ended: at }));
}

const retryable = (error: unknown): undefined => {
  if (error instanceof MillraceError && error.retryable) return undefined;
  throw error;
};

/** @returns the print, or the code with which it was refused */
async function ordered(operator: Session, licence: string, machine: string): Promise<string> {
  const end = Date.now() + LIMIT_MS;
  const now = operator.clock.now();
  // Signed once: repeated, it is the same request.
  const id = systemRandom(16);
  const { installation } = operator.directory;
  const body = { type: 'print.request', licence, machine, id, issued: now, expires: now + 10 * 60_000 } as const;
  const transaction = await signTransaction(operator.signer, installation, body);
  for (; ; await sleep(AGAIN_MS))
    try {
      await operator.api.submit(transaction);
      return toHex(id);
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      if (!error.retryable || Date.now() > end) return error.code;
    }
}

/** One run of a machine calls home until it is answered. @returns the permit, hexadecimal, or the code of a refusal */
async function callHome(
  { installation }: TestInstallation,
  callers: readonly HttpClient[],
  { machine, key, serial }: OwnMachine,
  print: string,
  limitMs = LIMIT_MS,
): Promise<string> {
  const request = async (run?: Uint8Array) => {
    const stated = { ...permitRequest({ print, serial } as never), ...(run && { run }) };
    const signed = await signMachineDocument(key, installation.directory.installation, stated as never);
    return { body: encodeCbor({ request: signed }), run: (stated as { run: Uint8Array }).run };
  };
  let { body, run } = await request();
  let signed = 1;
  const end = Date.now() + limitMs;
  for (let turn = 0; ; turn++)
    try {
      const caller = callers[turn % callers.length] as HttpClient;
      const path = `/v1/machines/${machine}/call-home`;
      const { body: answer } = await caller.call('POST', path, { body, timeoutMs: CALL_MS });
      return toHex((decodeCbor(new Uint8Array(answer), 'answer') as { permit: Uint8Array }).permit);
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      // Control noted the request and failed before it answered. An agent then signs another one of the same run.
      if (error.code === 'E_REPLAY' && signed++ < REQUESTS) ({ body, run } = await request(run));
      else if (!error.retryable || Date.now() > end) return error.code;
      await sleep(AGAIN_MS);
    }
}

async function clientOf(system: TestInstallation, addresses: readonly Address[]): Promise<HttpClient> {
  const { directory } = system.installation;
  const identity = await system.identity('distribution');
  return createHttpClient({ addresses: () => [...addresses], tls: tlsTo(directory, 'control', () => identity) });
}

/** Two callers that know both nodes, as every caller does: one asks the first node first, one the second. */
async function openCallers(system: TestInstallation): Promise<HttpClient[]> {
  const both = addressesOf(system.installation.directory, 'control', () => system.addresses.control);
  return Promise.all([both, [...both].reverse()].map((addresses) => clientOf(system, addresses)));
}

/** Machines whose keys the test has. They call home and make nothing. */
async function registerMachines(admin: Session, system: TestInstallation, count: number): Promise<OwnMachine[]> {
  const { installation } = system.installation.directory;
  return Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const key = generateP256Key();
      const machine = {
        ...{ machine: keyName(key.publicKey), publicKey: key.publicKey, serial: `racer-${i}`, kind: 'virtual' },
        profile: { factor: 1 },
      };
      const now = admin.clock.now();
      const document = { type: 'machine.register', machine, id: systemRandom(16), issued: now, expires: now + 600_000 };
      await admin.api.submit(await signTransaction(admin.signer, installation, document as never));
      return { ...machine, key };
    }),
  );
}
