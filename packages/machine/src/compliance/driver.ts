import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type Bytes, copyBytes, type ErrorCode, MillraceError, toHex } from '@millrace/base';
import { machineKind } from '@millrace/protocol';
import type { Driver, DriverModules, Telemetry } from '../drivers/contract.ts';
import { type DriverRegistration, DriverRegistry } from '../drivers/registry.ts';

/** A driver under test. */
export interface DriverFixture {
  readonly registration: DriverRegistration;
  /** Serial number of the machine. */
  readonly serial: string;
  /** Settings with which the machine executes as fast as possible. */
  readonly fast: Readonly<Record<string, unknown>>;
  /** Settings with which the machine needs minutes for `content(4_000)`. */
  readonly slow: Readonly<Record<string, unknown>>;
  /** A design of this many bytes that the machine can execute. */
  content(bytes: number): Uint8Array;
}

/** One requirement of the driver contract. The caller provides the test runner, as for the suites of the stores. */
export interface DriverCase {
  readonly name: string;
  run(fixture: DriverFixture): Promise<void>;
}

const other = 'not-this-machine';

/** Requirements for every driver, whatever its machine. */
export const driverCases: readonly DriverCase[] = [
  {
    name: 'is what its registration says',
    run: (fixture) =>
      opened(fixture, 'fast', async (driver) => {
        const { registration, serial } = fixture;
        machineKind.parse(registration.kind);
        equal(driver.kind, registration.kind);
        const identity = await driver.connect({ serial });
        deepEqual([identity.kind, identity.serial], [registration.kind, serial]);
        deepEqual(await driver.identify(), identity);
        const [own, most] = [driver.capabilities, registration.capabilities];
        ok(own.formats.length > 0 && own.formats.every((format) => most.formats.includes(format)));
        ok(own.heaters.every((heater) => most.heaters.includes(heater)));
        for (const has of ['position', 'lines', 'layers', 'filament'] as const) ok(!own[has] || most[has], has);
      }),
  },
  {
    name: 'refuses settings that it does not know',
    run: async ({ registration, serial, fast }) => {
      const drivers = new DriverRegistry([registration]);
      const settings = { serial, ...fast, 'no-such-setting': 1 };
      await fails('E_INPUT', drivers.create(registration.kind, settings));
    },
  },
  {
    name: 'takes settings that follow from a profile',
    run: async ({ registration, serial }) => {
      const settings = { serial, ...registration.settingsFor({ factor: 2, bytesPerSecond: 1_000 }) };
      const driver = await new DriverRegistry([registration]).create(registration.kind, settings);
      await driver.close();
    },
  },
  {
    name: 'connects to the machine with the expected serial number only',
    run: (fixture) =>
      opened(fixture, 'fast', async (driver) => {
        equal(driver.telemetry().state, 'disconnected');
        await fails('E_MACHINE_UNKNOWN', driver.connect({ serial: other }));
        await fails('E_STATE', driver.identify());
        await driver.connect(fixture);
        equal(driver.telemetry().state, 'idle');
      }),
  },
  {
    name: 'refuses calls out of order',
    run: (fixture) =>
      opened(fixture, 'slow', async (driver) => {
        await fails('E_STATE', driver.begin());
        await driver.connect(fixture);
        for (const call of ['drain', 'pause', 'resume', 'cancel'] as const) await fails('E_STATE', driver[call]());
        await fails('E_STATE', driver.write(fixture.content(10)));
        await driver.begin();
        await fails('E_STATE', driver.begin());
        await fails('E_STATE', driver.resume());
        await driver.write(fixture.content(4_000));
        const draining = fails('E_STATE', driver.drain());
        await fails('E_STATE', driver.write(fixture.content(10)));
        await driver.close();
        await draining;
        await fails('E_STATE', driver.connect(fixture));
        await driver.close();
      }),
  },
  {
    name: 'executes every byte in order, and each run by itself; what was written may be wiped',
    run: async (fixture) => {
      const seen: Uint8Array[] = [];
      await opened(
        fixture,
        'fast',
        async (driver) => {
          await driver.connect(fixture);
          for (const length of [100_003, 1]) {
            seen.length = 0;
            const content = fixture.content(length);
            await driver.begin();
            equal(driver.telemetry().executedBytes, 0);
            await writeWiped(driver, content);
            await driver.drain();
            const summary = driver.summary();
            deepEqual([summary.executedBytes, summary.takenBytes], [length, length]);
            equal(toHex(summary.sha256), sha256(content));
            if (seen.length > 0) equal(sha256(Buffer.concat(seen)), sha256(content));
            const { state, executedBytes, bufferedBytes } = driver.telemetry();
            deepEqual(
              { state, executedBytes, bufferedBytes },
              { state: 'idle', executedBytes: length, bufferedBytes: 0 },
            );
          }
        },
        { onExecuted: (bytes) => void seen.push(copyBytes(bytes)) },
      );
    },
  },
  {
    name: 'cancels a run, and can begin another',
    run: (fixture) =>
      opened(fixture, 'slow', async (driver) => {
        await begun(driver, fixture, 4_000);
        const draining = fails('E_STATE', driver.drain());
        await soon();
        await driver.cancel();
        await draining;
        const { state, bufferedBytes } = driver.telemetry();
        deepEqual({ state, bufferedBytes }, { state: 'idle', bufferedBytes: 0 });
        ok(driver.summary().executedBytes < 4_000);
        await driver.begin();
        equal(driver.telemetry().executedBytes, 0);
      }),
  },
  {
    name: 'stops in an emergency, and works again after a new connection',
    run: (fixture) =>
      opened(fixture, 'slow', async (driver) => {
        await begun(driver, fixture, 4_000);
        const draining = fails('E_MACHINE', driver.drain());
        await soon();
        await driver.emergencyStop();
        await draining;
        equal(driver.telemetry().state, 'stopped');
        await fails('E_MACHINE', driver.begin());
        await driver.connect(fixture);
        await driver.begin();
      }),
  },
  {
    name: 'stands still while it is paused',
    run: (fixture) =>
      opened(fixture, 'slow', async (driver) => {
        await begun(driver, fixture, 4_000);
        await driver.pause();
        await soon();
        const { state, executedBytes } = driver.telemetry();
        equal(state, 'paused');
        await soon();
        equal(driver.telemetry().executedBytes, executedBytes);
        await driver.resume();
        equal(driver.telemetry().state, 'running');
      }),
  },
  {
    name: 'releases a write or drain whose caller aborted',
    run: (fixture) =>
      opened(fixture, 'slow', async (driver) => {
        await begun(driver, fixture, 4_000);
        const reason = new Error('given up');
        await rejects(driver.write(fixture.content(10), AbortSignal.abort(reason)), reason);
        await rejects(driver.drain(AbortSignal.abort(reason)), reason);
      }),
  },
  {
    name: 'reports every change of state until the listener is removed',
    run: (fixture) =>
      opened(fixture, 'fast', async (driver) => {
        const states: Telemetry['state'][] = [];
        const end = driver.onTelemetry(({ state }) => void states.push(state));
        await driver.connect(fixture);
        await driver.begin();
        await driver.drain();
        for (const state of ['idle', 'running'] as const) ok(states.includes(state), state);
        equal(states.at(-1), 'idle');
        end();
        const told = states.length;
        await driver.begin();
        equal(states.length, told);
      }),
  },
  {
    name: 'says that it waits for content, and for how long it did',
    run: (fixture) =>
      opened(fixture, 'fast', async (driver) => {
        await driver.connect(fixture);
        await driver.begin();
        await soon();
        equal(driver.telemetry().starved, true);
        await driver.write(fixture.content(1_000));
        await driver.drain();
        equal(driver.telemetry().starved, false);
        ok(driver.summary().starvedSeconds > 0);
      }),
  },
  {
    name: 'tells temperatures of the heaters that it has',
    run: (fixture) =>
      opened(fixture, 'fast', async (driver) => {
        await driver.connect(fixture);
        deepEqual(Object.keys(driver.telemetry().temperatures).sort(), [...driver.capabilities.heaters].sort());
      }),
  },
];

