import { toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import type { VerifiedCertificate } from '@millrace/ledger';
import { type GroupMember, holderParty, type LicenceStatus, type Machine, partyName } from '@millrace/protocol';
import type { Signatory, Trusted } from './documents.ts';
import type { ProvenObject } from './object.ts';
import { type VerdictWords, verdictEnglish } from './verdict-words.ts';

/** A certificate's verdict in words: what is proven, by whose signature, and what was not checked. */
export interface Verdict {
  readonly checked: readonly string[];
  readonly unchecked: readonly string[];
}

/** What the sentences are made of. */
interface Told {
  readonly certificate: VerifiedCertificate;
  readonly object: ProvenObject;
  readonly trusted: Trusted;
  readonly words: VerdictWords;
}

export function verdictOf(
  certificate: VerifiedCertificate,
  object: ProvenObject,
  trusted: Trusted,
  words: VerdictWords = verdictEnglish,
): Verdict {
  const told = { certificate, object, trusted, words };
  return { checked: whatHolds(told), unchecked: whatIsOpen(told) };
}

/** A sentence, if there is one. */
const when = (holds: boolean, sentence: () => string): string[] => (holds ? [sentence()] : []);
const dayOf = (time: number) => new Date(Math.min(time, 8.64e15)).toISOString().slice(0, 10);
const nameOfHolder = (holder: Uint8Array | string) => partyName(holderParty(holder));

function whatHolds(told: Told): string[] {
  const { certificate, object, trusted, words: w } = told;
  const { checkpoint, completeTo } = certificate;
  const { licence, licensed, member, permit, reports, cloud } = object;
  const known = trusted.authority !== undefined;
  return [
    w.log(checkpoint.origin, String(checkpoint.size)),
    ...checkpoint.cosignatures.map(({ name, time }) => w.witness(name, new Date(time * 1000).toISOString())),
    ...(completeTo === undefined ? [] : [w.complete(String(completeTo))]),
    ownerProven(told),
    licenceProven(told),
    ...when(licensed.needed > 0, () => w.approvals(licensed.approvedBy.join(', '), String(licensed.needed))),
    ...when(licensed.transfers.length > 0, () => w.holders(w.inTurn(licensed.holders.map(nameOfHolder)))),
    orderProven(told),
    ...machineProven(told),
    ...(member === undefined ? [] : [groupProven(member, w)]),
    ...when(permit !== undefined, () => (known ? w.permitRegistered : w.permit)),
    ...materialProven(told),
    ...when(cloud !== undefined && permit !== undefined, () => w.visit),
    ...when(reports.length > 0, () => w.reports(reports.map(({ event }) => w.term(event)).join(', '))),
    ...when(
      reports.some(({ facts }) => facts.made),
      () => w.madeBefore,
    ),
    ...when(object.made, () => w.bytes),
    ...licence.statuses.slice(-1).map(({ status }) => standing(status, w)),
    ...when(object.cleared > 0, () => w.alarmCleared),
    ...failureOf(told),
    ...lifeProven(told),
  ];
}

function ownerProven({ object: { licence }, trusted, words: w }: Told): string {
  const { publicKey, name, member } = licence.signatory;
  const registered = () =>
    member === undefined ? w.registeredAs(name) : w.rolesProven(name, w.joined(member.roles), member.organisationName);
  const byWhom = [
    ...when(trusted.owner !== undefined, () => w.keyThatYouNamed),
    ...when(trusted.authority !== undefined, registered),
  ];
  return w.owner(toHex(publicKey), byWhom.join(', '));
}

function licenceProven({ object: { licence }, trusted, words: w }: Told): string {
  const { terms, signatory } = licence;
  const sentence = w.licence(toHex(terms.id), String(terms.objects), terms.design);
  return trusted.authority === undefined ? sentence : w.signedBy(sentence, whoIs(signatory, w));
}

function orderProven({ object, trusted, words: w }: Told): string {
  const { licence, licensed, print, number, orderedBy } = object;
  const ordering = licensed.terms.holder; // after transfers: the holder when the object was ordered
  const holder = typeof ordering === 'string' ? w.organisation(ordering) : keyName(ordering);
  const sentence = w.order(toHex(print.id), String(number), String(licence.terms.objects), holder);
  return trusted.authority === undefined ? sentence : w.orderedBy(sentence, whoIs(orderedBy, w));
}

function machineProven({ object: { machine, member, cloud }, trusted, words: w }: Told): string[] {
  if (machine === undefined) return [];
  const { serial, token } = machine;
  const known = trusted.authority !== undefined;
  const named = member === undefined ? w.machine(serial, machine.machine) : w.machineOfGroup(serial, machine.machine);
  const registered = cloud && w.registeredByCloud(named, cloud.name, cloud.installation);
  const where =
    token === undefined ? w.inFile : w.inToken(token.hardware, `${token.manufacturer} ${token.model}, ${token.serial}`);
  return [
    registered === undefined
      ? known
        ? w.registeredByAdministrator(named)
        : named
      : known
        ? w.cloudRecognised(registered)
        : registered,
    w.machineKey(where),
  ];
}

function failureOf({ object: { failure, number, licence }, words: w }: Told): string[] {
  const beyond = when(number > licence.terms.objects, () => w.credit);
  if (failure === undefined) return beyond;
  if ('byPolicy' in failure) return [...beyond, w.failureByPolicy];
  const { reason, credit } = failure;
  const sentence = w.failure(w.term(reason));
  return [...beyond, credit === undefined ? sentence : w.failureDecided(sentence, credit)];
}

function groupProven({ group: { body, signatory } }: GroupMember, w: VerdictWords): string {
  const { kind, name, group, issued } = body;
  return w.group(kind, name, group, whoIs(signatory, w), dayOf(issued), String(signatory.member?.organisationName));
}

/** The person and the organisation, as the administrator's key proves them. */
function whoIs({ name, member }: Signatory, w: VerdictWords): string {
  return member === undefined ? name : w.personOf(name, member.organisationName);
}

/** What is proven about the material, and by whom. */
function materialProven({ object: { spool }, words: w }: Told): string[] {
  if (spool === undefined) return [];
  const { certified, operator, serial, name, load } = spool;
  const { organisationName } = operator;
  const who = organisationName === undefined ? operator.name : w.personOf(operator.name, organisationName);
  const said = w.loaded(who, operator.key, dayOf(load.issued));
  if (certified === undefined) return [w.uncertified(said, name)];
  const { terms, supplier } = certified;
  const until = dayOf(terms.until);
  return [
    w.material(supplier.name, supplier.organisation, String(serial), name, terms.batch, until, supplier.person),
    said,
  ];
}

/** The part's life after its completion: who signed what. */
function lifeProven({ object: { made, life }, words: w }: Told): string[] {
  const { owner, acceptedBy, transfers, inspections, retired } = life;
  const whose = acceptedBy === undefined ? partyName(owner) : `${partyName(owner)}, ${whoIs(acceptedBy, w)}`;
  return [
    ...transfers.map(({ from, to, by, acceptedBy: taker, signed }) =>
      w.transfer(dayOf(signed), partyName(from), partyName(to), whoIs(by, w), whoIs(taker, w)),
    ),
    ...inspections.map(({ result, method, document, by, byOwner, signed }) => {
      const passed = w.passed(result === 'passed');
      const found = method === undefined ? passed : `${passed} (${method})`;
      const sentence = w.inspection(found, dayOf(signed), whoIs(by, w), byOwner);
      return document === undefined ? sentence : w.inspectionReport(sentence, toHex(document));
    }),
    ...(retired === undefined ? [] : [w.retired(w.term(retired.reason), dayOf(retired.signed), whoIs(retired.by, w))]),
    ...when(made, () => w.partOwner(whose, transfers.length > 0)),
  ];
}

function standing({ revoked, suspended }: LicenceStatus, w: VerdictWords): string {
  if (revoked !== undefined) return w.licenceRevoked;
  return suspended ? w.licenceSuspended : w.licenceReinstated;
}

/** What the grade of the machine's key does not prove. */
function keyOpen({ token }: Machine, w: VerdictWords): string {
  if (token === undefined) return w.openKeyInFile;
  return token.hardware ? w.openKeyInHardware : w.openKeyInSoftware;
}

function whatIsOpen({ certificate, object, trusted, words: w }: Told): string[] {
  const { permit, alarms, reports, request, spool, gaps, machine, member, life, made } = object;
  const known = trusted.authority !== undefined;
  const ofMaterial = () => {
    if (request?.spool === undefined && spool === undefined) return w.openMaterial;
    return known ? w.openSpool : w.openSupplier;
  };
  return [
    certificate.completeTo === undefined ? w.openLastEvents : w.openMap,
    w.openLater,
    w.openTimes,
    ...when(certificate.checkpoint.cosignatures.length === 0, () => w.openWitness),
    ...(machine === undefined ? [] : [keyOpen(machine, w)]),
    ...when(reports.length > 0, () => w.openMade),
    ...when(request !== undefined, ofMaterial),
    ...when(permit !== undefined && !known, () => w.openPermit),
    ...when(!known, () => w.openName),
    ...(member === undefined ? [] : [w.openGroup(member.group.body.kind)]),
    ...when(made, () => w.openCopy),
    ...when(life.inspections.length > 0, () => w.openInspections),
    ...when(gaps > 0, () => w.openGaps(String(gaps))),
    alarms === 0 ? w.openNoAlarm : w.openAlarm,
  ];
}
