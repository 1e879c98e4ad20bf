import { type Action, inScope } from '@millrace/api';
import { fromHex, MillraceError } from '@millrace/base';
import { keyName, type Party } from '@millrace/identity';
import { type Directory, mayWrite, type NodeRole, type PersonRole, type TokenScope } from '@millrace/protocol';

/** The party that a certificate names, the signer of a transaction, or a guest. */
export type Actor = Exclude<Party, { role: 'user' } | { role: 'machine' }> | MachineActor | UserActor | Guest;
/** A machine. */
export interface MachineActor {
  readonly role: 'machine';
  /** Key name. */
  readonly name: string;
  /** The machine's cloud, if it is another one. */
  readonly cloud?: string | undefined;
}
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
  /** Set if an API token identifies the caller. It restricts the actions to its scopes. */
  readonly token?: { readonly id: string; readonly scopes: readonly TokenScope[] } | undefined;
  /** Set for a person who signed in at the company’s provider, without a key. It only reads; `name` is the person. */
  readonly keyless?: true | undefined;
}

/** The properties of a resource on which decisions depend. */
export interface Resource {
  /** Organisations, or key names of users without one. */
  readonly owner?: string | undefined;
  readonly holder?: string | undefined;
  /** Key names of users. */
  readonly signer?: string | undefined;
  readonly user?: string | undefined;
  /** An approver of the licence. */
  readonly approver?: string | undefined;
  /** Key name of a machine. */
  readonly machine?: string | undefined;
  /** The machine's cloud, if it is another one. */
  readonly cloud?: string | undefined;
  readonly organisation?: string | undefined;
  /** Parties of a part after its completion: its owner, whom it is offered, and who inspects it for the owner. */
  readonly partOwner?: string | undefined;
  readonly offeredTo?: string | undefined;
  readonly inspectors?: readonly string[] | undefined;
  /** Recipient of mail. */
  readonly recipient?: NodeRole | undefined;
}

type Rule = (actor: Actor, resource: Resource) => boolean;

const user: Rule = ({ role }) => role === 'user';
const administrator: Rule = (actor) => actor.role === 'user' && actor.admin;
/**
 * The actor's key is the owner or holder itself or acts for the organisation that is, in one of these roles. A key that
 * the administrator registered directly has every role.
 */
const party =
  (of: 'owner' | 'holder' | 'partOwner' | 'offeredTo', ...roles: readonly PersonRole[]): Rule =>
  (actor, { [of]: name }) =>
    actsFor(actor, name, roles);
function actsFor(actor: Actor, name: string | undefined, roles: readonly PersonRole[]): boolean {
  if (actor.role !== 'user' || name === undefined) return false;
  const { member } = actor;
  if (name !== actor.name && name !== member?.organisation) return false;
  return member === undefined || roles.some((role) => member.roles.includes(role));
}
const inspector =
  (...roles: readonly PersonRole[]): Rule =>
  (actor, { inspectors = [] }) =>
    inspectors.some((name) => actsFor(actor, name, roles));
const owner = party('owner', 'designer');
const holder = party('holder', 'operator');
const readerForOwner = party('owner', 'owner-admin', 'designer', 'auditor');
const readerForHolder = party('holder', 'owner-admin', 'operator', 'auditor');
const partOwner = party('partOwner', 'operator');
const readerOfPart: Rule = (actor, resource) =>
  party('partOwner', 'owner-admin', 'operator', 'auditor')(actor, resource) ||
  party('offeredTo', 'owner-admin', 'operator', 'auditor')(actor, resource) ||
  inspector('owner-admin', 'certifier', 'auditor')(actor, resource);
