import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MillraceError, noMetrics, silentLogger, sleep, systemClock } from '@millrace/base';
import type { Directory } from '@millrace/protocol';
import { type Collection, openLmdb, type RecordStore } from '@millrace/stores';
import { Freeze } from '@millrace/testkit/freeze';
import { twoSegmentsNodes } from '@millrace/testkit/protocol/support';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { IngestClaims } from '../src/segments/ingest-claims.ts';
import { type IngestJob, ingestFields, ingestTable, OPEN } from '../src/segments/ingest-job.ts';
import { IngestQueue } from '../src/segments/ingest-queue.ts';

// Two segments nodes share one LMDB store, as in a cluster. A node can be frozen at each step, as by SIGSTOP, and killed.

const { directory } = twoSegmentsNodes();
const NODES = ['segments-1', 'segments-2'];
const SEGMENTS = 4;
const schema = z.strictObject(ingestFields);
type Claims = IngestClaims<z.output<typeof schema>>;

let folder: string;
let lmdb: ReturnType<typeof openLmdb>;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace takeover '));
  lmdb = openLmdb({ path: folder });
});
afterEach(async () => {
  await lmdb.close();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

/** What the nodes share beside their records: staged segments, cells, and control. */
class World {
  readonly store: RecordStore;
  readonly times: { readonly beat: number; readonly stale: number; readonly look: number };
  readonly #staged = new Map<string, Set<number>>();
  readonly cells = new Map<string, string>();
  /** As control judges reports: what is stored is not refused any more. */
  readonly states = new Map<string, 'stored' | 'refused'>();
  readonly nodes: Node[];

  readonly directory: Directory;

  constructor(store: RecordStore, options: { nodes?: readonly string[]; stale?: number; directory?: Directory } = {}) {
    const { nodes = NODES, stale = 300 } = options;
    this.store = store;
    this.directory = options.directory ?? directory;
    this.times = { beat: 20, stale, look: 20 };
    this.nodes = nodes.map((id) => new Node(id, this));
  }

  upload(design: string): void {
    this.#staged.set(design, new Set(Array.from({ length: SEGMENTS }, (_, i) => i)));
  }

  /** Control mails it to every node. A node reads it when it runs. */
  uploaded(design: string): void {
    for (const node of this.nodes) void node.gate(() => node.queue.begin(design, { design })).catch(() => undefined);
  }

  fetch(design: string, segment: number): string {
    if (this.#staged.get(design)?.has(segment) !== true) throw new MillraceError('E_UPLOAD', 'not uploaded');
    return `${design}/${segment}`;
  }

  wipe(design: string): void {
    this.#staged.delete(design);
  }

  isStaged(design: string): boolean {
    return this.#staged.has(design);
  }

  async close(): Promise<void> {
    for (const node of this.nodes) node.thaw();
    await Promise.all(this.nodes.map((node) => node.close()));
  }
}

class Node {
  readonly id: string;
  readonly #world: World;
  readonly #standstill = new Freeze();
  #life = 0;
  queue: IngestQueue<z.output<typeof schema>>;
  job!: IngestJob<z.output<typeof schema>>;
  /** Called before each step of its work. */
  onStep: (step: string) => void = () => undefined;
  readonly steps: string[] = [];
  readonly logged: string[] = [];

  constructor(id: string, world: World) {
    this.id = id;
    this.#world = world;
    this.queue = this.#open();
  }

  /** Runs a step of the process, unless that was killed: then it never resolves. */
  async gate<T>(step: () => T | Promise<T>, life = this.#life): Promise<T> {
    await this.#standstill.thawed;
    if (life !== this.#life) return new Promise<T>(() => undefined);
    return step();
  }

  #step<T>(life: number, name: string, step: () => T): Promise<T> {
    if (life === this.#life) this.onStep(name);
    return this.gate(() => {
      this.steps.push(name);
      return step();
    }, life);
  }

  #open() {
    const world = this.#world;
    const life = this.#life;
    const collections: RecordStore = {
      ...world.store,
      collection: (name, options) => {
        const real = world.store.collection(name, options);
        const gated =
          (method: keyof Collection) =>
          (...args: unknown[]) =>
            this.gate(() => (real[method] as (...args: unknown[]) => Promise<unknown>)(...args), life);
        return Object.fromEntries(
          (['get', 'put', 'delete', 'compareAndSwap', 'page'] as const).map((method) => [method, gated(method)]),
        ) as unknown as Collection;
      },
    };
    this.job = {
      name: 'store',
      repeats: true,
      pending: ingestTable(collections, 'storing', schema),
      ingest: async ({ design }, signal) => {
        for (let segment = 0; segment < SEGMENTS; segment++) {
          await this.#step(life, `cell ${design}`, () => {
            signal.throwIfAborted();
            world.cells.set(`${design}/${segment}`, world.fetch(design, segment));
          });
          await sleep(1);
        }
      },
      complete: (design) => this.#step(life, `complete ${design}`, () => void world.states.set(design, 'stored')),
      refuse: (design) =>
        this.#step(life, `refuse ${design}`, () => {
          if (world.states.get(design) !== 'stored') world.states.set(design, 'refused');
        }),
    };
    const log = (_: unknown, text: string) => void this.logged.push(text);
    const logger = { ...silentLogger, info: log, warn: log };
    const queue = new IngestQueue({
      job: this.job,
      node: this.id,
      directory: world.directory,
      staged: { wipe: (design) => this.#step(life, `wipe ${design}`, () => world.wipe(design)) },
      clock: systemClock,
      logger: logger as unknown as typeof silentLogger,
      metrics: noMetrics,
      times: world.times,
    });
    queue.start();
    return queue;
  }

  freeze(): void {
    this.#standstill.freeze();
  }

  thaw(): void {
    this.#standstill.thaw();
  }

  kill(): void {
    this.#life++;
    this.thaw();
  }

  restart(): void {
    this.kill();
    this.queue = this.#open();
  }

  close(): Promise<void> {
    return this.queue.close();
  }
}

