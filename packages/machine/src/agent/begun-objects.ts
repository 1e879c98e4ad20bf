import { join } from 'node:path';
import { hexOf, MillraceError } from '@millrace/base';
import { z } from 'zod';
import { listIfThere } from './files.ts';
import { type StateSigner, signedFile } from './signed-file.ts';
import { openStateCounter } from './state-counter.ts';

const schema = z.strictObject({
  print: hexOf(16),
  run: hexOf(16),
  /** The machine has executed all of the object. */
  made: z.literal(true).optional(),
});
type Begun = Pick<z.output<typeof schema>, 'print' | 'run'>;

/**
 * Objects that this machine has begun: one signed file for each, kept forever. No object begins twice, whatever the
 * cloud permits. If the machine's token has a counter, a list that is not the newest is refused.
 */
export interface BegunObjects {
  /**
   * Records that the object begins with this run. The same run may record it again.
   * @throws {MillraceError} E_REPLAY if another run has begun it, with `made` if it has made it; E_STORE if the file was
   *   altered
   */
  take(object: string, run: Begun): Promise<void>;
  /** Records that this run has made the object. Call it before the machine reports so. */
  made(object: string, run: Begun): Promise<void>;
}

/** @throws {MillraceError} E_STORE if the token's counter shows that this is not the newest list; E_HSM */
export async function openBegunObjects(folder: string, signer: StateSigner): Promise<BegunObjects> {
  // Beside them, a killed agent may have left files that it had not finished.
  const names = async () => (await listIfThere(join(folder, 'begun'))).filter((name) => name.endsWith('.state'));
  const counter = await openStateCounter(folder, signer, names);
  const fileOf = (object: string) =>
    signedFile(join(folder, 'begun', `${object}.state`), signer, {
      label: `begun/${object}`,
      schema,
      remedy: 'the object was begun, and is not begun again',
    });
  return {
    take: async (object, { print, run }) => {
      const file = fileOf(object);
      const known = await file.read();
      if (known === undefined) return counter.change(() => file.write({ print, run }), `${object}.state`);
      if (known.print === print && known.run === run) return;
      const { made = false } = known;
      throw new MillraceError('E_REPLAY', `this machine ${made ? 'made' : 'began'} object ${object} in another run`, {
        data: { object, made },
      });
    },
    made: (object, { print, run }) => counter.change(() => fileOf(object).write({ print, run, made: true })),
  };
}
