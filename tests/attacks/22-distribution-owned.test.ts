import { readFile } from 'node:fs/promises';
import { type Bytes, concatBytes, copyBytes, silentLogger } from '@millrace/base';
import { ownDesign, ownDesignSecret, type Session } from '@millrace/client';
import { openPlaybookIn } from '@millrace/cloud/admin';
import { claimedRevision, createReceiver, type ReceiverOptions } from '@millrace/live-matrix';
import { type Agent, createAgent, loadMachineConfig } from '@millrace/machine/parts';
import { parseAddresses } from '@millrace/protocol';
import { noisyGcode } from '@millrace/testkit/designs';
import { license, order, store, untilEnded, untilPrint } from '@millrace/testkit/job';
import { nextSecret, revisionKeys } from '@millrace/testkit/live-matrix/second';
import { factorFor } from '@millrace/testkit/pace';
import { memoryOf } from '@millrace/testkit/process-memory';
import { haystacksOf } from '@millrace/testkit/recorder';
import { type Finding, filesOf, type Haystack, scan } from '@millrace/testkit/scan';
import { recordedFrames } from '@millrace/testkit/streams';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { applyOuterLayer, CONTENT_BYTES, openSegment, readManifest, type SliceCell } from '@millrace/vault';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 22: the attacker controls the distribution node: its decrypted links, its folder, its memory during and after a
// print. The machine's agent runs here, so that the test knows the secrets of the machine's side.

const design = noisyGcode(330_000);
const SEGMENTS = Math.ceil(design.length / CONTENT_BYTES);

let system: TestInstallation;
let agent: Agent;
let owner: Session;
let operator: Session;
let designSecret: Uint8Array;
let designId: string;
let designNonce: Uint8Array;
/** The inputs of the machine's side: the receiver's options with a copy of the seed. */
const receivers: ReceiverOptions[] = [];
/** The distribution node's memory during the print, and what is found in that of the segments node. */
const found = { design: [] as Finding[], held: 0, segmentsHeld: 0 };
let slice: readonly SliceCell[] = [];
let cells: Bytes[] = [];

beforeAll(async () => {
  system = await createTestInstallation({
    record: true,
    start: ['control', 'distribution', 'segments', 'keys'],
    machine: { factor: await factorFor(design, 4) },
    maintenance: { periodMs: 3_600_000, density: 50 },
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
  const { distribution } = parseAddresses(JSON.parse(await readFile(system.installation.layout.run.addresses, 'utf8')));
  agent = await createAgent(
    { config: await loadMachineConfig(folderOf(system.installation, 'machine')), distribution: () => distribution },
    {
      logger: silentLogger,
      receiver: (options) => {
        receivers.push({ ...options, seed: copyBytes(options.seed) });
        return createReceiver(options);
      },
    },
  );
  const stored = await store(system, owner, design);
  designId = stored.design;
  const print = await order(system, operator, await license(system, owner, designId, 1));
  await untilPrint(
    operator,
    print,
    ({ progress, state }) => (progress?.acked ?? 0) >= SEGMENTS / 2 || state === 'completed',
  );
  const during = [...copies('distribution')];
  const segmentsDuring = [...copies('segments')];
  expect(await untilEnded(operator, print)).toMatchObject({ state: 'completed' });

  designSecret = await ownDesignSecret(owner, await ownDesign(owner, designId));
  await system.processes.keys.stop();
  const { playbook, close } = await openPlaybookIn(folderOf(system.installation, 'keys'));
  slice = await playbook.slice(designId, 0, SEGMENTS);
  designNonce = readManifest(await playbook.manifest(designId)).nonce;
  await close();
  cells = await resolveRecorded();
  const secrets = held();
  found.design = [...scan(during, design), ...scan(during, secrets)];
  found.held = during.reduce((sum, { bytes }) => sum + bytes.length, 0);
  found.segmentsHeld = scan(segmentsDuring, concatBytes(...cells)).length;
});
afterAll(async () => {
  await agent?.close();
  await system?.close();
});

const copies = (node: 'distribution' | 'segments'): Haystack[] =>
  [...memoryOf(node, system.processes[node].pid)].map(({ name, bytes }) => ({ name, bytes: copyBytes(bytes) }));

const links = () => system.recordings().filter(({ node, role }) => node === 'distribution' || role === 'distribution');

/** Everything that must be absent: seeds and the values derived from them, content keys, outer keys, cells. */
function held(): Bytes {
  const derived = receivers.flatMap(({ seed }) => {
    const keys: Uint8Array[] = [];
    let secret = seed;
    for (let r = 0; r < 8; r++) {
      keys.push(secret, ...Object.values(revisionKeys(secret)));
      secret = nextSecret(secret);
    }
    return keys;
  });
  return concatBytes(designSecret, ...derived, ...slice.flatMap(({ cek, outerKey }) => [cek, outerKey]), ...cells);
}

/** Resolves the frames of the machine's link, as relayed by the distribution node, with the machine's seed. */
async function resolveRecorded(): Promise<Bytes[]> {
  const frames = recordedFrames(system.recordings());
  // The first receiver only measures table times.
  const { signal: _, memory: __, ...options } = receivers.at(-1) as ReceiverOptions;
  const receiver = await createReceiver(options);
  const out: Bytes[] = [];
  for (const frame of frames) {
    while (receiver.ready < claimedRevision(frame)) await receiver.prepareNext();
    const { frame: number, cell } = await receiver.decode(frame);
    out[number] = cell;
  }
  await receiver.close();
  return out;
}

describe('baseline: the relayed messages together with the machine’s secrets', () => {
  it('give the whole design', async () => {
    expect(cells).toHaveLength(SEGMENTS);
    const contents = slice.map(({ segment, cek, outerKey }) =>
      openSegment({
        cek,
        designSecret,
        sealed: applyOuterLayer(outerKey, cells[segment] as Bytes),
        designNonce,
        number: segment,
        final: segment === SEGMENTS - 1,
      }),
    );
    expect(
      Buffer.from(concatBytes(...contents))
        .subarray(0, design.length)
        .equals(design),
    ).toBe(true);
  });

  it('baseline: the search finds cells in the segments node', ({ skip }) => {
    expect(found.segmentsHeld).toBeGreaterThan(0);
    if (process.env.MILLRACE_TEST_STATE === 'cluster') return skip('the cells are not in its folder');
    expect(scan(filesOf(folderOf(system.installation, 'segments')), concatBytes(...cells))).not.toEqual([]);
  });
});

describe('the distribution node alone', () => {
  it('relayed all frames', () => {
    const parties = new Set(links().map(({ role, node }) => `${role} → ${node}`));
    for (const party of ['machine', 'user', 'segments', 'keys']) expect(parties).toContain(`${party} → distribution`);
    expect(parties).toContain('distribution → control');
    const bytes = links().reduce((sum, { up, down }) => sum + up.length + down.length, 0);
    expect(bytes).toBeGreaterThan(3 * design.length);
  });

  it('has no piece of the design or a cell, no seed and no key on its links', () => {
    expect(scan(haystacksOf(links()), design)).toEqual([]);
    expect(scan(haystacksOf(links()), held())).toEqual([]);
  });

  it('has none in its folder or log', () => {
    const files = [...filesOf(folderOf(system.installation, 'distribution'))];
    expect(files.length).toBeGreaterThan(2);
    expect(scan(files, design)).toEqual([]);
    expect(scan(files, held())).toEqual([]);
  });

  it('has none in its memory during the print', () => {
    expect(found.held).toBeGreaterThan(20_000_000);
    expect(found.design).toEqual([]);
  });
});
