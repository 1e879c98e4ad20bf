import { join } from 'node:path';
import { type Clock, type Logger, MillraceError, toMillraceError } from '@millrace/base';
import {
  CLOCK_SKEW_MS,
  type Directory,
  readSpoolLoad,
  type SpoolFacts,
  type SpoolProof,
  spoolFacts,
  spoolProof,
  verifySpool,
} from '@millrace/protocol';
import { z } from 'zod';
import { type StateSigner, signedFile } from './signed-file.ts';

const schema = z.strictObject({
  /** The newest statement of an operator that this machine has seen. */
  number: z.number().int().nonnegative(),
  proof: spoolProof.optional(),
});

/** The spool that is loaded on this machine, by the newest statement of an operator. */
export interface SpoolState {
  /** Undefined while no spool is loaded by a statement. */
  readonly proof: SpoolProof | undefined;
  /** Name of the loaded material; without a spool, the one in the machine's settings. */
  readonly material: string;
  /** Id of the loaded spool. */
  readonly spool: string | undefined;
  /** µm and kg/m³ of the loaded filament, as far as they are known. */
  readonly filament: { readonly diameter?: number; readonly density?: number };
  /**
   * Takes what control says is loaded, with the operator's statement. What does not verify, and a statement that is
   * older than one seen before, counts as no spool.
   */
  take(proof: SpoolProof | undefined): Promise<void>;
}

export async function openSpoolState(
  folder: string,
  signer: StateSigner,
  {
    machine,
    material,
    directory,
    clock,
    logger,
  }: {
    readonly machine: string;
    readonly material: string;
    readonly directory: Directory;
    readonly clock: Clock;
    readonly logger: Logger;
  },
): Promise<SpoolState> {
  const file = signedFile(join(folder, 'spool.state'), signer, {
    label: 'spool',
    schema,
    remedy: 'remove it; then the operator loads the spool again',
  });
  let { number, proof } = (await file.read()) ?? { number: 0 };
  let facts = factsOf(proof);
  return {
    get proof() {
      return proof;
    },
    get material() {
      return facts?.name ?? material;
    },
    get spool() {
      return facts?.spool;
    },
    get filament() {
      const { diameter, density } = facts ?? {};
      return { ...(diameter === undefined ? {} : { diameter }), ...(density === undefined ? {} : { density }) };
    },
    take: async (given) => {
      let taken = given;
      let newest = number;
      try {
        if (given !== undefined) {
          const { load } = await verifySpool(given, machine, directory);
          // It would outlast every later statement.
          if (load.issued > clock.now() + CLOCK_SKEW_MS)
            throw new MillraceError('E_CLOCK', 'the statement is dated in the future');
          if (load.number < number)
            throw new MillraceError('E_REPLAY', 'an operator has made a newer statement on what is loaded here');
          newest = load.number;
        }
      } catch (error) {
        logger.error(
          { err: toMillraceError(error) },
          'the statement on the loaded spool does not count; load it again',
        );
        taken = undefined;
      }
      if (newest !== number || taken !== undefined || proof !== undefined)
        await file.write({ number: newest, ...(taken && { proof: taken }) });
      number = newest;
      proof = taken;
      facts = factsOf(proof);
    },
  };
}

function factsOf(proof: SpoolProof | undefined): SpoolFacts | undefined {
  return proof && spoolFacts(readSpoolLoad(proof.load));
}
