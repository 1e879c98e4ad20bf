import { type Bytes, MillraceError, utf8, wipe } from '@millrace/base';
import * as opaque from '@serenity-kit/opaque';
import { codeDigits } from './code.ts';
import { type Caller, decodeHandshake, encodeHandshake, type Responder, streamSecret } from './handshake.ts';
import { notUnderstood } from './handshake-channel.ts';

// OPAQUE (RFC 9807): with each try, an attacker without the code learns only whether its guess was right. The listener
// registers the code with itself and keeps the record in memory, for the lifetime of the command.

const TRIES = 3;
const identifiers = { client: 'millrace/v1/peer/caller', server: 'millrace/v1/peer/listener' };
const userIdentifier = 'millrace/v1/peer/code';
/** Stretching slows down guesses against a stolen record. This record is never stored, and its code is used once. */
const keyStretching = { 'argon2id-custom': { iterations: 1, memory: 1024, parallelism: 1 } };
const BASE64URL = /^[\w-]+$/;

/** @throws {MillraceError} E_INPUT if it is not a code */
export function codeCaller(code: string): Caller {
  const password = codeDigits(code);
  return {
    call: async (handshake) => {
      await opaque.ready;
      const { clientLoginState, startLoginRequest } = opaque.client.startLogin({ password });
      const first = encodeHandshake('code', utf8(startLoginRequest));
      await handshake.send(first);
      const second = await handshake.receive();
      const login = { clientLoginState, loginResponse: textOf(second), password, identifiers, keyStretching };
      const result = attempt(() => opaque.client.finishLogin(login));
      if (result === undefined) {
        throw new MillraceError(
          'E_STREAM_AUTH',
          'the code is wrong, or the other end is not the receiver that showed it',
        );
      }
      const third = utf8(result.finishLoginRequest);
      await handshake.send(third);
      return secretOf(result.sessionKey, first, second, third);
    },
  };
}

/**
 * One code for one stream.
 * @param tries number of attempts that are answered
 * @throws {MillraceError} E_INPUT if it is not a code
 */
export async function codeResponder(code: string, tries = TRIES): Promise<Responder> {
  const password = codeDigits(code);
  await opaque.ready;
  const serverSetup = opaque.server.createSetup();
  const begun = opaque.client.startRegistration({ password });
  const { registrationResponse } = opaque.server.createRegistrationResponse({
    serverSetup,
    userIdentifier,
    registrationRequest: begun.registrationRequest,
  });
  const { registrationRecord } = opaque.client.finishRegistration({
    clientRegistrationState: begun.clientRegistrationState,
    registrationResponse,
    password,
    identifiers,
    keyStretching,
  });
  let left = tries;
  return {
    get exhausted() {
      return left === 0;
    },
    respond: async (handshake) => {
      const first = await handshake.receive();
      const request = decodeHandshake('code', first);
      if (request === undefined) throw new MillraceError('E_STREAM_AUTH', 'the caller uses a key, not a code');
      const startLoginRequest = textOf(request);
      if (left === 0) throw new MillraceError('E_STREAM_AUTH', 'no more tries are allowed');
      const { serverLoginState, loginResponse } = attempt(() =>
        opaque.server.startLogin({ serverSetup, userIdentifier, registrationRecord, startLoginRequest, identifiers }),
      );
      // Count before answering: the answer tells the caller whether its code is right.
      left -= 1;
      const second = utf8(loginResponse);
      await handshake.send(second);
      const third = await handshake.receive();
      const finishLoginRequest = textOf(third);
      let sessionKey: string;
      try {
        ({ sessionKey } = opaque.server.finishLogin({ serverLoginState, finishLoginRequest, identifiers }));
      } catch (cause) {
        throw new MillraceError('E_STREAM_AUTH', 'the caller has a different code', { cause });
      }
      return secretOf(sessionKey, first, second, third);
    },
  };
}

/** Converts a message to the base64url text that the library uses. @throws {MillraceError} E_FRAME_FORMAT */
function textOf(message: Uint8Array): string {
  const text = Buffer.from(message).toString('latin1');
  if (!BASE64URL.test(text)) throw notUnderstood();
  return text;
}

/** Converts errors of the library. @throws {MillraceError} E_FRAME_FORMAT */
function attempt<T>(work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw new MillraceError('E_FRAME_FORMAT', 'the other end does not speak this protocol', { cause });
  }
}

/** The library returns the key as a string, which cannot be wiped. The bytes derived from it can. */
function secretOf(sessionKey: string, ...messages: readonly Uint8Array[]): Bytes {
  const agreed = new Uint8Array(Buffer.from(sessionKey, 'base64url'));
  const secret = streamSecret('code', agreed, ...messages);
  wipe(agreed);
  return secret;
}
