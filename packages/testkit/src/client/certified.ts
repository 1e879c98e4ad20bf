import { type Bytes, systemClock, systemRandom, toHex } from '@millrace/base';
import { generateP256Key, generateUserKey, keyName, type MemorySigner, type P256Key } from '@millrace/identity';
import {
  type EventRequest,
  ed25519NoteSigner,
  exportCertificate,
  formatVerifierKey,
  type Ledger,
  openLedger,
} from '@millrace/ledger';
import {
  clearedFact,
  type LedgerFact,
  licenceFact,
  type Machine,
  type MachineReport,
  machineFact,
  objectId,
  orderFact,
  type Permit,
  type PermitRequest,
  permitFact,
  registrationHash,
  reportFact,
  resumeFact,
  sha256,
  signMachineDocument,
  signPermit,
  signTransaction,
  type TransactionOf,
} from '@millrace/protocol';
import { MemoryLog } from '@millrace/stores';
import { coreHashOf, type DesignCore, designIdOf, encodeCore } from '@millrace/vault';
import { permitRequest } from '../permit-request.mjs';

export const INSTALLATION = 'ab'.repeat(16);
const CONTENT_MAC = new Uint8Array(32).fill(3);
const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 10, 28);

/** All keys of an installation: of users, machine and nodes. */
export interface Keys {
  readonly admin: MemorySigner;
  readonly owner: MemorySigner;
  readonly holder: MemorySigner;
  readonly machine: P256Key;
  readonly permit: P256Key;
  readonly log: Uint8Array;
}

export function makeKeys(): Keys {
  return {
    admin: generateUserKey(),
    owner: generateUserKey(),
    holder: generateUserKey(),
    machine: generateP256Key(),
    permit: generateP256Key(),
    log: systemRandom(32),
  };
}

/** Changes by a forger to the documents behind an object's events. */
export interface Changes {
  readonly installation?: string;
  readonly registration?: Partial<TransactionOf<'user.register'>>;
  readonly machine?: Partial<Machine>;
  readonly core?: Partial<DesignCore>;
  readonly licence?: Partial<TransactionOf<'licence.grant'>>;
  readonly print?: Partial<TransactionOf<'print.request'>>;
  readonly request?: Partial<PermitRequest>;
  readonly permit?: Partial<Permit>;
  readonly permitKey?: Partial<TransactionOf<'permit-key.register'>>;
  readonly report?: Partial<MachineReport>;
  readonly facts?: Partial<MachineReport['facts']>;
  readonly number?: number;
}

export interface Story {
  readonly events: readonly EventRequest[];
  readonly object: string;
  readonly request: PermitRequest;
  /** The administrator's registrations of owner and holder. */
  readonly credentials: { readonly owner: Bytes; readonly holder: Bytes };
  /** Another report of the same run. */
  report(event: MachineReport['event'], changes?: Partial<MachineReport>): Promise<EventRequest>;
  /** Another stream of the same object. */
  resume(changes?: Partial<PermitRequest>): Promise<EventRequest>;
  clear(signer?: MemorySigner): Promise<EventRequest>;
}

