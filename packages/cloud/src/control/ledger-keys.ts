import { type Clock, type Logger, MillraceError, wipe } from '@millrace/base';
import { ed25519NoteSigner, formatVerifierKey, type LedgerOptions, type NoteSigner } from '@millrace/ledger';
import { logKeysOf } from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';

export type LedgerKeys = Required<Pick<LedgerOptions, 'origin' | 'signer' | 'formerKeys' | 'coSigners'>>;

/**
 * The log's keys. The present key signs; the previous key also signs while the directory lists it. Stored checkpoints
 * may be verified by every key that was ever listed.
 * @throws {MillraceError} E_CONFIG when the directory does not list the key of the key file
 */
export async function openLedgerKeys(
  { directory, secret }: NodeConfig,
  { clock, logger }: { clock: Clock; logger: Logger },
): Promise<LedgerKeys> {
  const origin = directory.logKey.slice(0, directory.logKey.indexOf('+'));
  const read = async (name: 'logKey' | 'formerLogKey'): Promise<NoteSigner> => {
    const seed = await secret(name);
    try {
      return ed25519NoteSigner(origin, seed);
    } finally {
      wipe(seed);
    }
  };
  const signer = await read('logKey');
  const own = formatVerifierKey(origin, signer.publicKey);
  if (!logKeysOf(directory, clock.now()).includes(own))
    throw new MillraceError('E_CONFIG', 'the log key is not the directory’s');
  let former: { readonly key: string; readonly signer: NoteSigner } | undefined;
  if (logKeysOf(directory, clock.now()).length > 1) {
    try {
      const before = await read('formerLogKey');
      former = { key: formatVerifierKey(origin, before.publicKey), signer: before };
    } catch (error) {
      // Absent until the first rotation. If it is lost, checkpoints have only the present key's signature.
      logger.info({ err: error }, 'former log key not readable: checkpoints carry one signature');
    }
  }
  return {
    origin,
    signer,
    formerKeys: logKeysOf(directory),
    coSigners: () =>
      former !== undefined && former.key !== own && logKeysOf(directory, clock.now()).includes(former.key)
        ? [former.signer]
        : [],
  };
}
