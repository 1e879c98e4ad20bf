import { type Bytes, MillraceError, toMillraceError, wipe } from '@millrace/base';
import { keyName, type MemorySigner, userKey } from '@millrace/identity';
import { aboutOf, type Identity } from './identity-shape.ts';
import { type Unlock, unwrapKey } from './wrap.ts';

/** Asks the person for the passkey or the passphrase. @param failure why the last one opened nothing */
export type AskPerson = (failure?: MillraceError) => Promise<Unlock>;

/**
 * The person's key for a task that goes on after its signatures. It is unwrapped when the first signature is needed, and
 * wiped with `release`. Later signatures ask again, each for itself.
 */
export class GestureKey {
  readonly signer: MemorySigner;
  readonly #identity: Identity;
  readonly #ask: AskPerson;
  #open: MemorySigner | undefined;
  #opening: Promise<MemorySigner> | undefined;
  #released = false;

  /** @param publicKey as the key's credential names it */
  constructor(identity: Identity, publicKey: Bytes, ask: AskPerson) {
    this.#identity = identity;
    this.#ask = ask;
    this.signer = {
      algorithm: 'ES256K',
      publicKey,
      sign: async (message) => {
        const key = await this.open();
        const signature = await key.sign(message);
        if (this.#released) this.#close();
        return signature;
      },
      exportSecret: () => {
        if (this.#open === undefined) throw new MillraceError('E_STATE', 'the key is not open');
        return this.#open.exportSecret();
      },
      close: () => this.#close(),
    };
  }

  /** @throws {MillraceError} E_AUTH if what was unwrapped is another key */
  async open(): Promise<MemorySigner> {
    if (this.#open !== undefined) return this.#open;
    this.#opening ??= this.#unwrap().finally(() => {
      this.#opening = undefined;
    });
    this.#open = await this.#opening;
    return this.#open;
  }

  release(): void {
    this.#released = true;
    this.#close();
  }

  #close(): void {
    this.#open?.close();
    this.#open = undefined;
  }

  async #unwrap(): Promise<MemorySigner> {
    for (let failure: MillraceError | undefined; ; ) {
      const unlock = await this.#ask(failure);
      try {
        const secret = await unwrapKey(this.#identity.wrapped, unlock, aboutOf(this.#identity));
        const key = userKey(secret);
        wipe(secret);
        if (keyName(key.publicKey) === keyName(this.signer.publicKey)) return key;
        key.close();
        throw new MillraceError('E_AUTH', 'this browser keeps another key');
      } catch (error) {
        failure = toMillraceError(error);
        if (failure.code !== 'E_SEAL') throw failure;
      } finally {
        if (unlock.kind === 'passphrase') wipe(unlock.passphrase);
      }
    }
  }
}