const named: Rule = (actor, resource) => actor.role === 'user' && actor.name === resource.user;
const approver: Rule = (actor, resource) => actor.role === 'user' && actor.name === resource.approver;
const signer: Rule = (actor, resource) => actor.role === 'user' && actor.name === resource.signer;
const machine: Rule = (actor, resource) =>
  actor.role === 'machine' && actor.name === resource.machine && actor.cloud === resource.cloud;
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
  'api.read': either(user, ({ role }) => role === 'guest'),
  'directory.read': () => true,
  'directory.publish': administrator,
  'control.join': node('control'),
  'transaction.submit': signer,
  'user.register': administrator,
  'machine.register': administrator,
  'machine.introduce': user,
  'pairing.offer': either(user, ({ role }) => role === 'guest'),
  'pairing.answer': acts('operator'),
  'pairing.admit': administrator,
  'organisation.register': administrator,
  'organisation.list': user,
  'organisation.setSignIn': either(administrator, ownerAdmin),
  'signIn.read': either(user, ({ role }) => role === 'guest'),
  'member.invite': either(administrator, ownerAdmin),
  'member.list': either(administrator, member),
  'device.invite': (actor) => actor.role === 'user' && actor.member !== undefined,
  'key.read': user,
  // The secret of the invitation, or the signature, decides.
  'key.enrol': either(user, ({ role }) => role === 'guest'),
  'key.revoke': either(administrator, ownerAdmin),
  'invitation.read': either(user, ({ role }) => role === 'guest'),
  'certificate.issue': either(user, ({ role }) => role === 'guest'),
  // The signature decides.
  'session.open': either(user, ({ role }) => role === 'guest'),
  'upload.open': ({ role }) => role === 'guest',
  'session.read': either(user, ({ role }) => role === 'guest'),
  'session.close': user,
  'session.list': either(administrator, ownerAdmin),
  'token.create': user,
  'token.list': user,
  'token.listAll': either(administrator, ownerAdmin),
  'token.readCurrent': user,
  'token.revoke': either(signer, administrator, ownerAdmin),
  'webhook.create': user,
  'webhook.list': user,
  'webhook.listAll': either(administrator, ownerAdmin),
  // Each message is compared with the policy of what it tells.
  'webhook.read': either(signer, ownerAdmin),
  'webhook.change': signer,
  'webhook.set': either(signer, administrator, ownerAdmin),
  'revocation.read': anyParty,
  'revocation.publish': user,
  'machine.read': user,
  'machine.assign': administrator,
  'group.list': user,
  'group.set': both(member, either(acts('owner-admin'), acts('operator'))),
  'settings.read': either(administrator, member),
  'settings.set': both(member, either(acts('owner-admin'), acts('operator'))),
  'settings.report': machine,
  // The machine verifies the signature again.
  'camera.watch': both(member, acts('operator')),
  // Only organisations supply: a key without one cannot certify.
  'material.certify': both(member, acts('certifier')),
  'material.list': user,
  'spool.load': both(user, acts('operator')),
  'spool.unload': either(administrator, holder),
  'spool.list': user,
  'odometer.read': either(administrator, readerForOwner, readerForHolder),
  'design.list': user,
  'design.add': owner,
  'design.read': readerForOwner,
  'design.open': owner,
  'design.share': owner,
  'design.upload': owner,
  'design.repair': owner,
  'design.delete': owner,
  'design.setMaintenance': owner,
  'licence.list': user,
  'licence.read': either(readerForOwner, readerForHolder, approver),
  'licence.grant': owner,
  'licence.approve': either(owner, approver),
  'licence.extend': owner,
  'licence.transfer': holder,
  'licence.resume': owner,
  'licence.setStatus': owner,
  // Each event is compared with the policy of what it tells.
  'event.read': user,
  'print.list': user,
  'print.read': either(readerForOwner, readerForHolder),
  'print.readInFull': readerForOwner,
  'print.request': holder,
  'print.cancel': holder,
  'print.moveFirst': holder,
  // The machine verifies the signature again.
  'print.pause': either(owner, holder),
  'print.resume': either(owner, holder),
  'print.end': either(owner, holder),
  'print.stop': holder,
  'print.run': machine,
  'rehearsal.list': user,
  'rehearsal.read': either(readerForOwner, readerForHolder),
  'rehearsal.request': holder,
  'rehearsal.run': machine,
  'visit.list': user,
  'visit.read': either(holder, administrator),
  'visit.request': acts('operator'),
  'visit.cancel': holder,
  'visit.run': machine,
  'usage.list': user,
  'usage.read': either(readerForOwner, readerForHolder),
  'usage.total': administrator,
  'case.report': holder,
  'case.list': user,
  'case.read': either(readerForOwner, readerForHolder),
  'case.decide': owner,
  'object.read': either(readerForOwner, readerForHolder, readerOfPart),
  'object.transfer': partOwner,
  'object.accept': party('offeredTo', 'operator'),
  'object.appoint': partOwner,
  'object.inspect': either(partOwner, inspector('certifier')),
  'object.retire': partOwner,
  'alarm.clear': owner,
  'ledger.read': user,
  'vault.check': administrator,
  'status.read': user,
  'status.readDamaged': administrator,
  'metrics.read': administrator,
  'metrics.report': node('segments', 'keys', 'distribution'),
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
  'upload.write': named,
  'upload.list': either(named, node('segments')),
  'upload.read': node('segments'),
  'upload.wipe': node('segments'),
};

