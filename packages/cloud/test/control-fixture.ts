import {
  type Bytes,
  concatBytes,
  KeyedMutex,
  MemoryMetrics,
  noTracer,
  RwLock,
  silentLogger,
  systemClock,
  systemRandom,
  toHex,
  u64be,
} from '@millrace/base';
import { generateP256Key, generateUserKey, keyName } from '@millrace/identity';
import { ed25519NoteSigner, openLedger } from '@millrace/ledger';
import {
  contentKeysInfo,
  type Directory,
  type LicensedMaterial,
  type Machine,
  type NodeRole,
  registrationHash,
  SEALED_SECRET_BYTES,
  sealToBox,
  sha256,
  signBoxKey,
  signTransaction,
  type Transaction,
  type TransactionOf,
  usualDisclosures,
} from '@millrace/protocol';
import { MemoryLog, MemoryQueue, MemoryRecords } from '@millrace/stores';
import { coreHashOf, type DesignCore, prepareDesign } from '@millrace/vault';
import { MAP_CHANGES } from '../src/control/account-map.ts';
import { BoxRegistry } from '../src/control/boxes.ts';
import { Changes } from '../src/control/changes.ts';
import { createCheckpointPublisher } from '../src/control/checkpoint-publisher.ts';
import { CommandBoard } from '../src/control/command-board.ts';
import type { ControlContext } from '../src/control/context.ts';
import { DamagedRecords } from '../src/control/damaged.ts';
import { finishInterrupted } from '../src/control/interrupted.ts';
import { LookBoard } from '../src/control/look-board.ts';
import { Mailbox } from '../src/control/mailbox.ts';
import { NodeMetrics } from '../src/control/node-metrics.ts';
import { OwnMail } from '../src/control/own-mail.ts';
import { PrintQueue } from '../src/control/print-queue.ts';
import { openRecords } from '../src/control/records.ts';
import { type Attachments, handleTransaction } from '../src/control/transactions.ts';
import { WebhookAddresses } from '../src/control/webhooks/addresses.ts';
import { WebhookOutbox } from '../src/control/webhooks/outbox.ts';
import { authorize, userActor } from '../src/node/policy.ts';

type Body<T> = T extends Transaction ? Omit<T, 'id' | 'issued' | 'expires'> : never;

export interface GrantOptions {
  readonly objects?: number;
  readonly secret?: Bytes;
  readonly materials?: LicensedMaterial[];
  /** Cloud of the machines, if it is another one. */
  readonly cloud?: string;
  readonly terms?: Partial<TransactionOf<'licence.grant'>>;
}

export type UserName = 'admin' | 'owner' | 'holder' | 'approver' | 'other';

/** What control has on its disk. */
export interface ControlStores {
  readonly records: MemoryRecords;
  readonly log: MemoryLog;
  readonly mail: MemoryQueue;
}

const newStores = (): ControlStores => ({
  records: new MemoryRecords(),
  log: new MemoryLog(),
  mail: new MemoryQueue(),
});

