import { systemRandom } from '@millrace/base';
import { signTransaction } from '@millrace/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Session } from '../../packages/cli/src/client/session.ts';
import { millrace } from '../support/cli.ts';
import { randomDesign } from '../support/designs.ts';
import { store } from '../support/job.ts';
import { createWorld, type World } from '../support/world.ts';

const options = { kind: 'binary', bytesPerSecond: 20_000 } as const;

let world: World;
let owner: Session;

beforeAll(async () => {
  world = await createWorld({
    machine: { kind: 'sink', factor: 1, bytesPerSecond: 20_000, stallMs: 3_000 },
    maintenance: { periodMs: 1_000, density: 50 },
  });
  owner = await world.session('owner');
});
afterAll(() => world?.close());

describe('the owner’s later choice of the mode', () => {
  it('is signed by the owner alone, taken by the keys node, in the ledger', async () => {
    const { design: id } = await store(world, owner, randomDesign(20_000), { name: 'later.bin', ...options });
    expect(await owner.api.design(id)).toMatchObject({ maintenance: 'rekey' });
    const issued = Date.now();
    const body = { type: 'design.maintenance', mode: 'delta', design: id, id: systemRandom(16), issued } as const;
    const operator = await world.session('operator');
    const forged = await signTransaction(operator.signer, world.installation.directory.installation, {
      ...body,
      expires: issued + 60_000,
    });
    await expect(operator.api.submit(forged)).rejects.toMatchObject({ code: 'E_FORBIDDEN' });

    const set = await millrace(world.home, 'design', 'maintenance', id, 'delta', '--json');
    expect(set.json, set.stderr).toMatchObject({ design: id, maintenance: 'delta' });
    expect(await owner.api.ledgerCheck()).toMatchObject({ ok: true });
    const wrong = await millrace(world.home, 'design', 'maintenance', id, 'never', '--json');
    expect(wrong).toMatchObject({ exit: 2 });
    expect(await millrace(world.home, 'vault', 'check', '--deep', '--json')).toMatchObject({ exit: 0 });
  });
});
