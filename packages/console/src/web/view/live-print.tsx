import type { PrintView } from '@millrace/api';
import { defaultSegmentBytes } from '@millrace/gcode';
import { signal } from '@preact/signals';
import { useState } from 'preact/hooks';
import { useLoaded } from '../loaded.ts';
import { Facts, Failure } from '../parts.tsx';
import { PlateDrop } from '../plates/plate-drop.tsx';
import { api } from '../server.ts';
import { formatCount, formatSeconds } from '../words.ts';
import { LayerView } from './layer-view.tsx';
import { madeBytes, PrintHistory } from './print-history.ts';
import { TemperatureChart } from './temperature-chart.tsx';
import { viewWords } from './words.ts';

/** Figures that have not changed for so long are shown as old, ms. */
const OLD_MS = 15_000;

const history = new PrintHistory();
/** Own copies of designs, by design, until the page is closed. */
const copies = signal<ReadonlyMap<string, File>>(new Map());

/** What an owner sees of a print under way: figures, temperatures, and the path of an own copy as far as it is made. */
export function LivePrint({ print }: { readonly print: PrintView }) {
  const w = viewWords.value;
  const { progress, segments } = print;
  const now = Date.now();
  history.add(print, now);
  if (progress === undefined) return undefined;
  const unchanged = now - (history.changedAt(print.print) ?? now);
  const { acked = 0, revision, matrix, machine } = progress;
  return (
    <div class={unchanged > OLD_MS ? 'live stale' : 'live'} data-acked={acked}>
      {unchanged > OLD_MS ? <p class="age old">{w.unchanged(formatSeconds(unchanged / 1000))}</p> : undefined}
      <Facts
        rows={[
          [w.acknowledged, w.segmentsOf(formatCount(acked), formatCount(segments))],
          [w.buffer, machine?.buffer === undefined ? undefined : formatSeconds(machine.buffer)],
          [w.revision, revision === undefined ? undefined : formatCount(revision)],
          [w.matrix, matrix === undefined ? undefined : w.matrixOf(String(matrix.order), matrix.suite)],
        ]}
      />
      <TemperatureChart samples={history.samplesOf(print.print)} />
      <OwnCopy design={print.design} acked={acked} />
    </div>
  );
}

/** The path of a copy that the owner has. The server has no byte of it in the clear. */
function OwnCopy({ design, acked }: { readonly design: string; readonly acked: number }) {
  const w = viewWords.value;
  const [wrong, setWrong] = useState<number>();
  const { value, error, again } = useLoaded(design, () => api.designs.get({ id: design }));
  const copy = copies.value.get(design);
  if (value === undefined) return error === undefined ? undefined : <Failure error={error} again={again} />;
  const { size, kind } = value;
  if (kind !== 'gcode') return undefined;
  if (copy !== undefined)
    return <LayerView source={copy} madeBytes={madeBytes({ acked, size, segmentBytes: defaultSegmentBytes })} />;
  return (
    <div class="own-copy">
      <PlateDrop
        title={w.ownCopy}
        text={w.ownCopyText}
        onFile={(file) => {
          setWrong(file.size === size ? undefined : file.size);
          if (file.size === size) copies.value = new Map(copies.value).set(design, file);
        }}
      />
      {wrong === undefined ? undefined : (
        <p class="wrong" role="alert">
          {w.wrongLength(formatCount(wrong), formatCount(size))}
        </p>
      )}
    </div>
  );
}
