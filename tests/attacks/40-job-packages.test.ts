import { mkdir, readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, copyBytes, MillraceError, silentLogger, systemClock, systemRandom, toHex } from '@millrace/base';
import { createPackage, requestPrint, revokeLicence } from '@millrace/client';
import { loadNodeConfig } from '@millrace/cloud/parts';
import { generateP256Key, type P256Key } from '@millrace/identity';
import { operate } from '@millrace/machine/admin';
import {
  checkPackage,
  type MachineConfig,
  PackageFolder,
  type QueuedPackage,
  readDriverKey,
} from '@millrace/machine/agent';
import { type AgentModules, builtInDrivers, openRunStore } from '@millrace/machine/parts';
import {
  keysShareOf,
  openPackageKey,
  openPackageShare,
  type PackageShares,
  packageKey,
  readTransaction,
} from '@millrace/protocol';
import { expectTaken, outcomeOf, permitted, until } from '@millrace/testkit/adversary/honest';
import {
  ELSEWHERE,
  type HostileInstallation,
  openHostileInstallation,
  SITE,
} from '@millrace/testkit/adversary/hostile-installation';
import { forgeOpening } from '@millrace/testkit/adversary/opening';
import { override } from '@millrace/testkit/adversary/override';
import {
  codeOfResult,
  configOf,
  driverDocument,
  packaged,
  packageQueue,
  sourceOf,
  type TestPackage,
} from '@millrace/testkit/adversary/packages';
import { order, untilEnded } from '@millrace/testkit/job';
import { PackageFile } from '@millrace/vault';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 40: a job package is in hostile hands: of another driver, another machine, a cloud with some of its nodes, or
// somebody who alters it. Each has real keys.

let system: HostileInstallation;
let site: MachineConfig;
let driverKey: P256Key;
let job: TestPackage;

beforeAll(async () => {
  system = await openHostileInstallation();
  job = await packaged(system, { objects: 2, segments: 70 });
  site = await configOf(system, SITE);
  driverKey = await readDriverKey(site.folder);
}, 60_000);
afterAll(() => system?.close());

interface Against {
  readonly config?: MachineConfig;
  readonly key?: P256Key;
  readonly material?: string;
  readonly now?: number;
}

/** The verdict of a driver, before it asks the cloud for anything. */
const checked = async (bytes: Uint8Array, against: Against = {}) =>
  checkPackage(await PackageFile.open(sourceOf(bytes)), {
    config: against.config ?? site,
    driverKey: against.key ?? driverKey,
    material: against.material ?? 'PLA',
    capabilities: { formats: ['binary'] },
    now: against.now ?? systemClock.now(),
  });
const verdict = (bytes: Uint8Array, against?: Against) => outcomeOf(checked(bytes, against));

describe('three shares', () => {
  let shares: PackageShares;
  beforeAll(async () => {
    const { packaged: named, binding } = await checked(job.bytes);
    const node = (await loadNodeConfig(system.installation.layout.node('segments'))).identity;
    await until('the keys node has the licence', () => system.nodes.keys.parts.licences.has(job.licence));
    shares = {
      driver: await openPackageShare('driver', driverKey, binding, named.shares.driver),
      machine: await openPackageShare('machine', site.machineKey, binding, named.shares.machine),
      segments: await openPackageShare('segments', node, binding, named.shares.segments),
      keys: keysShareOf(await system.nodes.keys.parts.licences.secretOf(job.licence), binding),
    };
  });

  const opens = async (given: Partial<PackageShares>) => {
    const { file, packaged: named, binding } = await checked(job.bytes);
    const missing = () => systemRandom(32);
    const all = { driver: missing(), machine: missing(), keys: missing(), segments: missing(), ...given };
    // Also without the commitment, which only tells early that a key is wrong.
    expect(await outcomeOf(file.designSecret(packageKey(all, binding)))).toBe(
      await outcomeOf(() => openPackageKey(all, named, binding)),
    );
    return outcomeOf(file.designSecret(packageKey(all, binding)));
  };

  it('baseline: all of them open the package', async () => {
    expect(await opens(shares)).toBe('accepted');
  });

  const online = ['keys', 'segments'] as const;
  const subsets: [string, (keyof PackageShares)[]][] = [
    ['no share', []],
    ['the driver alone', ['driver']],
    ['the machine alone', ['machine']],
    ['the whole cloud alone', [...online]],
    ['driver and machine, without the cloud', ['driver', 'machine']],
    ['driver and cloud, without the machine', ['driver', ...online]],
    ['machine and cloud, without the driver', ['machine', ...online]],
    ['driver, machine and the keys node', ['driver', 'machine', 'keys']],
    ['driver, machine and the segments node', ['driver', 'machine', 'segments']],
  ];
  it.each(subsets)('%s: does not open', async (_, names) => {
    expect(await opens(Object.fromEntries(names.map((name) => [name, shares[name]])))).toBe('E_SEAL');
  });

  it('no party opens the share of another one', async () => {
    const { packaged: named, binding } = await checked(job.bytes);
    const holders = ['driver', 'machine', 'segments'] as const;
    const keys = {
      driver: driverKey,
      machine: site.machineKey,
      segments: (await loadNodeConfig(system.installation.layout.node('segments'))).identity,
    };
    for (const holder of holders)
      for (const other of holders) {
        const opened = await outcomeOf(openPackageShare(holder, keys[other], binding, named.shares[holder]));
        expect([holder, other, opened]).toEqual([holder, other, holder === other ? 'accepted' : 'E_SEAL']);
      }
    const elsewhere = { ...binding, licence: 'f'.repeat(32) };
    expect(await outcomeOf(openPackageShare('driver', driverKey, elsewhere, named.shares.driver))).toBe('E_SEAL');
  });
});

