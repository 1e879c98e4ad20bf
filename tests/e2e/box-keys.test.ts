import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { InstallationSession } from '@millrace/cli';
import { nodeFiles } from '@millrace/cli/parts';
import { storeDesign } from '@millrace/client';
import { prepareFile } from '@millrace/client/node';
import { readBoxKey } from '@millrace/protocol';
import { millrace } from '@millrace/testkit/cli';
import { randomDesign } from '@millrace/testkit/designs';
import { license, order, store } from '@millrace/testkit/job';
import { setBoxes } from '@millrace/testkit/settings';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it } from 'vitest';

const nodes = ['control', 'distribution', 'segments', 'keys'] as const;
const options = { kind: 'binary', bytesPerSecond: 100_000 } as const;

let system: TestInstallation;
let owner: InstallationSession;

beforeAll(async () => {
  system = await createTestInstallation({ start: nodes });
  owner = await system.session('owner');
});
afterAll(() => system?.close());

async function prepare(name: string) {
  const file = join(system.scratch, name);
  await writeFile(file, randomDesign(3 * 16_370));
  return prepareFile(owner, file, options, () => undefined);
}

async function numberNow(): Promise<number> {
  const which = { node: 'keys-1', use: 'attachments' } as const;
  return (await readBoxKey(system.installation.directory, which, await owner.api.attachmentBox('keys-1'), 'any time'))
    .number;
}

/** Removes the keys node's box keys, as after a restore. */
async function loseBoxKeys(meanwhile: () => Promise<void>): Promise<void> {
  await system.processes.keys.kill();
  await meanwhile();
  for (const file of Object.values(nodeFiles.boxes))
    await rm(join(folderOf(system.installation, 'keys'), nodeFiles.data, file));
  await system.processes.keys.start();
}

it('a design whose content keys cannot be opened is refused; when it is added again it is stored', async () => {
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
  expect(await store(system, owner, randomDesign(3 * 16_370), { name: 'a.bin', ...options })).toMatchObject({
    state: 'stored',
  });
  const deleted = await millrace(system.home, 'design', 'delete', prepared.state.design, '--json');
  expect(deleted.json, deleted.stderr).toMatchObject({ state: 'deleted' });
});

it('a licence whose secret cannot be opened cannot be used', async () => {
  const { design } = await store(system, owner, randomDesign(3 * 16_370), { name: 'b.bin', ...options });
  let licence = '';
  await loseBoxKeys(async () => {
    licence = await license(system, owner, design, 1);
  });
  const operator = await system.session('operator');
  const code = () => order(system, operator, licence).catch((error: { code?: string }) => error.code);
  await expect.poll(code, { timeout: 20_000 }).toBe('E_LICENCE_INVALID');
});

it('an upload resumed after its key was erased is refused at once and prepared again', async () => {
  await setBoxes(system.installation.layout, {
    mail: { periodMs: 200, retentionMs: 0 },
    attachments: { periodMs: 200, retentionMs: 0 },
  });
  await system.processes.keys.kill();
  await system.processes.keys.start();
  const prepared = await prepare('c.bin');
  const then = await numberNow();
  await expect.poll(numberNow, { timeout: 20_000 }).toBeGreaterThan(then);
  await expect(storeDesign(owner, prepared, () => undefined)).rejects.toMatchObject({ code: 'E_BOX_KEY' });
  expect((await owner.api.designs()).map(({ design }) => design)).not.toContain(prepared.state.design);
  expect(await readdir(join(owner.user.folder, 'uploads'))).toEqual([]);
});
