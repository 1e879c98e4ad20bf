import type { Action } from '@millrace/api';
import { fromHex, MillraceError } from '@millrace/base';
import { keyName, type Party } from '@millrace/identity';
import { type Directory, mayWrite, type NodeRole } from '@millrace/protocol';

/** The party that a certificate names, or the signer of a transaction. */
export type Actor = Exclude<Party, { role: 'user' }> | UserActor;
export interface UserActor {
  readonly role: 'user';
  /** Key name. */
  readonly name: string;
  readonly admin: boolean;
}

/** The properties of a resource on which decisions depend. */
export interface Resource {
  /** Key names of users. */
  readonly owner?: string | undefined;
  readonly holder?: string | undefined;
  readonly signer?: string | undefined;
  /** Key name of a machine. */
  readonly machine?: string | undefined;
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

const rules: Readonly<Record<Action, Rule>> = {
  'api.read': user,
  'directory.read': () => true,
  'transaction.submit': signer,
  'user.register': administrator,
  'machine.register': administrator,
  'machine.read': user,
  'design.list': user,
  'design.add': owner,
  'design.read': owner,
  'design.upload': owner,
  'design.repair': owner,
  'design.delete': owner,
  'design.setMaintenance': owner,
  'licence.list': user,
  'licence.read': either(owner, holder),
  'licence.grant': owner,
  'licence.resume': owner,
  'licence.setStatus': owner,
  'print.list': user,
  'print.read': either(owner, holder),
  'print.readInFull': owner,
  'print.request': holder,
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
    role !== 'user' && role !== 'machine' && recipient !== undefined && mayWrite(role, recipient),
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
  'design.add': 'the manifest names another owner than the signer',
  'licence.grant': 'only the owner of a design licenses it',
  'print.request': 'only the licence’s holder may print',
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
