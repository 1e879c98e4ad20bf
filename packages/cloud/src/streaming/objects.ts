import {
  type Bytes,
  bytesOf,
  copyBytes,
  decodeCbor,
  encodeCbor,
  equalBytes,
  hexOf,
  MillraceError,
  parse,
  utf8,
} from '@millrace/base';
import { keyId } from '@millrace/identity';
import { type Directory, type VerifiedOpening, verifyTransaction } from '@millrace/protocol';
import { prefixRange, type Store } from '@millrace/stores';
import { z } from 'zod';

const recordSchema = z.strictObject({
  print: hexOf(16),
  run: bytesOf(16),
  machine: hexOf(16),
  licence: hexOf(16),
  design: hexOf(16),
  /** Permits that were used. */
  permits: z.array(hexOf(16)),
  alarmed: z.boolean(),
});
type ObjectRecord = z.output<typeof recordSchema>;

const alarmKey = ({ licence, machine }: { licence: string; machine: string }, object: string): Bytes =>
  utf8(`alarm/${licence}/${machine}/${object}`);

/**
 * Each proactive node counts for itself what was streamed: one print and run an object, each permit once, none of the
 * object after an alarm, and no other object of its licence on that machine before the owner has cleared it.
 */
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
      await this.#requireNoAlarm(permit);
      const run = request.run;
      await this.#put(permit.object, {
        print: permit.print,
        run,
        machine: permit.machine,
        licence: permit.licence,
        design: permit.design,
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
    if (known === undefined || known.alarmed) return;
    await this.#store.put(alarmKey(known, object), utf8(object));
    await this.#put(object, { ...known, alarmed: true });
  }

  /**
   * The owner's clearance, verified for this node; the object itself stays stopped.
   * @throws {MillraceError} E_NOT_FOUND, E_SIGNATURE, E_AUTH (another signer), E_FORBIDDEN
   */
  async clear(
    object: string,
    transaction: Uint8Array,
    options: { readonly directory: Directory; ownerOf(design: string): Promise<Bytes | undefined> | Uint8Array },
  ): Promise<void> {
    const known = await this.#get(object);
    if (known === undefined) throw new MillraceError('E_NOT_FOUND', `object ${object} was not streamed from here`);
    const found = await options.ownerOf(known.design);
    if (found === undefined) throw new MillraceError('E_NOT_FOUND', `no design ${known.design}`);
    const owner = copyBytes(found);
    const lookup = (id: Bytes) => (equalBytes(id, keyId(owner)) ? owner : undefined);
    // It may have waited long in the mailbox; it happens once, so its age makes no difference.
    const { body } = await verifyTransaction(transaction, options.directory.installation, lookup, 'any time');
    if (body.type !== 'alarm.clear' || body.object !== object)
      throw new MillraceError('E_FORBIDDEN', 'not the owner’s clearance of this object');
    await this.#store.delete(alarmKey(known, object));
  }

  async #requireNoAlarm({ licence, machine }: { licence: string; machine: string }): Promise<void> {
    for await (const { value } of this.#store.range({ ...prefixRange(alarmKey({ licence, machine }, '')), limit: 1 })) {
      const object = new TextDecoder().decode(value);
      throw new MillraceError('E_ALARM', `object ${object} of this licence raised an alarm on this machine`);
    }
  }

  async #get(object: string): Promise<ObjectRecord | undefined> {
    const bytes = await this.#store.get(utf8(`object/${object}`));
    return bytes && parse(recordSchema, decodeCbor(bytes, 'object', 'E_STORE'), 'object', 'E_STORE');
  }

  #put(object: string, record: ObjectRecord): Promise<void> {
    return this.#store.put(utf8(`object/${object}`), encodeCbor(record));
  }
}
