import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeCbor, encodeCbor, utf8 } from '@millrace/base';
import { grantLicence, openLive, openReport, type PrintView, requestPrint, type Session } from '@millrace/client';
import type { OwnerState } from '@millrace/protocol';
import { millrace } from '@millrace/testkit/cli';
import { cli } from '@millrace/testkit/cli/helpers';
import { machineObject, objectOf, order, store, untilEnded, untilPrint } from '@millrace/testkit/job';
import { factorFor } from '@millrace/testkit/pace';
import { haystacksOf } from '@millrace/testkit/recorder';
import { filesOf, type Haystack } from '@millrace/testkit/scan';
import { httpMessages } from '@millrace/testkit/streams';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// What the four nodes learn of a machine, compared with what its owner learns: spec/protocol.md, 6.11.

/** Positions to the thousandth, and layers: numbers that do not occur elsewhere by chance. */
function oddGcode(lines: number) {
  const text = ['G28', 'G21', 'G90', 'M82', 'G1 Z0.2 F6000'];
  for (let i = 1; i <= lines; i++) {
    const [x, y] = [137.37 + 31 * Math.cos(i / 17), 121.13 + 29 * Math.sin(i / 19)];
    const layer = i % 1_000 === 0 ? ` Z${(0.2 + i / 5_000).toFixed(3)}` : '';
    text.push(`G1 X${x.toFixed(3)} Y${y.toFixed(3)}${layer} E${(i * 0.0371).toFixed(4)} F3000`);
  }
  return utf8(`${text.join('\n')}\n`);
}

const design = oddGcode(9_000);
/** The figures that the machine gave its owner, live and in its reports. */
const told: OwnerState[] = [];
let system: TestInstallation;
let owner: Session;
let operator: Session;
let id: string;
let licence: string;
let print: string;
let object: string;
const asHolder: PrintView[] = [];

/** What the camera at the machine sees. */
const jpeg = Buffer.from(
  `ffd8ffdb0043${'00'.repeat(65)}ffc00011${'00'.repeat(15)}ffda000c${'00'.repeat(10)}${'9b'.repeat(64)}ffd9`,
  'hex',
);

beforeAll(async () => {
  system = await createTestInstallation({ record: true, machine: { factor: await factorFor(design, 8) } });
  const machineFolder = folderOf(system.installation, 'machine');
  const code = `process.stdout.write(Buffer.from('${jpeg.toString('hex')}', 'hex'))`;
  const source = { kind: 'command', command: [process.execPath, '-e', code] };
  await system.processes.machine.stop();
  await writeFile(join(machineFolder, 'camera.json'), JSON.stringify({ source }));
  await system.processes.machine.start();
  owner = await system.session('owner');
  operator = await system.session('operator');
  ({ design: id } = await store(system, owner, design));
});
afterAll(() => system?.close());

const terms = () => ({
  design: id,
  objects: 1,
  machines: [system.machine],
  materials: [],
  days: 1,
  holder: 'operator',
});

describe('the owner', () => {
  it('sees position, temperatures and buffer of the machine live', async () => {
    licence = await grantLicence(owner, terms());
    print = await order(system, operator, licence);
    const warm = new Set<string>();
    const view = await untilPrint(owner, print, ({ state, progress }) => {
      for (const heater of Object.keys(progress?.machine?.temperatures ?? {})) warm.add(heater);
      return state === 'completed' || state === 'failed' || progress?.machine?.state === 'running';
    });
    asHolder.push(await operator.api.print(print));
    const live = await openLive(owner, view);
    expect(live).toMatchObject({ position: expect.any(Array), line: expect.any(Number), layer: expect.any(Number) });
    if (live !== undefined) told.push(live);
    expect([...warm].sort()).toEqual(['bed', 'hotend']);
    const shown = await millrace(system.home, 'object', 'show', objectOf(view), '--json');
    expect(shown.json).toMatchObject({ live: { line: expect.any(Number) } });
    const ended = await untilEnded(owner, print);
    expect(ended).toMatchObject({ state: 'completed' });
    object = objectOf(ended);
  });

  it('reads what was executed from the machine’s signed reports', async () => {
    const { events } = await owner.api.object(object);
    for (const event of events) {
      const own = await openReport(owner, object, event);
      if (own !== undefined) told.push(own);
    }
    expect(told.at(-1)).toMatchObject({ line: 9_005, bytes: design.length, layer: 10, filament: 333.9 });
    expect(told.length).toBeGreaterThan(5);
  });
});