describe('a driver refuses a package before it costs an object', () => {
  it('baseline: it accepts its own', async () => {
    expect(await verdict(job.bytes)).toBe('accepted');
  });

  it('of another machine, another driver, another time, another material', async () => {
    expect(await verdict(job.bytes, { config: await configOf(system, ELSEWHERE) })).toBe('E_PACKAGE_MACHINE');
    expect(await verdict(job.bytes, { key: generateP256Key() })).toBe('E_PACKAGE_DRIVER');
    expect(await verdict(job.bytes, { now: systemClock.now() + 86_400_000 + 5_000 })).toBe('E_EXPIRED');
    const petg = await packaged(system, { materials: ['PETG'] });
    expect(await verdict(petg.bytes)).toBe('E_MATERIAL');
    expect(await verdict(petg.bytes, { material: 'PETG' })).toBe('accepted');
  });

  it('altered in any byte of any region', async () => {
    const { bytes } = job;
    const trailer = bytes.length - 20 - new DataView(bytes.buffer, bytes.byteOffset + bytes.length - 20).getUint32(0);
    const keys = trailer - (71 * 32 + 2 * 16);
    const hashes = keys - 70 * 32;
    const regions = [0, 16, 16 + 16_386, hashes, hashes + 64 * 32, keys, keys + 64 * 32 + 16, trailer];
    const ends = [...regions.slice(1), bytes.length].map((end) => end - 1);
    const altered = async (at: number, bit: number) => {
      const changed = copyBytes(bytes);
      changed[at] = (changed[at] ?? 0) ^ (1 << bit);
      const outcome = await verdict(changed);
      // In the trailer: signature, credential or core. None is accepted.
      expect([at, outcome]).toEqual([at, at < trailer ? 'E_PACKAGE' : expect.stringMatching(/^E_/)]);
      expect(outcome).not.toBe('E_INTERNAL');
    };
    for (const at of [...regions, ...ends]) await altered(at, at % 8);
    const place = fc.oneof(
      fc.integer({ min: 0, max: bytes.length - 1 }),
      fc.integer({ min: hashes, max: bytes.length - 1 }),
      fc.integer({ min: trailer, max: bytes.length - 1 }),
    );
    await fc.assert(fc.asyncProperty(place, fc.integer({ min: 0, max: 7 }), altered), { numRuns: 100 });
  });

  it('cut off, extended, or with a part of another package', async () => {
    const { bytes } = job;
    const cuts = fc.integer({ min: 0, max: bytes.length - 1 });
    await fc.assert(
      fc.asyncProperty(cuts, async (length) => {
        expect(await verdict(bytes.subarray(0, length))).toBe('E_PACKAGE');
      }),
      { numRuns: 50, examples: [[0], [15], [16], [bytes.length - 1]] },
    );
    const longer = new Uint8Array(bytes.length + 1);
    longer.set(bytes);
    expect(await verdict(longer)).toBe('E_PACKAGE');
    const other = await packaged(system, { segments: 70 });
    const mixed = (at: number): Bytes => copyBytes(Buffer.concat([bytes.subarray(0, at), other.bytes.subarray(at)]));
    expect(bytes.length).toBe(other.bytes.length);
    for (const at of [16 + 16_386, 16 + 70 * 16_386, 16 + 70 * 16_418])
      expect(await verdict(mixed(at))).toBe('E_PACKAGE');
  });

  it('an owner seals to no driver of another machine', async () => {
    const driver = await driverDocument(system, ELSEWHERE);
    const terms = { objects: 1, materials: [], days: 1, holder: 'operator', machine: SITE, driver };
    const never = () => Promise.reject(new MillraceError('E_INTERNAL', 'sealed'));
    const work = createPackage(system.owner, { terms, seal: never, write: never, progress: () => undefined });
    expect(await outcomeOf(work)).toBe('E_PACKAGE_MACHINE');
  });
});

