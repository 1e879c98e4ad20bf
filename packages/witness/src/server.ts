import { type Logger, MillraceError } from '@millrace/base';
import type { TlsIdentity } from '@millrace/identity';
import { MAX_ADD_CHECKPOINT } from '@millrace/ledger';
import { type Address, listenToStrangers, type PublicLimits, type PublicServer } from '@millrace/protocol';
import type { Witness } from './witness.ts';

export interface WitnessServerOptions {
  readonly witness: Pick<Witness, 'addCheckpoint'>;
  readonly address: Address;
  /** If undefined, plain HTTP: requests and answers are signed. */
  readonly tls?: TlsIdentity | undefined;
  readonly limits?: Partial<PublicLimits>;
  readonly logger: Logger;
}

/** Serves only `POST /add-checkpoint`. @throws {MillraceError} E_UNAVAILABLE if the address is in use */
export function serveWitness({ witness, ...options }: WitnessServerOptions): Promise<PublicServer> {
  return listenToStrangers({
    ...options,
    methods: ['POST'],
    bodyLimit: MAX_ADD_CHECKPOINT,
    answer: async ({ path, body }) => {
      if (path !== '/add-checkpoint') throw new MillraceError('E_NOT_FOUND', 'there is no such path');
      return witness.addCheckpoint(body);
    },
  });
}