const isTaken = ({ logged }: Node) => logged.includes('upload taken over from another node');

for (const [how, stop] of [
  ['killed', (node: Node) => node.kill()],
  ['frozen', (node: Node) => node.freeze()],
] as const)
  for (const step of ['cell d', 'wipe d', 'complete d'])
    it(`an upload goes on at another node when the one that stores it is ${how} before "${step}"`, async () => {
      const world = new World(lmdb.records('records'));
      const stopped = new Promise<Node>((resolve) => {
        for (const node of world.nodes)
          node.onStep = (name) => {
            // In the middle of the cells.
            if (name !== step || (step === 'cell d' && world.cells.size < 2)) return;
            for (const each of world.nodes) each.onStep = () => undefined;
            stop(node);
            resolve(node);
          };
      });
      world.upload('d');
      world.uploaded('d');
      const first = await stopped;
      const other = world.nodes.find((node) => node !== first) as Node;
      await vi.waitFor(
        async () => expect(await other.job.pending.get('d')).toMatchObject({ ended: 'complete' }),
        60_000,
      );
      expect(isTaken(other)).toBe(true);
      expect(world.states).toEqual(new Map([['d', 'stored']]));
      expect(world.isStaged('d')).toBe(false);
      const before = [...world.cells];
      expect(before).toHaveLength(SEGMENTS);
      if (how === 'killed') first.restart();
      first.thaw();
      // The woken node does its next job: it has left this one behind.
      other.freeze();
      world.upload('e');
      world.uploaded('e');
      await vi.waitFor(() => expect(world.states.get('e')).toBe('stored'), 60_000);
      expect(first.steps).not.toContain('refuse d');
      expect(first.logged).not.toContain('upload refused');
      expect(world.states.get('d')).toBe('stored');
      expect([...world.cells].filter(([cell]) => cell.startsWith('d/'))).toEqual(before);
      await world.close();
    });

