import { join } from 'node:path';
import {
  Backoff,
  type Bytes,
  type Closable,
  type Logger,
  MillraceError,
  Mutex,
  removeDurably,
  renameDurably,
  sleep,
  writeDurably,
} from '@millrace/base';
import { verifyMachineDocument } from '@millrace/protocol';
import { z } from 'zod';
import type { CloudLink } from './cloud-link.ts';
import { type ControlCalls, isPassing } from './control-calls.ts';
import { listIfThere, readIfThere } from './files.ts';
import { type StateSigner, signedFile } from './signed-file.ts';
import type { Timing } from './timing.ts';

const PENDING = /^(\d{12})\.report$/;
const nameOf = (number: number): string => `${String(number).padStart(12, '0')}.report`;

const uint = z.number().int().nonnegative();
/** Numbers of the last report made and the last report answered by control. Reports in between are pending. */
const indexSchema = z.strictObject({ last: uint, sent: uint });
type Index = z.output<typeof indexSchema>;

/**
 * Signed reports wait here, on disk, until control has answered. No report is lost when a cable, a node or this process
 * fails, and a removed report is detected. Reports are sent one at a time, in the order in which they were made.
 */
export interface Outbox extends Closable {
  /** Durable once it resolves. @throws {MillraceError} E_DISK_FULL, E_STORE */
  add(report: Bytes): Promise<void>;
  /** Resolves when no report is pending. */
  whenEmpty(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export async function openOutbox(options: {
  folder: string;
  calls: Pick<ControlCalls, 'report'>;
  link: CloudLink;
  timing: Timing;
  logger: Logger;
  signer: StateSigner;
}): Promise<Outbox> {
  const { folder, calls, link, logger, signer } = options;
  const file = signedFile(`${folder}.state`, signer, { label: 'reports', schema: indexSchema, remedy });
  let index = (await file.read()) ?? { last: 0, sent: 0 };
  const pending = await pendingOf(folder, index, signer);
  index = { ...index, last: index.sent + pending.length };
  const stop = new AbortController();
  const writes = new Mutex();
  const backoff = new Backoff(options.timing.backoff);
  const waiting = new Set<() => void>();
  let wake: () => void = () => undefined;

  const answered = (sent: number) =>
    writes.run(async () => {
      const next = { ...index, sent };
      await file.write(next);
      index = next;
    });

  const sendOldest = async (name: string): Promise<void> => {
    const path = join(folder, name);
    const report = await readIfThere(path);
    if (report === undefined) throw new MillraceError('E_STORE', `${path} is missing: ${remedy}`);
    await link.whenConnected(stop.signal);
    try {
      await calls.report(report, stop.signal);
    } catch (error) {
      if (stop.signal.aborted || isPassing(error)) throw error;
      // Control has decided. Sending the report again would change nothing and would delay the next reports.
      logger.error({ err: error, report: name }, 'control refused a report; it is kept as a .refused file');
      await renameDurably(path, `${path}.refused`);
    }
    await answered(Number.parseInt(name, 10));
    await removeDurably(path);
    pending.shift();
  };

  const run = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      const name = pending[0];
      if (name === undefined) {
        for (const resolve of waiting) resolve();
        waiting.clear();
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      try {
        await sendOldest(name);
        backoff.reset();
      } catch (error) {
        if (stop.signal.aborted) return;
        logger.warn({ err: error }, 'cannot send a report; trying again');
        await sleep(backoff.next(), stop.signal).catch(() => undefined);
      }
    }
  };
  const running = run();

  return {
    add: (report) =>
      writes.run(async () => {
        if (stop.signal.aborted) throw new MillraceError('E_STATE', 'the agent stops');
        const next = { ...index, last: index.last + 1 };
        const name = nameOf(next.last);
        await writeDurably(join(folder, name), report);
        await file.write(next);
        index = next;
        pending.push(name);
        wake();
      }),
    whenEmpty: (signal) => {
      if (pending.length === 0) return Promise.resolve();
      return new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason);
        const onAbort = () => {
          waiting.delete(done);
          reject(signal.reason);
        };
        const done = () => {
          signal.removeEventListener('abort', onAbort);
          resolve();
        };
        signal.addEventListener('abort', onAbort, { once: true });
        waiting.add(done);
      });
    },
    close: async () => {
      await writes.run(() => undefined);
      stop.abort(new MillraceError('E_STATE', 'the agent stops'));
      wake();
      await running;
    },
  };
}

const remedy =
  'put the folder back as it was, or remove it and its .state: what the machine did is then missing in the ledger';

/**
 * Pending reports, oldest first, each complete and signed by this machine.
 * @throws {MillraceError} E_STORE if one was altered, removed or added
 */
async function pendingOf(folder: string, { last, sent }: Index, { key, installation }: StateSigner): Promise<string[]> {
  const wrong = (what: string, cause?: unknown) =>
    new MillraceError('E_STORE', `${folder}: ${what}; ${remedy}`, { cause });
  const there = new Set((await listIfThere(folder)).filter((name) => PENDING.test(name)));
  const pending: string[] = [];
  // The agent may have been killed after it wrote the newest report and before it wrote the index.
  for (let number = sent + 1; number <= last || there.has(nameOf(last + 1)); number++) {
    const name = nameOf(number);
    if (!there.delete(name)) throw wrong(`report ${number} is missing`);
    const report = await readIfThere(join(folder, name));
    try {
      if (report === undefined) throw new MillraceError('E_STORE', 'the file is missing');
      await verifyMachineDocument(report, installation, () => key.publicKey, 'any time');
    } catch (cause) {
      throw wrong(`report ${number} is damaged, or was not written by this agent`, cause);
    }
    pending.push(name);
  }
  for (const name of there) {
    // If control had answered, the agent was killed before it removed the file.
    if (Number.parseInt(name, 10) > sent) throw wrong(`${name} does not follow the others`);
    await removeDurably(join(folder, name));
  }
  return pending;
}
