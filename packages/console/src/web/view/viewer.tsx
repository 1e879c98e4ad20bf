import { MillraceError } from '@millrace/base';
import { pathKinds } from '@millrace/gcode';
import { useEffect, useRef, useState } from 'preact/hooks';
import { pageKeys } from '../page-keys.ts';
import { Failure } from '../parts.tsx';
import { formatCount, formatMillimetres } from '../words.ts';
import { toolKinds } from './colours.ts';
import { flatPicture } from './flat-picture.ts';
import type { LayerState } from './layer-state.ts';
import type { LayerTable } from './messages.ts';
import type { Picture } from './picture.ts';
import { viewWords } from './words.ts';

const ZOOM = 1.25;
const FEW = 10;

interface Props {
  readonly state: LayerState;
  readonly table: LayerTable;
  readonly live: boolean;
}

/** A file whose layers are known. */
export function Viewer({ state, table, live }: Props) {
  const w = viewWords.value;
  const picture = useRef<Picture | undefined>(undefined);
  useEffect(() => {
    pageKeys.value = { title: w.keysTitle, rows: keyRows(w.keys) };
    return () => {
      pageKeys.value = undefined;
    };
  }, [w]);
  return (
    <section
      class="viewer"
      aria-label={w.viewOf}
      onKeyDown={(event) => {
        if (act(event, state, picture.current)) event.preventDefault();
      }}
    >
      <Tools state={state} table={table} picture={picture} live={live} />
      <Canvas state={state} table={table} picture={picture} key={String(state.space.value)} />
      <Sliders state={state} table={table} />
      <Legend state={state} table={table} />
    </section>
  );
}

const keyRows = (names: { readonly [K in keyof typeof viewWords.value.keys]: string }) =>
  [
    ['↑ ↓', names.layer],
    ['Page ↑ ↓', names.ten],
    ['Home End', names.ends],
    ['← →', names.move],
    ['+ −', names.zoom],
    ['f', names.fit],
    ['t', names.travel],
    ['3', names.space],
  ] as const;

/** Does what a key says. Sliders have the keys of sliders. @returns whether the key was one of the viewer's */
function act(event: KeyboardEvent, state: LayerState, picture: Picture | undefined): boolean {
  const { key, target, ctrlKey, metaKey, altKey } = event;
  if (ctrlKey || metaKey || altKey) return false;
  const layer = state.layer.value;
  const onSlider = target instanceof HTMLInputElement && target.type === 'range';
  const moves: Readonly<Record<string, () => void>> = {
    ArrowUp: () => state.go(layer + 1),
    ArrowDown: () => state.go(layer - 1),
    PageUp: () => state.go(layer + FEW),
    PageDown: () => state.go(layer - FEW),
    Home: () => state.go(state.first),
    End: () => state.go(state.last),
    ArrowRight: () => state.goToMove(state.made.value + 1),
    ArrowLeft: () => state.goToMove(state.made.value - 1),
  };
  const others: Readonly<Record<string, () => void>> = {
    '+': () => picture?.zoom(ZOOM),
    '=': () => picture?.zoom(ZOOM),
    '-': () => picture?.zoom(1 / ZOOM),
    f: () => picture?.fit(),
    t: () => {
      state.travel.value = !state.travel.value;
    },
    '3': () => {
      state.space.value = !state.space.value;
    },
  };
  const action = (onSlider ? undefined : moves[key]) ?? others[key];
  action?.();
  return action !== undefined;
}

function Tools({
  state,
  table,
  picture,
  live,
}: Props & { readonly picture: { readonly current: Picture | undefined } }) {
  const w = viewWords.value;
  const { travel, byTool, space, follow } = state;
  return (
    <div class="view-tools">
      <div class="view-switch">
        {([false, true] as const).map((inSpace) => (
          <button
            type="button"
            class="plain small"
            key={String(inSpace)}
            aria-pressed={space.value === inSpace}
            onClick={() => {
              space.value = inSpace;
            }}
          >
            {inSpace ? w.space : w.flat}
          </button>
        ))}
      </div>
      <button type="button" class="plain small" onClick={() => picture.current?.fit()}>
        {w.fit}
      </button>
      <button type="button" class="plain small" aria-label={w.zoomIn} onClick={() => picture.current?.zoom(ZOOM)}>
        +
      </button>
      <button type="button" class="plain small" aria-label={w.zoomOut} onClick={() => picture.current?.zoom(1 / ZOOM)}>
        −
      </button>
      <Tick text={w.travel} ticked={travel.value} set={(on) => (travel.value = on)} />
      {table.tools > 1 ? <Tick text={w.byTool} ticked={byTool.value} set={(on) => (byTool.value = on)} /> : undefined}
      {live ? <Tick text={w.follow} ticked={follow.value} set={(on) => state.setFollow(on)} /> : undefined}
    </div>
  );
}

function Tick(props: { readonly text: string; readonly ticked: boolean; readonly set: (on: boolean) => void }) {
  return (
    <label class="tick">
      <input type="checkbox" checked={props.ticked} onChange={(event) => props.set(event.currentTarget.checked)} />{' '}
      {props.text}
    </label>
  );
}

