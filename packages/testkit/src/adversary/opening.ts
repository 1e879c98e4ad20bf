import { systemClock, systemRandom, toHex } from '@millrace/base';
import { signNew } from '@millrace/client';
import { parseSign1 } from '@millrace/identity';
import { checkPermit, loadMachineConfig, type MachineConfig } from '@millrace/machine/parts';
import type { Attested, MachineMembership, Opening, Permit, PermitRequest } from '@millrace/protocol';
import { objectId, readTransaction, sha256, signPermit } from '@millrace/protocol';
import type { Licensed } from './honest.ts';
import { type HostileInstallation, SITE } from './hostile-installation.ts';
import { callAsMachine } from './machine-calls.ts';

/** The documents that authorize one stream, with the changes of a dishonest control node. */
export interface ForgedOpening {
  readonly opening: Opening;
  readonly request: PermitRequest;
  /** The target machine. */
  readonly config: MachineConfig;
  readonly credits: readonly Attested[];
  /** The design's core that the machine receives. */
  readonly core: Uint8Array;
}

export interface Lies {
  readonly permit?: Partial<Permit>;
  /** What the machine signs in its request. */
  readonly request?: Partial<PermitRequest>;
  /** The machine that calls home; by default the licensed one. */
  readonly machine?: string;
  /** The signer of the print request; by default the licence's holder. */
  readonly holder?: HostileInstallation['operator'];
  readonly licence?: Uint8Array;
  /** An opening whose print request is reused. */
  readonly print?: Uint8Array;
  /** Credentials that come with licence and print; by default those of their signers. */
  readonly licenceSigner?: Uint8Array;
  readonly printSigner?: Uint8Array;
  /** The owner's credits that the machine receives. */
  readonly credits?: readonly Attested[];
  /** The amendments that control shows, with their signers' credentials; by default all that it has. */
  readonly amendments?: readonly Uint8Array[];
  /** The membership of the machine that control shows. */
  readonly membership?: MachineMembership;
}

/** Signed honestly by all parties except control. */
export async function forgeOpening(
  system: HostileInstallation,
  job: Licensed,
  lies: Lies = {},
): Promise<ForgedOpening> {
  const { context } = system.nodes.control;
  const name = lies.machine ?? SITE;
  const config = await loadMachineConfig(system.installation.layout.machine(name));
  const caller = await callAsMachine(system, name);
  const machine = (await context.records.machines.require(machineOf(system, name))).registration;
  const body = { type: 'print.request', licence: job.licence, machine: machine.machine } as const;
  const fresh = await signNew(lies.holder ?? system.operator, body);
  const print = lies.print ?? fresh.bytes;
  const printId = lies.print === undefined ? fresh.id : printOf(print);
  const { bytes, body: request } = await caller.request(printId, lies.request);
  caller.close();
  const licence = await context.records.licences.require(job.licence);
  const now = systemClock.now();
  const number = lies.permit?.number ?? 1;
  const permit = await signPermit(context.permitKey, system.installation.directory.installation, {
    type: 'permit',
    id: systemRandom(16),
    issued: now,
    expires: now + 120_000,
    print: printId,
    licence: job.licence,
    object: objectId(job.licence, number),
    number,
    design: job.design,
    machine: machine.machine,
    request: sha256(bytes),
    count: 1,
    ...lies.permit,
  });
  const signed = { permit, request: bytes, print, licence: lies.licence ?? licence.transaction };
  const credentials = {
    licenceSigner: lies.licenceSigner ?? (await credentialOf(system, signed.licence)),
    printSigner: lies.printSigner ?? (await credentialOf(system, print)),
  };
  const shown = lies.amendments ?? (licence.amendments ?? []).map(({ transaction }) => transaction);
  const amendments: Attested[] = [];
  for (const transaction of shown)
    amendments.push({ transaction, credential: await credentialOf(system, transaction) });
  const { core } = await context.records.designs.require(job.design);
  const { membership } = lies;
  const opening = { ...signed, ...credentials, amendments, machine, ...(membership && { membership }) };
  return { opening, request, config, core, credits: lies.credits ?? [] };
}

/** The agent's verdict. */
export function asMachine({ opening, request, config, core, credits }: ForgedOpening) {
  const { request: _asked, ...permitted } = opening;
  const answer = { ...permitted, core, credits };
  return checkPermit(config, systemClock.now(), { body: request, bytes: new Uint8Array(opening.request) }, answer);
}

/** The credential of the key that signed a document, as control has it. */
export async function credentialOf({ nodes }: HostileInstallation, document: Uint8Array): Promise<Uint8Array> {
  const signer = toHex(parseSign1(document).keyId);
  return (await nodes.control.context.records.users.require(signer)).document;
}

function machineOf({ installation }: HostileInstallation, name: string): string {
  const found = installation.description.machines.find((machine) => machine.name === name);
  if (found === undefined) throw new Error(`no machine ${name}`);
  return found.registration.machine;
}

function printOf(transaction: Uint8Array): string {
  return toHex(readTransaction(transaction).id);
}
