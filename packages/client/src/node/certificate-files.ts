import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { deflateSync } from 'node:zlib';
import { type Bytes, MillraceError } from '@millrace/base';
import { drawLabelPdf } from '@millrace/toolpath';
import { drawLabel } from '@millrace/toolpath/png';
import { labelCode, labelText } from '../certificate/label.ts';
import type { CertificateSummary } from '../certificates.ts';

/** The same path from src and from dist. Built by scripts/build-page.mjs. */
const script = fileURLToPath(new URL('../../dist/certificate-page.js', import.meta.url));

/** The verifier for `certificatePage`. @throws {MillraceError} E_CONFIG if it is not built */
export async function readPageScript(): Promise<string> {
  try {
    return await readFile(script, 'utf8');
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${script} is missing: build with \`npm run build\``, { cause });
  }
}

/** A paper label for the part, 89 × 39 mm at 300 dpi, as a PNG or PDF file. */
export function drawCertificateLabel(
  summary: CertificateSummary,
  certificate: Uint8Array,
  format: 'png' | 'pdf' = 'png',
): Bytes {
  const { object, number, of, machine, material, design, state } = summary;
  const made = summary.events.findLast(({ type }) => type === 'completed')?.time.slice(0, 10);
  const label = {
    code: labelCode(labelText(object, certificate)),
    title: 'MILLRACE CERTIFICATE',
    lines: [
      `object ${object.slice(0, 16)}`,
      `number ${number} of ${of}`,
      `design ${design.slice(0, 16)}`,
      ...(machine === undefined ? [] : [`machine ${machine.serial}`]),
      ...(material === undefined ? [] : [`material ${material}`]),
      made === undefined ? state : `made ${made}`,
    ],
  };
  return format === 'pdf' ? drawLabelPdf(label, (bytes) => deflateSync(bytes)) : drawLabel(label);
}
