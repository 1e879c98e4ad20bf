import { join } from 'node:path';
import { type Bytes, type Closable, type Logger, MillraceError, Serial, sleep } from '@millrace/base';
import { type Calls, isPassing } from './calls.ts';
import { listIfThere, moveDurably, readIfThere, writeDurably } from './files.ts';
import type { CloudLink } from './link.ts';
import { Backoff, type Timing } from './timing.ts';

const PENDING = /^(\d{12})\.report$/;

/**
 * Signed reports wait here, on disk, until control has answered: nothing that the machine did is forgotten when a cable,
 * a node or this process fails. They are sent one at a time, in the order in which they were made.
 */
export interface Outbox extends Closable {
  /** Durable when it returns. @throws {MillraceError} E_DISK_FULL, E_STORE */
  add(report: Bytes): Promise<void>;
  /** Resolves when nothing waits any more. */
  whenEmpty(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export async function openOutbox(options: {
  folder: string;
  calls: Calls;
  link: CloudLink;
  timing: Timing;
  logger: Logger;
}): Promise<Outbox> {
  const { folder, calls, link, logger } = options;
  const names = await listIfThere(folder);
  const pending = names.filter((name) => PENDING.test(name));
  let last = names.reduce((most, name) => Math.max(most, Number.parseInt(name, 10) || 0), 0);
  const stop = new AbortController();
  const writes = new Serial();
  const backoff = new Backoff(options.timing.backoffMs);
  const waiting = new Set<() => void>();
  let wake: () => void = () => undefined;

  const sendOldest = async (name: string): Promise<void> => {
    const path = join(folder, name);
    const report = await readIfThere(path);
    if (report !== undefined) {
      await link.whenConnected(stop.signal);
      try {
        await calls.report(report, stop.signal);
      } catch (error) {
        if (stop.signal.aborted || isPassing(error)) throw error;
        // Control has decided: sending it again would change nothing, and would hold up what follows.
        logger.error({ err: error, report: name }, 'a report was refused');
        await moveDurably(path, `${path}.refused`);
      }
      await moveDurably(path);
    }
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
        logger.warn({ err: error }, 'a report waits');
        await sleep(backoff.next(), stop.signal).catch(() => undefined);
      }
    }
  };
  const running = run();

  return {
    add: (report) =>
      writes.run(async () => {
        if (stop.signal.aborted) throw new MillraceError('E_STATE', 'the agent stops');
        const name = `${String(++last).padStart(12, '0')}.report`;
        await writeDurably(join(folder, name), report);
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
