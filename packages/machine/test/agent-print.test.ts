import { createHash, createHmac, hkdfSync } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { concatBytes, copyBytes, systemRandom, utf8 } from '@millrace/base';
import { type StoredDesign, storeDesign } from '@millrace/testkit/machine/agent-design';
import { type Bench, filesBelow, startBench } from '@millrace/testkit/machine/agent-harness';
import { afterEach, expect, test } from 'vitest';

let bench: Bench | undefined;
afterEach(async () => {
  await bench?.close();
  bench = undefined;
});

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** The MAC of the manifest, implemented a second time. */
function contentMacOf(design: StoredDesign): Uint8Array {
  const both = concatBytes(design.keys[0]?.subarray(32) ?? new Uint8Array(), design.secret);
  const key = new Uint8Array(hkdfSync('sha256', both, new Uint8Array(), 'millrace/v1/content-mac', 32));
  return copyBytes(createHmac('sha256', key).update(design.bytes).digest());
}

/** True when a 16-byte sample of `secret` occurs in `where`; one sample every 16 bytes. */
function contains(where: Uint8Array, secret: Uint8Array): boolean {
  const text = Buffer.from(where);
  for (let at = 0; at + 16 <= secret.length; at += 16) {
    const run = Buffer.from(secret.subarray(at, at + 16));
    if (text.includes(run) || text.includes(run.toString('hex')) || text.includes(run.toString('base64'))) return true;
  }
  return false;
}

test('a whole design reaches a sink byte for byte, across fresh secrets, and leaves no trace of itself', async () => {
  const design = storeDesign(systemRandom(69 * 16_370 + 1_234));
  bench = await startBench({ design, window: 8, framesPerRevision: 1, strict: true });
  const { cloud, folder, log } = bench;
  const print = await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));

  expect(bench.executed().equals(design.bytes)).toBe(true);
  const [stream] = cloud.sessions;
  expect(cloud.sessions.length).toBe(1);
  expect(stream?.sender.revision).toBeGreaterThanOrEqual(64n);
  expect(cloud.requests.map(({ print, from }) => ({ print, from }))).toEqual([{ print, from: 0 }]);
  const events = cloud.reports.map(({ event }) => event);
  expect(events).toEqual(['started', 'progressed', 'progressed', 'progressed', 'completed']);
  expect(cloud.reports[0]?.facts).toMatchObject({ segments: 0, serial: 'MR-TEST-1', material: 'PLA' });
  const completed = cloud.reports.at(-1);
  expect(completed?.facts).toMatchObject({ segments: 70 });
  expect(completed?.facts.contentMac).toEqual(contentMacOf(design));
  expect(new Set(cloud.reports.map(({ run }) => Buffer.from(run).toString('hex'))).size).toBe(1);
  expect(cloud.telemetry.at(-1)).toMatchObject({ acked: 70, machine: { state: 'done', buffer: 0 } });
  expect(cloud.telemetry.filter(({ machine }) => machine !== undefined).length).toBeGreaterThanOrEqual(2);

  await bench.agent.close();
  const object = await bench.object(completed?.object ?? '');
  expect(object).toMatchObject({ event: 'completed', print, bytes: design.bytes.length, sha256: sha256(design.bytes) });
  expect(object.hints).toBe(70 * 8_193);
  const passed = cloud.wire.reduce((sum, { length }) => sum + length, 0);
  expect(object.wire).toBeGreaterThan(passed);
  expect(object.wire).toBeLessThan(passed * 1.02 + 20_000);
  expect(object.overhead).toBeCloseTo(object.wire / design.bytes.length, 9);

  const left = await filesBelow(folder);
  expect([...left.keys()].filter((path) => /run\.json|\.report|\.tmp/.test(path))).toEqual([]);
  for (const secret of [design.bytes.subarray(0, 65_536), ...design.keys]) {
    expect(contains(utf8(log.join('')), secret)).toBe(false);
    for (const bytes of left.values()) expect(contains(bytes, secret)).toBe(false);
  }
});

