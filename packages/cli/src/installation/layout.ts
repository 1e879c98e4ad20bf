import { join, resolve } from 'node:path';
import { MillraceError } from '@millrace/base';
import { nodeFiles } from '@millrace/cloud';
import { machineFiles } from '@millrace/machine';
import { type NodeRole, nodeRoles } from '@millrace/protocol';

export { machineFiles, nodeFiles, nodeRoles };

/** Id of the node of a role that `millrace init` creates in this home. */
export const nodeIdOf = (role: NodeRole): string => `${role}-1`;

/** Files of a user's folder. */
export const userFiles = {
  about: 'user.json',
  /** 32 bytes, secp256k1. */
  key: 'user.key',
  certificate: 'tls.crt.pem',
  tlsKey: 'tls.key.pem',
  uploads: 'uploads',
} as const;

/** Paths of one installation. */
export interface Layout {
  readonly home: string;
  readonly directory: string;
  readonly installation: string;
  /** Admissions of nodes on hosts of their own, by id. */
  admission(id: string): { readonly record: string; readonly file: string };
  readonly authority: { readonly folder: string; readonly certificate: string; readonly key: string };
  node(role: NodeRole): string;
  user(name: string): string;
  machine(name: string): string;
  readonly run: {
    readonly folder: string;
    readonly lock: string;
    readonly addresses: string;
    readonly status: string;
    readonly logs: string;
  };
  /** Certificates and pictures created by `millrace demo`. */
  readonly certificates: string;
}

export function layoutOf(folder: string): Layout {
  const home = resolve(folder);
  const run = join(home, 'run');
  const ca = join(home, 'ca');
  return {
    home,
    directory: join(home, 'directory.json'),
    installation: join(home, 'installation.json'),
    authority: { folder: ca, certificate: join(ca, 'authority.crt.pem'), key: join(ca, 'authority.key.pem') },
    admission: (id) => ({
      record: join(home, 'admissions', `${id}.json`),
      file: join(home, 'admissions', `${id}.admission`),
    }),
    node: (role) => join(home, 'nodes', role),
    user: (name) => join(home, 'users', requireName(name)),
    machine: (name) => join(home, 'machines', requireName(name)),
    run: {
      folder: run,
      lock: join(run, 'supervisor.lock'),
      addresses: join(run, 'addresses.json'),
      status: join(run, 'status.json'),
      logs: join(run, 'logs'),
    },
    certificates: join(home, 'certificates'),
  };
}

/** Names of users and machines are folder names. @throws {MillraceError} E_INPUT */
export function requireName(name: string): string {
  if (!/^[a-z0-9][a-z0-9._-]{0,63}$/i.test(name)) {
    throw new MillraceError('E_INPUT', `not a name: ${JSON.stringify(name.slice(0, 80))} (letters, digits, . _ -)`);
  }
  return name;
}