/** Machine, licence and one object, from order to completion, as written by the control node. */
export async function makeStory(keys: Keys, changes: Changes = {}): Promise<Story> {
  const installation = changes.installation ?? INSTALLATION;
  const common = () => ({ id: systemRandom(16), issued: NOW, expires: NOW + HOUR });
  const machine: Machine = {
    machine: keyName(keys.machine.publicKey),
    publicKey: keys.machine.publicKey,
    serial: 'SN-1',
    kind: 'virtual',
    profile: { factor: 1 },
    ...changes.machine,
  };
  const event = (fact: LedgerFact, evidence: Bytes[]): EventRequest => ({
    ...fact,
    evidence,
    eventId: toHex(systemRandom(8)),
  });

  const registered = (user: MemorySigner, name: string, more: Changes['registration'] = {}) =>
    signTransaction(keys.admin, installation, {
      ...common(),
      type: 'user.register',
      publicKey: user.publicKey,
      name,
      ...more,
    });
  const [owner, holder] = [
    await registered(keys.owner, 'Owner Ltd', changes.registration),
    await registered(keys.holder, 'Holder Ltd'),
  ];
  const machineRegister = { ...common(), type: 'machine.register' as const, machine };
  const ofMachine = event(machineFact(machineRegister, keyName(keys.admin.publicKey)), [
    await signTransaction(keys.admin, installation, machineRegister),
  ]);
  const core = encodeCore({
    owner: keys.owner.publicKey,
    custody: 'owner',
    kind: 'binary',
    size: 40_000,
    segments: 3,
    nonce: new Uint8Array(16),
    hashRoot: new Uint8Array(32),
    timesHash: new Uint8Array(32),
    contentMac: CONTENT_MAC,
    ...changes.core,
  });
  const grant: TransactionOf<'licence.grant'> = {
    ...common(),
    type: 'licence.grant',
    design: designIdOf(core),
    core: coreHashOf(core),
    telemetryKey: keys.machine.publicKey,
    objects: 2,
    machines: [{ machine: machine.machine, registration: registrationHash(machine) }],
    materials: ['PLA'],
    notBefore: NOW - 24 * HOUR,
    notAfter: NOW + 24 * HOUR,
    holder: keys.holder.publicKey,
    secretHash: new Uint8Array(32),
    disclose: [],
    ...changes.licence,
  };
  const licensed = event(licenceFact(grant, keyName(keys.owner.publicKey)), [
    await signTransaction(keys.owner, installation, grant),
    owner,
    core,
  ]);

  const number = changes.number ?? 1;
  const object = objectId(toHex(grant.id), number);
  const print: TransactionOf<'print.request'> = {
    ...common(),
    type: 'print.request',
    licence: toHex(grant.id),
    machine: machine.machine,
    ...changes.print,
  };
  const ordered = event({ ...orderFact(print, grant, number, keyName(keys.holder.publicKey), []), account: object }, [
    await signTransaction(keys.holder, installation, print),
    holder,
  ]);
  const permitKeyDocument = await signTransaction(keys.admin, installation, {
    ...common(),
    type: 'permit-key.register',
    publicKey: keys.permit.publicKey,
    ...changes.permitKey,
  });
  const control = keyName(keys.permit.publicKey);
  const firstRequest = permitRequest({
    ...common(),
    ...{ print: toHex(print.id), serial: machine.serial, ephemeral: keys.machine.publicKey },
    ...changes.request,
  });
  const permitted = async (request: PermitRequest) => {
    const asked = await signMachineDocument(keys.machine, installation, request);
    const permit: Permit = {
      ...common(),
      type: 'permit',
      print: toHex(print.id),
      licence: toHex(grant.id),
      object,
      number,
      design: grant.design,
      machine: machine.machine,
      request: sha256(asked),
      count: 1,
      ...changes.permit,
    };
    return { permit, evidence: [await signPermit(keys.permit, installation, permit), asked, permitKeyDocument] };
  };
  const report: Story['report'] = async (type, more = {}) => {
    const facts: MachineReport['facts'] = {
      serial: machine.serial,
      material: 'PLA',
      segments: 3,
      ...(type === 'completed' ? { contentMac: CONTENT_MAC } : {}),
      ...changes.facts,
    };
    const { run } = firstRequest;
    const body: MachineReport = {
      ...common(),
      type: 'report',
      object,
      run,
      event: type,
      facts,
      ...changes.report,
      ...more,
    };
    // The logged completion has the right MAC, whatever the signed report contains.
    const said = type === 'completed' ? { ...body, facts: { ...facts, contentMac: CONTENT_MAC } } : body;
    const fact = reportFact(said, machine.machine, CONTENT_MAC);
    return event({ ...fact, account: object }, [await signMachineDocument(keys.machine, installation, body)]);
  };
  const first = await permitted(firstRequest);
  return {
    object,
    request: firstRequest,
    credentials: { owner, holder },
    events: [
      ofMachine,
      licensed,
      ordered,
      event({ ...permitFact(first.permit, machine, control), account: object }, first.evidence),
      await report('started'),
      await report('completed'),
    ],
    report,
    resume: async (more = {}) => {
      const request = { ...firstRequest, id: systemRandom(16), from: 1, ...more };
      const { permit, evidence } = await permitted(request);
      return event(resumeFact(permit, request, control), evidence);
    },
    clear: async (signer = keys.owner) => {
      const body = { ...common(), type: 'alarm.clear' as const, object };
      const evidence = [await signTransaction(signer, installation, body), owner];
      return event(clearedFact(body, keyName(signer.publicKey)), evidence);
    },
  };
}

/** An alarm as recorded by control, without a signed document. */
export function alarm(object: string): EventRequest {
  const body = { by: 'keys', acked: 2, permit: '00'.repeat(16), code: 'E_ALARM' };
  return { account: object, type: 'alarmed', actor: 'keys', body, eventId: toHex(systemRandom(8)) };
}

/** Writes arbitrary events with the log's key, as an attacker who has that key can. @param map of accounts, as control has */
export async function logOf(
  keys: Keys,
  events: readonly EventRequest[],
  map?: { readonly changes: number },
): Promise<Ledger> {
  const origin = `millrace/${INSTALLATION}`;
  const signer = ed25519NoteSigner(origin, keys.log);
  const ledger = await openLedger({ store: new MemoryLog(), signer, origin, clock: systemClock, ...(map && { map }) });
  for (const event of events) await ledger.append(event);
  return ledger;
}

export async function certify(keys: Keys, events: readonly EventRequest[], object: string): Promise<Bytes> {
  return exportCertificate(await logOf(keys, events), object);
}

export function logKeyOf(keys: Keys): string {
  const { name, publicKey } = ed25519NoteSigner(`millrace/${INSTALLATION}`, keys.log);
  return formatVerifierKey(name, publicKey);
}
