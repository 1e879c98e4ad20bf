import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemRandom, toHex } from '@millrace/base';
import { generateP256Key, type MachineKey } from '@millrace/identity';
import { createAgent } from '@millrace/machine/parts';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { type Bench, quick, startBench } from '@millrace/testkit/machine/agent-harness';
import { addCounter, openSoftHsm, type SoftHsm } from '@millrace/testkit/soft-hsm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createMachineKeyInToken } from '../src/admin/index.ts';
import { openBegunObjects } from '../src/agent/begun-objects.ts';
import { loadMachineConfig } from '../src/agent/config.ts';

const found = await openSoftHsm({ compiler: true });
if (typeof found === 'string') console.warn(`skipped: ${found}`);

describe('the list of begun objects, held to a counter', () => {
  const installation = 'a1'.repeat(16);
  const objects = [1, 2, 3, 4].map((number) => `${'b2'.repeat(16)}-${number}`) as [string, string, string, string];
  const run = () => ({ print: toHex(systemRandom(16)), run: toHex(systemRandom(16)) });
  const fileKey = generateP256Key();
  let folder: string;
  let value: number;
  /** The agent is killed before this step: a signature, which each file has, or a read; counted from 1. */
  let killAt: number;
  let steps: number;
  const step = () => {
    steps++;
    if (steps >= killAt) throw new Error('killed');
  };
  const key: MachineKey = {
    algorithm: 'ES256',
    storage: 'pkcs11',
    publicKey: fileKey.publicKey,
    sign: (message) => {
      step();
      return fileKey.sign(message);
    },
    agree: fileKey.agree,
    close: () => undefined,
    token: {
      identity: { manufacturer: '', model: '', serial: '', hardware: true },
      lost: new AbortController().signal,
      check: async () => undefined,
      counter: {
        since: 7,
        read: async () => {
          step();
          value++;
          step();
          return value;
        },
      },
    },
  };
  const open = () => openBegunObjects(folder, { key, installation });
  const killedAt = async (at: number, work: () => Promise<unknown>): Promise<boolean> => {
    [steps, killAt] = [0, at];
    try {
      await work();
      return false;
    } catch (error) {
      expect(error).toMatchObject({ message: 'killed' });
      return true;
    } finally {
      killAt = Number.POSITIVE_INFINITY;
    }
  };
  const copyOf = async () => {
    const copy = await mkdtemp(join(tmpdir(), 'millrace-copy-'));
    await cp(folder, copy, { recursive: true });
    return copy;
  };
  const restore = async (copy: string) => {
    await rm(folder, { recursive: true });
    await cp(copy, folder, { recursive: true });
  };
  const older = { code: 'E_STORE', message: expect.stringContaining('an older state was restored') };

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-begun-'));
    [value, steps, killAt] = [7, 0, Number.POSITIVE_INFINITY];
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  test('goes on after a kill at any step, any number of times', async () => {
    let kills = 0;
    for (let at = 1; ; at++) {
      const [one, two] = [run(), run()];
      const [object, next] = [`${toHex(systemRandom(16))}-1`, `${toHex(systemRandom(16))}-1`];
      const whole = async () => {
        const begun = await open();
        await begun.take(object, one);
        await begun.made(object, one);
        await begun.take(next, two);
      };
      // Killed twice at the same place, then at the start of the next attempt too.
      const killed = await killedAt(at, whole);
      if (!killed) break;
      kills++;
      for (const again of [at, 2]) await killedAt(again, whole);
      const begun = await open();
      await begun.take(object, one);
      await begun.take(next, two);
      await expect(begun.take(object, run())).rejects.toMatchObject({ code: 'E_REPLAY' });
    }
    expect(kills).toBeGreaterThan(15);
  });

  test('is refused once an older state is restored, from whatever moment', async () => {
    // Copies from before each step of the first object; two more changes follow each.
    for (let at = 1; ; at++) {
      await rm(folder, { recursive: true });
      await mkdir(folder);
      value = 7;
      const [one, two] = [run(), run()];
      const killed = await killedAt(at, async () => (await open()).take(objects[0], one));
      const copy = await copyOf();
      const begun = await open();
      await begun.take(objects[0], one);
      await begun.take(objects[1], two);
      await begun.made(objects[1], two);
      await restore(copy);
      const before = value;
      await expect(open()).rejects.toMatchObject(older);
      // It stays so, and the counter of the token is not worn by attempts.
      await expect(open()).rejects.toMatchObject(older);
      expect(value).toBe(before + 1);
      await rm(copy, { recursive: true });
      if (killed) continue;
      expect(at).toBeGreaterThan(8);
      break;
    }
  });

  test('is refused if a part of it is removed or restored', async () => {
    const one = run();
    const begun = await open();
    const early = await readFile(join(folder, 'counter.state'));
    await begun.take(objects[0], one);
    await begun.take(objects[1], one);
    await rm(join(folder, 'begun', `${objects[0]}.state`));
    // While the agent runs, and after a start.
    await expect(begun.take(objects[2], one)).rejects.toMatchObject(older);
    await expect(open()).rejects.toMatchObject(older);
    expect(await readdir(join(folder, 'begun'))).toEqual([`${objects[1]}.state`]);
    await writeFile(join(folder, 'counter.state'), early);
    await expect(open()).rejects.toMatchObject(older);
    await rm(join(folder, 'counter.state'));
    await expect(open()).rejects.toMatchObject(older);
  });

  test('is refused if a file of it was added, or was counted by another machine', async () => {
    const begun = await open();
    await begun.take(objects[0], run());
    await writeFile(join(folder, 'begun', `${objects[1]}.state`), '');
    await expect(open()).rejects.toMatchObject(older);
    await writeFile(join(folder, 'counter.state'), systemRandom(200));
    await expect(open()).rejects.toMatchObject({ code: 'E_STORE', message: expect.stringContaining('is damaged') });
  });

  test('is refused if another program has read the counter, also in between', async () => {
    const begun = await open();
    value++;
    await expect(begun.take(objects[0], run())).rejects.toMatchObject(older);
    expect(await readdir(folder)).toEqual(['counter.state']);
  });
});