describe('photos of a camera at the machine', () => {
  const sealedAt = () => join(folderOf(system.installation, 'machine'), 'data/photos', object);

  it('are opened by the owner only, and compared with the machine’s signed reports', async () => {
    const from = await mkdtemp(join(system.scratch, 'from-operator-'));
    await cp(sealedAt(), from, { recursive: true });
    await writeFile(join(from, 'other.photo'), jpeg);
    const to = join(system.scratch, 'photos');
    const shown = await millrace(system.home, 'object', 'photos', object, '--from', from, '--to', to, '--json');
    const { photos, missing, foreign } = shown.json as { photos: { file: string; moment: string }[] } & Record<
      'missing' | 'foreign',
      string[]
    >;
    expect(photos.at(-1)?.moment).toBe('end');
    for (const { file } of photos) expect((await readFile(file)).equals(jpeg)).toBe(true);
    expect([missing, foreign]).toEqual([[], ['other.photo']]);
    // The operator holds one back: the owner sees that.
    await rm(join(from, (await readdir(sealedAt())).sort().at(-1) ?? ''));
    const less = ['--from', from, '--to', `${to}-2`, '--json'];
    const again = await millrace(system.home, 'object', 'photos', object, ...less);
    expect((again.json as { missing: string[] }).missing).toHaveLength(1);
    const mine = ['--from', from, '--to', `${to}-3`, '--user', 'operator'];
    expect((await cli(['object', 'photos', object, ...mine, '--home', system.home])).stderr).toContain('E_NOT_FOUND');
  });
});

describe('the holder', () => {
  it('sees what a licence discloses by default: segments, state, temperatures, buffer', () => {
    const [view] = asHolder;
    expect(view?.progress?.acked).toBeGreaterThan(0);
    expect(view?.progress?.machine).toMatchObject({ state: 'running', temperatures: { bed: expect.any(Number) } });
    expect(view?.progress?.owner).toBeUndefined();
  });

  it('gets no report, and could not open one', async () => {
    const mine = await operator.api.object(object);
    expect(mine.events.some(({ report }) => report !== undefined)).toBe(false);
    const { events } = await owner.api.object(object);
    const last = events.at(-1);
    if (last === undefined) throw new Error('no event');
    expect(await openReport(operator, object, last)).toBeUndefined();
  });

  it('finds no line count at the machine', async () => {
    expect(await machineObject(system, object)).not.toHaveProperty('lines');
  });

  it('sees no live telemetry of a licence that discloses nothing', async () => {
    const closed = await grantLicence(owner, { ...terms(), disclose: [] });
    const second = await requestPrint(operator, closed, system.machine);
    // Positive control: the owner gets figures, and the holder none of them.
    const view = await untilPrint(owner, second, ({ progress, state }) => {
      return progress?.machine?.state === 'running' || state === 'completed' || state === 'failed';
    });
    const seen = await operator.api.print(second);
    expect(view.progress?.machine).toMatchObject({ temperatures: { bed: expect.any(Number) } });
    expect(seen).toMatchObject({ state: 'running', progress: { machine: {} } });
    expect(seen.progress?.acked).toBeUndefined();
    expect(seen.progress?.machine).toEqual({});
    await untilEnded(owner, second);
  });
});

describe('control', () => {
  it('keeps no telemetry of a print that has ended', async () => {
    expect((await owner.api.print(print)).progress).toBeUndefined();
    const late = await system.call('control', 'segments', {
      method: 'POST',
      path: `/v1/progress/${object}`,
      headers: { 'content-type': 'application/json' },
      body: utf8(JSON.stringify({ acked: 1, revision: 1 })),
    });
    expect(late.status).toBe(200);
    expect((await owner.api.print(print)).progress).toBeUndefined();
  });

  it('accepts telemetry only from the segments node', async () => {
    for (const caller of ['keys', 'distribution', 'operator', 'machine'] as const) {
      const refused = await system.call('control', caller, {
        method: 'POST',
        path: `/v1/progress/${object}`,
        headers: { 'content-type': 'application/json' },
        body: utf8(JSON.stringify({ acked: 1, revision: 1 })),
      });
      expect(refused.error?.code, caller).toMatch(/^E_(AUTH|FORBIDDEN)$/);
    }
  });
});

