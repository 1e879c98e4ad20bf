import {
  type Bytes,
  copyBytes,
  KeyedMutex,
  noMetrics,
  noTracer,
  RwLock,
  systemClock,
  systemRandom,
  toHex,
} from '@millrace/base';
import { BoxRegistry, type ControlContext, callHome, Mailbox, openRecords } from '@millrace/cloud/parts';
import { generateP256Key, generateUserKey, keyName, type MemorySigner, type P256Key } from '@millrace/identity';
import type { Ledger } from '@millrace/ledger';
import {
  type Directory,
  type Machine,
  type NodeRole,
  registrationHash,
  signMachineDocument,
  signTransaction,
} from '@millrace/protocol';
import type { Lmdb } from '@millrace/stores';
import { coreHashOf, designIdOf, encodeCore } from '@millrace/vault';

const HOUR = 3_600_000;
const MACHINES = 256;
/** Machines under one licence. Control permits one object of a licence after the other. */
const MACHINES_A_LICENCE = 8;
const OBJECTS = 1_000_000;

/** A machine's signed request for one queued print. */
interface Asked {
  readonly caller: string;
  readonly request: Bytes;
}

export interface PermitBench {
  /** Signs and records prints, and signs the requests of their machines. */
  prepare(count: number): Promise<readonly Asked[]>;
  /** Control's answer to a request. */
  permit(asked: Asked): Promise<void>;
}

/**
 * Control's path from a machine's signed request to its permit: signatures, claim of the object, ledger, mail to both
 * proactive nodes, all durable in one environment as in a control node. In this process, without TLS and HTTP.
 */
export async function openPermitBench(lmdb: Lmdb, ledger: Ledger): Promise<PermitBench> {
  const [admin, owner, holder] = [generateUserKey(), generateUserKey(), generateUserKey()];
  const permitKey = generateP256Key();
  const control = generateP256Key();
  const directory = directoryOf(admin, permitKey, ledger);
  const { installation } = directory;
  const records = openRecords(lmdb.records('records'));
  const queue = lmdb.queue('mail');
  const boxes = new BoxRegistry(lmdb.records('boxes'), directory);
  const used: Partial<ControlContext> = {
    id: 'control-1',
    directory,
    clock: systemClock,
    metrics: noMetrics,
    tracer: noTracer,
    records,
    ledger,
    mailbox: new Mailbox({ queue, id: 'control-1', directory, identity: control, boxes, clock: systemClock }),
    permitKey,
    permitKeyDocument: systemRandom(300),
    quarantine: new Map(),
    mutexes: new KeyedMutex(),
    settled: new Set(),
    licensing: new RwLock(),
  };
  const context = used as ControlContext;

  const begin = systemClock.now();
  const dated = () => ({ id: systemRandom(16), issued: begin, expires: begin + 24 * HOUR });
  const register = async (key: MemorySigner, name: string) => {
    const document = { type: 'user.register' as const, ...dated(), publicKey: key.publicKey, name };
    const credential = await signTransaction(admin, installation, document);
    const user = keyName(key.publicKey);
    await records.users.create(user, { user, name, publicKey: key.publicKey, document: credential });
    return { user, credential };
  };
  const [byOwner, byHolder] = [await register(owner, 'owner'), await register(holder, 'holder')];
  const [contentMac, kind] = [systemRandom(32), 'gcode'];
  const core = encodeCore({
    ...{ owner: copyBytes(owner.publicKey), custody: 'owner', kind, size: 1, segments: 1, nonce: systemRandom(16) },
    ...{ hashRoot: systemRandom(32), timesHash: systemRandom(32), contentMac },
  });
  const design = designIdOf(core);
  await records.designs.create(design, {
    design,
    owner: byOwner.user,
    ownerKey: owner.publicKey,
    name: 'a design',
    core,
    custody: 'owner',
    kind,
    size: 1,
    segments: 1,
    contentMac,
    transaction: systemRandom(300),
    credential: byOwner.credential,
    state: 'stored',
  });
  const machines = Array.from({ length: MACHINES }, (_, i) => machineOf(generateP256Key(), `SN-${i}`));
  const licences: string[] = [];
  for (const { machine } of machines)
    await records.machines.create(machine.machine, {
      registration: machine,
      hash: registrationHash(machine),
      document: systemRandom(300),
    });
  for (let from = 0; from < MACHINES; from += MACHINES_A_LICENCE) {
    const terms = {
      type: 'licence.grant' as const,
      ...dated(),
      design,
      core: coreHashOf(core),
      objects: OBJECTS,
      machines: machines
        .slice(from, from + MACHINES_A_LICENCE)
        .map(({ machine }) => ({ machine: machine.machine, registration: registrationHash(machine) })),
      materials: [],
      notBefore: begin,
      notAfter: begin + 48 * HOUR,
      holder: holder.publicKey,
      secretHash: systemRandom(32),
      telemetryKey: generateP256Key().publicKey,
      disclose: [],
    };
    const licence = toHex(terms.id);
    const parties = { owner: byOwner.user, holder: byHolder.user };
    const transaction = await signTransaction(owner, installation, terms);
    const granted = { objects: OBJECTS, credits: [], transaction, credential: byOwner.credential };
    await records.licences.create(licence, { licence, design, ...parties, ...granted });
    licences.push(licence);
  }

  let made = 0;
  const prepareOne = async (): Promise<Asked> => {
    const at = made++ % MACHINES;
    const { key, machine } = machines[at] as (typeof machines)[number];
    const licence = licences[Math.floor(at / MACHINES_A_LICENCE)] ?? '';
    const order = { type: 'print.request' as const, ...dated(), licence, machine: machine.machine };
    const print = toHex(order.id);
    await records.prints.create(print, {
      print,
      licence,
      design,
      machine: machine.machine,
      owner: byOwner.user,
      holder: byHolder.user,
      created: begin,
      startBy: begin + 24 * HOUR,
      state: 'queued',
      transaction: await signTransaction(holder, installation, order),
      credential: byHolder.credential,
    });
    const request = await signMachineDocument(key, installation, {
      type: 'permit.request',
      ...dated(),
      print,
      serial: machine.serial,
      material: 'PLA',
      ephemeral: generateP256Key().publicKey,
      run: systemRandom(16),
      from: 0,
      order: 16,
      suite: 'keccak256',
      hints: 'dense',
      tableMs: 1,
    });
    return { caller: machine.machine, request };
  };
  return {
    prepare: (count) => Promise.all(Array.from({ length: count }, prepareOne)),
    permit: async ({ caller, request }) => {
      await callHome(context, caller, request);
    },
  };
}

function machineOf(key: P256Key, serial: string) {
  const { publicKey } = key;
  const machine: Machine = {
    machine: keyName(publicKey),
    publicKey,
    serial,
    kind: 'virtual',
    profile: { factor: 100 },
  };
  return { key, machine };
}

function directoryOf(admin: MemorySigner, permitKey: P256Key, ledger: Ledger): Directory {
  const node = (role: NodeRole) => ({
    id: `${role}-1`,
    role,
    addresses: [],
    fingerprint: '00'.repeat(32),
    identity: toHex(generateP256Key().publicKey),
  });
  return {
    version: 2,
    installation: toHex(systemRandom(16)),
    name: 'bench',
    authority: 'none',
    nodes: [node('control'), node('segments'), node('keys'), node('distribution')],
    permitKey: toHex(permitKey.publicKey),
    logKey: ledger.logKey,
    adminKey: toHex(admin.publicKey),
  };
}
