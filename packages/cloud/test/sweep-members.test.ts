import {
  type Clock,
  equalBytes,
  fromHex,
  noMetrics,
  RwLock,
  silentLogger,
  sleep,
  systemClock,
  systemRandom,
} from '@millrace/base';
import { type Message, sha256 } from '@millrace/protocol';
import { MemoryCells, MemoryLog, MemoryRecords } from '@millrace/stores';
import { Freeze } from '@millrace/testkit/freeze';
import { twoSegmentsNodes } from '@millrace/testkit/protocol/support';
import {
  applyOuterLayer,
  CellStore,
  createKeyWrapper,
  decodeMessage,
  encodeMessage,
  InProcessEngine,
  lanesFor,
  type MaintainMessage,
  MemorySlots,
  Playbook,
  type RefusedMessage,
  type StoredMessage,
  type StoreMessage,
  segmentHash,
} from '@millrace/vault';
import { afterEach, describe, expect, it } from 'vitest';
import type { KeysContext } from '../src/keys/context.ts';
import { Maintenance } from '../src/keys/maintenance.ts';
import { SegmentsMembers } from '../src/keys/segments-members.ts';
import { Storing } from '../src/keys/storing.ts';
import { VaultKeys } from '../src/keys/vault-keys.ts';
import { handleVaultMessage } from '../src/keys/vault-messages.ts';
import { controlClient } from '../src/node/api-clients.ts';
import type { MailClient } from '../src/node/mail-client.ts';
import { VaultKeyRing } from '../src/segments/vault-key-ring.ts';
import { addDesign, addToPlaybook, type KnownDesign } from './vault-design.ts';

// The keys node's side is the real one. The segments nodes share one store and take their mail in order.

const { directory } = twoSegmentsNodes();
const ASK_AGAIN_MS = 5_000;
const SEGMENTS = 300;
/** Ten times as fast, so that a node falls silent within half a second. */
const clock: Clock = { now: () => systemClock.now(), monotonic: () => 10 * systemClock.monotonic() };

let close: () => Promise<void> = async () => undefined;
afterEach(() => close());

/** A segments node: it can be stopped between reading and writing, as by SIGSTOP, and killed. */
class Node {
  readonly id: string;
  readonly #cells: CellStore;
  readonly #reply: (message: Message) => void;
  #ring: VaultKeyRing;
  #mail: Promise<void> = Promise.resolve();
  #life = 0;
  #running = false;
  readonly #standstill = new Freeze();
  /** Told of every step that it is asked for, before it works on it. */
  onAsked: (asked: MaintainMessage) => void = () => undefined;
  /** Lanes of which it has answered a step. */
  readonly lanes = new Set<number>();
  steps = 0;
  /** The design that it stores, and how often it was told to. */
  design: KnownDesign | undefined;
  told = 0;
  /** What it was told to store last, before it does so. */
  asked: StoreMessage | undefined;
  /** Whether it declines to store. */
  declines = false;
  /** What it stored last. */
  stored: StoredMessage | undefined;
  /** Waits before it stores what it was told to. */
  beforeStoring: (asked: StoreMessage) => Promise<void> = async () => undefined;

  constructor(id: string, store: MemoryCells, reply: (message: Message, node: Node) => void) {
    this.id = id;
    this.#reply = (message) => reply(message, this);
    this.#ring = new VaultKeyRing(directory, id);
    // Every write waits while the node is frozen.
    const cells = new Proxy(store, {
      get: (target, name: keyof MemoryCells) => {
        const value = target[name];
        if (typeof value !== 'function') return value;
        if (name !== 'put') return value.bind(target);
        return async (...args: Parameters<MemoryCells['put']>) => {
          await this.#standstill.thawed;
          return target.put(...args);
        };
      },
    });
    this.#cells = new CellStore(new InProcessEngine(cells));
  }

  start(): void {
    this.#running = true;
    this.#ring = new VaultKeyRing(directory, this.id);
    this.#reply({ type: 'vault.key', point: this.#ring.renew(), started: true });
  }

  take(message: Message): void {
    if (!this.#running) return;
    void this.#tell(message);
    const life = this.#life;
    this.#mail = this.#mail.then(async () => {
      await this.#standstill.thawed;
      if (life === this.#life) await this.#handle(message, life);
    });
  }

