import { copyBytes } from '@millrace/base';
import type { Session } from '@millrace/client';
import { openPlaybookIn } from '@millrace/cloud/admin';
import { noisyGcode } from '@millrace/testkit/designs';
import { license, order, store, untilEnded, untilPrint } from '@millrace/testkit/job';
import { factorFor } from '@millrace/testkit/pace';
import { memoryOf } from '@millrace/testkit/process-memory';
import type { Haystack } from '@millrace/testkit/scan';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { CONTENT_BYTES, type SliceCell } from '@millrace/vault';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 9 for a whole agent during a print: the segments whose keys are in its memory.

const design = noisyGcode(600_000);
const SEGMENTS = Math.ceil(design.length / CONTENT_BYTES);

/** The window of a design of this length: an eighth of 37 segments (`windowFor`). */
const WINDOW = 8;

let system: TestInstallation;
let operator: Session;
let slice: readonly SliceCell[] = [];
/** Copies of the memory during the print, each with the segments that control knew to be taken. */
const during: { readonly taken: number; readonly memory: readonly Haystack[] }[] = [];
let after: Haystack[] = [];

const copyOf = (): Haystack[] =>
  [...memoryOf('machine', system.processes.machine.pid)].map(({ name, bytes }) => ({ name, bytes: copyBytes(bytes) }));

beforeAll(async () => {
  system = await createTestInstallation({
    machine: { factor: await factorFor(design, 8) },
    maintenance: { periodMs: 3_600_000, density: 50 },
  });
  const owner = await system.session('owner');
  operator = await system.session('operator');
  const stored = await store(system, owner, design);
  const print = await order(system, operator, await license(system, owner, stored.design, 1));
  // Several: the agent of a slow computer may hold no key for a moment, while it waits for the next segment.
  for (const part of [0.3, 0.45, 0.6, 0.75]) {
    const view = await untilPrint(operator, print, ({ progress }) => (progress?.acked ?? 0) >= SEGMENTS * part);
    during.push({ taken: view.progress?.acked ?? 0, memory: copyOf() });
  }
  expect(await untilEnded(operator, print)).toMatchObject({ state: 'completed' });
  after = copyOf();
  await system.processes.keys.stop();
  const { playbook, close } = await openPlaybookIn(folderOf(system.installation, 'keys'));
  slice = await playbook.slice(stored.design, 0, SEGMENTS);
  await close();
});
afterAll(() => system?.close());

/** The segments whose keys occur in memory. */
const keysIn = (memory: readonly Haystack[], which: 'cek' | 'outerKey'): number[] =>
  slice
    .filter((cell) =>
      memory.some(({ bytes }) =>
        Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes(Buffer.from(cell[which])),
      ),
    )
    .map(({ segment }) => segment);

describe('an agent’s process during a print', () => {
  it('holds keys of the window, and none of segments before or after it', () => {
    for (const which of ['cek', 'outerKey'] as const) {
      const copies = during.map(({ taken, memory }) => ({ taken, held: keysIn(memory, which) }));
      expect(copies.flatMap(({ held }) => held).length, which).toBeGreaterThan(0);
      for (const { taken, held } of copies) {
        // It had advanced by some segments before its memory was read. Control knew of fewer.
        expect(
          held.filter((segment) => segment < taken),
          which,
        ).toEqual([]);
        expect(held.at(-1) ?? 0, which).toBeLessThanOrEqual((held[0] ?? 0) + WINDOW);
      }
    }
  });

  it('holds no keys after the print', () => {
    expect(keysIn(after, 'cek')).toEqual([]);
    expect(keysIn(after, 'outerKey')).toEqual([]);
  });
});
