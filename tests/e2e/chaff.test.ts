import type { Session } from '@millrace/client';
import { HEADER_BYTES } from '@millrace/live-matrix';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomDesign } from '../support/designs.ts';
import { hashOf, license, machineObject, objectOf, order, store, untilEnded } from '../support/job.ts';
import { setChaff } from '../support/settings.ts';
import { recordedFrames } from '../support/streams.ts';
import { createWorld, type World } from '../support/world.ts';

// Chaff in the cloud's streams: an installation's setting, drawn by the segments node, winnowed by the machine.

const SEGMENTS = 6;
const DATA_HINTS = 16_386 / 2;
const design = randomDesign(SEGMENTS * 16_370);

let world: World;
let owner: Session;
let operator: Session;
let licence: string;

beforeAll(async () => {
  world = await createWorld({
    record: true,
    machine: { kind: 'sink', factor: 1, bytesPerSecond: 200_000, hints: 'sparse' },
  });
  owner = await world.session('owner');
  operator = await world.session('operator');
  const options = { name: 'some.bin', kind: 'binary', bytesPerSecond: 200_000 } as const;
  licence = await license(world, owner, (await store(world, owner, design, options)).design, 2);
});
afterAll(() => world?.close());

/** Frames that passed on the machine's link so far. */
const frames = () => recordedFrames(world.recordings());

const hintsOf = (frame: Uint8Array) => new DataView(frame.buffer, frame.byteOffset).getUint16(34);

async function print() {
  const view = await untilEnded(operator, await order(world, operator, licence));
  expect(view).toMatchObject({ state: 'completed' });
  expect(await machineObject(world, objectOf(view))).toMatchObject({ sha256: hashOf(design), segments: SEGMENTS });
}

describe('sparse hints', () => {
  it('without chaff unless it is set', async () => {
    await print();
    expect(frames().map(hintsOf)).toEqual(new Array(SEGMENTS).fill(DATA_HINTS));
  });

  it('with 30 chaff hints for every 100 of data: each frame is longer by them, and the object is the same', async () => {
    await world.processes.keys.stop();
    await setChaff(world.installation.layout, 30);
    await world.processes.keys.start();
    await print();
    const made = frames().slice(SEGMENTS);
    expect(made.map(hintsOf)).toEqual(new Array(SEGMENTS).fill(Math.round(1.3 * DATA_HINTS)));
    for (const frame of made) expect(frame.length).toBeGreaterThan(HEADER_BYTES + 3.9 * DATA_HINTS);
  });
});
