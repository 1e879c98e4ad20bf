import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { utf8 } from '@millrace/base';
import { millrace } from '@millrace/testkit/cli';
import { GrblSimulator } from '@millrace/testkit/controllers/grbl';
import { MarlinSimulator } from '@millrace/testkit/controllers/marlin';
import { MoonrakerSimulator } from '@millrace/testkit/controllers/moonraker';
import { OctoprintSimulator } from '@millrace/testkit/controllers/octoprint';
import { missingPty, type SerialDevice, serveOnPty, serveOnSocket } from '@millrace/testkit/controllers/serve';
import { hashOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { createTestInstallation, MACHINE } from '@millrace/testkit/test-installation';
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

it('a mill rehearses a design from where its controller says that the workpiece is, without a move or a count', async () => {
  const device = new GrblSimulator(linked());
  const { settings } = await atPort(device);
  const system = await createTestInstallation({
    machine: { kind: 'grbl', factor: 1_000_000, hints: 'sparse', driver: settings },
    start: ['control', 'distribution', 'segments', 'keys'],
  });
  closing.push(system);
  serial = system.installation.description.machines[0]?.registration.serial ?? '';
  const policy = {
    ...{ version: 1, trustPosition: true, feed: { x: 4_000, y: 4_000, z: 4_000 } },
    volume: { x: [0, 100], y: [0, 100], z: [0, 10] },
  };
  await writeFile(join(system.installation.layout.machine(MACHINE), 'safety.json'), JSON.stringify(policy));
  await system.processes.machine.start();
  const owner = await system.session('owner');
  const rehearsed = async (content: Uint8Array, name: string) => {
    const { design } = await store(system, owner, content, { name });
    const licence = await license(system, owner, design, 1);
    const { json } = await millrace(system.home, 'rehearse', '--licence', licence, '--json');
    expect(await owner.api.licence(licence)).toMatchObject({ permitted: 0 });
    return json;
  };
  // The simulator's work offset is X10 Y0 Z5: what ends at 89.125 reaches 99.125.
  expect(await rehearsed(program(300), 'fits.nc')).toMatchObject({ outcome: 'fits', policy: true });
  const far = utf8('G21\nG90\nG0Z1\nG1X90.5Y1F1000\n');
  expect(await rehearsed(far, 'far.nc')).toMatchObject({ outcome: 'does-not-fit', rules: ['volume'] });
  expect(device.executed.filter((line) => !line.startsWith('$'))).toEqual([]);
});
