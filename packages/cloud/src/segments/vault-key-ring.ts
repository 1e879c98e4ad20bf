import { type Bytes, type Closable, copyBytes, equalBytes, Mutex } from '@millrace/base';
import { generateP256Key, type P256Key } from '@millrace/identity';
import { type Directory, openVaultMessage } from '@millrace/protocol';

/** Keys kept when the keys node does not say that earlier ones can be erased. */
const MOST = 4;

/**
 * The keys to which the keys node seals messages of the vault (spec/vault.md, section 5). They exist only in the memory
 * of this process.
 */
export class VaultKeyRing implements Closable {
  readonly #directory: Pick<Directory, 'installation'>;
  /** Id of this node. */
  readonly #own: string;
  /** Serializes making and stating keys. */
  readonly stating = new Mutex();
  /** The newest key is last. */
  #ring: P256Key[] = [];

  constructor(directory: Pick<Directory, 'installation'>, own: string) {
    this.#directory = directory;
    this.#own = own;
  }

  /** Makes a key. @returns its point */
  renew(): Bytes {
    const key = generateP256Key();
    this.#ring.push(key);
    this.#keep(this.#ring.slice(-MOST));
    return copyBytes(key.publicKey);
  }

  get newest(): Bytes | undefined {
    const key = this.#ring.at(-1);
    return key && copyBytes(key.publicKey);
  }

  /** Erases every key that is older than the one with this point. Unknown points have no effect. */
  renewed(point: Uint8Array): void {
    const at = this.#ring.findIndex(({ publicKey }) => equalBytes(publicKey, point));
    if (at > 0) this.#keep(this.#ring.slice(at));
  }

  /**
   * Opens a message of the keys node `from`; the caller wipes it.
   * @returns undefined if the key is erased: the keys node repeats the message, sealed to a newer key
   * @throws {MillraceError} E_SEAL
   */
  async open(from: string, point: Uint8Array, sealed: Uint8Array): Promise<Bytes | undefined> {
    const key = this.#ring.find(({ publicKey }) => equalBytes(publicKey, point));
    const ends = { directory: this.#directory, keys: from, segments: this.#own };
    return key && openVaultMessage(ends, key, sealed);
  }

  async close(): Promise<void> {
    this.#keep([]);
  }

  #keep(ring: P256Key[]): void {
    for (const key of this.#ring) if (!ring.includes(key)) key.close();
    this.#ring = ring;
  }
}
