import { systemClock, systemRandom, toHex } from '@millrace/base';
import { signNew } from '@millrace/client';
import { checkPermit, loadMachineConfig, type MachineConfig } from '@millrace/machine/parts';
import type { Opening, Permit, PermitRequest } from '@millrace/protocol';
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
  /** The owner's registration that the machine receives. */
  readonly owner: Uint8Array;
}

export interface Lies {
  readonly permit?: Partial<Permit>;
  /** The machine that calls home; by default the licensed one. */
  readonly machine?: string;
  /** The signer of the print request; by default the licence's holder. */
  readonly holder?: HostileInstallation['operator'];
  readonly licence?: Uint8Array;
  /** An opening whose print request is reused. */
  readonly print?: Uint8Array;
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
  const { bytes, body: request } = await caller.request(printId);
  caller.close();
  const licence = await context.records.licences.require(job.licence);
  const design = await context.records.designs.require(job.design);
  const owner = await context.records.users.require(design.owner);
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
  const opening = { permit, request: bytes, print, licence: lies.licence ?? licence.transaction, machine };
  return { opening, request, config, owner: owner.document };
}

/** The agent's verdict. */
export function asMachine({ opening, request, config, owner }: ForgedOpening) {
  const { permit, print, licence, machine } = opening;
  const answer = { permit, print, licence, machine, owner };
  return checkPermit(config, systemClock.now(), { body: request, bytes: new Uint8Array(opening.request) }, answer);
}

function machineOf({ installation }: HostileInstallation, name: string): string {
  const found = installation.description.machines.find((machine) => machine.name === name);
  if (found === undefined) throw new Error(`no machine ${name}`);
  return found.registration.machine;
}

function printOf(transaction: Uint8Array): string {
  return toHex(readTransaction(transaction).id);
}
