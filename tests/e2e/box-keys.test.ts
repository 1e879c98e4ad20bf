import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { InstallationSession } from '@millrace/cli';
import { storeDesign } from '@millrace/client';
import { prepareFile } from '@millrace/client/node';
import { readBoxKey } from '@millrace/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { nodeFiles } from '../../packages/cli/src/installation/layout.ts';
import { millrace } from '../support/cli.ts';
import { randomDesign } from '../support/designs.ts';
import { license, order, store } from '../support/job.ts';
import { setBoxes } from '../support/settings.ts';
import { createWorld, folderOf, type World } from '../support/world.ts';

const nodes = ['control', 'distribution', 'segments', 'keys'] as const;
const options = { kind: 'binary', bytesPerSecond: 100_000 } as const;

let world: World;
let owner: InstallationSession;

beforeAll(async () => {
  world = await createWorld({ start: nodes });
  owner = await world.session('owner');
});
afterAll(() => world?.close());

async function prepare(name: string) {
  const file = join(world.scratch, name);
  await writeFile(file, randomDesign(3 * 16_370));
  return prepareFile(owner, file, options, () => undefined);
}

async function numberNow(): Promise<number> {
  const which = { node: 'keys-1', use: 'attachments' } as const;
  return (await readBoxKey(world.installation.directory, which, await owner.api.attachmentBox('keys-1'), 'any time'))
    .number;
}

/** The keys node without its box keys, as after a restore. */
async function loseBoxKeys(meanwhile: () => Promise<void>): Promise<void> {
  await world.processes.keys.kill();
  await meanwhile();
  for (const file of Object.values(nodeFiles.boxes))
    await rm(join(folderOf(world.installation, 'keys'), nodeFiles.data, file));
  await world.processes.keys.start();
}

it('a design whose content keys the keys node can open no more is refused, not stuck; added again it is stored', async () => {
  const prepared = await prepare('a.bin');
  let stored: Promise<unknown> = Promise.resolve();
  await loseBoxKeys(async () => {
    stored = storeDesign(owner, prepared, () => undefined);
    stored.catch(() => undefined);
    await expect
      .poll(async () => (await owner.api.designs()).map(({ design }) => design))
      .toContain(prepared.state.design);
  });
  await expect(stored).rejects.toMatchObject({ code: 'E_BOX_KEY' });
  expect(await owner.api.design(prepared.state.design)).toMatchObject({ state: 'refused', code: 'E_BOX_KEY' });
  expect(await store(world, owner, randomDesign(3 * 16_370), { name: 'a.bin', ...options })).toMatchObject({
    state: 'stored',
  });
  const deleted = await millrace(world.home, 'design', 'delete', prepared.state.design, '--json');
  expect(deleted.json, deleted.stderr).toMatchObject({ state: 'deleted' });
});

it('a licence whose secret it can open no more cannot be used', async () => {
  const { design } = await store(world, owner, randomDesign(3 * 16_370), { name: 'b.bin', ...options });
  let licence = '';
  await loseBoxKeys(async () => {
    licence = await license(world, owner, design, 1);
  });
  const operator = await world.session('operator');
  const code = () => order(world, operator, licence).catch((error: { code?: string }) => error.code);
  await expect.poll(code, { timeout: 20_000 }).toBe('E_LICENCE_INVALID');
});

it('an upload that is resumed when its key has gone is refused at once, and prepared anew', async () => {
  await setBoxes(world.installation.layout, {
    mail: { periodMs: 200, retentionMs: 0 },
    attachments: { periodMs: 200, retentionMs: 0 },
  });
  await world.processes.keys.kill();
  await world.processes.keys.start();
  const prepared = await prepare('c.bin');
  const then = await numberNow();
  await expect.poll(numberNow, { timeout: 20_000 }).toBeGreaterThan(then);
  await expect(storeDesign(owner, prepared, () => undefined)).rejects.toMatchObject({ code: 'E_BOX_KEY' });
  expect((await owner.api.designs()).map(({ design }) => design)).not.toContain(prepared.state.design);
  expect(await readdir(join(owner.user.folder, 'uploads'))).toEqual([]);
});