it('a node that works for long keeps its job, and the other one does the others', async () => {
  const world = new World(lmdb.records('records'), { stale: 120_000 });
  const [first, second] = world.nodes as [Node, Node];
  let goOn = () => {};
  const held = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const { ingest } = first.job;
  Object.assign(first.job, {
    ingest: async (...args: Parameters<typeof ingest>) => {
      await held;
      return ingest(...args);
    },
  });
  world.upload('a');
  await first.queue.begin('a', { design: 'a' });
  await vi.waitFor(async () => expect((await first.job.pending.get('a'))?.claim?.by).toBe('segments-1'), 60_000);
  for (const design of ['b', 'c']) {
    world.upload(design);
    world.uploaded(design);
  }
  await vi.waitFor(() => expect(second.steps).toContain('complete c'), 60_000);
  const beat = (await first.job.pending.get('a'))?.claim?.beat ?? 0;
  await vi.waitFor(async () => expect((await first.job.pending.get('a'))?.claim?.beat).toBeGreaterThan(beat), 60_000);
  goOn();
  await vi.waitFor(() => expect(world.states.get('a')).toBe('stored'), 60_000);
  await world.close();
});

it('takes a job over only when its claim stands still for the whole time, by its own clock', async () => {
  let now = 0;
  const clock = { now: () => 0, monotonic: () => now };
  const pending = ingestTable(lmdb.records('records'), 'storing', schema);
  const common = { pending, directory, clock, logger: silentLogger, times: { beat: 3_600_000, stale: 10_000 } };
  const [first, second] = NODES.map((node) => new IngestClaims({ ...common, node })) as [Claims, Claims];
  await pending.create('d', { design: 'd' });
  const held = await first.next(() => true);
  const beat = () =>
    held?.update((r) => ({ ...r, claim: { by: 'segments-1', token: 1, beat: (r.claim?.beat ?? 0) + 1 } }));
  now = 50_000; // nobody has looked before: this says nothing about the claim
  expect(await second.next(() => true)).toBeUndefined();
  for (let beats = 0; beats < 5; beats++) {
    now += 9_999;
    expect(await second.next(() => true)).toBeUndefined();
    await beat();
    expect(await second.next(() => true)).toBeUndefined();
  }
  now += 10_000;
  const taken = await second.next(() => true);
  expect(taken?.record.claim).toEqual({ by: 'segments-2', token: 2, beat: 0 });
  await expect(held?.update((record) => ({ ...record, stored: true }))).rejects.toMatchObject({ code: 'E_FENCED' });
  expect(held?.lost.aborted).toBe(true);
  expect((await pending.get('d'))?.stored).toBeUndefined();
  // The first one, started again, does not take it from the second one.
  expect(await new IngestClaims({ ...common, node: 'segments-1' }).next(() => true)).toBeUndefined();
  for (const job of [held, taken]) job?.close();
});

it('gives a job back when it closes, so that the other node takes it at once', async () => {
  const world = new World(lmdb.records('records'));
  const [first, second] = world.nodes as [Node, Node];
  second.freeze();
  first.onStep = (name) => {
    if (name === 'cell d' && world.cells.size === 1) closing = first.close();
  };
  let closing: Promise<void> | undefined;
  world.upload('d');
  await first.queue.begin('d', { design: 'd' });
  await vi.waitFor(() => expect(closing).toBeDefined(), 60_000);
  await closing;
  expect(await lmdb.records('records').collection('storing').get('d')).toBeDefined();
  second.thaw();
  await vi.waitFor(() => expect(world.states.get('d')).toBe('stored'), 60_000);
  expect(isTaken(second)).toBe(false); // nobody held it
  await second.close();
});

it('a node that is no longer in the directory holds nothing', async () => {
  const store = lmdb.records('records');
  const claim = { by: 'segments-9', token: 7, beat: 3 };
  await ingestTable(store, 'storing', schema).create('d', { design: 'd', claim });
  const world = new World(store, { nodes: ['segments-1'] });
  world.upload('d');
  await vi.waitFor(() => expect(world.states.get('d')).toBe('stored'), 60_000);
  const [node] = world.nodes as [Node];
  await vi.waitFor(async () => expect(await node.job.pending.get('d')).toMatchObject({ ended: 'complete' }), 60_000);
  await world.close();
});

