import type { Session } from '@millrace/client';
import { HEADER_BYTES } from '@millrace/live-matrix';
import { randomDesign } from '@millrace/testkit/designs';
import { hashOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { setChaff } from '@millrace/testkit/settings';
import { recordedFrames } from '@millrace/testkit/streams';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Chaff in the cloud's streams: set per installation, added by the segments node, removed by the machine.

const SEGMENTS = 6;
const DATA_HINTS = 16_386 / 2;
const design = randomDesign(SEGMENTS * 16_370);

let system: TestInstallation;
let owner: Session;
let operator: Session;
let licence: string;

beforeAll(async () => {
  system = await createTestInstallation({
    record: true,
    machine: { kind: 'sink', factor: 1, bytesPerSecond: 200_000, hints: 'sparse' },
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
  const options = { name: 'some.bin', kind: 'binary', bytesPerSecond: 200_000 } as const;
  licence = await license(system, owner, (await store(system, owner, design, options)).design, 2);
});
afterAll(() => system?.close());

/** The frames on the machine's link so far. */
const frames = () => recordedFrames(system.recordings());

const hintsOf = (frame: Uint8Array) => new DataView(frame.buffer, frame.byteOffset).getUint16(34);

async function print() {
  const view = await untilEnded(operator, await order(system, operator, licence));
  expect(view).toMatchObject({ state: 'completed' });
  expect(await machineObject(system, objectOf(view))).toMatchObject({ sha256: hashOf(design), segments: SEGMENTS });
}

describe('sparse hints', () => {
  it('have no chaff by default', async () => {
    await print();
    expect(frames().length).toBeGreaterThanOrEqual(SEGMENTS); // more if a session has ended and some are sent again
    expect(new Set(frames().map(hintsOf))).toEqual(new Set([DATA_HINTS]));
  });

  it('with 30 % chaff have longer frames and make the same object', async () => {
    await system.processes.keys.stop();
    await setChaff(system.installation.layout, 30);
    await system.processes.keys.start();
    const before = frames().length;
    await print();
    const made = frames().slice(before);
    expect(made.length).toBeGreaterThanOrEqual(SEGMENTS);
    expect(new Set(made.map(hintsOf))).toEqual(new Set([Math.round(1.3 * DATA_HINTS)]));
    for (const frame of made) expect(frame.length).toBeGreaterThan(HEADER_BYTES + 3.9 * DATA_HINTS);
  });
});