/** The numbers in a value and its nested values. */
function* numbersIn(value: unknown): Generator<number> {
  if (typeof value === 'number') yield value;
  else if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array))
    for (const part of Object.values(value)) yield* numbersIn(part);
}

describe('the whole cloud', () => {
  /** What only the owner may learn: the machine's positions, as numbers too long to occur by chance. */
  const tellings = () =>
    new Set([...numbersIn(told.map(({ time: _, ...own }) => own))].filter((n) => n % 1 !== 0 && String(n).length > 4));

  /** Each number in its CBOR and JSON encoding. */
  function found(haystacks: Iterable<Haystack>): string[] {
    const needles = [...tellings()].map((value) => ({ value, cbor: Buffer.from(encodeCbor(value)) }));
    const texts = needles.map(({ value }) => `[[,:]${String(value).replace('.', '\\.')}[\\],}]`);
    const json = new RegExp(texts.join('|'));
    const out: string[] = [];
    for (const { name, bytes } of haystacks) {
      const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
      // A number of three or five bytes may occur by chance.
      for (const { value, cbor } of needles)
        if (cbor.length > 5 && buffer.includes(cbor)) out.push(`${name}: ${value}`);
      const text = json.exec(buffer.toString('latin1'))?.[0];
      if (text !== undefined) out.push(`${name}: ${text}`);
    }
    return out;
  }

  it('has no position and no length of filament in messages, folders or logs', () => {
    expect(tellings().size).toBeGreaterThan(8);
    expect(found(haystacksOf(system.recordings()))).toEqual([]);
    for (const node of ['control', 'distribution', 'segments', 'keys', 'machine'] as const)
      expect(found(filesOf(folderOf(system.installation, node)))).toEqual([]);
    expect(found(filesOf(system.installation.layout.run.logs))).toEqual([]);
    // Positive control: the same search finds them where they are open.
    expect(found([{ name: 'json', bytes: utf8(JSON.stringify(told)) }])).not.toEqual([]);
    expect(found([{ name: 'cbor', bytes: encodeCbor(told as never) }])).not.toEqual([]);
  });

  it('learns only state, temperatures, buffer and link of a machine', () => {
    const bodies = system
      .recordings()
      .filter(({ node, role }) => node === 'control' && role === 'segments')
      .flatMap(({ up }) => httpMessages(up).messages)
      .filter(({ start }) => start.startsWith('POST /v1/progress/'))
      .map(({ body }) => JSON.parse(Buffer.from(body).toString()) as { machine?: object });
    expect(bodies.length).toBeGreaterThan(5);
    const fields = (values: readonly (object | undefined)[]) =>
      [...new Set(values.flatMap((value) => Object.keys(value ?? {})))].sort();
    expect(fields(bodies)).toEqual(['acked', 'machine', 'matrix', 'owner', 'revision']);
    expect(fields(bodies.map(({ machine }) => machine))).toEqual(['buffer', 'hints', 'state', 'temperatures', 'wire']);
  });

  it('learns number of segments, material, machine and hashes of sealed photos from reports', () => {
    const reports = system
      .recordings()
      .filter(({ node, role }) => node === 'control' && role === 'distribution')
      .flatMap(({ up }) => httpMessages(up).messages)
      .filter(({ start }) => /^POST \/v1\/machines\/[0-9a-f]+\/report /.test(start))
      .map(({ body }) => {
        const { report } = decodeCbor(body, 'report') as { report: Uint8Array };
        const [, , payload] = decodeCbor(report.subarray(1), 'COSE') as [unknown, unknown, Uint8Array];
        return (decodeCbor(payload, 'payload') as { facts: object }).facts;
      });
    expect(reports.length).toBeGreaterThanOrEqual(4);
    expect([...new Set(reports.flatMap((facts) => Object.keys(facts)))].sort()).toEqual([
      'contentMac',
      'material',
      'photos',
      'sealed',
      'segments',
      'serial',
    ]);
  });
});
