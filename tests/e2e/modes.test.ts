import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep, systemRandom } from '@millrace/base';
import type { Session } from '@millrace/client';
import { signTransaction } from '@millrace/protocol';
import { millrace } from '@millrace/testkit/cli';
import { randomDesign } from '@millrace/testkit/designs';
import { hashOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const RATE = 20_000;
const options = { kind: 'binary', bytesPerSecond: RATE } as const;

let system: TestInstallation;
let owner: Session;
let operator: Session;

beforeAll(async () => {
  system = await createTestInstallation({
    machine: { kind: 'sink', factor: 1, bytesPerSecond: RATE, stallMs: 10_000 },
    maintenance: { periodMs: 1_000, density: 50 },
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
});
afterAll(() => system?.close());

async function untilEpoch(epoch: number): Promise<number> {
  for (const end = performance.now() + 120_000; ; await sleep(50)) {
    const { maintenance } = await owner.api.status();
    const now = (maintenance as { epoch?: number; problems?: number } | null) ?? {};
    expect(now.problems ?? 0).toBe(0);
    if ((now.epoch ?? 0) >= epoch) return now.epoch ?? 0;
    if (performance.now() > end) throw new Error(`still in epoch ${now.epoch}`);
  }
}

const checked = () => millrace(system.home, 'vault', 'check', '--deep', '--json');

describe('a key-homomorphic design', () => {
  const content = randomDesign(16_370 + 100);
  let design: string;

  it('is stored; a design that is too large is rejected before the upload', async () => {
    const file = join(system.scratch, 'large.bin');
    await writeFile(file, randomDesign(4 * 16_370 + 1));
    const rate = ['--kind', 'binary', '--rate', String(RATE)];
    const refused = await millrace(
      system.home,
      'design',
      'add',
      file,
      ...rate,
      '--maintenance',
      'key-homomorphic',
      '--json',
    );
    expect(refused).toMatchObject({ exit: 2 });
    expect(refused.stderr + refused.stdout).toContain('E_TOO_LARGE');
    ({ design } = await store(system, owner, content, {
      name: 'precious.bin',
      maintenance: 'key-homomorphic',
      ...options,
    }));
    expect(await owner.api.design(design)).toMatchObject({ state: 'stored', maintenance: 'key-homomorphic' });
  });

  it('is renewed over epochs, printed exactly and checked', async () => {
    const epoch = await untilEpoch(1);
    await untilEpoch(epoch + 2);
    const print = await order(system, operator, await license(system, owner, design, 1));
    const view = await untilEnded(operator, print, 120_000);
    expect(view).toMatchObject({ state: 'completed' });
    expect(await machineObject(system, objectOf(view))).toMatchObject({ sha256: hashOf(content) });
    await untilEpoch(epoch + 4);
    const found = await checked();
    expect(found.json, found.stderr).toMatchObject({ clean: true, deep: true, cells: 4 });
  });

  it('cannot change its mode', async () => {
    const set = await millrace(system.home, 'design', 'maintenance', design, 'delta', '--json');
    expect(set.stderr + set.stdout).toContain('E_MODE_FIXED');
    expect(set.exit).toBe(3);
  });

  it('is deleted together with its decoys', async () => {
    expect((await millrace(system.home, 'design', 'delete', design, '--json')).json).toMatchObject({
      state: 'deleted',
    });
    await untilEpoch((await untilEpoch(1)) + 3);
    const found = await checked();
    expect(found.json, found.stderr).toMatchObject({ clean: true, cells: 0 });
  });
});

describe('the owner’s later choice of the mode', () => {
  it('needs the owner’s signature, is applied by the keys node and recorded in the ledger', async () => {
    const { design: id } = await store(system, owner, randomDesign(20_000), { name: 'later.bin', ...options });
    expect(await owner.api.design(id)).toMatchObject({ maintenance: 'rekey' });
    const issued = Date.now();
    const body = { type: 'design.maintenance', mode: 'delta', design: id, id: systemRandom(16), issued } as const;
    const forged = await signTransaction(operator.signer, system.installation.directory.installation, {
      ...body,
      expires: issued + 60_000,
    });
    await expect(operator.api.submit(forged)).rejects.toMatchObject({ code: 'E_FORBIDDEN' });

    const set = await millrace(system.home, 'design', 'maintenance', id, 'delta', '--json');
    expect(set.json, set.stderr).toMatchObject({ design: id, maintenance: 'delta' });
    expect(await owner.api.ledgerCheck()).toMatchObject({ ok: true });
    const wrong = await millrace(system.home, 'design', 'maintenance', id, 'never', '--json');
    expect(wrong).toMatchObject({ exit: 2 });
    await untilEpoch((await untilEpoch(1)) + 2);
    expect(await checked()).toMatchObject({ exit: 0 });
  });
});