/** A control node's records, ledger and mailbox in memory, and users that sign. */
export async function controlFixture(stores = newStores()) {
  const keys = {
    admin: generateUserKey(),
    owner: generateUserKey(),
    holder: generateUserKey(),
    approver: generateUserKey(),
    other: generateUserKey(),
    control: generateP256Key(),
    segments: generateP256Key(),
    keys: generateP256Key(),
    permit: generateP256Key(),
  };
  const node = (role: NodeRole, box: { publicKey: Uint8Array }) => ({
    id: `${role}-1`,
    role,
    addresses: [],
    fingerprint: '00'.repeat(32),
    identity: toHex(box.publicKey),
  });
  const signer = ed25519NoteSigner('test.example/log', systemRandom(32));
  const ledgerOf = ({ log }: ControlStores) =>
    openLedger({ store: log, signer, origin: 'test.example/log', clock: systemClock, map: { changes: MAP_CHANGES } });
  const ledger = await ledgerOf(stores);
  const directory: Directory = {
    version: 2,
    installation: toHex(systemRandom(16)),
    name: 'test',
    authority: 'none',
    nodes: [
      node('control', keys.control),
      node('segments', keys.segments),
      node('keys', keys.keys),
      node('distribution', generateP256Key()),
    ],
    permitKey: toHex(keys.permit.publicKey),
    logKey: ledger.logKey,
    adminKey: toHex(keys.admin.publicKey),
  };
  const { records: store, mail: queue } = stores;
  const metrics = new MemoryMetrics();
  const damaged = new DamagedRecords(silentLogger, metrics);
  const changes = new Changes(systemClock, systemRandom);
  const boxes = new BoxRegistry(new MemoryRecords(), directory);
  const mailboxOf = ({ mail }: ControlStores) =>
    new Mailbox({ queue: mail, id: 'control-1', directory, identity: keys.control, boxes, clock: systemClock });
  const times = { issued: systemClock.now(), expires: systemClock.now() + 3_600_000 };
  const box = {
    type: 'box',
    node: 'keys-1',
    use: 'attachments',
    number: 7,
    point: keys.keys.publicKey,
    ...times,
  } as const;
  await boxes.take('keys-1', 'attachments', await signBoxKey(keys.keys, directory.installation, box), 0);
  const records = openRecords(store, damaged.add, changes.wrote);
  const webhooks = {
    outbox: new WebhookOutbox({
      ...{ records, changes, clock: systemClock, random: systemRandom, logger: silentLogger },
      actorOf: async (key) => userActor(directory, key),
    }),
    addresses: new WebhookAddresses({ networks: ['127.0.0.0/8'], http: true }),
  };
  const context: ControlContext = {
    id: 'control-1',
    directory,
    clock: systemClock,
    logger: silentLogger,
    metrics,
    tracer: noTracer,
    nodeMetrics: new NodeMetrics(metrics),
    records,
    damaged,
    ledger,
    publisher: createCheckpointPublisher({
      ...{ ledger, witnesses: [], everyMs: 1_000, timeoutMs: 1_000 },
      logger: silentLogger,
    }),
    mailbox: mailboxOf(stores),
    ownMail: new OwnMail({
      ...{ queue, id: 'control-1', directory, logger: silentLogger },
      boxes: { keyOf: () => undefined },
    }),
    boxes,
    permitKey: keys.permit,
    permitKeyDocument: new Uint8Array(9),
    progress: new Map(),
    seen: new Map(),
    machinesSeen: new Map(),
    quarantine: new Map(),
    maintenance: {},
    mutexes: new KeyedMutex(),
    settled: new Set(),
    licensing: new RwLock(),
    printQueue: new PrintQueue(systemClock),
    commands: new CommandBoard(),
    looks: new LookBoard(),
    changes,
    webhooks,
  };

  const sign = (who: UserName, body: Body<Transaction>, id = systemRandom(16)) => {
    const now = systemClock.now();
    const document = { ...body, id, issued: now, expires: now + 600_000 } as Transaction;
    return signTransaction(keys[who], directory.installation, document);
  };
  /** The user submits a document that it has signed. */
  const submitSigned = (who: UserName, bytes: Bytes, attachments: Attachments = {}) => {
    const actor = userActor(directory, keyName(keys[who].publicKey));
    return handleTransaction(context, bytes, attachments, (signer) =>
      authorize(actor, 'transaction.submit', { signer }),
    );
  };
  const submit = async (who: UserName, body: Body<Transaction>, attachments: Attachments = {}, id?: Bytes) =>
    submitSigned(who, await sign(who, body, id), attachments);
  /** Opens stores as a process does when it starts, and completes what was interrupted. */
  const restart = async (opened: ControlStores) => {
    Object.assign(context, {
      records: openRecords(opened.records, damaged.add),
      ledger: await ledgerOf(opened),
      mailbox: mailboxOf(opened),
      progress: new Map(),
      mutexes: new KeyedMutex(),
      settled: new Set(),
      licensing: new RwLock(),
      printQueue: new PrintQueue(systemClock),
    });
    await finishInterrupted(context);
  };
  for (const user of ['owner', 'holder', 'approver', 'other'] as const)
    await submit('admin', { type: 'user.register', publicKey: keys[user].publicKey, name: user });

  const prepare = async (bytes = 40_000, approvals?: DesignCore['approvals'], envelope?: Bytes) => {
    const prepared = await prepareDesign(oneOf(systemRandom(bytes)), {
      kind: 'binary',
      owner: keys.owner.publicKey,
      approvals,
      sink: () => undefined,
      describe: ({ segments }) => ({ times: new Array<number>(segments).fill(100), envelope }),
    });
    const info = contentKeysInfo(prepared.designId, keys.owner.publicKey);
    return { ...prepared, keys: await sealToBox(box, info, prepared.ceks) };
  };
  const addDesign = async (prepared: { designId: string; manifest: Bytes; keys: Bytes }) => {
    const { designId: design, manifest, keys: sealed } = prepared;
    const hashes = { manifestHash: sha256(manifest), keysHash: sha256(sealed) };
    await submit('owner', { type: 'design.add', design, ...hashes }, { manifest, keys: sealed });
    return design;
  };
  const addMachine = async (
    serial = `SN-${toHex(systemRandom(4))}`,
    { publicKey } = generateP256Key(),
  ): Promise<Machine> => {
    const machine: Machine = {
      machine: keyName(publicKey),
      publicKey,
      serial,
      kind: 'virtual',
      profile: { factor: 1 },
    };
    await submit('admin', { type: 'machine.register', machine });
    return machine;
  };
  const grant = async (
    design: string,
    machines: readonly Machine[],
    {
      objects = 3,
      secret = concatBytes(u64be(7n), systemRandom(32 + 81)),
      materials = [],
      cloud,
      terms,
    }: GrantOptions = {},
  ): Promise<string> => {
    const now = systemClock.now();
    const named = machines.map((machine) => ({
      machine: machine.machine,
      registration: registrationHash(machine),
      secret: systemRandom(SEALED_SECRET_BYTES),
      ...(cloud === undefined ? {} : { cloud }),
    }));
    const { core } = await context.records.designs.require(design);
    const { licence = '' } = await submit(
      'owner',
      {
        type: 'licence.grant',
        design,
        core: coreHashOf(core),
        objects,
        machines: named,
        materials,
        notBefore: now - 1,
        notAfter: now + 3_600_000,
        holder: keys.holder.publicKey,
        secretHash: sha256(secret),
        telemetryKey: keys.permit.publicKey,
        disclose: [...usualDisclosures],
        ...terms,
      },
      { secret },
    );
    return licence;
  };
  /** Marks the design as stored, as the segments node's message does. */
  const stored = async (design: string) => {
    await context.records.designs.update(design, (record) => ({ ...record, state: 'stored' }));
    return design;
  };
  const print = async (licence: string, { machine }: Machine, who: UserName = 'holder'): Promise<string> =>
    (await submit(who, { type: 'print.request', licence, machine })).print ?? '';

  const signing = { sign, submitSigned, submit };
  return {
    context,
    metrics,
    keys,
    store,
    queue,
    ...signing,
    restart,
    prepare,
    addDesign,
    addMachine,
    grant,
    stored,
    print,
  };
}

/** The code of the error, or `done`. */
export const codeOf = (attempt: Promise<unknown>): Promise<string> =>
  attempt.then(
    () => 'done',
    (error: { code?: string }) => error.code ?? String(error),
  );

async function* oneOf(bytes: Bytes) {
  yield bytes;
}

/** Control with a clock of the test, a registered virtual machine and a stored design. */
export async function fixtureWithMachine(now: () => number) {
  const fixture = await controlFixture();
  Object.assign(fixture.context, { clock: { ...systemClock, now } });
  const key = generateP256Key();
  const machine: Machine = {
    ...{ machine: keyName(key.publicKey), publicKey: key.publicKey, serial: 'SN-1' },
    ...{ kind: 'virtual', profile: { factor: 1 } },
  };
  await fixture.submit('admin', { type: 'machine.register', machine });
  const design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
  return { fixture, key, machine, design };
}
