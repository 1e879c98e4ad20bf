import type { Clock } from '@millrace/base';
import { builtInDrivers, type Driver, type DriverModules } from '../src/drivers/index.ts';

/** A clock that moves only when a task sleeps. */
export interface FakeTime {
  readonly clock: Clock;
  readonly sleep: (milliseconds: number, signal?: AbortSignal) => Promise<void>;
  now: number;
  slept: number;
}

export function fakeTime(): FakeTime {
  const time: FakeTime = {
    now: 1000,
    slept: 0,
    clock: { now: () => time.now, monotonic: () => time.now },
    sleep: async (milliseconds, signal) => {
      await new Promise((resolve) => setImmediate(resolve));
      signal?.throwIfAborted();
      time.now += milliseconds;
      time.slept += 1;
    },
  };
  return time;
}

export const serial = 'VM-0001';

export async function running(kind: string, options: object, modules: DriverModules = {}): Promise<Driver> {
  const driver = await builtInDrivers().create(kind, { serial, ...options }, modules);
  await driver.connect({ serial });
  await driver.begin();
  return driver;
}

/** Lets all ready tasks run. */
export async function settle(): Promise<void> {
  for (let n = 0; n < 20; n += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Writes chunk by chunk and wipes each chunk, as the agent does. */
export async function writeAll(driver: Driver, content: Uint8Array, chunkBytes = 16_370): Promise<void> {
  for (let at = 0; at < content.length; at += chunkBytes) {
    const chunk = new Uint8Array(content.subarray(at, at + chunkBytes));
    await driver.write(chunk);
    chunk.fill(0);
  }
}
