import { MillraceError } from '@millrace/base';
import { type PathColours, readColours } from './colours.ts';
import { Frame } from './frame.ts';
import { listenTo } from './gestures.ts';
import type { LayerState } from './layer-state.ts';
import type { LayerTable } from './messages.ts';
import { Orbit } from './orbit.ts';
import { planParts } from './parts-plan.ts';
import { PathBuffers } from './path-buffers.ts';
import { PathShader } from './path-shader.ts';
import type { Picture, Shown } from './picture.ts';

const TURN = 0.008;
/** Maximum moves that are drawn. */
const MAX_MOVES = 500_000;

/** The path up to the shown layer, in space, by WebGL. @throws {MillraceError} E_UNAVAILABLE without WebGL */
export function spacePicture(
  canvas: HTMLCanvasElement,
  table: LayerTable,
  { state, step, thinned }: { state: LayerState; step: (by: number) => void; thinned: (every: number) => void },
): Picture {
  const gl = canvas.getContext('webgl2', { antialias: true, alpha: true });
  if (gl === null) throw new MillraceError('E_UNAVAILABLE', 'this browser offers no WebGL');
  const plan = planParts(table.moves, MAX_MOVES);
  const shader = new PathShader(gl);
  const buffers = new PathBuffers(gl, plan.moves + plan.layers.length);
  const orbit = new Orbit(table);
  let colours: PathColours = readColours(canvas);
  let shown: Shown | undefined;
  const frame = new Frame(
    canvas,
    () => {
      colours = readColours(canvas);
    },
    () => {
      if (shown?.path === undefined) return;
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      const view = orbit.view(canvas.width, canvas.height);
      shader.use({
        ...view,
        colours,
        travel: shown.travel,
        byTool: shown.byTool,
        every: plan.every,
        ratio: frame.ratio,
      });
      buffers.draw(shown.path, shown.made);
    },
  );
  thinned(plan.every);
  state.readParts(plan.layers, (path) => {
    buffers.add(path);
    frame.ask();
  });
  const changed =
    <A extends readonly unknown[]>(change: (...values: A) => void) =>
    (...values: A) => {
      change(...values);
      frame.ask();
    };
  const pan = changed((dx: number, dy: number) => orbit.pan(dx * frame.ratio, dy * frame.ratio));
  const zoom = changed((factor: number) => orbit.zoom(factor));
  const turn = changed((dx: number, dy: number) => orbit.turn(-dx * TURN, dy * TURN));
  const end = listenTo(canvas, {
    drag: (dx, dy, other) => (other ? pan(dx, dy) : turn(dx, dy)),
    ...{ pan, zoom, step },
  });
  return {
    show: changed((next: Shown) => {
      shown = next;
    }),
    fit: changed(() => orbit.fit()),
    zoom,
    close: () => {
      end();
      frame.close();
      gl.getExtension('WEBGL_lose_context')?.loseContext();
    },
  };
}