async function opened(
  { registration, serial, ...fixture }: DriverFixture,
  pace: 'fast' | 'slow',
  use: (driver: Driver) => Promise<void>,
  modules: DriverModules = {},
): Promise<void> {
  const drivers = new DriverRegistry([registration]);
  const driver = await drivers.create(registration.kind, { serial, ...fixture[pace] }, modules);
  try {
    await use(driver);
  } finally {
    await driver.close();
  }
}

async function begun(driver: Driver, { serial, content }: DriverFixture, bytes: number): Promise<void> {
  await driver.connect({ serial });
  await driver.begin();
  await driver.write(content(bytes));
}

/** Writes in chunks of odd lengths and wipes each, as the agent does. */
async function writeWiped(driver: Driver, content: Uint8Array): Promise<void> {
  for (let at = 0, length = 1; at < content.length; at += length, length = (length * 7) % 16_381) {
    const chunk = copyBytes(content.subarray(at, at + length));
    await driver.write(chunk);
    chunk.fill(0);
  }
}

async function fails(code: ErrorCode, call: Promise<unknown>): Promise<void> {
  await rejects(call, (error) => error instanceof MillraceError && error.code === code);
}

const sha256 = (bytes: Uint8Array): string => toHex(createHash('sha256').update(bytes).digest() as Bytes);

/** Long enough for pending work to run. */
const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));
