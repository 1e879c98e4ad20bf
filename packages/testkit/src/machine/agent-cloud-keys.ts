import { systemRandom, toHex } from '@millrace/base';
import { createAuthority, fingerprint, generateP256Key, generateUserKey, keyName } from '@millrace/identity';
import type { Directory, NodeRole } from '@millrace/protocol';
import type { CloudOptions } from './agent-cloud-stream.ts';

/** Keys, certificates and directory of a `TestCloud`. */
export async function makeInstallation({ publicKey }: Pick<CloudOptions, 'publicKey'>) {
  const authority = await createAuthority('test', Date.now());
  const machineKey = generateP256Key();
  const permitKey = generateP256Key();
  const keysNode = generateP256Key();
  const admin = generateUserKey();
  const tls = await authority.issue({ role: 'distribution', id: 'distribution-1' }, ['127.0.0.1']);
  const machineTls = await authority.issue({ role: 'machine', name: keyName(publicKey ?? machineKey.publicKey) });
  const node = (role: NodeRole, { publicKey } = generateP256Key()) => ({
    id: `${role}-1`,
    role,
    addresses: [],
    fingerprint: role === 'distribution' ? fingerprint(tls.certificate) : toHex(systemRandom(32)),
    identity: toHex(publicKey),
  });
  const directory: Directory = {
    version: 2,
    installation: toHex(systemRandom(16)),
    name: 'test',
    authority: authority.identity.certificate,
    nodes: [node('control'), node('segments'), node('keys', keysNode), node('distribution')],
    permitKey: toHex(permitKey.publicKey),
    logKey: 'test+00000000+AAAA',
    adminKey: toHex(admin.publicKey),
  };
  return { authority, machineKey, permitKey, keysNode, admin, tls, machineTls, directory };
}
