import type { Bytes } from '@millrace/base';
import { type CertifiedMaterial, materialText } from '@millrace/protocol';
import { drawLabel } from '@millrace/toolpath/png';
import { labelCode } from '../certificate/label.ts';

const day = (time: number): string => new Date(time).toISOString().slice(0, 10);

/** A paper label for the spool, 89 × 39 mm at 300 dpi, as a PNG file. Its code is the whole certificate. */
export function drawMaterialLabel(
  { terms, supplier }: Pick<CertifiedMaterial, 'terms' | 'supplier'>,
  certificate: Uint8Array,
): Bytes {
  const { name, batch, spool, grams, form, diameter, made, until } = terms;
  return drawLabel({
    code: labelCode(materialText(certificate)),
    title: `${name} ${supplier.name}`,
    lines: [
      `spool ${spool}`,
      `batch ${batch}`,
      `${form}${diameter === undefined ? '' : ` ${(diameter / 1_000).toFixed(2)} mm`}`,
      `net ${grams} g`,
      `made ${day(made)}`,
      `use by ${day(until)}`,
    ],
  });
}
