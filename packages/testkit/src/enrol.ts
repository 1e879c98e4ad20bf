import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, decodeCbor, encodeCbor, sleep, systemClock, systemRandom, toBase64, toHex } from '@millrace/base';
import { nodeFiles } from '@millrace/cli/parts';
import type { Session } from '@millrace/client';
import { generateP256Key, keyName, ownerSealingKey, type P256Key, p256Key } from '@millrace/identity';
import {
  type BoxKey,
  contentKeysInfo,
  encodeMail,
  licenceSecretInfo,
  type Machine,
  type Opening,
  type PermitRequest,
  readBoxKey,
  registrationHash,
  sealDesignSecret,
  sealMail,
  sealToBox,
  sha256,
  signBoxKey,
  signMachineDocument,
  signTransaction,
  type Transaction,
  usualDisclosures,
} from '@millrace/protocol';
import { prepareDesign, readManifest } from '@millrace/vault';
import type { Answer } from './http.ts';
import { permitRequest } from './permit-request.mjs';
import { MACHINE, type TestInstallation } from './test-installation.ts';

const MINUTE = 60_000;
type Common = 'id' | 'issued' | 'expires';
type Body<T> = T extends Transaction ? Omit<T, Common> : never;
export type Times = Partial<Pick<Transaction, Common>>;

/** A registered machine whose key the test has. */
export interface OwnMachine extends Machine {
  readonly key: P256Key;
}

export interface CallHome extends Answer {
  readonly request: Bytes;
  /** Data from control: permit, print, licence, machine. */
  readonly given: Omit<Opening, 'request' | 'machine'> | undefined;
}

/**
 * A licence at a control node, with everything that a test needs to order prints and call home by itself. The design is
 * announced but not uploaded, because nothing is streamed. Control assumes that it is stored.
 */
export interface Job {
  readonly owner: Session;
  readonly operator: Session;
  readonly design: string;
  /** Hash of the design's core, as named in the licence. */
  readonly coreHash: Bytes;
  readonly licence: string;
  readonly machines: readonly OwnMachine[];
  readonly sealed: readonly Bytes[];
  /** Signs with the session's key. Times and id are arbitrary. */
  sign(session: Session, body: Body<Transaction>, times?: Times, installation?: string): Promise<Bytes>;
  submit(caller: 'admin' | 'owner' | 'operator', transaction: Uint8Array, attachments?: object): Promise<Answer>;
  /** Orders a print. Returns the id of the print. */
  print(machine: number): Promise<string>;
  request(print: string, machine: number, changes?: Partial<PermitRequest>, installation?: string): Promise<Bytes>;
  callHome(print: string, machine: number, request?: Bytes): Promise<CallHome>;
}

