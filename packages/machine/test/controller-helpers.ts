import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { utf8 } from '@millrace/base';
import { type SerialDevice, serveOnSocket } from '@millrace/testkit/controllers/serve';
import { afterAll, afterEach, beforeAll, it } from 'vitest';
import { type DriverFixture, driverCases } from '../src/compliance/index.ts';
import { builtInDrivers, type Driver } from '../src/drivers/index.ts';

export const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');

/** A design without comments, so that a controller receives exactly its bytes. */
export function moves(lines: number): Uint8Array {
  const text = ['G28', 'G90', 'M83', 'M104 S205'];
  for (let n = 1; text.length < lines; n += 1) {
    text.push(`G1 X${(50 + 40 * Math.cos(n / 20)).toFixed(3)} Y${(50 + 40 * Math.sin(n / 20)).toFixed(3)} E0.02 F3000`);
  }
  return utf8(`${text.join('\n')}\n`);
}

type Settings = Readonly<Record<string, unknown>>;

/** A simulated controller that a driver can reach. */
export interface Served {
  /** The driver's settings that say where. */
  readonly settings: Settings;
  close(): Promise<void>;
}

export async function atSocket(device: SerialDevice): Promise<Served> {
  const { port, close } = await serveOnSocket(device);
  return { settings: { port }, close };
}

export async function onNetwork(device: {
  readonly url: string;
  listen(): Promise<unknown>;
  close(): Promise<void>;
}): Promise<Served> {
  await device.listen();
  return { settings: { url: device.url }, close: () => device.close() };
}

/**
 * Runs the compliance suite against two simulated controllers.
 * @param dwell the command with which the controller stands still for a second
 */
export function complies(
  registration: DriverFixture['registration'],
  serial: string,
  devices: Readonly<Record<'slow' | 'fast', { readonly serve: () => Promise<Served>; readonly settings?: Settings }>>,
  dwell = 'G4 S1',
): void {
  const served = new Map<string, Served>();
  beforeAll(async () => {
    for (const [name, { serve }] of Object.entries(devices)) served.set(name, await serve());
  });
  afterAll(async () => {
    for (const { close } of served.values()) await close();
  });
  const settingsOf = (name: 'slow' | 'fast') => ({ ...served.get(name)?.settings, ...devices[name].settings });
  const content = (bytes: number) => dwells(dwell, bytes);
  for (const { name, run } of driverCases) {
    it(name, () => run({ registration, serial, slow: settingsOf('slow'), fast: settingsOf('fast'), content }));
  }
}

/** Lines that each take a second. The rest are comments. */
function dwells(dwell: string, bytes: number): Uint8Array {
  const long = `${dwell} ; a comment that only makes the line longer, so that there are fewer of them\n`;
  const line = bytes > 10_000 ? long : `${dwell}\n`;
  return utf8(line.repeat(bytes / line.length) + ';'.repeat(bytes % line.length));
}

/** Connects drivers to simulated controllers, and closes both after each test. */
export function starts<Device extends { clear?(): void }>(
  kind: string,
  usual: Settings & { readonly serial: string },
  serve: (device: Device) => Promise<Served>,
): (device: Device, settings?: Settings) => Promise<Driver> {
  const closing: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const open of closing.splice(0).reverse()) await open.close();
  });
  return async (device, settings = {}) => {
    const served = await serve(device);
    closing.push(served);
    const driver = await builtInDrivers().create(kind, { ...usual, ...served.settings, ...settings });
    closing.push(driver);
    await driver.connect(usual);
    device.clear?.();
    return driver;
  };
}

/** Calls `use` with a file that contains an API key. */
export async function withKeyFile(key: string, use: (file: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-key-'));
  try {
    const file = join(folder, 'key');
    await writeFile(file, `${key}\n`);
    await use(file);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Resolves when the driver reports a state in which `wanted` holds. */
export function reached(driver: Driver, wanted: (telemetry: ReturnType<Driver['telemetry']>) => boolean) {
  return new Promise<void>((resolve) => {
    const check = () => {
      if (!wanted(driver.telemetry())) return;
      clearInterval(timer);
      end();
      resolve();
    };
    const end = driver.onTelemetry(check);
    const timer = setInterval(check, 5);
    check();
  });
}

/** Writes chunks of odd lengths. */
export async function print(driver: Driver, content: Uint8Array): Promise<void> {
  await driver.begin();
  for (let at = 0; at < content.length; at += 1_001) await driver.write(content.slice(at, at + 1_001));
  await driver.drain();
}