const reasons: Partial<Record<Action, string>> = {
  'transaction.submit': 'only the signer may submit a transaction',
  'directory.publish': 'only the administrator publishes directories',
  'user.register': 'only the administrator registers users and machines',
  'machine.register': 'only the administrator registers users and machines',
  'pairing.answer': 'only an operator pairs a machine',
  'pairing.admit': 'only the administrator admits machines',
  'organisation.register': 'only the administrator creates organisations',
  'organisation.setSignIn': 'only an owner-admin of the organisation or the administrator sets its sign-in',
  'member.invite': 'only an owner-admin of the organisation or the administrator invites people to it',
  'device.invite': 'only people in an organisation have several keys',
  'key.revoke': 'only an owner-admin of the organisation or the administrator revokes its keys',
  'session.list': 'only an owner-admin of the organisation or the administrator lists its sign-ins',
  'token.listAll': 'only an owner-admin of the organisation or the administrator lists its tokens',
  'token.revoke': 'only the token’s person, an owner-admin of the organisation or the administrator revokes it',
  'webhook.listAll': 'only an owner-admin of the organisation or the administrator lists its webhooks',
  'webhook.change': 'only the key that has created a webhook changes its secret and sends messages',
  'webhook.set': 'only the webhook’s key, an owner-admin of the organisation or the administrator turns it on or off',
  'design.add': 'the manifest names another owner than the signer, or the signer is no designer',
  'licence.grant': 'only the owner of a design licenses it, as a designer',
  'machine.assign': 'only the administrator assigns machines to organisations',
  'group.set': 'only an owner-admin or operator of the organisation sets the members of its groups and sites',
  'settings.set': 'only an owner-admin or operator of the organisation that holds a machine sets its settings',
  'settings.report': 'the settings are for another machine',
  'camera.watch': 'only an operator of the organisation that holds a machine looks through its camera',
  'material.certify': 'only a certifier of a supplier signs material certificates',
  'spool.load': 'only an operator states what is loaded on a machine',
  'spool.unload': 'only an operator of the organisation that has loaded the spool, or the administrator, unloads it',
  'licence.approve': 'only the owner and the design’s approvers approve',
  'licence.extend': 'only the owner of a design adds machines to its licences, as a designer',
  'licence.transfer': 'only the licence’s holder transfers it, as an operator',
  'print.request': 'only the licence’s holder may print, as an operator',
  'print.cancel': 'only the holder of the licence may cancel its prints, as an operator',
  'print.moveFirst': 'only the holder of the licence may order its prints, as an operator',
  'print.pause': 'only an operator of the licence’s holder or a designer of the owner pauses a print',
  'print.resume': 'only an operator of the licence’s holder or a designer of the owner resumes a print',
  'print.end': 'only an operator of the licence’s holder or a designer of the owner ends a print',
  'print.stop': 'only an operator of the licence’s holder stops the machine',
  'usage.total': 'only the administrator sees totals of all owners',
  'case.report': 'only the licence’s holder reports a failure, as an operator',
  'case.decide': 'only the owner of the design decides on a case, as a designer',
  'object.transfer': 'only the part’s present owner transfers it, as an operator',
  'object.accept': 'only the party whom the part is offered accepts it, as an operator',
  'object.appoint': 'only the part’s present owner names inspectors, as an operator',
  'object.inspect':
    'only the part’s owner, as an operator, or an inspector whom it has named, as a certifier, inspects it',
  'object.retire': 'only the part’s present owner retires it, as an operator',
  'print.run': 'the print is for another machine',
  'rehearsal.request': 'only the licence’s holder rehearses, as an operator',
  'rehearsal.run': 'the rehearsal is for another machine',
  'visit.request': 'only an operator sends a machine’s work to another cloud',
  'visit.cancel': 'only its signer cancels a visit',
  'visit.run': 'the visit is for another machine',
  'vault.check': 'only the administrator may check the vault',
};

