import { type Bytes, copyBytes, decodeCbor, systemClock, systemRandom, toHex } from '@millrace/base';
import { generateP256Key, keyName, type P256Key } from '@millrace/identity';
import {
  type CreditPolicy,
  licenceAccount,
  type Machine,
  type Message,
  objectId,
  registrationHash,
  SEALED_SECRET_BYTES,
  sha256,
  signMachineDocument,
  verifyOpening,
} from '@millrace/protocol';
import { coreHashOf } from '@millrace/vault';
import { suspendLicences } from '../../src/control/admin.ts';
import { callHome, countClaims } from '../../src/control/permits.ts';
import { takeReport } from '../../src/control/reports.ts';
import { ObjectRepository } from '../../src/streaming/objects.ts';
import { type ControlStores, codeOf, controlFixture } from '../control-fixture.ts';
import { signPermitRequest } from '../permit-request.ts';
import { Disk } from './disk.ts';
import type { End, Holder, MachineName, Waiting } from './model.ts';

const SERIAL = 'SN-1';

type Body = Parameters<Installation['fixture']['sign']>[1];
type User = Parameters<Installation['fixture']['sign']>[0];

export interface Installation {
  readonly fixture: Awaited<ReturnType<typeof controlFixture>>;
  readonly disk: Disk;
  readonly keys: Readonly<Record<MachineName, P256Key>>;
  readonly machines: Readonly<Record<MachineName, Machine>>;
  readonly design: string;
}

/** An installation with two machines and a stored design. Each world begins with a copy of its disk. */
export async function createInstallation(): Promise<Installation> {
  const disk = new Disk();
  const fixture = await controlFixture(disk.open());
  const keys = { first: generateP256Key(), second: generateP256Key() };
  const registered = async ({ publicKey }: P256Key): Promise<Machine> => {
    const machine = { machine: keyName(publicKey), publicKey, serial: SERIAL, kind: 'virtual', profile: { factor: 1 } };
    await fixture.submit('admin', { type: 'machine.register', machine });
    return machine;
  };
  const machines = { first: await registered(keys.first), second: await registered(keys.second) };
  const design = await fixture.stored(await fixture.addDesign(await fixture.prepare(1_000)));
  return { fixture, disk, keys, machines, design };
}

/** Control's accounting of one licence, and that of both proactive nodes. Each of the three can be killed. */
export class World {
  readonly licence: string;
  readonly nodes: Readonly<Record<'segments' | 'keys', Node>>;
  readonly #system: Installation;
  #disk: Disk;
  #stores: ControlStores;
  /** Documents that parties have signed, in order. They show them again to a control node that has lost them. */
  #signed: { readonly who: User; readonly bytes: Bytes }[] = [];
  readonly #runs = new Map<string, Bytes>();

  private constructor(system: Installation, licence: string, disk: Disk, stores: ControlStores) {
    this.#system = system;
    this.licence = licence;
    this.#disk = disk;
    this.#stores = stores;
    this.nodes = { segments: new Node(system), keys: new Node(system) };
  }

  static async begin(
    system: Installation,
    { objects, ...creditPolicy }: { readonly objects: number } & CreditPolicy,
  ): Promise<World> {
    const { fixture, design, machines } = system;
    const disk = await system.disk.copy();
    const stores = disk.open();
    await fixture.restart(stores);
    const licence = await fixture.grant(design, [machines.first], {
      objects,
      terms: { transfer: 'alone', creditPolicy },
    });
    return new World(system, licence, disk, stores);
  }

  killControlAfter(writes: number): void {
    this.#disk.killAfter(writes);
  }

  async order({ machine, holder }: Pick<Waiting, 'machine' | 'holder'>, print: Bytes): Promise<string> {
    const name = this.#system.machines[machine].machine;
    return this.#submit(holder, { type: 'print.request', licence: this.licence, machine: name }, 'E_REPLAY', print);
  }