  async #tell(message: Message): Promise<void> {
    if (message.type !== 'vault.sealed') return;
    const opened = await this.#ring.open('keys-1', message.point, message.sealed);
    const asked = opened && decodeMessage(opened);
    if (asked?.type === 'maintain') this.onAsked(asked);
    if (asked?.type === 'store') this.asked = asked;
  }

  freeze(): void {
    this.#standstill.freeze();
  }

  thaw(): void {
    this.#standstill.thaw();
  }

  /** What the process had not written is lost. */
  kill(): void {
    this.#life++;
    this.#mail = Promise.resolve();
  }

  async #handle(message: Message, life: number): Promise<void> {
    if (message.type === 'vault.renew')
      return this.#reply({ type: 'vault.key', point: this.#ring.renew(), started: false });
    if (message.type === 'vault.renewed') return this.#ring.renewed(message.point);
    if (message.type !== 'vault.sealed') throw new Error(`not expected: ${message.type}`);
    const opened = await this.#ring.open('keys-1', message.point, message.sealed);
    if (opened === undefined) return;
    const asked = decodeMessage(opened);
    if (asked.type === 'recorded') return;
    if (asked.type === 'store') return this.#store(asked, life);
    if (asked.type !== 'check' && asked.type !== 'maintain') throw new Error(`not expected: ${asked.type}`);
    const answer = asked.type === 'check' ? await this.#cells.check(asked) : await this.#cells.maintain(asked);
    if (life !== this.#life) return;
    if (asked.type === 'maintain') {
      this.lanes.add(asked.lane);
      this.steps++;
    }
    this.#reply({ type: 'vault', message: encodeMessage(answer) });
  }

  /** Asks for the places of a design's cells, to store them, until it is told: an answer under an old key is lost. */
  want(design: KnownDesign): void {
    this.design = design;
    const { designId, manifest } = design;
    const want = { type: 'want' as const, design: fromHex(designId), from: 0, count: manifest.segments };
    const { told } = this;
    const ask = () => {
      if (this.told > told) return;
      this.#reply({ type: 'vault', message: encodeMessage(want) });
      setTimeout(ask, ASK_AGAIN_MS).unref();
    };
    ask();
  }

  report(message: StoredMessage | RefusedMessage): void {
    this.#reply({ type: 'vault', message: encodeMessage(message) });
  }

  decline({ design, from }: StoreMessage): void {
    this.report({ type: 'refused', design, from, code: 'E_STATE', reason: 'no request waits for these places' });
  }

  working(): void {
    this.#reply({ type: 'vault.working' });
  }

  async #store(asked: StoreMessage, life: number): Promise<void> {
    this.told++;
    if (this.declines) return this.decline(asked);
    await this.beforeStoring(asked);
    await this.#standstill.thawed;
    const stored = await this.#cells.storeCells(asked, this.design?.source);
    if (life !== this.#life) return;
    this.stored = stored;
    this.report(stored);
  }
}

async function vault() {
  const store = new MemoryCells();
  const playbook = await Playbook.open({
    log: new MemoryLog(),
    epochSlots: new MemorySlots(),
    designSlots: new MemorySlots(),
    wrapper: createKeyWrapper(systemRandom(32)),
    density: 100,
  });
  const design = await addDesign(playbook, new CellStore(new InProcessEngine(store)), SEGMENTS);
  /** The mailbox of the keys node: messages are handled one after the other. */
  let box: Promise<void> = Promise.resolve();
  const handle = async (message: Message, node: Node): Promise<void> => {
    members.heard(node.id);
    if (message.type === 'vault.key') {
      await vaultKeys.stated(node.id, message.point);
      if (!message.started) return;
      storing.restarted(node.id);
      maintenance.restarted(node.id);
    }
    if (message.type === 'vault')
      return handleVaultMessage(context, message.message, node.id, (work) => void work.catch(() => undefined));
  };
  const reply = (message: Message, node: Node): void => {
    box = box.then(() => handle(message, node));
  };
  const nodes = ['segments-1', 'segments-2'].map((id) => new Node(id, store, reply));
  const [one, two] = nodes;
  if (one === undefined || two === undefined) throw new Error('no nodes');
  const mail: MailClient = {
    send: async (recipient, message) => {
      if ('node' in recipient) nodes.find(({ id }) => id === recipient.node)?.take(message);
    },
    start: () => undefined,
    close: async () => undefined,
  };
  const vaultKeys = new VaultKeys({ mail, directory, id: 'keys-1', logger: silentLogger });
  const members = new SegmentsMembers({ directory, keys: vaultKeys, clock });
  const storing = new Storing({ members, clock, signal: vaultKeys.closing });
  const order = new RwLock();
  const control = controlClient({ call: async () => ({ status: 200, body: new Uint8Array(), json: () => ({}) }) });
  const maintenance = new Maintenance(
    {
      ...{ playbook, store: new MemoryRecords(), mail, vaultKeys, members, storing, control, clock },
      ...{ logger: silentLogger, metrics: noMetrics, order },
    },
    { periodMs: 1 },
  );
  const refusals = { get: async () => undefined };
  let alarms = 0;
  const checks = { soon: () => void alarms++ };
  const context = {
    ...{ playbook, maintenance, members, storing, vaultKeys, order, refusals, checks, logger: silentLogger },
  } as unknown as KeysContext;
  close = async () => {
    for (const node of nodes) node.thaw();
    await vaultKeys.close();
    await maintenance.close();
  };
  const reaches = (epoch: number) =>
    expect.poll(() => playbook.status().epoch, { timeout: 60_000 }).toBeGreaterThanOrEqual(epoch);
  /** Stops maintenance, then opens every cell as a machine does. */
  const soundCells = async ({ designId, manifest }: KnownDesign = design): Promise<number> => {
    await close();
    let sound = 0;
    for (const { index, outerKey, segment } of await playbook.slice(designId, 0, manifest.segments)) {
      const cell = await store.get(index);
      const sealed = applyOuterLayer(outerKey, cell?.body ?? new Uint8Array());
      if (equalBytes(sha256(sealed), segmentHash(manifest, segment))) sound++;
    }
    return sound;
  };
  /** Resolves when the keys node has handled all mail that it has. */
  const handled = () => box;
  return { playbook, maintenance, members, one, two, reaches, handled, soundCells, alarms: () => alarms };
}

