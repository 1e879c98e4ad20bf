import type { X509Certificate } from 'node:crypto';
import { MillraceError } from '@millrace/base';
import { certificatesOf, isSignedBy } from '@millrace/identity';
import type { Directory } from '@millrace/protocol';
import { type Actor, actorOf } from '../node/policy.ts';
import { callerOf } from '../node/server.ts';

/**
 * Identifies a caller of the distribution node. The authority of a recognised cloud can identify only machines, and only
 * as machines of that cloud.
 * @throws {MillraceError} E_AUTH, E_REVOKED
 */
export function callerAt(directory: Directory, certificate: X509Certificate | undefined): Actor {
  const actor = actorOf(directory, callerOf(directory, certificate));
  const cloud = cloudOf(directory, certificate as X509Certificate);
  if (cloud === undefined) return actor;
  if (actor.role !== 'machine')
    throw new MillraceError('E_AUTH', `the authority of another cloud has issued a certificate to a ${actor.role}`);
  return { ...actor, cloud };
}

/**
 * The cloud whose authority has signed the certificate itself; undefined for this cloud. The list is that of the newest
 * directory, because a connection may be older.
 */
function cloudOf({ authority, userAuthority, recognised = [] }: Directory, certificate: X509Certificate) {
  const signed = (pem: string) => certificatesOf(pem).some((issuer) => isSignedBy(certificate, issuer));
  if (signed(authority) || (userAuthority !== undefined && signed(userAuthority))) return undefined;
  const cloud = recognised.find(({ directory }) => signed(directory.authority));
  if (cloud === undefined) throw new MillraceError('E_AUTH', 'the certificate is of no recognised cloud');
  return cloud.installation;
}
