import { bytesOf, decodeCbor, encodeCbor, hexOf, MillraceError, parse, utf8 } from '@millrace/base';
import type { VerifiedOpening } from '@millrace/protocol';
import type { Store } from '@millrace/stores';
import { z } from 'zod';

const recordSchema = z.strictObject({
  print: hexOf(16),
  run: bytesOf(16),
  machine: hexOf(16),
  /** Permits that were used. */
  permits: z.array(hexOf(16)),
  alarmed: z.boolean(),
});
type ObjectRecord = z.output<typeof recordSchema>;

/** Each proactive node counts for itself what was streamed: one print and run an object, each permit once, none after an alarm. */
export class ObjectBook {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /**
   * Notes that a permit is being used.
   * @returns false when this very permit was used before (the message came again)
   * @throws {MillraceError} E_REPLAY, E_ALARM, E_PERMIT
   */
  async use({ permit, request }: VerifiedOpening, jti: string): Promise<boolean> {
    const known = await this.#get(permit.object);
    if (known === undefined) {
      const run = request.run;
      await this.#put(permit.object, {
        print: permit.print,
        run,
        machine: permit.machine,
        permits: [jti],
        alarmed: false,
      });
      return true;
    }
    if (known.alarmed) throw new MillraceError('E_ALARM', 'the stream of this object is in the alarm state');
    if (known.permits.includes(jti)) return false;
    if (
      known.print !== permit.print ||
      known.machine !== permit.machine ||
      Buffer.compare(known.run, request.run) !== 0
    ) {
      throw new MillraceError('E_REPLAY', 'the object was streamed for another print or run already');
    }
    await this.#put(permit.object, { ...known, permits: [...known.permits, jti].slice(-1_000) });
    return true;
  }

  async alarm(object: string): Promise<void> {
    const known = await this.#get(object);
    if (known !== undefined && !known.alarmed) await this.#put(object, { ...known, alarmed: true });
  }

  async #get(object: string): Promise<ObjectRecord | undefined> {
    const bytes = await this.#store.get(utf8(`object/${object}`));
    return bytes && parse(recordSchema, decodeCbor(bytes, 'object', 'E_STORE'), 'object', 'E_STORE');
  }

  #put(object: string, record: ObjectRecord): Promise<void> {
    return this.#store.put(utf8(`object/${object}`), encodeCbor(record));
  }
}
