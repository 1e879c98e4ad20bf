import { type Bytes, equalBytes, hexOf, MillraceError, toHex, utf8, wipe } from '@millrace/base';
import {
  CLOCK_SKEW_MS,
  type DesignAuthority,
  type Directory,
  licenceSecretInfo,
  type MessageOf,
  ownerParty,
  readTransaction,
  sha256,
  verifyLicence,
} from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import type { KeyWrapper } from '@millrace/vault';
import { z } from 'zod';
import { Table } from '../node/table.ts';

const recordSchema = z.strictObject({ design: hexOf(16), secret: z.instanceof(Uint8Array) });

/** Records by licence. */
export function licenceSecrets(records: RecordStore): Table<z.output<typeof recordSchema>> {
  return new Table(records, 'licence', recordSchema, { indexes: { design: ({ design }) => [{ group: design }] } });
}

/** Opens the owner's sealed secret, 32 bytes. @throws {MillraceError} E_BOX_KEY, E_SEAL */
export type OpenSecret = (licence: string, info: Uint8Array, sealed: Uint8Array) => Promise<Bytes>;

/** Licence secrets: wrapped at rest, unwrapped only to derive a session. */
export class LicenceRepository {
  readonly #secrets: Table<z.output<typeof recordSchema>>;
  readonly #wrapper: KeyWrapper;

  constructor(records: RecordStore, wrapper: KeyWrapper) {
    this.#secrets = licenceSecrets(records);
    this.#wrapper = wrapper;
  }

  /**
   * Verifies that the licence was signed for the design's owner, by a key that has not expired, and stores the secret.
   * The same licence again changes nothing.
   * @throws {MillraceError} E_SIGNATURE, E_AUTH, E_FORBIDDEN, E_LICENCE_INVALID, E_EXPIRED, E_REVOKED, E_SEAL, E_BOX_KEY
   */
  async add(options: {
    granted: Omit<MessageOf<'licence.grant'>, 'type'>;
    now: number;
    designOf: (design: string) => Promise<DesignAuthority>;
    directory: Directory;
    open: OpenSecret;
  }): Promise<void> {
    const { granted, now } = options;
    const claimed = readTransaction(granted.transaction);
    if (claimed.type !== 'licence.grant') throw new MillraceError('E_LICENCE_INVALID', 'not a licence');
    const design = await options.designOf(claimed.design);
    const { body, signatory } = await verifyLicence(granted, ownerParty(design), options.directory);
    // The signer chooses the date in the licence. A key that has expired must not sign one with an earlier date.
    if (now > signatory.until + CLOCK_SKEW_MS)
      throw new MillraceError('E_EXPIRED', `the key of ${signatory.name} has expired: it signs no more licences`);
    if (!equalBytes(body.core, design.coreHash))
      throw new MillraceError('E_LICENCE_INVALID', 'the licence is for other content of the design');
    if (!equalBytes(sha256(granted.secret), body.secretHash))
      throw new MillraceError('E_LICENCE_INVALID', 'the secret is not the one that was signed');
    const licence = toHex(body.id);
    const secret = await options.open(licence, licenceSecretInfo(body.design, design.owner), granted.secret);
    if (secret.length !== 32) throw new MillraceError('E_LICENCE_INVALID', 'a licence secret has 32 bytes');
    const wrapped = await this.#wrapper.wrap(secret, contextOf(licence));
    wipe(secret);
    await this.#secrets.put(licence, { design: body.design, secret: wrapped });
  }

  async has(licence: string): Promise<boolean> {
    return (await this.#secrets.get(licence)) !== undefined;
  }

  /** Removes the secrets of a design's licences. */
  async forget(design: string): Promise<void> {
    for await (const [licence] of this.#secrets.list({ index: 'design', group: design }))
      await this.#secrets.remove(licence);
  }

  /** The secret, 32 bytes; the caller wipes it. @throws {MillraceError} E_NOT_FOUND */
  async secretOf(licence: string): Promise<Bytes> {
    const { secret } = await this.#secrets.require(licence);
    return this.#wrapper.unwrap(secret, contextOf(licence));
  }
}

function contextOf(licence: string): Bytes {
  return utf8(`millrace/v1/licence/${licence}`);
}
