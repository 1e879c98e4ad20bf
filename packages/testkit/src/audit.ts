import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { machineFiles } from '@millrace/cli/parts';
import { auditLedger, type Session } from '@millrace/client';
import { expect } from 'vitest';
import { millrace } from './cli.ts';
import type { MachineObject } from './job.ts';
import { folderOf, type TestInstallation } from './test-installation.ts';

/**
 * Asserts the invariants after any failure: every print is in the ledger, permits do not exceed the licence, the log is
 * intact, and a deep check of the vault finds no error.
 */
export async function expectSound(system: TestInstallation, owner: Session, licence: string): Promise<void> {
  const { objects, permitted } = await owner.api.licence(licence);
  expect(permitted).toBeLessThanOrEqual(objects);

  const shown = (await owner.api.objects()).filter(({ object }) => object.startsWith(licence));
  const permits = shown.filter(({ events }) => events.some(({ type }) => type === 'permitted'));
  expect(permits.length).toBeLessThanOrEqual(objects);
  const known = new Map(shown.map((view) => [view.object, view]));
  for (const made of await machineObjects(system)) {
    if (!made.object.startsWith(licence)) continue;
    const types = known.get(made.object)?.events.map(({ type }) => type) ?? [];
    expect(types, made.object).toContain('started');
    expect(types, made.object).toContain(made.event);
  }

  await auditLedger(owner, () => undefined);
  await expectSoundStores(system, owner);
}

/** Asserts that control's own check of its ledger and a deep check of the vault find no error. */
export async function expectSoundStores(system: TestInstallation, owner: Session): Promise<void> {
  expect(await owner.api.ledgerCheck()).toMatchObject({ ok: true });
  const vault = await millrace(system.home, 'vault', 'check', '--deep', '--json');
  expect(vault.json, vault.stdout + vault.stderr).toMatchObject({ clean: true });
  expect(vault.exit).toBe(0);
}

/** The agent's records at the machine, one for each object that it started. */
export async function machineObjects(system: TestInstallation): Promise<MachineObject[]> {
  const folder = join(folderOf(system.installation, 'machine'), machineFiles.data, 'objects');
  const names = (await readdir(folder)).filter((name) => name.endsWith('.json'));
  return Promise.all(
    names.map(async (name) => JSON.parse(await readFile(join(folder, name), 'utf8')) as MachineObject),
  );
}