test('a print that fails before its machine moves has used nothing of the spool', async () => {
  const design = storeDesign(utf8('G28\nG21\nG90\nM82\nG1 X20 E5000 F60000\n'));
  const agent = { giveUpMs: 1_000 };
  // No session is offered for the second print.
  const meddling = { offer: () => bench?.cloud.requests.length === 1 };
  bench = await startBench({ design, kind: 'virtual', agent, meddling, timing: { offerMs: 200 } });
  const { cloud } = bench;
  const spool = await cloud.loadSpool();
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed'));
  const [completed, failed] = cloud.reports.filter(({ event }) => event === 'completed' || event === 'failed');
  expect(completed?.used).toEqual({ spool, metres: 5, grams: 15 });
  expect(failed).toMatchObject({ facts: { segments: 0 }, used: { spool, metres: 0, grams: 0 } });
  expect(failed?.odometer).toEqual(completed?.odometer);
});

test('a virtual machine executes G-code, and the path that its tool travelled is drawn', async () => {
  const lines = ['G28', 'G21', 'G90', 'M82', 'M104 S205', 'G1 Z0.2 F6000'];
  for (let i = 1; i <= 3_000; i++) {
    lines.push(
      `G1 X${(100 + 30 * Math.cos(i / 20)).toFixed(3)} Y${(100 + 30 * Math.sin(i / 20)).toFixed(3)} E${(i / 50).toFixed(3)} F3000`,
    );
  }
  const design = storeDesign(utf8(`${lines.join('\n')}\n`));
  bench = await startBench({ design, kind: 'virtual', factor: 1_000_000, disclose: ['position'] });
  const { cloud } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
  await bench.agent.close();
  const [started, completed] = [cloud.reports[0], cloud.reports.at(-1)];
  expect(started?.event).toBe('started');
  expect(completed?.facts.contentMac).toEqual(contentMacOf(design));
  if (completed === undefined) throw new Error('no report');
  const own = await cloud.openReport(completed);
  expect(own).toMatchObject({ line: lines.length, layer: 1, bytes: design.bytes.length });
  expect(own.filament).toBeCloseTo(60, 1);
  const id = completed.object;
  expect(await bench.object(id)).toMatchObject({ sha256: sha256(design.bytes), lines: lines.length });
  const files = await filesBelow(join(bench.folder, 'data', 'objects'));
  const drawn = (end: string) => files.get(join(bench?.folder ?? '', 'data', 'objects', `${id}.${end}`));
  expect(drawn('png')?.subarray(1, 4).toString()).toBe('PNG');
  expect(drawn('svg')?.toString()).toContain('<svg');
});

test('a design that the machine’s driver cannot execute moves nothing', async () => {
  const design = storeDesign(systemRandom(40_000), { kind: 'binary' });
  bench = await startBench({ design, kind: 'virtual' });
  const { cloud } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.length > 0);
  expect(cloud.reports).toMatchObject([{ event: 'failed', facts: { code: 'E_DESIGN_KIND', segments: 0 } }]);
  expect(bench.executed().length).toBe(0);
});

test('without disclosure nothing of the path is stored at the machine', async () => {
  const design = storeDesign(utf8(`G28\n${'G1 X5 Y5 F3000\nG1 X9 Y7\n'.repeat(900)}`));
  bench = await startBench({ design, kind: 'virtual', factor: 1_000_000 });
  const { cloud, folder } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
  await bench.agent.close();
  const id = cloud.reports.at(-1)?.object ?? '';
  const record = await bench.object(id);
  expect(record).toMatchObject({ event: 'completed', sha256: sha256(design.bytes) });
  for (const field of ['lines', 'layers', 'moves', 'unknownCommands', 'filamentMm'])
    expect(record).not.toHaveProperty(field);
  expect(await readdir(join(folder, 'data', 'objects'))).toEqual([`${id}.json`]);
});

test('prints are made one after the other, each as a separate object', async () => {
  bench = await startBench({ design: storeDesign(systemRandom(20_000)) });
  const { cloud } = bench;
  await cloud.print();
  await cloud.print();
  await cloud.until(() => cloud.reports.filter(({ event }) => event === 'completed').length === 2);
  const objects = cloud.reports.map(({ object }) => object.slice(-2));
  expect(objects).toEqual(['-1', '-1', '-1', '-2', '-2', '-2']);
  await bench.agent.close();
  expect((await readdir(join(bench.folder, 'data', 'objects'))).length).toBe(2);
});
