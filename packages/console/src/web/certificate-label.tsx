import { type CertificateSummary, labelCode, labelText } from '@millrace/client';
import { useMemo } from 'preact/hooks';
import { Card, Facts } from './parts.tsx';
import { formatCount, formatDay, words } from './words.ts';

/** Of the body while only the label is printed. */
const PRINTING = 'print-label';

/** The birth label of a part: what the certificate says of it, and the code that names its certificate. */
export function CertificateLabel({
  summary,
  certificate,
}: {
  readonly summary: CertificateSummary;
  readonly certificate: Uint8Array;
}) {
  const w = words.value;
  const { object, number, of, machine, material, design, events } = summary;
  const rows = useMemo(() => labelCode(labelText(object, certificate)), [object, certificate]);
  const made = events.findLast(({ type }) => type === 'completed')?.time;
  const print = () => {
    document.body.classList.add(PRINTING);
    addEventListener('afterprint', () => document.body.classList.remove(PRINTING), { once: true });
    globalThis.print();
  };
  return (
    <Card title={w.label} kind="label">
      <div class="label-paper">
        <svg viewBox={`0 0 ${rows.length} ${rows.length}`} role="img" aria-label={w.labelCode}>
          <rect width={rows.length} height={rows.length} fill="#fff" />
          <path
            fill="#000"
            d={rows.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : []))).join('')}
          />
        </svg>
        <Facts
          rows={[
            [w.object, object.slice(0, 16), 'code'],
            [w.number, w.numberOf(formatCount(number), formatCount(of))],
            [w.design, design.slice(0, 16), 'code'],
            [w.machine, machine?.serial],
            [w.material, material],
            [w.made, made === undefined ? undefined : formatDay(Date.parse(made))],
          ]}
        />
      </div>
      <p class="quiet">{w.labelText}</p>
      <button type="button" class="plain" onClick={print}>
        {w.printLabel}
      </button>
    </Card>
  );
}
