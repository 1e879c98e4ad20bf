import { type Clock, MillraceError, silentLogger, systemClock } from '@millrace/base';
import { MemoryRecords } from '@millrace/stores';
import { afterEach, expect, it } from 'vitest';
import { distributionClient } from '../src/node/api-clients.ts';
import { StagedSegments } from '../src/segments/staged-segments.ts';

/** A distribution node, as far as the segments node asks it. */
class Node {
  readonly staged = new Map<number, number>();
  readonly id: string;
  answers = true;
  asked = 0;
  wiped = 0;

  constructor(id: string, staged: readonly number[]) {
    this.id = id;
    for (const segment of staged) this.staged.set(segment, segment);
  }

  get client() {
    return distributionClient({
      call: async (method: string, path: string) => {
        this.asked++;
        if (!this.answers) throw new MillraceError('E_UNAVAILABLE', `${this.id} does not answer`);
        if (method === 'DELETE') {
          this.wiped++;
          this.staged.clear();
          return { status: 200, body: new Uint8Array(), json: () => ({}) };
        }
        if (path.split('/').length === 4)
          return { status: 200, body: new Uint8Array(), json: () => ({ have: this.staged.size, missing: [] }) };
        const value = this.staged.get(Number(path.split('/').at(-1)));
        if (value === undefined) throw new MillraceError('E_NOT_FOUND', 'not uploaded');
        return { status: 200, body: Uint8Array.of(value), json: () => ({}) };
      },
    });
  }
}

const design = 'd5'.repeat(16);
const signal = new AbortController().signal;
const open: StagedSegments[] = [];
afterEach(() => {
  for (const staged of open.splice(0)) staged.close();
});

function stagedAt(nodes: () => readonly Node[], store = new MemoryRecords()) {
  let ahead = 0;
  const clock: Clock = { ...systemClock, monotonic: () => systemClock.monotonic() + ahead };
  const distributions = { of: () => nodes().map(({ id, client }) => ({ id, client })) };
  const staged = new StagedSegments({ distributions, store, clock, logger: silentLogger });
  open.push(staged);
  return { staged, pass: (ms: number) => (ahead += ms) };
}

it('gathers a design that is staged in parts, and asks the last giver first', async () => {
  const [one, two] = [new Node('one', [0, 1]), new Node('two', [2, 3, 4])];
  const { staged } = stagedAt(() => [one, two]);
  const all = await staged.fetch(design, [0, 1, 2, 3], signal);
  expect([...all].map(([segment, bytes]) => [segment, bytes[0]])).toEqual([0, 1, 2, 3].map((n) => [n, n]));
  const before = one.asked;
  await staged.fetch(design, [4], signal);
  expect(one.asked).toBe(before);
});

it('asks a node that has nothing, or does not answer, once for all segments', async () => {
  const all = Array.from({ length: 200 }, (_, n) => n);
  const [empty, silent, full] = [new Node('empty', []), new Node('silent', [0]), new Node('full', all)];
  silent.answers = false;
  const { staged } = stagedAt(() => [empty, silent, full]);
  expect((await staged.fetch(design, all, signal)).size).toBe(200);
  expect([empty.asked, silent.asked]).toEqual([1, 1]);
  await staged.fetch(design, all, signal);
  expect([empty.asked, silent.asked]).toEqual([1, 1]);
  // The giver stops answering; the rest is found where it was uploaded again.
  full.answers = false;
  silent.answers = true;
  for (const n of all) silent.staged.set(n, n);
  expect((await staged.fetch(design, all, signal)).size).toBe(200);
});

it('says which segment is missing only when no node can still have it', async () => {
  const [one, two] = [new Node('one', [0]), new Node('two', [1])];
  const { staged, pass } = stagedAt(() => [one, two]);
  await expect(staged.fetch(design, [2], signal)).rejects.toMatchObject({ code: 'E_UPLOAD', data: { segment: 2 } });
  two.answers = false;
  await expect(staged.fetch(design, [0, 1], signal)).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
  expect((await staged.fetch(design, [0], signal)).size).toBe(1);
  pass(10_000);
  await expect(staged.fetch(design, [1], signal)).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
  pass(10_000);
  await expect(staged.fetch(design, [1], signal)).rejects.toMatchObject({ code: 'E_UPLOAD' });
  // It came back: the owner need not upload again.
  two.answers = true;
  expect((await staged.fetch(design, [1], signal)).size).toBe(1);
});

it('never takes a design for missing while no node answers', async () => {
  const [one, two] = [new Node('one', [0]), new Node('two', [1])];
  one.answers = false;
  two.answers = false;
  const { staged, pass } = stagedAt(() => [one, two]);
  for (let n = 0; n < 4; n++) {
    await expect(staged.fetch(design, [0], signal)).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
    pass(60_000);
  }
  await expect(staged.wipe(design, signal)).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
});

it('wipes every copy: at a node that does not answer later, and after a restart', async () => {
  const store = new MemoryRecords();
  const [one, two] = [new Node('one', [0]), new Node('two', [0])];
  let nodes = [one, two];
  const first = stagedAt(() => nodes, store);
  two.answers = false;
  await first.staged.wipe(design, signal);
  expect([one.staged.size, two.staged.size]).toEqual([0, 1]);
  await first.staged.wipeRest();
  const { staged } = stagedAt(() => nodes, store);
  two.answers = true;
  await staged.wipeRest();
  expect(two.staged.size).toBe(0);
  await staged.wipeRest();
  expect(two.wiped).toBe(1);
  // A node that was retired meanwhile is forgotten.
  two.answers = false;
  await staged.wipe(design, signal);
  nodes = [one];
  await staged.wipeRest();
  nodes = [one, two];
  two.answers = true;
  await staged.wipeRest();
  expect(two.wiped).toBe(1);
});
