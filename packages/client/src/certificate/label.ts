import { MillraceError, toHex } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { encode } from 'uqr';

const PREFIX = 'millrace-certificate:1:';
/** White modules around a QR code (ISO/IEC 18004). */
const QUIET = 4;

/** Text of the code on a label: the object, and the hash of its certificate. */
export function labelText(object: string, certificate: Uint8Array): string {
  return `${PREFIX}${object}:${toHex(sha256(certificate))}`;
}

/**
 * Checks the text of a label against a certificate. A label alone proves nothing: anybody can print one.
 * @throws {MillraceError} E_INPUT if the text is not a label; E_CERTIFICATE if it belongs to another object or file
 */
export function requireLabel(text: string, object: string, certificate: Uint8Array): void {
  const [, named, hash] = /^millrace-certificate:1:([^:\s]{1,256}):([0-9a-f]{64})$/.exec(text.trim()) ?? [];
  if (named === undefined) throw new MillraceError('E_INPUT', 'not the text of a label (millrace-certificate:1:…)');
  if (named !== object)
    throw new MillraceError('E_CERTIFICATE', `the label belongs to object ${named}, the certificate to ${object}`);
  if (hash !== toHex(sha256(certificate)))
    throw new MillraceError('E_CERTIFICATE', 'the label belongs to another certificate of this object');
}

/** The text as a QR code with its quiet zone, rows from the top; true is black. */
export function labelCode(text: string): readonly (readonly boolean[])[] {
  return encode(text, { ecc: 'M', border: QUIET }).data;
}

/** The code as an SVG element. */
export function labelSvg(text: string): string {
  const rows = labelCode(text);
  const path = rows.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : []))).join('');
  const size = rows.length;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size} ${size}" role="img" aria-label="QR code of the part’s label" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h${size}v${size}h-${size}z"/><path d="${path}"/></svg>`;
}
