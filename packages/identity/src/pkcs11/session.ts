import { MillraceError, Mutex, wipe } from '@millrace/base';
import type { TokenIdentity } from '../keys.ts';
import {
  type Attribute,
  type Cryptoki,
  ck,
  type Handle,
  type LoadCryptoki,
  loadCryptoki,
  resultOf,
} from './binding.ts';
import { clearRefusal, type PinSource, readPin, recordRefusal, requireUntried } from './pin.ts';

export interface TokenPlace {
  /** Path of the PKCS #11 module. */
  readonly module: string;
  readonly label: string;
  /** Serial number of the token. If absent, any token with the label. */
  readonly serial?: string | undefined;
  readonly pin: PinSource;
}

export interface TokenSession {
  readonly cryptoki: Cryptoki;
  readonly session: Handle;
  readonly slot: Handle;
  readonly token: TokenIdentity;
}

export const tokenError = (why: string, cause?: unknown) =>
  new MillraceError('E_HSM', `${why}${cause === undefined ? '' : ` (${resultOf(cause)})`}`, { cause });

/**
 * Opens a session and logs in. The PIN is tried once, and not if it may be the token's last try.
 * @param attended somebody is at the terminal: a wrong PIN that was entered before is no reason to refuse
 * @throws {MillraceError} E_CONFIG, E_HSM (missing, or not the one expected), E_PIN
 */
export async function openTokenSession(place: TokenPlace, options: OpenOptions): Promise<TokenSession> {
  const cryptoki = await (options.load ?? loadCryptoki)(place.module);
  return logins.run(() => openWith(cryptoki, place, options));
}

interface OpenOptions {
  readonly attended: boolean;
  readonly load?: LoadCryptoki | undefined;
}

/** A login is the process's: many machines that start at once must not each try one wrong PIN. */
const logins = new Mutex();

async function openWith(cryptoki: Cryptoki, place: TokenPlace, { attended }: OpenOptions): Promise<TokenSession> {
  const { slot, flags, token } = findToken(cryptoki, place);
  // tpm2-pkcs11 makes the objects of a session in a read-write session only.
  const kind = ck.CKF_SERIAL_SESSION | ((flags & ck.CKF_WRITE_PROTECTED) === 0 ? ck.CKF_RW_SESSION : 0);
  const session = attempt('the token opens no session', () => cryptoki.C_OpenSession(slot, kind));
  try {
    if (!isLoggedIn(cryptoki, session) && (flags & ck.CKF_LOGIN_REQUIRED) !== 0)
      await login({ cryptoki, session, flags, attended }, place.pin);
    return { cryptoki, session, slot, token };
  } catch (error) {
    closeSession(cryptoki, session);
    throw error;
  }
}

export function closeSession(cryptoki: Cryptoki, session: Handle): void {
  try {
    cryptoki.C_CloseSession(session);
  } catch {
    // The token is gone, and the session with it.
  }
}

export function attempt<T>(failed: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    throw tokenError(failed, cause);
  }
}

/** At most two objects with these attributes. @throws errors of the binding */
export function findTwo({ cryptoki, session }: TokenSession, template: readonly Attribute[]): Handle[] {
  cryptoki.C_FindObjectsInit(session, template);
  try {
    return cryptoki.C_FindObjects(session, 2);
  } finally {
    cryptoki.C_FindObjectsFinal(session);
  }
}

/** @throws errors of the binding */
export function attributeOf(cryptoki: Cryptoki, session: Handle, object: Handle, type: number): Uint8Array {
  return cryptoki.C_GetAttributeValue(session, object, [{ type }])[0]?.value ?? new Uint8Array();
}

/** A token with the right label and another serial number is another token: it must not get the PIN. */
function findToken(cryptoki: Cryptoki, { label, serial, module }: TokenPlace) {
  const slots = attempt(`${module} lists no tokens`, () => cryptoki.C_GetSlotList(true));
  const found = slots.flatMap((slot) => {
    try {
      const info = cryptoki.C_GetTokenInfo(slot);
      if (trimmed(info.label) !== label) return [];
      const hardware = (cryptoki.C_GetSlotInfo(slot).flags & ck.CKF_HW_SLOT) !== 0;
      const [manufacturer, model, own] = [info.manufacturerID, info.model, info.serialNumber].map(trimmed) as [
        string,
        string,
        string,
      ];
      return [{ slot, flags: info.flags, token: { manufacturer, model, serial: own, hardware } }];
    } catch {
      return []; // removed in this moment
    }
  });
  if (found.length === 0) throw tokenError(`the token ${label} is missing`);
  const right = serial === undefined ? found : found.filter(({ token }) => token.serial === serial);
  const [token, ...others] = right;
  if (token === undefined)
    throw tokenError(`another token has the label ${label}: expected the one with the serial number ${serial}`);
  if (others.length > 0) throw tokenError(`several tokens have the label ${label}: remove the others`);
  return token;
}

/** PKCS #11 pads text with blanks. What is no printable ASCII is replaced: the text goes into signed documents. */
const trimmed = (text: string) => text.replace(/[\0 ]+$/, '').replace(/[^\x20-\x7e]/g, '?');

/** Another key of this process may have logged in: a login is the application's. */
function isLoggedIn(cryptoki: Cryptoki, session: Handle): boolean {
  const { state } = attempt('the token answers nothing', () => cryptoki.C_GetSessionInfo(session));
  return state === ck.CKS_RO_USER_FUNCTIONS || state === ck.CKS_RW_USER_FUNCTIONS;
}

async function login(
  { cryptoki, session, flags, attended }: Pick<TokenSession, 'cryptoki' | 'session'> & LoginState,
  source: PinSource,
): Promise<void> {
  await requireTries(flags, attended, source);
  const pin = await readPin(source);
  try {
    // The binding takes a string.
    cryptoki.C_Login(session, ck.CKU_USER, Buffer.from(pin.buffer).toString('utf8'));
  } catch (cause) {
    const result = resultOf(cause);
    if (result === 'CKR_USER_ALREADY_LOGGED_IN') return;
    if (!/^CKR_PIN_/.test(result)) throw tokenError('the token refuses the login', cause);
    await recordRefusal(source);
    throw new MillraceError('E_PIN', `the token refuses the PIN (${result})`, { cause });
  } finally {
    wipe(pin);
  }
  await clearRefusal(source);
}

interface LoginState {
  /** Of the token (CK_TOKEN_INFO). */
  readonly flags: number;
  readonly attended: boolean;
}

async function requireTries(flags: number, attended: boolean, source: PinSource): Promise<void> {
  const refuse = (why: string) => new MillraceError('E_PIN', `the PIN is not entered: ${why}`);
  if ((flags & ck.CKF_USER_PIN_LOCKED) !== 0) throw refuse('the token has locked it');
  if ((flags & ck.CKF_USER_PIN_FINAL_TRY) !== 0)
    throw refuse('the token allows one more try; log in with its own tool');
  if (attended) return;
  const corrected = await requireUntried(source);
  if (!corrected && (flags & ck.CKF_USER_PIN_COUNT_LOW) !== 0)
    throw refuse('somebody has entered a wrong one; check it, then log in once with the token’s own tool');
}