  /** Prints that wait for the machine, in the order of their turns. */
  async waiting(machine: MachineName): Promise<string[]> {
    const { context } = this.#system.fixture;
    let waiting: string[] = [];
    await this.#atControl(async () => {
      const prints = await context.printQueue.waiting(context, 'machine', this.#system.machines[machine].machine);
      waiting = prints.map(({ print }) => print);
    });
    return waiting;
  }

  /** The machine asks for a print's object, or resumes it. A machine whose request was lost asks anew. */
  async home(print: string, machine: MachineName, from = 0): Promise<string> {
    const { fixture, keys, machines } = this.#system;
    const run = this.#runs.get(print) ?? systemRandom(16);
    this.#runs.set(print, run);
    for (;;) {
      const asked = { print, run, from, issued: systemClock.now() };
      const request = await signPermitRequest(keys[machine], fixture.context.directory.installation, asked);
      const { code, killed } = await this.#atControl(() =>
        callHome(fixture.context, machines[machine].machine, request),
      );
      if (!(killed && code === 'E_REPLAY')) return code;
    }
  }

  async objectOf(print: string): Promise<number | undefined> {
    return (await this.#system.fixture.context.records.prints.require(print)).number;
  }

  /** The machine reports twice, as one does that has not got the answer. */
  async report(
    { number, print, machine }: { readonly number: number } & Omit<Waiting, 'holder'>,
    event: End,
    lines?: number,
  ): Promise<string> {
    const { fixture, keys, machines, design } = this.#system;
    const { contentMac } = await fixture.context.records.designs.require(design);
    const issued = systemClock.now();
    const bytes = await signMachineDocument(keys[machine], fixture.context.directory.installation, {
      type: 'report',
      id: systemRandom(16),
      issued,
      expires: issued + 60_000,
      object: this.#object(number),
      run: this.#runs.get(print) ?? new Uint8Array(16),
      event,
      facts: {
        serial: SERIAL,
        material: 'PLA',
        segments: 1,
        ...(event === 'completed' ? { contentMac: copyBytes(contentMac) } : lines !== undefined && { lines }),
      },
    });
    const twice = [];
    for (let i = 0; i < 2; i++)
      twice.push((await this.#atControl(() => takeReport(fixture.context, machines[machine].machine, bytes))).code);
    return twice[0] === twice[1] ? (twice[0] ?? '') : twice.join(', ');
  }

  openCase(number: number, by: Holder): Promise<string> {
    return this.#submit(by, { type: 'case.report', object: this.#object(number), reason: 'adhesion' }, 'E_CONFLICT');
  }

  async decide(number: number, credit: boolean): Promise<string> {
    const object = this.#object(number);
    const known = await this.#system.fixture.context.records.cases.get(object);
    const report = known === undefined ? new Uint8Array(32) : sha256(copyBytes(known.report.transaction));
    return this.#submit('owner', { type: 'case.decide', object, report, credit }, 'E_STATE');
  }

  extend(): Promise<string> {
    const machine = this.#system.machines.second;
    const registration = registrationHash(machine);
    const entry = { machine: machine.machine, registration, secret: systemRandom(SEALED_SECRET_BYTES) };
    return this.#amend('owner', { type: 'licence.extend', licence: this.licence, machines: [entry] });
  }

  transfer(from: Holder, to: Holder, number: number): Promise<string> {
    const { publicKey } = this.#system.fixture.keys[to];
    return this.#amend(from, { type: 'licence.transfer', licence: this.licence, number, to: publicKey });
  }

  setStatus(to: 'suspend' | 'reinstate', number: number): Promise<string> {
    return this.#amend('owner', { type: `licence.${to}`, licence: this.licence, number });
  }

  revoke(stop: boolean, number: number): Promise<string> {
    return this.#amend('owner', { type: 'licence.revoke', licence: this.licence, number, stop });
  }

  /** A copy of control's disk, for `rollBack`. */
  async backUp(): Promise<() => Promise<void>> {
    const copy = await this.#disk.copy();
    const shown = this.#signed.length;
    return async () => {
      this.#disk = await copy.copy();
      this.#stores = this.#disk.open();
      await suspendLicences(this.#stores.records, toHex(systemRandom(16)));
      await this.#system.fixture.restart(this.#stores);
      const again = this.#signed.slice(shown);
      for (const { who, bytes } of again) await this.#system.fixture.submitSigned(who, bytes);
    };
  }

  async state(left: number): Promise<string> {
    const { suspended = toHex(new Uint8Array(16)) } = await this.record();
    const body = { type: 'licence.resume', licence: this.licence, restore: suspended, objects: left } as const;
    return this.#submit('owner', body, 'E_STATE');
  }

  /** Control's mail reaches the node, which may be killed meanwhile. @returns the outcome of each message */
  async deliver(to: 'segments' | 'keys', limit: number): Promise<string[]> {
    const outcomes: string[] = [];
    const topic = `${to}-1`;
    const claimed = await this.#stores.mail.claim(topic, { consumer: to, limit, leaseMs: 60_000 });
    for (const { id, message } of claimed) {
      const { own } = decodeCbor(message, 'mail') as { own: Uint8Array };
      outcomes.push(await this.nodes[to].take(decodeCbor(own, 'message') as Message));
      await this.#atControl(() => this.#stores.mail.acknowledge(topic, [id]));
    }
    return outcomes;
  }

  record() {
    return this.#system.fixture.context.records.licences.require(this.licence);
  }

  /** What control shows: objects permitted and credited, and the ledger's facts of the licence and of each object. */
  async shown(numbers: Iterable<number>) {
    const { context } = this.#system.fixture;
    const record = await this.record();
    const facts = async (account: string) =>
      (await context.ledger.account(account)).map(({ event }) => event.body.fact ?? event.type);
    const objects = await Promise.all(
      [...numbers].map(async (number) => [number, await facts(this.#object(number))] as const),
    );
    return {
      used: await countClaims(context, record),
      credits: record.credits.length,
      facts: await facts(licenceAccount(this.licence)),
      objects: new Map(objects),
    };
  }

  #object(number: number): string {
    return objectId(this.licence, number);
  }

  async #amend(who: User, body: Body): Promise<string> {
    const bytes = await this.#system.fixture.sign(who, body);
    const code = await this.#carryOut(who, bytes, 'E_REPLAY');
    if (code.startsWith('done')) this.#signed.push({ who, bytes });
    return code;
  }

  async #submit(who: User, body: Body, carriedOut: string, id?: Bytes): Promise<string> {
    return this.#carryOut(who, await this.#system.fixture.sign(who, body, id), carriedOut);
  }

  /**
   * @param carriedOut the answer to a repeated document that was carried out before control was killed
   * @returns the outcome; `done or CODE` if control was killed and the answer fits both
   */
  async #carryOut(who: User, bytes: Bytes, carriedOut: string): Promise<string> {
    const { code, killed } = await this.#atControl(() => this.#system.fixture.submitSigned(who, bytes));
    return killed && code === carriedOut ? `done or ${carriedOut}` : code;
  }

  /** Runs a task at control. If control is killed, it is started again and the task repeated. */
  async #atControl(task: () => Promise<unknown>): Promise<{ readonly code: string; readonly killed: boolean }> {
    for (let killed = false; ; killed = true) {
      const code = await codeOf(task());
      if (!this.#disk.killed) return { code, killed };
      this.#stores = this.#disk.open();
      await this.#system.fixture.restart(this.#stores);
    }
  }
}

/** A segments or keys node's accounting. */
class Node {
  /** Objects that the node has begun, with their prints. */
  readonly begun = new Map<number, string>();
  readonly #system: Installation;
  readonly #disk = new Disk();
  readonly #taken: Message[] = [];
  #objects: ObjectRepository;

  constructor(system: Installation) {
    this.#system = system;
    this.#objects = new ObjectRepository(this.#disk.open().records);
  }

  killAfter(writes: number): void {
    this.#disk.killAfter(writes);
  }

  /** Takes a message. If the node is killed, it is started again and gets the message again. */
  async take(message: Message): Promise<string> {
    for (;;) {
      const code = await codeOf(this.#handle(message));
      if (this.#disk.killed) this.#objects = new ObjectRepository(this.#disk.open().records);
      else {
        this.#taken.push(message);
        return code;
      }
    }
  }

  /** Takes an earlier message once more. */
  async takeAgain(which: number): Promise<void> {
    const message = this.#taken[which % Math.max(1, this.#taken.length)];
    if (message !== undefined) await codeOf(this.#handle(message));
    if (this.#disk.killed) this.#objects = new ObjectRepository(this.#disk.open().records);
  }

  async #handle(message: Message): Promise<unknown> {
    const { fixture, design } = this.#system;
    const { directory, records } = fixture.context;
    const owner = fixture.keys.owner.publicKey;
    const lookup = { directory, ownerOf: () => ({ owner }), designOf: async () => ({ owner }) };
    switch (message.type) {
      case 'stream.open': {
        const { core } = await records.designs.require(design);
        const verified = await verifyOpening(message.opening, {
          ...{ directory, now: systemClock.now() },
          designOf: async () => ({ owner, coreHash: coreHashOf(core) }),
          begun: (object) => this.#objects.begun(object),
          credits: (licence) => this.#objects.credits(licence),
        });
        const { id, number, print } = verified.permit;
        await this.#objects.use(verified, toHex(id));
        const known = this.begun.get(number) ?? print;
        if (known !== print) throw new Error(`object ${number} begins for a second print`);
        this.begun.set(number, print);
        return;
      }
      case 'case.credit':
        return this.#objects.credit(message, lookup);
      case 'licence.status':
        return this.#objects.setStatus(message, lookup);
      case 'licence.amend':
        return this.#objects.transfer(message, lookup);
      case 'licence.resume':
        return this.#objects.resume(message, lookup);
      default:
        return; // designs and secrets
    }
  }
}
