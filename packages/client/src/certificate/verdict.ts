import { toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import type { VerifiedCertificate } from '@millrace/ledger';
import {
  type GroupMember,
  holderParty,
  type LicenceStatus,
  type LoadedSpool,
  type Machine,
  partyName,
} from '@millrace/protocol';
import type { Signatory, Trusted } from './documents.ts';
import type { ProvenObject } from './object.ts';

/** A certificate's verdict in words: what is proven, by whose signature, and what was not checked. */
export interface Verdict {
  readonly checked: readonly string[];
  readonly unchecked: readonly string[];
}

export function verdictOf(certificate: VerifiedCertificate, object: ProvenObject, trusted: Trusted): Verdict {
  return { checked: whatHolds(certificate, object, trusted), unchecked: whatIsOpen(object, trusted, certificate) };
}

function whatHolds({ checkpoint, completeTo }: VerifiedCertificate, object: ProvenObject, trusted: Trusted): string[] {
  const { licence, licensed, print, number, machine, cloud, member, permit, reports, spool } = object;
  const { terms, signatory } = licence;
  const { authority } = trusted;
  const byWhom = [
    ...(trusted.owner === undefined ? [] : ['the key that you named']),
    ...(authority === undefined ? [] : [`${registeredAs(signatory)} by the administrator whom you named`]),
  ].join(', ');
  const ordering = licensed.terms.holder; // after transfers: the holder when the object was ordered
  const holder = typeof ordering === 'string' ? `organisation ${ordering}` : keyName(ordering);
  const ordered = authority === undefined ? '' : `, by ${whoIs(object.orderedBy)}`;
  return [
    `log: every entry is in ${checkpoint.origin} (${checkpoint.size} entries), signed by the log’s key`,
    ...checkpoint.cosignatures.map(
      ({ name, time }) =>
        `witness: ${name} had seen no other history of the log on ${new Date(time * 1000).toISOString()}`,
    ),
    ...(completeTo === undefined
      ? []
      : [
          `complete: object, licence and machine have no other event among the first ${completeTo} entries, by the map of accounts whose root is in the log`,
        ]),
    `owner: ${toHex(signatory.publicKey)}: ${byWhom}`,
    `licence: ${toHex(terms.id)} for ${terms.objects} objects of design ${terms.design}, signed by the owner${authority === undefined ? '' : `: ${whoIs(signatory)}`}`,
    ...(licensed.needed === 0
      ? []
      : [
          `approvals: ${licensed.approvedBy.join(', ')}; the design asks for ${licensed.needed}, all signed the licence`,
        ]),
    ...(licensed.transfers.length === 0
      ? []
      : [`holders: ${licensed.holders.map(nameOfHolder).join(', then ')}; each transfer is signed for the former`]),
    `order: print ${toHex(print.id)}, object ${number} of ${terms.objects}, signed for the holder (${holder}) whom the licence names${ordered}`,
    ...(machine === undefined
      ? []
      : [
          `machine: ${machine.serial} (${machine.machine}), ${member === undefined ? 'named by the licence with its key' : 'a member of a group of the licence'}${registeredBy(cloud, trusted)}`,
          `machine’s key: ${keyGrade(machine)}, as it is registered`,
        ]),
    ...(member === undefined ? [] : [groupProven(member)]),
    ...(permit === undefined
      ? []
      : [
          `permit: asked for by the machine for this order${trusted.authority === undefined ? '' : ', given by the key that the administrator registered for permits'}`,
        ]),
    ...(spool === undefined ? [] : materialProven(spool)),
    ...(cloud === undefined || permit === undefined
      ? []
      : [
          `visit: requested by the holder at the machine’s cloud, which gave the machine a visa for this print and run`,
        ]),
    ...(reports.length === 0
      ? []
      : [`reports: ${reports.map(({ event }) => event).join(', ')}, signed by the machine for this object and run`]),
    ...(reports.some(({ facts }) => facts.made)
      ? ['made before: the machine states that it had made this object already, in another run']
      : []),
    ...(object.made
      ? ['bytes: the machine executed exactly those that the owner signed, by the MAC in its report']
      : []),
    ...licence.statuses.slice(-1).map(({ status }) => `licence today: ${standing(status)}, signed by the owner`),
    ...(object.cleared === 0 ? [] : ['alarm: cleared by the owner']),
    ...failureOf(object),
    ...lifeProven(object),
  ];
}

function failureOf({ failure, number, licence: { terms } }: ProvenObject): string[] {
  const beyond = number > terms.objects ? ['credit: made in place of a failed object, by the owner’s signature'] : [];
  if (failure === undefined) return beyond;
  if ('byPolicy' in failure)
    return [...beyond, 'failure: credited by the policy of the licence, for the machine’s signed report'];
  const { reason, credit } = failure;
  const decision = credit ? 'credited' : 'credit denied';
  return [
    ...beyond,
    `failure: ${reason}, signed by the holder${credit === undefined ? '' : `; ${decision}, signed by the owner`}`,
  ];
}

function groupProven({ group: { body, signatory } }: GroupMember): string {
  const day = new Date(Math.min(body.issued, 8.64e15)).toISOString().slice(0, 10);
  return `${body.kind}: ${body.name} (${body.group}): ${whoIs(signatory)} stated on ${day} that the machine is in it; the administrator assigned the machine to ${signatory.member?.organisationName}`;
}

/** The person and the organisation, as the administrator's key proves them. */
function whoIs({ name, member }: Signatory): string {
  return member === undefined ? name : `${name} of ${member.organisationName}`;
}

function registeredAs({ name, member }: Signatory): string {
  if (member === undefined) return `registered as ${name}`;
  return `${name}, ${member.roles.join(' and ')} of ${member.organisationName}, proven`;
}

/** What is proven about the material, and by whom. */
function materialProven({ certified, operator, serial, name, load }: LoadedSpool): string[] {
  const day = (time: number) => new Date(Math.min(time, 8.64e15)).toISOString().slice(0, 10);
  const who =
    operator.organisationName === undefined ? operator.name : `${operator.name} of ${operator.organisationName}`;
  const said = `loaded: ${who} (${operator.key}) stated on ${day(load.issued)} that this spool is loaded on the machine`;
  if (certified === undefined) return [`${said}: ${name}, which nobody certifies`];
  const { terms, supplier } = certified;
  return [
    `material: ${supplier.name} (${supplier.organisation}) certified spool ${serial} as ${name}, batch ${terms.batch}, to be used by ${day(terms.until)}; signed by ${supplier.person}`,
    said,
  ];
}

/** The part's life after its completion: who signed what. */
function lifeProven({ made, life }: ProvenObject): string[] {
  const { owner, acceptedBy, transfers, inspections, retired } = life;
  const day = (time: number) => new Date(Math.min(time, 8.64e15)).toISOString().slice(0, 10);
  const nobodyElse = transfers.length === 0 ? 'the licence’s holder, who ordered it' : 'by the last transfer';
  return [
    ...transfers.map(
      ({ from, to, by, acceptedBy: taker, signed }) =>
        `transfer: on ${day(signed)} from ${partyName(from)} to ${partyName(to)}, offered by ${whoIs(by)} and accepted by ${whoIs(taker)}, both signed`,
    ),
    ...inspections.map(({ result, method, document, by, byOwner, signed }) => {
      const how = method === undefined ? '' : ` (${method})`;
      const report = document === undefined ? '' : `; report with SHA-256 ${toHex(document)}`;
      const who = byOwner ? 'the part’s owner' : 'whom the part’s owner had named as an inspector';
      return `inspection: ${result}${how} on ${day(signed)}, signed by ${whoIs(by)}, ${who}${report}`;
    }),
    ...(retired === undefined
      ? []
      : [`retired: ${retired.reason}, on ${day(retired.signed)}, signed by ${whoIs(retired.by)} for the part’s owner`]),
    ...(made
      ? [
          `owner of the part: ${partyName(owner)}${acceptedBy === undefined ? '' : `, ${whoIs(acceptedBy)}`}: ${nobodyElse}`,
        ]
      : []),
  ];
}

function registeredBy(cloud: ProvenObject['cloud'], { authority }: Trusted): string {
  if (cloud === undefined) return authority === undefined ? '' : ', registered by the administrator';
  const other = `registered by the administrator of the cloud ${cloud.name} (${cloud.installation})`;
  return authority === undefined ? `, ${other}` : `, ${other}, which the administrator recognises`;
}

function standing({ revoked, suspended }: LicenceStatus): string {
  if (revoked !== undefined) return 'revoked after this object was ordered';
  return suspended ? 'suspended after this object was ordered' : 'suspended once, and reinstated';
}

/** Where the machine's key is: the grade of what the machine signs. */
function keyGrade({ token }: Machine): string {
  if (token === undefined) return 'in a file';
  const { manufacturer, model, serial, hardware } = token;
  return `in a ${hardware ? 'hardware' : 'software'} token (${manufacturer} ${model}, ${serial})`;
}

/** What the grade does not prove. */
function keyOpen({ token }: Machine): string {
  const what = 'that only this machine has its key: ';
  if (token === undefined) return `${what}the key is in a file, and whoever read the file can sign as the machine`;
  if (!token.hardware)
    return `${what}a software token keeps it in files, and whoever has the files and the PIN can sign as the machine`;
  return `${what}whoever registered the machine states that a hardware token made and holds it; no manufacturer attests it`;
}

function whatIsOpen(
  { permit, alarms, reports, request, spool, gaps, machine, member, life, made }: ProvenObject,
  trusted: Trusted,
  { checkpoint, completeTo }: VerifiedCertificate,
) {
  return [
    completeTo === undefined
      ? 'whether the last events were left out: the certificate has no proof from the map of accounts'
      : 'the map of accounts itself: whoever may read all entries recomputes it (millrace ledger verify)',
    'whether anything happened after these entries: ask the log for the newest certificate',
    'when it happened: the times are the log’s',
    ...(checkpoint.cosignatures.length > 0
      ? []
      : ['whether the log shows everybody the same: no witness that you named has signed']),
    ...(machine === undefined ? [] : [keyOpen(machine)]),
    ...(reports.length === 0 ? [] : ['what was made, beyond what the machine says of itself']),
    ...(request === undefined
      ? []
      : request.spool === undefined && spool === undefined
        ? ['the material: it is what the machine says']
        : trusted.authority === undefined
          ? ['the material: only the administrator’s key confirms who certified and who loaded the spool']
          : [
              'whether the part is of that spool: an operator said so, and a machine cannot tell one plastic from another',
            ]),
    ...(permit === undefined || trusted.authority !== undefined
      ? []
      : ['whose key signed the permit: only the administrator’s key confirms it, and you named none']),
    ...(trusted.authority === undefined ? ['the owner’s name: only the administrator vouches for it'] : []),
    ...(member === undefined
      ? []
      : [
          `whether the organisation had removed the machine from the ${member.group.body.kind} before: keys and segments nodes compare its statements`,
        ]),
    ...(made ? ['whether a part in your hands is this object: a label and a certificate can be copied'] : []),
    ...(life.inspections.length === 0
      ? []
      : ['what the inspections found: only the results and the hashes of their reports are signed']),
    ...(gaps === 0
      ? []
      : [`why the odometer of the machine had gaps: the log reports ${gaps}, which may concern other objects`]),
    alarms === 0
      ? 'that there was no alarm: nodes do not sign alarms, so the log could leave one out'
      : 'the alarm: nodes do not sign it, so only the log asserts it',
  ];
}

const nameOfHolder = (holder: Uint8Array | string) => partyName(holderParty(holder));