function Canvas({
  state,
  table,
  picture,
}: Omit<Props, 'live'> & {
  readonly picture: { current?: Picture | undefined };
}) {
  const w = viewWords.value;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [failure, setFailure] = useState<unknown>();
  const [every, setEvery] = useState(1);
  const inSpace = state.space.value;
  const step = (by: number) => state.go(state.layer.value + by);
  useEffect(() => {
    const on = canvas.current;
    if (on === null) return undefined;
    let ended = false;
    const open = async () => {
      const made = inSpace
        ? (await import('./space-picture.ts')).spacePicture(on, table, { state, step, thinned: setEvery })
        : flatPicture(on, table, step);
      if (ended) return made.close();
      picture.current = made;
      made.show(shownOf(state));
    };
    open().catch(setFailure);
    return () => {
      ended = true;
      picture.current?.close();
      picture.current = undefined;
    };
  }, [table]);
  const shown = shownOf(state);
  useEffect(() => picture.current?.show(shown));
  const layer = state.path.value?.layer ?? state.layer.value;
  const [number, last] = [formatCount(layer), formatCount(state.last)];
  const label = inSpace ? w.picture3d(number, last) : w.picture(number, last, heightOf(table, layer));
  if (failure instanceof MillraceError && failure.code === 'E_UNAVAILABLE')
    return (
      <p class="notice card" role="status">
        {w.no3d}
      </p>
    );
  if (failure !== undefined) return <Failure error={failure} />;
  return (
    <>
      <canvas
        ref={canvas}
        tabIndex={0}
        role="img"
        aria-label={label}
        data-layer={state.path.value?.layer}
        data-picture={inSpace ? 'space' : 'flat'}
      />
      {every > 1 ? <p class="quiet small">{w.everyNth(formatCount(every))}</p> : undefined}
    </>
  );
}

const shownOf = ({ path, made, travel, byTool }: LayerState) => ({
  ...{ path: path.value, made: made.value, travel: travel.value, byTool: byTool.value },
});

function heightOf({ z }: LayerTable, layer: number): string {
  const height = z[layer] ?? Number.NaN;
  return Number.isNaN(height) ? '–' : formatMillimetres(height);
}

function Sliders({ state, table }: Omit<Props, 'live'>) {
  const w = viewWords.value;
  const { layer, made, path } = state;
  const moves = path.value?.kinds.length ?? 0;
  const at = 3 * made.value;
  const [x = 0, y = 0, z = 0] = path.value?.points.subarray(at, at + 3) ?? [];
  const dropped = path.value?.dropped ?? 0;
  const layerText =
    layer.value === 0
      ? w.beforeLayers
      : w.layerOf(formatCount(layer.value), formatCount(state.last), heightOf(table, layer.value));
  const moveText = w.moveOf(formatCount(made.value), formatCount(moves));
  return (
    <>
      <Slider
        {...{ name: w.layer, text: layerText, min: state.first, max: state.last, value: layer.value }}
        set={(value) => state.go(value)}
      />
      <Slider
        {...{ name: w.move, text: moveText, min: 0, max: moves, value: made.value }}
        set={(value) => state.goToMove(value)}
      />
      <p class="quiet small view-position">
        {w.position(formatMillimetres(x), formatMillimetres(y), formatMillimetres(z))}
      </p>
      {dropped > 0 ? <p role="status">{w.dropped(formatCount(dropped))}</p> : undefined}
    </>
  );
}

function Slider({
  name,
  text,
  min,
  max,
  value,
  set,
}: {
  readonly name: string;
  readonly text: string;
  readonly min: number;
  readonly max: number;
  readonly value: number;
  readonly set: (value: number) => void;
}) {
  const input = useRef<HTMLInputElement>(null);
  const latest = useRef({ value, set });
  latest.current = { value, set };
  useEffect(() => {
    const turn = (event: WheelEvent) => {
      event.preventDefault();
      latest.current.set(latest.current.value - Math.sign(event.deltaY));
    };
    // The page must not scroll meanwhile, so the listener is not passive.
    input.current?.addEventListener('wheel', turn, { passive: false });
    return () => input.current?.removeEventListener('wheel', turn);
  }, []);
  return (
    <label class="view-slider">
      <span>{name}</span>
      <input
        ref={input}
        type="range"
        min={min}
        max={max}
        value={value}
        aria-valuetext={text}
        onInput={(event) => set(event.currentTarget.valueAsNumber)}
      />
      <span class="quiet">{text}</span>
    </label>
  );
}

function Legend({ state, table }: Omit<Props, 'live'>) {
  const w = viewWords.value;
  const byTool = state.byTool.value;
  const rows = byTool
    ? Array.from({ length: Math.min(table.tools, toolKinds.length) }, (_, n) => [toolKinds[n], w.tool(String(n))])
    : pathKinds.filter((_, n) => table.kinds[n]).map((kind) => [kind, w.kinds[kind]]);
  return (
    <ul class="view-legend" aria-label={w.legend}>
      {rows.map(([kind, text]) => (
        <li key={text}>
          <span class={`swatch ${kind}`} aria-hidden="true" /> {text}
        </li>
      ))}
    </ul>
  );
}