describe('exactly N objects', () => {
  it('from any number of copies, and the machine executes the design', { timeout: 120_000 }, async () => {
    const queue = await packageQueue(system);
    const agent = await system.agent(SITE, { packages: queue });
    const results = [];
    for (let copy = 0; copy < 3; copy++) results.push(await queue.make(copyBytes(job.bytes)));
    expect(results.map(codeOfResult)).toEqual(['made', 'made', 'E_LICENCE_EXHAUSTED']);
    expect(results.map(({ object }) => object)).toEqual([`${job.licence}-1`, `${job.licence}-2`, undefined]);
    expectTaken(agent, job.content, job.content);
    expect(await permitted(system, job)).toBe(2);
    await agent.close();
  });

  it('control alone permits another one: no node releases its share', async () => {
    const lies = { permit: { number: 3 } };
    const { opening } = await forgeOpening(system, { ...job, objects: 2 }, lies);
    for (const role of ['keys', 'segments'] as const)
      expect(await outcomeOf(system.nodes[role].parts.streams.open(opening))).toBe('E_LICENCE_EXHAUSTED');
  });

  it('revoked: refused, also when the print was ordered before', { timeout: 60_000 }, async () => {
    const revoked = await packaged(system);
    await order(system, system.operator, revoked.licence);
    await revokeLicence(system.owner, await system.owner.api.licence(revoked.licence), { stop: false });
    const queue = await packageQueue(system);
    const agent = await system.agent(SITE, { packages: queue });
    expect(codeOfResult(await queue.make(revoked.bytes))).toBe('E_LICENCE_REVOKED');
    expect(agent.runs).toEqual([]);
    await agent.close();
  });

  it('sealed to an old key of the segments node: the driver is told so', {
    timeout: 60_000,
  }, async () => {
    const { directory } = system.owner;
    const nodes = directory.nodes.map((node) =>
      node.role === 'segments' ? { ...node, identity: toHex(generateP256Key().publicKey) } : node,
    );
    const old = await packaged({ ...system, owner: { ...system.owner, directory: { ...directory, nodes } } });
    const queue = await packageQueue(system);
    const agent = await system.agent(SITE, { packages: queue });
    expect(codeOfResult(await queue.make(old.bytes))).toBe('E_PACKAGE_SHARE');
    expect(agent.runs).toEqual([]);
    await agent.close();
  });

  it('an agent that streams is given no print of a package', { timeout: 60_000 }, async () => {
    const waiting = await packaged(system);
    const print = await order(system, system.operator, waiting.licence);
    const streamed = await system.agent();
    await until('the agent asks for work', () => streamed.agent.status().step === 'work');
    expect((await system.operator.api.print(print)).state).toBe('queued');
    await streamed.close();
    const queue = await packageQueue(system);
    const driver = await system.agent(SITE, { packages: queue });
    expect(codeOfResult(await queue.make(waiting.bytes))).toBe('made');
    expect((await untilEnded(system.operator, print)).state).toBe('completed');
    await driver.close();
  });

  /** A driver stops when its object is permitted and the machine has not begun. */
  async function stoppedBeforeStart(objects = 1): Promise<TestPackage> {
    const once = await packaged(system, { objects });
    const { streams } = system.nodes.segments.parts;
    const undo = override(streams, 'open', async () => undefined);
    const queue = await packageQueue(system);
    const first = await system.agent(SITE, { packages: queue });
    const unfinished = queue.make(once.bytes);
    await until('the object is permitted', async () => (await permitted(system, once)) === 1);
    await first.close();
    expect((await unfinished).later).toBe(true);
    undo();
    return once;
  }

  /** What a driver leaves that is killed when the machine has begun. */
  async function killedInPrint(objects: number) {
    const job = await stoppedBeforeStart(objects);
    const runs = openRunStore(site.data, { key: site.machineKey, installation: site.directory.installation });
    const record = await runs.read();
    if (record === undefined) throw new Error('the driver has left no run');
    await runs.write({ ...record, object: `${job.licence}-1`, started: true });
    return { job, print: record.print };
  }

  it('a driver killed while the machine works reports the object, and makes no other', {
    timeout: 60_000,
  }, async () => {
    const { job: once, print } = await killedInPrint(1);
    const queue = await packageQueue(system);
    const restarted = await system.agent(SITE, { packages: queue });
    expect((await untilEnded(system.operator, print)).state).toBe('failed');
    expect(codeOfResult(await queue.make(once.bytes))).toBe('E_LICENCE_EXHAUSTED');
    expect(restarted.runs).toEqual([]);
    await restarted.close();
  });

  it('a folder is watched again after a kill: no other object begins by itself', { timeout: 60_000 }, async () => {
    const { job: two, print } = await killedInPrint(2);
    const folder = join(system.scratch, 'watched');
    await mkdir(folder);
    await writeFile(join(folder, 'part.mrjob'), two.bytes);
    const ended: string[] = [];
    const queue = new PackageFolder({
      folder,
      driverKey,
      pollMs: 20,
      logger: silentLogger,
      order: async (licence) => void (await requestPrint(system.operator, licence, system.machine)),
      ended: (_, result) => void ended.push(codeOfResult(result)),
    });
    const restarted = await system.agent(SITE, { packages: queue });
    expect((await untilEnded(system.operator, print)).state).toBe('failed');
    await until('the package was dealt with', () => ended.length > 0);
    expect(ended).toEqual(['E_MACHINE']);
    expect(await readdir(join(folder, 'refused'))).toEqual(['part.mrjob', 'part.mrjob.txt']);
    // Put back, it is made.
    await rename(join(folder, 'refused', 'part.mrjob'), join(folder, 'part.mrjob'));
    await until('the package was made', () => ended.length > 1);
    expect(ended).toEqual(['E_MACHINE', 'made']);
    expectTaken(restarted, two.content);
    await restarted.close();
  });

  it('a driver that stops between permit and start makes the same object later', { timeout: 60_000 }, async () => {
    const once = await stoppedBeforeStart();
    const again = await packageQueue(system);
    const second = await system.agent(SITE, { packages: again });
    expect(await again.make(once.bytes)).toMatchObject({ object: `${once.licence}-1`, error: undefined });
    expectTaken(second, once.content);
    expect(codeOfResult(await again.make(once.bytes))).toBe('E_LICENCE_EXHAUSTED');
    await second.close();
  });
});