describe.skipIf(typeof found === 'string')('a machine whose token has a monotonic counter', () => {
  const hsm = found as SoftHsm;
  const PIN = '141421';
  const design = storeDesign(systemRandom(3 * 16_370));
  let settings: Awaited<ReturnType<typeof createMachineKeyInToken>>['settings'];
  let bench: Bench | undefined;

  beforeAll(async () => {
    await hsm.addToken('counting', PIN);
    const module = await addCounter(hsm);
    const token = { module, label: 'counting', pinFile: await hsm.pinFile('pin', PIN) };
    const made = await createMachineKeyInToken(join(hsm.folder, 'machine'), 'machine', token, { attended: true });
    settings = made.settings;
  });
  afterAll(() => hsm.close());
  afterEach(() => bench?.close());

  test('makes objects, and does not start with a restored disk until its administrator accepts it', async () => {
    expect(settings.counter).toBe(3);
    const used = await startBench({ design, token: settings });
    bench = used;
    const make = async (count: number) => {
      await used.cloud.print();
      await used.cloud.until(() => used.cloud.reports.filter(({ event }) => event === 'completed').length === count);
    };
    await make(1);
    await used.restart();
    await used.agent.close();
    const [data, copy] = [join(used.folder, 'data'), join(used.folder, 'copy')];
    await cp(data, copy, { recursive: true });
    await used.restart();
    await make(2);
    await used.agent.close();

    await rm(data, { recursive: true });
    await cp(copy, data, { recursive: true });
    const why = await used.restart().then(
      () => '',
      (error: Error) => error.message,
    );
    expect(why).toContain('an older state was restored');
    expect(why).not.toContain(PIN);
    await expect(used.restart()).rejects.toMatchObject({ code: 'E_STORE', message: why });

    // As the error says.
    const [, path = '', number] = /remove (\S+), and set token.counter in machine.json to (\d+)/.exec(why) ?? [];
    await rm(path);
    const json = JSON.parse(await readFile(join(used.folder, 'machine.json'), 'utf8'));
    json.token.counter = Number(number);
    await writeFile(join(used.folder, 'machine.json'), JSON.stringify(json));
    const config = await loadMachineConfig(used.folder);
    const logger = { debug() {}, info() {}, warn() {}, error() {}, fatal() {}, child: () => logger } as never;
    const again = await createAgent({ config, distribution: () => used.cloud.address, timing: quick }, { logger });
    await again.close();
    config.machineKey.close();
  });
});
