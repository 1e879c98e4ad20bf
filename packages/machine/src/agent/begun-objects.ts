import { join } from 'node:path';
import { hexOf, MillraceError } from '@millrace/base';
import { z } from 'zod';
import { type StateSigner, signedFile } from './signed-file.ts';

const schema = z.strictObject({ print: hexOf(16), run: hexOf(16) });

/**
 * Objects that this machine has begun: one signed file for each, kept forever. No object begins twice, whatever the
 * cloud permits.
 */
export interface BegunObjects {
  /**
   * Records that the object begins with this run. The same run may record it again.
   * @throws {MillraceError} E_REPLAY if another run has begun it, E_STORE if the file was altered
   */
  take(object: string, run: z.output<typeof schema>): Promise<void>;
}

export function openBegunObjects(folder: string, signer: StateSigner): BegunObjects {
  return {
    take: async (object, { print, run }) => {
      const file = signedFile(join(folder, 'begun', `${object}.state`), signer, {
        label: `begun/${object}`,
        schema,
        remedy: 'the object was begun, and is not begun again',
      });
      const known = await file.read();
      if (known === undefined) return file.write({ print, run });
      if (known.print !== print || known.run !== run)
        throw new MillraceError('E_REPLAY', `this machine began object ${object} in another run`, { data: { object } });
    },
  };
}