describe('while the driver waits for a package', () => {
  /** A machine that says this serial number; undefined: its own. */
  const driverWith =
    (serial: () => string | undefined): NonNullable<AgentModules['driver']> =>
    async ({ kind, serial: own, profile }) => {
      const driver = await builtInDrivers().create(kind, { serial: own, ...profile });
      const identify = driver.identify.bind(driver);
      driver.identify = async () => ({ ...(await identify()), serial: serial() ?? own });
      return driver;
    };

  it('the machine is exchanged: it gets nothing, and no object is ordered', { timeout: 60_000 }, async () => {
    const once = await packaged(system);
    let serial: string | undefined;
    const queue = await packageQueue(system);
    const driver = await system.agent(SITE, { packages: queue, modules: { driver: driverWith(() => serial) } });
    await until('the driver waits for a package', () => driver.agent.status().step === 'work');
    serial = 'another-machine';
    const result = queue.make(once.bytes);
    await until('it is noticed', () => driver.agent.status().problem?.code === 'E_MACHINE_UNKNOWN');
    expect(await permitted(system, once)).toBe(0);
    serial = undefined;
    expect(codeOfResult(await result)).toBe('made');
    await driver.close();
  });

  it('the operator holds the machine: no print is ordered', { timeout: 60_000 }, async () => {
    const once = await packaged(system);
    const queue = await packageQueue(system);
    const driver = await system.agent(SITE, { packages: queue });
    await until('the driver waits for a package', () => driver.agent.status().step === 'work');
    await operate(driver.config.folder, { command: 'pause' });
    const result = queue.make(once.bytes);
    await until('it is held', () => driver.agent.status().step === 'held');
    expect((await system.operator.api.prints()).filter(({ licence }) => licence === once.licence)).toEqual([]);
    await operate(driver.config.folder, { command: 'resume' });
    expect(codeOfResult(await result)).toBe('made');
    await driver.close();
  });

  it('the cloud does not answer: it is asked again after a pause, and the driver says why', {
    timeout: 60_000,
  }, async () => {
    const once = await packaged(system);
    let asked = 0;
    const unanswered: QueuedPackage = {
      name: 'test',
      open: async () => sourceOf(once.bytes),
      order: async () => {
        asked++;
        throw new MillraceError('E_UNAVAILABLE', 'control does not answer');
      },
      ended: async () => undefined,
    };
    const hour = 3_600_000;
    const driver = await system.agent(SITE, {
      packages: { driverKey, next: async () => unanswered },
      timing: { backoff: { firstMs: hour, mostMs: hour, random: () => 1 } },
    });
    await until('the driver says why', () => driver.agent.status().problem?.code === 'E_UNAVAILABLE');
    expect(asked).toBe(1);
    await driver.close();
  });
});

it('the cloud has no segment of the design, and the licence holds no design secret', async () => {
  const { state } = await system.owner.api.design(job.design);
  expect(state).toBe('uploading');
  const { file } = await checked(job.bytes);
  const terms = readTransaction(file.trailer.licence);
  expect(terms.type === 'licence.grant' && terms.machines.map(({ secret }) => secret)).toEqual([undefined]);
});
