import { equalBytes, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { holderParty, partyName } from './acting.ts';
import type { Amendment } from './amendments.ts';
import type { Machine, MachineReport, Permit, PermitRequest, TransactionOf } from './documents.ts';
import type { LicenceStatement } from './licence-status.ts';
import { registrationHash } from './licensed-machines.ts';
import { objectId } from './opening.ts';

// Maps a signed document to its ledger event. Control writes the event. Verifiers of a certificate derive it again from
// the document, so that an entry cannot differ from what was signed.

/** A ledger event without its evidence (spec/ledger.md, 9). `actor` is the name of the signing key. */
export interface LedgerFact {
  readonly account: string;
  readonly type:
    | 'machine'
    | 'licensed'
    | 'ordered'
    | 'permitted'
    | 'inspected'
    | 'credited'
    | 'transferred'
    | 'retired'
    | MachineReport['event'];
  readonly actor: string;
  readonly body: Readonly<Record<string, string | number | Uint8Array>>;
}

export const licenceAccount = (licence: string): string => `licence:${licence}`;
export const machineAccount = (machine: string): string => `machine:${machine}`;

/** Evidence: `machine.register`. */
export function machineFact({ machine }: TransactionOf<'machine.register'>, actor: string): LedgerFact {
  return {
    account: machineAccount(machine.machine),
    type: 'machine',
    actor,
    body: { serial: machine.serial, kind: machine.kind, registration: registrationHash(machine) },
  };
}

/** A machine of another cloud. Evidence: `machine.register` of its cloud, `cloud.recognise` of this one. */
export function visitorFact(
  registration: TransactionOf<'machine.register'>,
  recognition: Pick<TransactionOf<'cloud.recognise'>, 'cloud' | 'adminKey'>,
): LedgerFact {
  const fact = machineFact(registration, keyName(recognition.adminKey));
  return { ...fact, body: { ...fact.body, cloud: recognition.cloud } };
}

/** Evidence: `licence.grant`, the credential of its signer, and the design's core. */
export function licenceFact(licence: TransactionOf<'licence.grant'>, actor: string): LedgerFact {
  const { design, objects, holder } = licence;
  return {
    account: licenceAccount(toHex(licence.id)),
    type: 'licensed',
    actor,
    body: { design, objects, holder: partyName(holderParty(holder)) },
  };
}

/**
 * Evidence: `print.request`, the credential of its signer.
 * @param credits credited objects of the licence. An object beyond those granted is made in place of one of them
 */
export function orderFact(
  print: TransactionOf<'print.request'>,
  { design, objects }: Pick<TransactionOf<'licence.grant'>, 'design' | 'objects'>,
  number: number,
  actor: string,
  credits: readonly string[],
): LedgerFact {
  const replaces = credits[number - objects - 1];
  return {
    account: objectId(print.licence, number),
    type: 'ordered',
    actor,
    body: {
      licence: licenceAccount(print.licence),
      design,
      number,
      print: toHex(print.id),
      ...(replaces && { replaces }),
    },
  };
}

/** Evidence: `permit`, `permit.request`, `permit-key.register`. */
export function permitFact(permit: Permit, machine: Machine, actor: string): LedgerFact {
  return {
    account: permit.object,
    type: 'permitted',
    actor,
    body: { machine: machineAccount(permit.machine), serial: machine.serial, permit: toHex(permit.id) },
  };
}

/** A stream that resumes under a new permit. Evidence as for `permitted`. */
export function resumeFact(permit: Permit, request: PermitRequest, actor: string): LedgerFact {
  return {
    account: permit.object,
    type: 'machine',
    actor,
    body: { fact: 'resumed', from: request.from, permit: toHex(permit.id) },
  };
}

/** Outcome of a report. */
export interface Outcome {
  readonly type: MachineReport['event'];
  readonly code?: string;
}

/** `completed` requires that the machine executed exactly the bytes of the design. */
export function outcomeOf({ event, facts }: MachineReport, contentMac: Uint8Array): Outcome {
  if (event === 'failed') return { type: 'failed', code: facts.code ?? 'E_MACHINE' };
  if (event !== 'completed') return { type: event };
  if (facts.contentMac !== undefined && equalBytes(facts.contentMac, contentMac)) return { type: 'completed' };
  return { type: 'failed', code: 'E_SEGMENT' };
}

/** That the machine stands still, and why; or that it goes on. */
function pauseOf({ halt, resumed }: MachineReport['facts']): LedgerFact['body'] {
  if (halt !== undefined) return { fact: 'halted', by: halt.actor, cause: halt.cause, nextStep: halt.nextStep };
  return resumed === undefined ? {} : { fact: 'resumed' };
}

/** Evidence: `report`. */
export function reportFact(report: MachineReport, actor: string, contentMac: Uint8Array): LedgerFact {
  const { facts, object } = report;
  const { type, ...why } = outcomeOf(report, contentMac);
  return {
    account: object,
    type,
    actor,
    body: {
      serial: facts.serial,
      material: facts.material,
      segments: facts.segments,
      ...pauseOf(facts),
      ...why,
      ...(facts.made && { made: 'in another run' }),
    },
  };
}

/** Evidence: `alarm.clear`, the credential of its signer. */
export function clearedFact({ object }: TransactionOf<'alarm.clear'>, actor: string): LedgerFact {
  return { account: object, type: 'inspected', actor, body: { fact: 'alarm cleared' } };
}

/** Evidence: `licence.resume`, the credential of its signer. */
export function leftFact({ licence, objects, restore }: TransactionOf<'licence.resume'>, actor: string): LedgerFact {
  return { account: licenceAccount(licence), type: 'inspected', actor, body: { fact: 'resumed', objects, restore } };
}

/** Evidence: `licence.suspend`, `licence.reinstate` or `licence.revoke`, the credential of its signer. */
export function statusFact(statement: LicenceStatement, actor: string): LedgerFact {
  const { licence, number } = statement;
  const account = licenceAccount(licence);
  switch (statement.type) {
    case 'licence.suspend':
      return { account, type: 'inspected', actor, body: { fact: 'suspended', number } };
    case 'licence.reinstate':
      return { account, type: 'inspected', actor, body: { fact: 'reinstated', number } };
    case 'licence.revoke': {
      const running = statement.stop ? 'stopped' : 'finished';
      return { account, type: 'inspected', actor, body: { fact: 'revoked', number, running } };
    }
  }
}

/** Evidence: the amendment: `licence.approve`, `licence.extend` or `licence.transfer`; the credential of its signer. */
export function amendmentFact(amendment: Amendment, actor: string): LedgerFact {
  const account = licenceAccount(amendment.licence);
  switch (amendment.type) {
    case 'licence.approve':
      return { account, type: 'inspected', actor, body: { fact: 'approved', document: amendment.document } };
    case 'licence.extend':
      return { account, type: 'inspected', actor, body: { fact: 'extended', machines: amendment.machines.length } };
    case 'licence.transfer': {
      const { number, to } = amendment;
      return { account, type: 'transferred', actor, body: { number, holder: partyName(holderParty(to)) } };
    }
  }
}
