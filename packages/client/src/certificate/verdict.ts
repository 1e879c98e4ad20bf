import { toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import type { VerifiedCertificate } from '@millrace/ledger';
import type { LicenceStatus } from '@millrace/protocol';
import type { Trusted } from './licence.ts';
import type { ProvenObject } from './object.ts';

/** A certificate's verdict in words: what is proven, by whose signature, and what was not checked. */
export interface Verdict {
  readonly checked: readonly string[];
  readonly unchecked: readonly string[];
}

export function verdictOf(certificate: VerifiedCertificate, object: ProvenObject, trusted: Trusted): Verdict {
  return { checked: whatHolds(certificate, object, trusted), unchecked: whatIsOpen(object, trusted, certificate) };
}

function whatHolds({ checkpoint, state }: VerifiedCertificate, object: ProvenObject, trusted: Trusted): string[] {
  const { licence, print, number, machine, permit, reports } = object;
  const { terms, owner, ownerName } = licence;
  const registered = `registered as ${ownerName} by the administrator whom you named`;
  const byWhom = [
    ...(trusted.owner === undefined ? [] : ['the key that you named']),
    ...(trusted.authority === undefined ? [] : [registered]),
  ].join(', ');
  return [
    `log: every entry is in ${checkpoint.origin} (${checkpoint.size} entries), signed by the log’s key`,
    ...checkpoint.cosignatures.map(
      ({ name, time }) =>
        `witness: ${name} had seen no other history of the log on ${new Date(time * 1000).toISOString()}`,
    ),
    `owner: ${toHex(owner)}: ${byWhom}`,
    `licence: ${toHex(terms.id)} for ${terms.objects} objects of design ${terms.design}, signed by the owner`,
    `order: print ${toHex(print.id)}, object ${number} of ${terms.objects}, signed by the holder (${keyName(terms.holder)}) whom the licence names`,
    ...(machine === undefined
      ? []
      : [
          `machine: ${machine.serial} (${machine.machine}), named by the licence with its key${trusted.authority === undefined ? '' : ', registered by the administrator'}`,
        ]),
    ...(permit === undefined
      ? []
      : [
          `permit: asked for by the machine for this order${trusted.authority === undefined ? '' : ', given by the key that the administrator registered for permits'}`,
        ]),
    ...(reports.length === 0
      ? []
      : [`reports: ${reports.map(({ event }) => event).join(', ')}, signed by the machine for this object and run`]),
    ...(state === 'completed'
      ? ['bytes: the machine executed exactly those that the owner signed, by the MAC in its report']
      : []),
    ...licence.statuses.slice(-1).map(({ status }) => `licence today: ${standing(status)}, signed by the owner`),
    ...(object.cleared === 0 ? [] : ['alarm: cleared by the owner']),
  ];
}

function standing({ revoked, suspended }: LicenceStatus): string {
  if (revoked !== undefined) return 'revoked after this object was ordered';
  return suspended ? 'suspended after this object was ordered' : 'suspended once, and reinstated';
}

function whatIsOpen({ permit, alarms, reports }: ProvenObject, trusted: Trusted, { checkpoint }: VerifiedCertificate) {
  return [
    'whether anything happened after these entries: ask the log for the newest certificate',
    'when it happened: the times are the log’s',
    ...(checkpoint.cosignatures.length > 0
      ? []
      : ['whether the log shows everybody the same: no witness that you named has signed']),
    ...(reports.length === 0 ? [] : ['what was made, beyond what the machine says of itself']),
    ...(permit === undefined || trusted.authority !== undefined
      ? []
      : ['whose key signed the permit: only the administrator’s key confirms it, and you named none']),
    ...(trusted.authority === undefined ? ['the owner’s name: only the administrator vouches for it'] : []),
    alarms === 0
      ? 'that there was no alarm: nodes do not sign alarms, so the log could leave one out'
      : 'the alarm: nodes do not sign it, so only the log asserts it',
  ];
}
