import { readdirSync, readFileSync, statSync } from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Closer } from '@millrace/base';
import { nodeFiles, nodeRoles } from '@millrace/cli/parts';
import { ownDesign, ownDesignSecret } from '@millrace/client';
import { openPlaybookIn } from '@millrace/cloud/admin';
import { openLmdb } from '@millrace/stores';
import { randomDesign } from '@millrace/testkit/designs';
import { license, order, store, untilEnded } from '@millrace/testkit/job';
import { type Haystack, scan } from '@millrace/testkit/scan';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { applyOuterLayer, type Custody, openFileEngine, openSegment, readManifest } from '@millrace/vault';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 4: an administrator of the cloud's computers takes the disks of one node, of two, of all. For the memory of
// processes see 22-distribution-owned, 09-seized-agent and the coalitions of tests/adversary.

type Role = (typeof nodeRoles)[number];
const SEGMENTS = 6;
const RATE = 200_000;
const disks: Partial<Record<Role, string>> = {};
const designs = {} as Record<Custody, { readonly id: string; readonly content: Buffer; readonly secret: Uint8Array }>;

let system: TestInstallation;
let copies: string;

beforeAll(async () => {
  system = await createTestInstallation({
    machine: { kind: 'sink', factor: 1, bytesPerSecond: RATE },
    maintenance: { periodMs: 60_000, density: 50 },
  });
  const [owner, operator] = [await system.session('owner'), await system.session('operator')];
  for (const custody of ['owner', 'keys'] as const) {
    const content = Buffer.from(randomDesign(SEGMENTS * 16_370 - 99));
    const options = { name: `${custody}.bin`, kind: 'binary', bytesPerSecond: RATE, custody } as const;
    const { design: id } = await store(system, owner, content, options);
    designs[custody] = { id, content, secret: await ownDesignSecret(owner, await ownDesign(owner, id)) };
    // The disks are taken after a print, so they hold whatever it leaves.
    const print = await order(system, operator, await license(system, owner, id, 1));
    expect(await untilEnded(operator, print)).toMatchObject({ state: 'completed' });
  }
  copies = await mkdtemp(join(tmpdir(), 'millrace disks '));
  for (const role of nodeRoles) {
    await system.processes[role].stop();
    disks[role] = join(copies, role);
    await cp(folderOf(system.installation, role), join(copies, role), { recursive: true });
  }
});
afterAll(async () => {
  await system?.close();
  if (copies !== undefined) await rm(copies, { recursive: true, force: true });
});

function filesOf(folder: string): Haystack[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? filesOf(path) : [{ name: path, bytes: readFileSync(path) }];
  });
}

/**
 * The number of the design's segments that the owner of these disks opens. The segments node has cells, the keys node
 * has keys and places and, in custody, the design secret too.
 */
async function openedWith(taken: readonly Role[], custody: Custody, given?: Uint8Array): Promise<number> {
  const { id, content } = designs[custody];
  if (!taken.includes('segments') || !taken.includes('keys')) return 0; // no cell without its place and outer key
  const closer = new Closer();
  const { playbook, close } = await openPlaybookIn(disks.keys ?? '');
  closer.add({ close });
  try {
    const data = join(disks.segments ?? '', nodeFiles.data);
    const lmdb = closer.add(openLmdb({ path: data }));
    const path = join(data, nodeFiles.cells);
    const { cells } = closer.add(await openFileEngine({ lmdb, index: 'cell-index', path }));
    const { nonce, segments } = readManifest(await playbook.manifest(id));
    const held = await playbook.designSecret(id).catch(() => undefined);
    // Without the secret the thief tries all runs of 32 bytes.
    const secrets = [given ?? held ?? new Uint8Array(32)];
    let opened = 0;
    for (const { segment, index: place, outerKey, cek } of await playbook.slice(id, 0, segments)) {
      const cell = await cells.get(place);
      if (cell === undefined) throw new Error(`no cell of segment ${segment}`);
      const sealed = applyOuterLayer(outerKey, cell.body);
      for (const designSecret of [...secrets, cek, outerKey]) {
        try {
          const place = { designNonce: nonce, number: segment, final: segment === segments - 1 };
          const piece = openSegment({ cek, designSecret, sealed: sealed.slice(), ...place });
          const end = Math.min(content.length, (segment + 1) * 16_370);
          const whole = content.subarray(segment * 16_370, end).equals(piece.subarray(0, end - segment * 16_370));
          if (whole) opened++;
          break;
        } catch {
          // another secret
        }
      }
    }
    return opened;
  } finally {
    await closer.close();
  }
}

describe('the disk of one node', () => {
  it.each(nodeRoles)('%s: contains no run of a design and no secret of the owner', (role) => {
    const files = filesOf(disks[role] ?? '');
    expect(files.length).toBeGreaterThan(3);
    const { owner, keys } = designs;
    expect(scan(files, Buffer.concat([owner.content, keys.content, owner.secret]))).toEqual([]);
  });

  it('baseline: the search finds a design that is present', () => {
    const planted = { name: 'planted', bytes: Buffer.concat([Buffer.alloc(999), designs.owner.content.subarray(500)]) };
    expect(scan([planted], designs.owner.content)).not.toEqual([]);
  });
});

describe('the disks of two nodes, or of all', () => {
  const pairs = nodeRoles.flatMap((one, i) => nodeRoles.slice(i + 1).map((other) => [one, other] as const));
  const both = (taken: readonly Role[]) => taken.includes('segments') && taken.includes('keys');

  it.each([...pairs, nodeRoles].map((taken) => [taken.join(' + '), taken] as const))('%s', async (_, taken) => {
    expect(await openedWith(taken, 'owner')).toBe(0);
    // In custody the keys node has the owner's secret, so it opens the cells. This is a documented limit.
    expect(await openedWith(taken, 'keys')).toBe(both(taken) ? SEGMENTS : 0);
  });

  it('baseline: with the owner’s secret the same disks open everything', async () => {
    expect(await openedWith(nodeRoles, 'owner', designs.owner.secret)).toBe(SEGMENTS);
  });
});
