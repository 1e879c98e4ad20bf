import { type Bytes, type Clock, fromBase64, fromHex, MillraceError } from '@millrace/base';
import { CLOCK_SKEW_MS, type Directory, onlyKey, type UploadTicket, verifyUploadTicket } from '@millrace/protocol';

/** Verified tickets that are cached, because every segment carries its ticket. */
const REMEMBERED = 256;

/**
 * Verifies control's signed tickets. A ticket names the user, the owner and the design whose segments may be staged, because this
 * node has no records of designs and owners. A hostile control can permit or refuse any upload, but the segments node
 * still compares staged segments with the owner's manifest.
 */
export class Tickets {
  readonly #directory: Directory;
  readonly #clock: Clock;
  readonly #verified = new Map<string, UploadTicket>();

  constructor(directory: Directory, clock: Clock) {
    this.#directory = directory;
    this.#clock = clock;
  }

  /**
   * @param user key name of the caller's certificate
   * @throws {MillraceError} E_FORBIDDEN without a ticket of this user for this design, E_SIGNATURE, E_AUTH, E_INPUT,
   * E_EXPIRED
   */
  async require(header: unknown, user: string, design: string): Promise<UploadTicket> {
    if (typeof header !== 'string') throw new MillraceError('E_FORBIDDEN', 'an upload needs a ticket from control');
    const ticket = this.#verified.get(header) ?? (await this.#verify(header));
    if (this.#clock.now() > ticket.expires + CLOCK_SKEW_MS) {
      this.#verified.delete(header);
      throw new MillraceError('E_EXPIRED', 'the ticket has expired');
    }
    if (ticket.user !== user || ticket.design !== design)
      throw new MillraceError('E_FORBIDDEN', 'the ticket is for another user or design');
    return ticket;
  }

  async #verify(header: string): Promise<UploadTicket> {
    const key = fromHex(this.#directory.permitKey);
    const { installation } = this.#directory;
    const { body } = await verifyUploadTicket(bytesOf(header), installation, onlyKey(key), this.#clock.now());
    const oldest = this.#verified.keys().next().value;
    if (this.#verified.size >= REMEMBERED && oldest !== undefined) this.#verified.delete(oldest);
    this.#verified.set(header, body);
    return body;
  }
}

function bytesOf(header: string): Bytes {
  try {
    return fromBase64(header);
  } catch (cause) {
    throw new MillraceError('E_INPUT', 'ticket: not base64', { cause });
  }
}
