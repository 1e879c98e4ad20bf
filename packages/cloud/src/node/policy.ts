import type { Action } from '@millrace/api';
import { fromHex, MillraceError } from '@millrace/base';
import { keyName, type Party } from '@millrace/identity';
import { type Directory, mayWrite, type NodeRole, type PersonRole } from '@millrace/protocol';

/** The party that a certificate names, the signer of a transaction, or a guest. */
export type Actor = Exclude<Party, { role: 'user' }> | UserActor | Guest;
/** A caller without a certificate, for example an invited person. */
export interface Guest {
  readonly role: 'guest';
  readonly id: 'guest';
}
export const guest: Guest = { role: 'guest', id: 'guest' };
export interface UserActor {
  readonly role: 'user';
  /** Key name. */
  readonly name: string;
  readonly admin: boolean;
  /** Absent when the administrator registered the key directly. */
  readonly member?: { readonly organisation: string; readonly roles: readonly PersonRole[] } | undefined;
}

/** The properties of a resource on which decisions depend. */
export interface Resource {
  /** Key names of users. */
  readonly owner?: string | undefined;
  readonly holder?: string | undefined;
  readonly signer?: string | undefined;
  /** Key name of a machine. */
  readonly machine?: string | undefined;
  readonly organisation?: string | undefined;
  /** Recipient of mail. */
  readonly recipient?: NodeRole | undefined;
}

type Rule = (actor: Actor, resource: Resource) => boolean;

const user: Rule = ({ role }) => role === 'user';
const administrator: Rule = (actor) => actor.role === 'user' && actor.admin;
const owner: Rule = (actor, resource) => actor.role === 'user' && actor.name === resource.owner;
const holder: Rule = (actor, resource) => actor.role === 'user' && actor.name === resource.holder;
const signer: Rule = (actor, resource) => actor.role === 'user' && actor.name === resource.signer;
const machine: Rule = (actor, resource) => actor.role === 'machine' && actor.name === resource.machine;
const node =
  (...roles: readonly NodeRole[]): Rule =>
  ({ role }) =>
    roles.some((known) => known === role);
const either =
  (...rules: readonly Rule[]): Rule =>
  (actor, resource) =>
    rules.some((rule) => rule(actor, resource));

const both =
  (...rules: readonly Rule[]): Rule =>
  (actor, resource) =>
    rules.every((rule) => rule(actor, resource));
/** A key that the administrator registered directly acts in every role. */
const acts =
  (role: PersonRole): Rule =>
  (actor) =>
    actor.role === 'user' && (actor.member === undefined || actor.member.roles.includes(role));
const member: Rule = (actor, { organisation }) =>
  actor.role === 'user' && organisation !== undefined && actor.member?.organisation === organisation;
const ownerAdmin: Rule = (actor, resource) =>
  member(actor, resource) && actor.role === 'user' && actor.member?.roles.includes('owner-admin') === true;
const anyParty: Rule = ({ role }) => role !== 'guest';

const rules: Readonly<Record<Action, Rule>> = {
  'api.read': user,
  'directory.read': () => true,
  'transaction.submit': signer,
  'user.register': administrator,
  'machine.register': administrator,
  'organisation.register': administrator,
  'organisation.list': user,
  'member.invite': either(administrator, ownerAdmin),
  'member.list': either(administrator, member),
  'device.invite': (actor) => actor.role === 'user' && actor.member !== undefined,
  'key.read': user,
  // The secret of the invitation, or the signature, decides.
  'key.enrol': either(user, ({ role }) => role === 'guest'),
  'key.revoke': either(administrator, ownerAdmin),
  'invitation.read': either(user, ({ role }) => role === 'guest'),
  'certificate.issue': either(user, ({ role }) => role === 'guest'),
  'revocation.read': anyParty,
  'revocation.publish': user,
  'machine.read': user,
  'design.list': user,
  'design.add': both(owner, acts('designer')),
  'design.read': owner,
  'design.upload': owner,
  'design.repair': owner,
  'design.delete': owner,
  'design.setMaintenance': owner,
  'licence.list': user,
  'licence.read': either(owner, holder),
  'licence.grant': both(owner, acts('designer')),
  'licence.resume': owner,
  'licence.setStatus': owner,
  'print.list': user,
  'print.read': either(owner, holder),
  'print.readInFull': owner,
  'print.request': both(holder, acts('operator')),
  'print.cancel': holder,
  'print.run': machine,
  'alarm.clear': owner,
  'ledger.read': user,
  'vault.check': administrator,
  'status.read': user,
  'status.readDamaged': administrator,
  'box.read': either(user, node('segments', 'keys')),
  'box.announce': node('segments', 'keys'),
  'mail.send': ({ role }, { recipient }) =>
    role !== 'user' && role !== 'guest' && role !== 'machine' && recipient !== undefined && mayWrite(role, recipient),
  'mail.receive': node('segments', 'keys'),
  'node.report': node('segments', 'keys'),
  'progress.report': node('segments'),
  'deletion.list': node('segments', 'keys'),
  'maintenance.report': node('keys'),
  'machine.relay': node('distribution'),
  'link.machine': ({ role }) => role === 'machine',
  'link.node': node('segments', 'keys'),
  'upload.write': owner,
  'upload.list': either(owner, node('segments')),
  'upload.read': node('segments'),
  'upload.wipe': node('segments'),
};

const reasons: Partial<Record<Action, string>> = {
  'transaction.submit': 'only the signer may submit a transaction',
  'user.register': 'only the administrator registers users and machines',
  'machine.register': 'only the administrator registers users and machines',
  'organisation.register': 'only the administrator creates organisations',
  'member.invite': 'only an owner-admin of the organisation or the administrator invites people to it',
  'device.invite': 'only people in an organisation have several keys',
  'key.revoke': 'only an owner-admin of the organisation or the administrator revokes its keys',
  'design.add': 'the manifest names another owner than the signer, or the signer is no designer',
  'licence.grant': 'only the owner of a design licenses it, as a designer',
  'print.request': 'only the licence’s holder may print, as an operator',
  'print.cancel': 'only the holder of the licence may cancel its prints',
  'print.run': 'the print is for another machine',
  'vault.check': 'only the administrator may check the vault',
};

/**
 * Decides whether `actor` may perform `action` on `resource`. Control and distribution make all such decisions here.
 */
export function permits(actor: Actor, action: Action, resource: Resource = {}): boolean {
  return rules[action](actor, resource);
}

/** @throws {MillraceError} E_FORBIDDEN */
export function authorize(actor: Actor, action: Action, resource: Resource = {}): void {
  if (permits(actor, action, resource)) return;
  const why = reasons[action] ?? 'it belongs to another user';
  throw new MillraceError('E_FORBIDDEN', why, { data: { action } });
}

/** @param name key name of a user or of the administrator */
export function userActor(directory: Directory, name: string): UserActor {
  return { role: 'user', name, admin: name === keyName(fromHex(directory.adminKey)) };
}

export function actorOf(directory: Directory, party: Party): Actor {
  return party.role === 'user' ? userActor(directory, party.name) : party;
}
