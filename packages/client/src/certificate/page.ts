import { type Bytes, fromBase64, MillraceError, parse, toBase64, utf8 } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { z } from 'zod';
import { pageStyle } from './page-style.ts';

/** Keys that a page is made with. Its reader may verify with other keys. */
export interface PageTrust {
  readonly logKeys: readonly string[];
  /** secp256k1 key of the administrator, 66 hexadecimal digits. */
  readonly authority: string;
  /** Verifier keys of the witnesses, type 0x04. */
  readonly witnesses: readonly string[];
}

export interface PageParts {
  /** The certificate as exported. */
  readonly certificate: Uint8Array;
  readonly trust: PageTrust;
}

export interface PageOptions extends PageParts {
  /** The compiled verifier: `readPageScript` of `@millrace/client/node`. */
  readonly script: string;
  readonly title: string;
  /** An SVG element shown next to the facts. */
  readonly code: string;
}

const partsSchema = z.strictObject({
  certificate: z.string(),
  trust: z.strictObject({
    logKeys: z.array(z.string().max(1024)).min(1).max(16),
    authority: z.string().max(66),
    witnesses: z.array(z.string().max(1024)).max(16),
  }),
});

const OPEN = '<script type="application/json" id="certificate">';
const CLOSE = '</script>';

/**
 * A page that verifies its certificate in the browser, without a network: it contains verifier, style and certificate,
 * and its policy allows nothing else.
 */
export function certificatePage({ certificate, trust, script, title, code }: PageOptions): string {
  // The first closing tag would end a script element.
  const safe = script.replaceAll('</script', '<\\/script').replaceAll('<!--', '<\\!--');
  const parts = JSON.stringify({ certificate: toBase64(certificate), trust }).replaceAll('<', '\\u003c');
  const policy = [
    "default-src 'none'",
    `script-src 'sha256-${toBase64(sha256(utf8(safe)))}'`,
    `style-src 'sha256-${toBase64(sha256(utf8(pageStyle)))}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${escapeHtml(title)}</title>
<style>${pageStyle}</style>
</head>
<body>
<main id="page">
<noscript><p class="card">This page verifies the certificate with JavaScript, on this computer. Switch it on, or run
<code>millrace certificate verify</code> with this file.</p></noscript>
</main>
<template id="code">${code}</template>
${OPEN}${parts}${CLOSE}
<script>${safe}</script>
</body>
</html>
`;
}

/** Whether a file is such a page, not a certificate. */
export function isCertificatePage(bytes: Uint8Array): boolean {
  return new TextDecoder().decode(bytes.subarray(0, 15)).toLowerCase() === '<!doctype html>';
}

/**
 * Extracts the certificate from a page. Ignore the rest of the page: it may come from anybody.
 * @throws {MillraceError} E_CERTIFICATE
 */
export function readCertificatePage(bytes: Uint8Array): PageParts {
  const text = new TextDecoder().decode(bytes);
  const from = text.indexOf(OPEN);
  const to = text.indexOf(CLOSE, from);
  if (from < 0 || to < 0) throw new MillraceError('E_CERTIFICATE', 'the page holds no certificate');
  return parsePageParts(text.slice(from + OPEN.length, to));
}

/** @throws {MillraceError} E_CERTIFICATE */
export function parsePageParts(text: string): PageParts {
  try {
    const { certificate, trust } = parse(partsSchema, JSON.parse(text), 'page', 'E_CERTIFICATE');
    const bytes: Bytes = fromBase64(certificate);
    return { certificate: bytes, trust };
  } catch (cause) {
    if (cause instanceof MillraceError && cause.code === 'E_CERTIFICATE') throw cause;
    throw new MillraceError('E_CERTIFICATE', 'the certificate in the page is damaged', { cause });
  }
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);
}