/**
 * Decides whether `actor` may perform `action` on `resource`. Control and distribution make all such decisions here.
 */
export function permits(actor: Actor, action: Action, resource: Resource = {}): boolean {
  return scopesAllow(actor, action) && keySuffices(actor, action) && rules[action](actor, resource);
}

/** Actions of people without a key: those that read, and those by which they get a session with a key. */
const keylessActions: ReadonlySet<Action> = new Set<Action>([
  ...([
    'api.read',
    'directory.read',
    'revocation.read',
    'box.read',
    'status.read',
    'event.read',
    'ledger.read',
  ] as const),
  ...(['session.open', 'session.read', 'session.close', 'session.list', 'signIn.read', 'key.enrol'] as const),
  ...(['organisation.list', 'member.list', 'key.read', 'invitation.read', 'token.list', 'token.listAll'] as const),
  ...(['machine.read', 'group.list', 'settings.read', 'material.list', 'spool.list', 'odometer.read'] as const),
  ...(['design.list', 'design.read', 'licence.list', 'licence.read', 'usage.list', 'usage.read'] as const),
  ...(['print.list', 'print.read', 'print.readInFull', 'rehearsal.list', 'rehearsal.read'] as const),
  ...(['case.list', 'case.read', 'object.read', 'visit.list', 'visit.read'] as const),
]);

function keySuffices(actor: Actor, action: Action): boolean {
  return actor.role !== 'user' || actor.keyless === undefined || keylessActions.has(action);
}

function scopesAllow(actor: Actor, action: Action): boolean {
  return actor.role !== 'user' || actor.token === undefined || inScope(actor.token.scopes, action);
}

/** @throws {MillraceError} E_FORBIDDEN; E_SCOPE if the caller's API token does not include the action */
export function authorize(actor: Actor, action: Action, resource: Resource = {}): void {
  if (permits(actor, action, resource)) return;
  if (!scopesAllow(actor, action))
    throw new MillraceError('E_SCOPE', `no scope of the API token includes ${action}`, { data: { action } });
  if (!keySuffices(actor, action))
    throw new MillraceError('E_FORBIDDEN', 'a company sign-in only reads: this needs a key of the person', {
      data: { action },
    });
  const why = reasons[action] ?? 'it belongs to somebody else, or the role does not allow it';
  throw new MillraceError('E_FORBIDDEN', why, { data: { action } });
}

/** @param name key name of a user or of the administrator */
export function userActor(directory: Directory, name: string): UserActor {
  return { role: 'user', name, admin: name === keyName(fromHex(directory.adminKey)) };
}

export function actorOf(directory: Directory, party: Party): Actor {
  return party.role === 'user' ? userActor(directory, party.name) : party;
}