it('a hostile node can keep jobs from the others only while the directory lists it, and makes them do nothing wrong', async () => {
  const store = lmdb.records('records');
  const listed = { ...directory, nodes: [...directory.nodes] };
  const hostile = ingestTable(store, 'storing', schema);
  await hostile.create('d', { design: 'd', claim: { by: 'segments-2', token: 1, beat: 0 } });
  const world = new World(store, { nodes: ['segments-1'], directory: listed, stale: 120_000 });
  const [honest] = world.nodes as [Node];
  let claims = 0;
  // It takes every job at once, again and again, and does nothing.
  const take = setInterval(async () => {
    for await (const [id, { claim }] of hostile.list(OPEN)) {
      const next = { by: 'segments-2', token: (claim?.token ?? 0) + 1, beat: ++claims };
      await hostile.update(id, (record) => ({ ...record, claim: next })).catch(() => undefined);
    }
  }, 2);
  world.upload('d');
  world.uploaded('d');
  await vi.waitFor(() => expect(claims).toBeGreaterThan(100), 60_000);
  expect([...world.states]).toEqual([]);
  expect(world.isStaged('d')).toBe(true);
  // Retired: it is not in the directory, and its login to the keyspace is revoked.
  listed.nodes = listed.nodes.filter(({ id }) => id !== 'segments-2');
  clearInterval(take);
  await vi.waitFor(() => expect(world.states.get('d')).toBe('stored'), 60_000);
  expect(honest.steps).not.toContain('refuse d');
  expect(world.cells.size).toBe(SEGMENTS);
  await world.close();
});

it('a deleted design is given up by the node that stores it, whichever node is told', async () => {
  const world = new World(lmdb.records('records'));
  const [first, second] = world.nodes as [Node, Node];
  let deleted: Promise<void> | undefined;
  first.onStep = (name) => {
    if (name !== 'wipe d' || deleted !== undefined) return;
    first.freeze();
    deleted = second.queue.cancel('d');
  };
  second.freeze();
  world.upload('d');
  await first.queue.begin('d', { design: 'd' });
  await vi.waitFor(() => expect(deleted).toBeDefined(), 60_000);
  second.thaw();
  await deleted;
  first.thaw();
  world.upload('e');
  await first.queue.begin('e', { design: 'e' });
  await vi.waitFor(() => expect(world.states.get('e')).toBe('stored'), 60_000);
  await vi.waitFor(() => expect(first.logged).toContain('upload given up: cancelled, or taken over'), 60_000);
  expect(await second.job.pending.get('d')).toBeUndefined();
  expect(first.steps).not.toContain('refuse d');
  await world.close();
});

it('whatever happens to one node, every upload is stored once and nothing is refused', async () => {
  let run = 0;
  const fault = fc.record({
    after: fc.integer({ min: 0, max: 14 }),
    what: fc.constantFrom('freeze' as const, 'thaw' as const, 'kill' as const, 'restart' as const),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(fault, { minLength: 1, maxLength: 4 }), fc.constantFrom(0, 1), async (faults, which) => {
      const world = new World(lmdb.records(`run-${run++}`));
      const node = world.nodes[which] as Node;
      let steps = 0;
      node.onStep = () => {
        for (const { after, what } of faults) if (after === steps) node[what]();
        steps++;
      };
      const designs = ['a', 'b', 'c'];
      for (const design of designs) {
        world.upload(design);
        world.uploaded(design);
      }
      await vi.waitFor(() => {
        for (const design of designs) expect(world.states.get(design)).toBe('stored');
      }, 60_000);
      node.onStep = () => undefined;
      node.restart();
      await world.close();
      for (const design of designs) {
        expect(world.states.get(design)).toBe('stored');
        expect(world.isStaged(design)).toBe(false);
      }
      expect(world.cells.size).toBe(3 * SEGMENTS);
    }),
    { numRuns: 12 },
  );
});
