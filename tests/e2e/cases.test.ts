import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { concatBytes, utf8 } from '@millrace/base';
import { checkCertificate, type Session, trustOf } from '@millrace/client';
import { millrace } from '@millrace/testkit/cli';
import { randomDesign } from '@millrace/testkit/designs';
import { eventsOf, license, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it } from 'vitest';

// An object comes off the bed although its machine reported it as completed. The operator opens a case with a photo,
// the owner credits it, and one more object is made, with all processes restarted in between.

const design = randomDesign(6 * 16_370);
const rate = Math.ceil(design.length / 0.4);

let system: TestInstallation;
let owner: Session;
let operator: Session;
let licence: string;

beforeAll(async () => {
  system = await createTestInstallation({ machine: { kind: 'sink', factor: 1, bytesPerSecond: rate } });
  owner = await system.session('owner');
  operator = await system.session('operator');
  const stored = await store(system, owner, design, { name: 'a.bin', kind: 'binary', bytesPerSecond: rate });
  licence = await license(system, owner, stored.design, 1);
});
afterAll(() => system?.close());

const run = async (...argv: string[]) => {
  const { exit, json, stderr } = await millrace(system.home, ...argv, '--json');
  expect(exit, stderr).toBe(0);
  return json;
};
const refused = async (...argv: string[]) => (await millrace(system.home, ...argv, '--json')).code;

function png(text: string): Uint8Array {
  const chunk = (type: string, data: Uint8Array) => {
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, data.length);
    return concatBytes(length, utf8(type), data, new Uint8Array(4));
  };
  const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
  const parts = [chunk('IHDR', new Uint8Array(13)), chunk('tEXt', utf8(text)), chunk('IDAT', new Uint8Array(99))];
  return concatBytes(signature, ...parts, chunk('IEND', new Uint8Array()));
}

it('a credited object is made once more, and its case is in both certificates', async () => {
  const first = await untilEnded(operator, await order(system, operator, licence));
  const failed = objectOf(first);
  expect(failed).toBe(`${licence}-1`);
  await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });

  const photo = join(system.scratch, 'photo.png');
  await writeFile(photo, png('taken in Berlin'));
  expect(await refused('case', 'open', first.print, '--reason', 'bad luck')).toBe('E_INPUT');
  const opened = ['case', 'open', first.print, '--reason', 'adhesion', '--note', 'it came off the bed'];
  expect(await refused(...opened, '--photo', join(system.scratch, 'missing.png'))).toBe('E_NOT_FOUND');
  expect(await run(...opened, '--photo', photo)).toMatchObject({ object: failed, state: 'open' });
  expect(await refused(...opened)).toBe('E_CONFLICT');
  expect(await run('case', 'list')).toMatchObject({ cases: [{ object: failed, reason: 'adhesion', state: 'open' }] });
  const shown = join(system.scratch, 'shown.png');
  expect(await run('case', 'show', failed, '--photo', shown)).toMatchObject({ text: 'it came off the bed' });
  expect(await refused('case', 'show', failed, '--photo', shown)).toBe('E_CONFLICT');
  const bytes = await readFile(shown);
  expect(bytes.includes('IDAT')).toBe(true);
  expect(bytes.includes('Berlin')).toBe(false);
  // Control has the photo only as the owner can open it.
  expect(Buffer.from(await operator.api.caseEvidence(failed)).includes('it came off')).toBe(false);

  expect(await refused('case', 'decide', failed, '--credit', '--deny')).toBe('E_INPUT');
  expect(await run('case', 'decide', failed, '--credit', '--note', 'agreed')).toMatchObject({ state: 'credited' });
  expect(await refused('case', 'decide', failed, '--credit')).toBe('E_STATE');
  expect(await owner.api.licence(licence)).toMatchObject({ objects: 1, credits: [failed], permitted: 1 });

  for (const name of ['control', 'segments', 'keys', 'machine'] as const) await system.processes[name].restart();
  const second = await untilEnded(operator, await order(system, operator, licence));
  expect(second).toMatchObject({ state: 'completed', object: `${licence}-2` });
  await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });

  const certificate = async (object: string) => checkCertificate(await owner.api.certificate(object), trustOf(owner));
  expect((await eventsOf(owner, failed)).slice(-3)).toEqual(['completed', 'inspected', 'credited']);
  const old = await certificate(failed);
  expect(old.state).toBe('credited');
  expect(old.checked).toContain('failure: adhesion, signed by the holder; credited, signed by the owner');
  const made = await certificate(objectOf(second));
  expect(made.state).toBe('completed');
  expect(made.checked).toContain('credit: made in place of a failed object, by the owner’s signature');
});

it('a denied credit changes no count', async () => {
  const { design: same } = await owner.api.licence(licence);
  const other = await license(system, owner, same, 1);
  const made = await untilEnded(operator, await order(system, operator, other));
  await run('case', 'open', made.print, '--reason', 'surface');
  expect(await run('case', 'decide', objectOf(made), '--deny', '--note', 'within tolerance')).toMatchObject({
    state: 'denied',
  });
  await expect(order(system, operator, other)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });
  const { state, checked } = await checkCertificate(await owner.api.certificate(objectOf(made)), trustOf(owner));
  expect(state).toBe('completed');
  expect(checked).toContain('failure: surface, signed by the holder; credit denied, signed by the owner');
});

it('owner and holder compute the same bill from the ledger', async () => {
  const { design: same } = await owner.api.licence(licence);
  const terms = ['--design', same, '--objects', '2', '--machine', system.machine, '--price', '12.50 EUR'];
  const { licence: priced = '' } = (await run('licence', 'grant', ...terms)) as { licence?: string };
  const object = objectOf(await untilEnded(operator, await order(system, operator, priced)));
  const file = join(system.scratch, 'usage.csv');
  for (const user of ['owner', 'operator']) {
    const bill = await run('usage', '--check', '--csv', file, '--user', user);
    expect(bill).toMatchObject({ ok: true, differences: [], hidden: [], gaps: [] });
    expect(bill).toMatchObject({
      totals: expect.arrayContaining([
        expect.objectContaining({ licence: priced, currency: 'EUR', objects: 1, amount: '1250' }),
        expect.objectContaining({ licence, objects: 1, credits: 1, amount: '0' }),
      ]),
    });
    const line = (await readFile(file, 'utf8')).split('\r\n').find((each) => each.includes(object));
    expect(line).toMatch(/,EUR,1250,\d+$/);
  }
  expect(await run('usage', '--all', '--user', 'admin')).toMatchObject({
    totals: expect.arrayContaining([expect.objectContaining({ currency: 'EUR', objects: 1, amount: '1250' })]),
  });
});
