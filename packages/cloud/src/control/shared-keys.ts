import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Bytes,
  decodeCbor,
  encodeCbor,
  fileExists,
  fromHex,
  MillraceError,
  parse,
  toHex,
  utf8,
  wipe,
  writeDurably,
} from '@millrace/base';
import { isTlsPair, p256Key, seal, unseal } from '@millrace/identity';
import { ed25519NoteSigner, formatVerifierKey } from '@millrace/ledger';
import { type Directory, logKeysOf, nodeOf, permitKeysOf } from '@millrace/protocol';
import { z } from 'zod';
import { type NodeConfig, nodeFiles } from '../config.ts';

// The keys that the control nodes of an installation share: they sign permits and checkpoints and certify users. The
// first control node made them. Another one that the administrator has admitted gets them from the active one, sealed to
// its identity (docs/adr/0087).

const bytes = z.instanceof(Uint8Array);
const keysSchema = z.strictObject({
  permitKey: bytes,
  permitKeyDocument: bytes,
  logKey: bytes,
  userAuthority: bytes,
  userAuthorityKey: bytes,
  /** Holder of the lease: proves that both nodes look at the same state. */
  holder: z.string(),
});

/** The shared keys, sealed to the control node with this id. */
export type SharedKeys = (node: string) => Promise<Bytes>;

const infoOf = ({ installation }: Pick<Directory, 'installation'>, node: string): Bytes =>
  utf8(`millrace/v1/control-keys/${installation}/${node}`);

/** @param holder the process that holds the lease, which is this one */
export function shareKeys(config: NodeConfig, holder: string): SharedKeys {
  return async (node) => {
    const { directory, folder } = config;
    const { identity } = nodeOf(directory, node);
    const publicFile = async (name: string) => new Uint8Array(await readFile(join(folder, name)));
    const permitKey = await config.secret('permitKey');
    const logKey = await config.secret('logKey');
    const userAuthorityKey = await config.secret('userAuthorityKey');
    const plain = encodeCbor({
      ...{ permitKey, logKey, userAuthorityKey, holder },
      permitKeyDocument: await publicFile(nodeFiles.permitKeyDocument),
      userAuthority: await publicFile(nodeFiles.userAuthority),
    });
    try {
      return await seal(fromHex(identity), infoOf(directory, node), plain);
    } finally {
      wipe(permitKey, logKey, userAuthorityKey, plain);
    }
  };
}

/** Whether this node has the shared keys. */
export function hasSharedKeys({ folder }: Pick<NodeConfig, 'folder'>): Promise<boolean> {
  return fileExists(join(folder, nodeFiles.permitKey));
}

/**
 * Stores the keys that the active control node has sealed to this one, after comparing them with the directory.
 * @param isHolder whether this process holds the lease in this node's own keyspace
 * @throws {MillraceError} E_SEAL, E_INPUT; E_AUTH if the directory lists other keys; E_CONFIG if this node's keyspace is
 *   another one than that of the active node
 */
export async function takeSharedKeys(
  config: NodeConfig,
  sealed: Uint8Array,
  isHolder: (holder: string) => Promise<boolean>,
): Promise<void> {
  const { directory, folder, id, identity } = config;
  const plain = await unseal(identity, infoOf(directory, id), sealed);
  let keys: z.output<typeof keysSchema> | undefined;
  try {
    keys = parse(keysSchema, decodeCbor(plain, 'shared keys'), 'shared keys');
    requireListed(directory, keys);
    if (!(await isHolder(keys.holder)))
      throw new MillraceError(
        'E_CONFIG',
        'the active control node has its state elsewhere: name its cluster and keyspace in node.json',
      );
    const write = (name: string, content: Uint8Array, mode?: number) => writeDurably(join(folder, name), content, mode);
    await write(nodeFiles.permitKeyDocument, keys.permitKeyDocument, 0o644);
    await write(nodeFiles.userAuthority, keys.userAuthority, 0o644);
    await write(nodeFiles.userAuthorityKey, keys.userAuthorityKey);
    await write(nodeFiles.logKey, keys.logKey);
    // Written last: a node with a permit key has the others.
    await write(nodeFiles.permitKey, keys.permitKey);
  } finally {
    wipe(plain, ...(keys === undefined ? [] : [keys.permitKey, keys.logKey, keys.userAuthorityKey]));
  }
}

/** @throws {MillraceError} E_AUTH */
function requireListed(directory: Directory, keys: z.output<typeof keysSchema>): void {
  const refuse = (what: string) =>
    new MillraceError('E_AUTH', `the active control node gave another ${what} than the directory lists`);
  const permit = p256Key(keys.permitKey);
  const isPermitKey = permitKeysOf(directory, Date.now()).includes(toHex(permit.publicKey));
  permit.close();
  if (!isPermitKey) throw refuse('permit key');
  const origin = directory.logKey.slice(0, directory.logKey.indexOf('+'));
  const { publicKey } = ed25519NoteSigner(origin, keys.logKey);
  if (!logKeysOf(directory).includes(formatVerifierKey(origin, publicKey))) throw refuse('log key');
  const certificate = new TextDecoder().decode(keys.userAuthority);
  const listed = directory.userAuthority?.includes(certificate.trim()) === true;
  if (!listed || !isTlsPair({ certificate, key: keys.userAuthorityKey })) throw refuse('authority of users');
}
