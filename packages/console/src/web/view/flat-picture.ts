import { MillraceError } from '@millrace/base';
import { type Box, type Camera, fitCamera, panned, zoomed } from './camera.ts';
import { type PathColours, readColours } from './colours.ts';
import { drawLayer } from './draw-layer.ts';
import { Frame } from './frame.ts';
import { listenTo } from './gestures.ts';
import type { Picture, Shown } from './picture.ts';

/** One layer from above. @param step changes the layer */
export function flatPicture(canvas: HTMLCanvasElement, box: Box, step: (by: number) => void): Picture {
  const context = canvas.getContext('2d');
  if (context === null) throw new MillraceError('E_UNAVAILABLE', 'this browser draws no pictures');
  let camera: Camera | undefined;
  let colours: PathColours | undefined;
  let shown: Shown | undefined;
  let size = '';
  const resized = () => {
    colours = readColours(canvas);
    const now = `${canvas.width} ${canvas.height}`;
    if (now !== size) camera = undefined;
    size = now;
  };
  const frame = new Frame(canvas, resized, () => {
    if (shown?.path === undefined) return;
    camera ??= fitCamera(box, canvas.width, canvas.height);
    colours ??= readColours(canvas);
    drawLayer(context, { ...shown, path: shown.path, camera, colours, ratio: frame.ratio });
  });
  const change = (next: Camera | undefined) => {
    camera = next;
    frame.ask();
  };
  const pan = (dx: number, dy: number) => {
    if (camera !== undefined) change(panned(camera, dx * frame.ratio, dy * frame.ratio));
  };
  const zoom = (factor: number, x: number, y: number) => {
    if (camera !== undefined) change(zoomed(camera, factor, x * frame.ratio, y * frame.ratio));
  };
  const end = listenTo(canvas, { drag: pan, pan, zoom, step });
  return {
    show: (next) => {
      shown = next;
      frame.ask();
    },
    fit: () => change(undefined),
    zoom: (factor) => zoom(factor, canvas.clientWidth / 2, canvas.clientHeight / 2),
    close: () => {
      end();
      frame.close();
    },
  };
}
