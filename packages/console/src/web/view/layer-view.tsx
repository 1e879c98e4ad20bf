import { useEffect, useState } from 'preact/hooks';
import { Failure } from '../parts.tsx';
import { formatCount } from '../words.ts';
import { LayerState } from './layer-state.ts';
import { Viewer } from './viewer.tsx';
import { viewWords } from './words.ts';

/**
 * Layers and path of a G-code file, which is read here, in pieces.
 * @param madeBytes how much of the file a machine has made: the picture follows it
 */
export function LayerView({ source, madeBytes }: { readonly source: File; readonly madeBytes?: number | undefined }) {
  const [state, setState] = useState<LayerState>();
  useEffect(() => {
    const opened = new LayerState(source);
    setState(opened);
    return () => opened.close();
  }, [source]);
  useEffect(() => {
    if (madeBytes !== undefined) state?.goTo(madeBytes);
  }, [state, madeBytes]);
  return state === undefined ? undefined : <Opened state={state} live={madeBytes !== undefined} />;
}

function Opened({ state, live }: { readonly state: LayerState; readonly live: boolean }) {
  const w = viewWords.value;
  if (state.failure.value !== undefined) return <Failure error={state.failure.value} />;
  if (state.model.value !== undefined)
    return (
      <p class="notice card" role="status">
        {w.model(state.model.value)}
      </p>
    );
  const table = state.table.value;
  if (table === undefined) {
    const { share, layers } = state.progress.value;
    const percent = Math.floor(100 * share);
    return (
      <div class="card">
        <progress max={100} value={percent} aria-label={w.reading(formatCount(percent), formatCount(layers))} />
        <p role="status">{w.reading(formatCount(percent), formatCount(layers))}</p>
      </div>
    );
  }
  if (table.count === 1 && table.moves[0] === 0)
    return (
      <p class="notice card" role="status">
        {w.nothing}
      </p>
    );
  return <Viewer state={state} table={table} live={live} />;
}
