import { type Bytes, decodeCbor, encodeCbor, MillraceError, parse } from '@millrace/base';
import type { z } from 'zod';

/** Encodes a CBOR map as text: prefix ‖ base64url. */
export function toText(prefix: string, fields: object): string {
  const text = btoa(String.fromCharCode(...encodeCbor(fields as never)));
  return prefix + text.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** @throws {MillraceError} E_INPUT; the message does not contain the text */
export function fromText<S extends z.ZodType>(
  text: string,
  { prefix, what, schema }: { readonly prefix: string; readonly what: string; readonly schema: S },
): z.output<S> {
  const trimmed = text.trim();
  const malformed = (cause?: unknown) =>
    new MillraceError('E_INPUT', `not ${what}: expected ${prefix}… in one piece`, { cause });
  if (!trimmed.startsWith(prefix) || !/^[\w-]{1,2000}$/.test(trimmed.slice(prefix.length))) throw malformed();
  let bytes: Bytes;
  try {
    const binary = atob(trimmed.slice(prefix.length).replaceAll('-', '+').replaceAll('_', '/'));
    bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  } catch (cause) {
    throw malformed(cause);
  }
  return parse(schema, decodeCbor(bytes, what), what);
}
