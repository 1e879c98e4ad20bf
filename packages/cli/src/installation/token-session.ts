import { join } from 'node:path';
import { type Clock, fromBase64, MillraceError, type RandomSource } from '@millrace/base';
import { createSession, currentToken, refusingSigner } from '@millrace/client';
import { createFolderStorage } from '@millrace/client/node';
import { addressesOf, createHttpClient, type HttpClient, tokenIdOf } from '@millrace/protocol';
import { type Installation, readAddresses } from './open.ts';
import { type InstallationSession, takeNewerDirectory } from './session.ts';

/** Distribution identifies its callers by certificates only. */
const noDistribution: HttpClient = {
  call: async () => {
    throw new MillraceError('E_KEY_NEEDED', 'the distribution node needs a user’s certificate');
  },
  close: () => undefined,
};

/**
 * Session of a caller who has an API token and no key. It reads; what needs a signature fails with E_KEY_NEEDED.
 * @throws {MillraceError} E_TOKEN, E_UNAVAILABLE
 */
export async function openTokenSession(options: {
  readonly installation: Installation;
  readonly token: string;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly signal?: AbortSignal | undefined;
}): Promise<InstallationSession> {
  const { installation, token, ...others } = options;
  const { directory, directories, layout } = installation;
  const addresses = await readAddresses(installation);
  const folder = join(layout.home, 'tokens', tokenIdOf(token));
  const control = createHttpClient({
    addresses: () => addressesOf(directory, 'control', () => addresses.control),
    tls: { directory, token },
  });
  try {
    const { by, publicKey } = await currentToken(control);
    const session = createSession({
      ...others,
      directory,
      user: { name: by, folder, signer: refusingSigner(fromBase64(publicKey)) },
      contacts: { users: [], machines: [] },
      storage: createFolderStorage(folder),
      transports: { control, distribution: noDistribution },
    });
    await takeNewerDirectory((after) => session.api.newerDirectory(after), directories);
    return { ...session, installation };
  } catch (error) {
    control.close();
    throw error;
  }
}
