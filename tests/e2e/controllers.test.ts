import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { utf8 } from '@millrace/base';
import { GrblSimulator } from '@millrace/testkit/controllers/grbl';
import { MarlinSimulator } from '@millrace/testkit/controllers/marlin';
import { MoonrakerSimulator } from '@millrace/testkit/controllers/moonraker';
import { OctoprintSimulator } from '@millrace/testkit/controllers/octoprint';
import { missingPty, type SerialDevice, serveOnPty, serveOnSocket } from '@millrace/testkit/controllers/serve';
import { hashOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { createTestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

interface Open {
  close(): Promise<void>;
}

interface Controller {
  /** What the controller has executed of a design. */
  readonly program: () => string;
  /** Settings of the driver. */
  readonly settings: Readonly<Record<string, unknown>>;
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-controllers-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const closing: Open[] = [];
afterEach(async () => {
  for (const open of closing.splice(0).reverse()) await open.close();
});

/** The serial number of the machine, which is known once the installation is created. */
let serial = '';
const reported = {
  get uuid() {
    return serial;
  },
  get name() {
    return serial;
  },
  get board() {
    return serial;
  },
};

/** Over a pseudo-terminal where one can be opened, otherwise over a socket. */
async function atPort<T extends SerialDevice & { readonly program: string }>(device: T): Promise<Controller> {
  const path = join(folder, `port-${closing.length}`);
  const served = missingPty() === undefined ? await serveOnPty(device, path) : await serveOnSocket(device);
  closing.push(served);
  return { program: () => device.program, settings: { port: served.port } };
}

type Server = Open & { readonly program: string; readonly url: string; listen(): Promise<unknown> };

async function onNetwork(device: Server): Promise<Controller> {
  await device.listen();
  closing.push(device);
  return { program: () => device.program, settings: { url: device.url } };
}

const controllers: Readonly<Record<string, () => Promise<Controller>>> = {
  marlin: () => atPort(new MarlinSimulator(Object.assign(linked(), { faults: { damageEvery: 61, garbageEvery: 17 } }))),
  grbl: () => atPort(new GrblSimulator(linked())),
  moonraker: () => onNetwork(new MoonrakerSimulator(linked())),
  octoprint: () => onNetwork(new OctoprintSimulator(linked())),
};

/** Options whose serial number is read when the machine is asked for it. */
function linked() {
  return Object.create(reported) as typeof reported;
}

/** A program for printers and mills, without blanks and comments: a controller receives exactly its bytes. */
function program(lines: number): Uint8Array {
  const text = ['G21', 'G90', 'F140'];
  if (lines < 0) text.pop();
  for (let n = 1; text.length < Math.abs(lines); n += 1) text.push(`G1X${n % 90}.125Y${(n * 7) % 80}.25Z1F4000`);
  return utf8(`${text.join('\n')}\n`);
}

it.each(Object.keys(controllers))(
  'a part on a machine with %s is made of exactly the bytes of the design',
  async (kind) => {
    const { program: executed, settings } = await (controllers[kind] as () => Promise<Controller>)();
    const system = await createTestInstallation({
      machine: { kind, factor: 1_000_000, hints: 'sparse', driver: settings },
      start: ['control', 'distribution', 'segments', 'keys'],
    });
    closing.push(system);
    serial = system.installation.description.machines[0]?.registration.serial ?? '';
    await system.processes.machine.start();
    const owner = await system.session('owner');
    const operator = await system.session('operator');
    const design = program(kind === 'grbl' ? 1_000 : -1_000);
    const stored = await store(system, owner, design);
    const licence = await license(system, owner, stored.design, 1);
    const view = await untilEnded(operator, await order(system, operator, licence));
    expect(view).toMatchObject({ state: 'completed' });
    expect(await machineObject(system, objectOf(view))).toMatchObject({
      bytes: design.length,
      sha256: hashOf(design),
      event: 'completed',
    });
    expect(executed()).toBe(Buffer.from(design).toString());
    // What passes between agent and controller is in no log.
    expect(await system.log('machine')).not.toMatch(/G1X|Y\d+\.25/);
  },
);