/** Both nodes run and share sweeps. */
async function sweeping() {
  const made = await vault();
  made.one.start();
  made.two.start();
  made.maintenance.start();
  await made.reaches(3);
  return made;
}

describe('two segments nodes', () => {
  it('share every sweep; each works on lanes of its own', async () => {
    const { playbook, maintenance, one, two, reaches, soundCells } = await vault();
    one.start();
    two.start();
    maintenance.start();
    await reaches(5);
    expect(one.steps).toBeGreaterThan(0);
    expect(two.steps).toBeGreaterThan(0);
    expect(new Set([...one.lanes, ...two.lanes]).size).toBe(lanesFor(playbook.status().cells, 2));
    expect(await soundCells()).toBe(SEGMENTS);
  }, 120_000);

  it('need not both run: a node that never stated a key gets nothing', async () => {
    const { maintenance, one, two, reaches, soundCells } = await vault();
    two.start();
    maintenance.start();
    await reaches(4);
    expect([one.steps, two.steps > 0]).toEqual([0, true]);
    expect(await soundCells()).toBe(SEGMENTS);
  }, 120_000);

  it('replace each other when one is frozen in a write; what it does when it wakes up changes nothing', async () => {
    const { playbook, members, one, two, reaches, soundCells } = await sweeping();
    for (const [frozen, other] of [
      [one, two],
      [two, one],
    ] as const) {
      frozen.freeze();
      await reaches(playbook.status().epoch + 2);
      expect(members.answering).toEqual([other.id]);
      const before = frozen.steps;
      frozen.thaw();
      await reaches(playbook.status().epoch + 2);
      await expect.poll(() => frozen.steps, { timeout: 60_000 }).toBeGreaterThan(before + 1);
      expect(members.answering).toEqual([one.id, two.id]);
    }
    expect(await soundCells()).toBe(SEGMENTS);
  }, 120_000);

  it('replace each other when one is killed, and share again when it is back with another key', async () => {
    const { playbook, maintenance, one, two, reaches, soundCells } = await vault();
    one.start();
    two.start();
    maintenance.start();
    for (const node of [one, two]) {
      await reaches(playbook.status().epoch + 1);
      node.freeze();
      node.kill();
      await reaches(playbook.status().epoch + 2);
      node.thaw();
      const before = node.steps;
      node.start();
      await expect.poll(() => node.steps, { timeout: 60_000 }).toBeGreaterThan(before);
    }
    expect(await soundCells()).toBe(SEGMENTS);
  }, 120_000);

  it('cannot answer for each other: steps that one claims in the place of the other do not count', async () => {
    const { playbook, maintenance, one, two, reaches, soundCells } = await sweeping();
    let claims = 0;
    one.onAsked = ({ to, lane, number, fence, items, masked, points }) => {
      one.freeze();
      const staged = items.count + masked.count + points.count;
      const done = { absent: 0, missing: [], damaged: [], work: 0 };
      maintenance.answered({ type: 'maintained', to, lane, number, fence, staged, ...done }, two.id);
      claims++;
    };
    await expect.poll(() => claims, { timeout: 60_000 }).toBeGreaterThan(0);
    await reaches(playbook.status().epoch + 2);
    expect(await soundCells()).toBe(SEGMENTS);
  }, 120_000);

  it('store designs while sweeps go on: no step overtakes a node that stores', async () => {
    const { playbook, one, two, soundCells } = await sweeping();
    for (const node of [one, two]) {
      const design = await addToPlaybook(playbook, 200);
      const steps = two.steps + one.steps;
      // Much longer than a sweep. It says that it works, as the process does.
      node.beforeStoring = async () => {
        for (let n = 0; n < 20; n++) await sleep(50).then(() => node.working());
      };
      node.want(design);
      await expect.poll(() => playbook.design(design.designId).complete, { timeout: 60_000 }).toBe(true);
      expect(node.told).toBe(1);
      await expect.poll(() => one.steps + two.steps, { timeout: 60_000 }).toBeGreaterThan(steps + 10);
    }
    expect(await soundCells()).toBe(SEGMENTS);
  }, 120_000);

  it('do not wait for a node that is told to store after it has given up', async () => {
    const { playbook, one, soundCells } = await sweeping();
    const design = await addToPlaybook(playbook, 200);
    one.declines = true;
    one.want(design);
    await expect.poll(() => one.told, { timeout: 60_000 }).toBe(1);
    // Long before 30 s have passed, after which nothing is waited for.
    const { epoch } = playbook.status();
    await expect.poll(() => playbook.status().epoch, { timeout: 20_000 }).toBeGreaterThan(epoch + 2);
    one.declines = false;
    one.want(design);
    await expect.poll(() => playbook.design(design.designId).complete, { timeout: 60_000 }).toBe(true);
    expect(await soundCells()).toBe(SEGMENTS);
  }, 120_000);

  it('do not wait for a node that is frozen while it stores; what it reports later does not count', async () => {
    const { playbook, one, reaches, soundCells } = await sweeping();
    const design = await addToPlaybook(playbook, 200);
    one.beforeStoring = async () => one.freeze();
    one.want(design);
    await expect.poll(() => one.told, { timeout: 60_000 }).toBe(1);
    await reaches(playbook.status().epoch + 3);
    one.beforeStoring = async () => undefined;
    one.thaw();
    await expect.poll(() => one.stored !== undefined, { timeout: 60_000 }).toBe(true);
    await reaches(playbook.status().epoch + 1);
    expect(playbook.design(design.designId).stored).toBe(0);
    one.want(design);
    await expect.poll(() => playbook.design(design.designId).complete, { timeout: 60_000 }).toBe(true);
    expect(await soundCells()).toBe(SEGMENTS);
  }, 120_000);

  it('cannot report for each other: cells that one stores do not count when the other says so', async () => {
    const { playbook, one, two, handled, soundCells } = await vault();
    one.start();
    two.start();
    const design = await addToPlaybook(playbook, 200);
    one.freeze();
    one.want(design);
    await expect.poll(() => one.asked?.cells.length, { timeout: 60_000 }).toBe(200);
    const { generation } = one.asked ?? { generation: 0 };
    two.report({ type: 'stored', design: fromHex(design.designId), generation, from: 0, count: 200 });
    await handled();
    expect(playbook.design(design.designId)).toMatchObject({ stored: 0, complete: false });
    one.thaw();
    await expect.poll(() => playbook.design(design.designId).complete, { timeout: 60_000 }).toBe(true);
    expect(await soundCells()).toBe(SEGMENTS);
  }, 120_000);

  it('are found out when one reports cells that it was told to store and has not: they are missing, and stored again', async () => {
    const { playbook, one, two, reaches, handled, soundCells, alarms } = await sweeping();
    const design = await addToPlaybook(playbook, 200);
    two.beforeStoring = async ({ generation }) => {
      two.report({ type: 'stored', design: fromHex(design.designId), generation, from: 0, count: 200 });
      two.freeze();
    };
    two.want(design);
    // The limit: the keys node cannot see the cells. The honest node does, in the next sweep.
    await expect.poll(() => playbook.design(design.designId).complete, { timeout: 60_000 }).toBe(true);
    const before = alarms();
    await reaches(playbook.status().epoch + 2);
    expect(alarms()).toBeGreaterThan(before);
    one.want(design); // as a repair does
    await expect.poll(() => one.stored?.count, { timeout: 60_000 }).toBe(200);
    await handled();
    expect(await soundCells(design)).toBe(200);
  }, 120_000);

  it('wait together when neither answers, and continue', async () => {
    const { playbook, one, two, reaches, soundCells } = await sweeping();
    one.freeze();
    two.freeze();
    await sleep(1_500); // both are silent by their keys node's clock
    two.thaw();
    one.thaw();
    await reaches(playbook.status().epoch + 3);
    expect(await soundCells()).toBe(SEGMENTS);
  }, 120_000);
});
