import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { toHex } from '@millrace/base';
import type { InstallationSession } from '@millrace/cli';
import { findProgram } from '@millrace/cli/parts';
import { type Session, storeDesign } from '@millrace/client';
import { prepareFile } from '@millrace/client/node';
import { millrace } from '@millrace/testkit/cli';
import { gcode } from '@millrace/testkit/designs';
import { hashOf, license, machineObject, objectOf, order, untilEnded } from '@millrace/testkit/job';
import { filesOf } from '@millrace/testkit/scan';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { readManifest } from '@millrace/vault';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// What the cloud sees of designs: nothing that relates equal designs of two tenants, no names, no pictures.

const nodes = ['control', 'distribution', 'segments', 'keys'] as const;
const samples = fileURLToPath(new URL('../../samples/', import.meta.url));
const slicer = await findProgram(['prusa-slicer', 'PrusaSlicer'], process.env.PATH);
if (slicer === undefined) process.stdout.write('tenants.test: no PrusaSlicer in PATH: models are not sliced here\n');

let system: TestInstallation;
let owner: InstallationSession;
let operator: Session;
beforeAll(async () => {
  system = await createTestInstallation({
    machine: { kind: 'virtual', factor: 1e6 },
    maintenance: { periodMs: 60_000, density: 100 },
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
});
afterAll(() => system?.close());

interface Stored {
  readonly design: string;
  readonly hashes: readonly string[];
  readonly sealed: readonly string[];
}

async function storeAs(session: Session, file: string): Promise<Stored> {
  const prepared = await prepareFile(session, file, {}, () => undefined);
  const { hashes, segments } = readManifest(await prepared.manifest());
  const opened = await prepared.openSegments();
  const sealed: string[] = [];
  for (let segment = 0; segment < segments; segment += 1) sealed.push(toHex(await opened.read(segment)));
  await opened.close();
  const view = await storeDesign(session, prepared, () => undefined);
  expect(view.state).toBe('stored');
  const all = Array.from({ length: segments }, (_, i) => toHex(hashes.subarray(32 * i, 32 * i + 32)));
  return { design: view.design, hashes: all, sealed };
}

describe('equal designs of two tenants', () => {
  it('share no cell, hash or identifier, and are visible only to their owners', async () => {
    const file = join(system.scratch, 'the-same.gcode');
    writeFileSync(file, gcode(150_000));
    const [one, two] = [await storeAs(owner, file), await storeAs(operator, file)];
    const again = await storeAs(owner, file);
    const three = [one, two, again];
    const count = one.sealed.length;
    expect(count).toBe(10);
    expect(new Set(three.map(({ design }) => design)).size).toBe(3);
    expect(new Set(three.flatMap(({ hashes }) => hashes)).size).toBe(3 * count);
    expect(new Set(three.flatMap(({ sealed }) => sealed)).size).toBe(3 * count);
    // No 16 bytes of one tenant's cells are found in the other's.
    const runs = new Set(one.sealed.flatMap((hex) => hex.match(/.{32}/g) ?? []));
    expect(runs.size).toBeGreaterThan(10_000);
    for (const hex of two.sealed) for (const run of hex.match(/.{32}/g) ?? []) expect(runs.has(run)).toBe(false);
    // The vault holds all of them.
    const check = await millrace(system.home, 'vault', 'check', '--deep', '--json', '--user', 'admin');
    expect(check.exit).toBe(0);
    expect(check.json).toMatchObject({ cells: 3 * count });
    await expect(operator.api.design(one.design)).rejects.toMatchObject({ code: 'E_FORBIDDEN' });
    await expect(operator.api.privatePart(one.design)).rejects.toMatchObject({ code: 'E_FORBIDDEN' });
    expect((await operator.api.designs()).map(({ design }) => design)).toEqual([two.design]);
  });
});

describe('a model', () => {
  it.runIf(slicer !== undefined)('is sliced, stored and made; no node has its name, profile or picture', async () => {
    const name = 'rotor-of-the-secret-pump';
    const model = join(system.scratch, `${name}.stl`);
    const profile = join(system.scratch, 'my-own-profile.ini');
    writeFileSync(model, readFileSync(join(samples, 'impeller.stl')));
    writeFileSync(
      profile,
      readFileSync(join(samples, 'impeller.ini'), 'utf8').replace('fill_density = 15%', 'fill_density = 10%'),
    );
    const added = await millrace(system.home, 'design', 'add', model, '--profile', profile, '--json');
    expect(added.exit, added.stderr).toBe(0);
    const { design, time, sliced } = added.json as {
      design: string;
      time: { model: number; slicer: number };
      sliced: { slicer: string; profileHash: string };
    };
    expect(Math.abs((time.model - 101) / time.slicer - 1)).toBeLessThan(0.05);
    expect(sliced.slicer).toMatch(/^PrusaSlicer/);
    expect(sliced.profileHash).toBe(hashOf(new Uint8Array(readFileSync(profile))));
    const listed = await millrace(system.home, 'design', 'list');
    expect(listed.stdout).toContain(`${name}.stl`);
    expect((await owner.api.design(design)).name).toBe(`design ${design.slice(0, 8)}`);
    const picture = readFileSync(join(owner.user.folder, 'designs', design, 'thumbnail.png'));
    expect(readFileSync(join(owner.user.folder, 'designs', design, 'profile.ini'))).toEqual(readFileSync(profile));

    const licence = await license(system, owner, design, 1);
    const view = await untilEnded(operator, await order(system, operator, licence));
    expect(view).toMatchObject({ state: 'completed' });
    expect((await machineObject(system, objectOf(view))).bytes).toBe((await owner.api.design(design)).size);
    const needles = [
      Buffer.from(name),
      Buffer.from('my-own-profile'),
      Buffer.from(sliced.profileHash, 'hex'),
      picture.subarray(picture.length >> 1, (picture.length >> 1) + 32),
    ];
    for (const node of [...nodes, 'machine'] as const)
      for (const { name: where, bytes } of filesOf(folderOf(system.installation, node)))
        for (const needle of needles) expect(Buffer.from(bytes).includes(needle), `${node}: ${where}`).toBe(false);
  });

  it('is rejected without a slicer, with a remedy; nothing is stored', async () => {
    const before = (await owner.api.designs()).length;
    const path = process.env.PATH;
    process.env.PATH = '/no/programs';
    try {
      const refused = await millrace(system.home, 'design', 'add', join(samples, 'impeller.stl'));
      expect(refused).toMatchObject({ exit: 2, code: 'E_SLICER' });
      expect(refused.stderr).toContain('install PrusaSlicer');
    } finally {
      process.env.PATH = path;
    }
    expect((await owner.api.designs()).length).toBe(before);
  });
});