export async function enrol(system: TestInstallation, options: { objects: number; machines: number }): Promise<Job> {
  const { directory } = system.installation;
  const [admin, owner, operator] = (await Promise.all(
    (['admin', 'owner', 'operator'] as const).map((user) => system.session(user)),
  )) as Session[] as [Session, Session, Session];

  const sign: Job['sign'] = (session, body, times = {}, installation = directory.installation) => {
    const now = systemClock.now();
    const document = { ...body, id: systemRandom(16), issued: now, expires: now + 10 * MINUTE, ...times };
    return signTransaction(session.signer, installation, document as Transaction);
  };
  const submit: Job['submit'] = (caller, transaction, attachments) =>
    system.call('control', caller, {
      method: 'POST',
      path: '/v1/transactions',
      json: { transaction: toBase64(transaction), ...(attachments === undefined ? {} : { attachments }) },
    });
  const must = async (answer: Promise<Answer>): Promise<Record<string, string>> => {
    const { status, text } = await answer;
    if (status !== 200) throw new Error(`${status} ${text}`);
    return JSON.parse(text) as Record<string, string>;
  };

  const machines: OwnMachine[] = [];
  for (let i = 0; i < options.machines; i++) {
    const key = generateP256Key();
    const machine: Machine = {
      machine: keyName(key.publicKey),
      publicKey: key.publicKey,
      serial: `${MACHINE}-${i}`,
      kind: 'virtual',
      profile: { factor: 1 },
    };
    await must(submit('admin', await sign(admin, { type: 'machine.register', machine })));
    machines.push({ ...machine, key });
  }

  const box = await attachmentBox(system);
  const sealed: Bytes[] = [];
  const prepared = await prepareDesign(source(), {
    kind: 'binary',
    owner: owner.signer.publicKey,
    sink: (_segment, bytes) => {
      sealed.push(new Uint8Array(bytes));
    },
    describe: ({ segments }) => ({ times: new Array<number>(segments).fill(10_000) }),
  });
  const info = contentKeysInfo(prepared.designId, owner.signer.publicKey);
  const keys = await sealToBox(box, info, prepared.ceks);
  await must(
    submit(
      'owner',
      await sign(owner, {
        type: 'design.add',
        design: prepared.designId,
        manifestHash: sha256(prepared.manifest),
        keysHash: sha256(keys),
      }),
      { manifest: toBase64(prepared.manifest), keys: toBase64(keys) },
    ),
  );

  await sayStored(system, owner, prepared.designId);

  const { coreHash } = readManifest(prepared.manifest);
  const secretInfo = licenceSecretInfo(prepared.designId, owner.signer.publicKey);
  const licenceIdentifier = systemRandom(16);
  const binding = {
    installation: directory.installation,
    licence: toHex(licenceIdentifier),
    design: prepared.designId,
  };
  const secret = await sealToBox(box, secretInfo, systemRandom(32));
  const now = systemClock.now();
  const { licence = '' } = await must(
    submit(
      'owner',
      await sign(
        owner,
        {
          type: 'licence.grant',
          design: prepared.designId,
          core: coreHash,
          objects: options.objects,
          machines: await Promise.all(
            machines.map(async ({ key: _, ...machine }) => ({
              machine: machine.machine,
              registration: registrationHash(machine),
              secret: await sealDesignSecret(machine, binding, prepared.designSecret),
            })),
          ),
          materials: ['PLA'],
          notBefore: now - MINUTE,
          notAfter: now + 60 * MINUTE,
          holder: operator.signer.publicKey,
          secretHash: sha256(secret),
          telemetryKey: ownerSealingKey(owner.user.signer.exportSecret()).publicKey,
          disclose: [...usualDisclosures],
        },
        { id: licenceIdentifier },
      ),
      { secret: toBase64(secret) },
    ),
  );

  const machineAt = (index: number): OwnMachine => {
    const machine = machines[index];
    if (machine === undefined) throw new Error(`no machine ${index}`);
    return machine;
  };
  const request: Job['request'] = (print, index, changes = {}, installation = directory.installation) => {
    const { key, serial } = machineAt(index);
    return signMachineDocument(key, installation, permitRequest({ print, serial, ...changes }));
  };

  return {
    owner,
    operator,
    design: prepared.designId,
    coreHash,
    licence,
    machines,
    sealed,
    sign,
    submit,
    request,
    print: async (index) => {
      const { machine } = machineAt(index);
      const transaction = await sign(operator, { type: 'print.request', licence, machine });
      const { print = '' } = await must(submit('operator', transaction));
      return print;
    },
    callHome: async (print, index, given) => {
      const bytes = given ?? (await request(print, index));
      const answer = await system.call('control', 'distribution', {
        method: 'POST',
        path: `/v1/machines/${machineAt(index).machine}/call-home`,
        body: encodeCbor({ request: bytes }),
      });
      const granted = answer.status === 200 ? (decodeCbor(new Uint8Array(answer.body), 'answer') as never) : undefined;
      return { ...answer, request: bytes, given: granted };
    },
  };
}

/**
 * Announces that the design is stored, with the segments node's key. That node has nothing to store and may not run.
 */
async function sayStored(system: TestInstallation, owner: Session, design: string): Promise<void> {
  const { directory, layout } = system.installation;
  const identity = p256Key(await readFile(join(layout.node('segments'), nodeFiles.identity)));
  const which = { node: 'control-1', use: 'mail' } as const;
  const announced = await system.call('control', 'segments', { method: 'GET', path: '/v1/boxes/control-1/mail' });
  const box = await readBoxKey(directory, which, announced.body, systemClock.now());
  const mail = encodeMail({ type: 'design.stored', design });
  const body = await sealMail(directory, { id: 'segments-1', identity }, box, mail);
  const path = `/v1/mailbox/control-1?id=stored/${design}`;
  const { status, text } = await system.call('control', 'segments', { method: 'POST', path, body });
  if (status !== 200) throw new Error(`${status} ${text}`);
  while ((await owner.api.design(design)).state !== 'stored') await sleep(20);
}

async function* source() {
  yield systemRandom(40_000);
}

export const idOf = (transaction: { readonly id: Uint8Array }): string => toHex(transaction.id);

/** The announced box key of the keys node. If that node does not run, the test announces a key in its name. */
async function attachmentBox(system: TestInstallation): Promise<BoxKey> {
  const { directory, layout } = system.installation;
  const announced = await system.call('control', 'owner', { method: 'GET', path: '/v1/boxes/keys-1/attachments' });
  const which = { node: 'keys-1', use: 'attachments' } as const;
  const now = systemClock.now();
  if (announced.status === 200) return readBoxKey(directory, which, announced.body, now);
  const identity = p256Key(await readFile(join(layout.node('keys'), nodeFiles.identity)));
  const { publicKey: point } = generateP256Key();
  const box = { type: 'box' as const, ...which, number: now, point, issued: now, expires: now + MINUTE };
  const document = await signBoxKey(identity, directory.installation, box);
  const body = encodeCbor({ document, floor: now });
  const answer = await system.call('control', 'keys', { method: 'POST', path: '/v1/boxes/attachments', body });
  if (answer.status !== 200) throw new Error(`${answer.status} ${answer.text}`);
  return box;
}
