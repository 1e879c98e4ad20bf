/** From mm to pixels of a canvas: x grows to the right, y of the machine upwards. */
export interface Camera {
  /** Pixels of a millimetre. */
  readonly scale: number;
  /** Pixel of the machine's zero. */
  readonly x: number;
  readonly y: number;
}

export interface Box {
  readonly min: readonly number[];
  readonly max: readonly number[];
}

const MARGIN = 0.06;
const MIN_SCALE = 0.01;
const MAX_SCALE = 2_000;

/** Shows the whole box in the middle. Sizes in pixels. */
export function fitCamera({ min, max }: Box, width: number, height: number): Camera {
  const [left, bottom, right, top] = [min[0] ?? 0, min[1] ?? 0, max[0] ?? 0, max[1] ?? 0];
  const room = 1 - 2 * MARGIN;
  const scale = clamp(
    Math.min((width * room) / Math.max(right - left, 1), (height * room) / Math.max(top - bottom, 1)),
  );
  return { scale, x: width / 2 - ((left + right) / 2) * scale, y: height / 2 + ((bottom + top) / 2) * scale };
}

/** Zooms around a pixel, which shows the same place afterwards. */
export function zoomed(camera: Camera, factor: number, atX: number, atY: number): Camera {
  const scale = clamp(camera.scale * factor);
  const by = scale / camera.scale;
  return { scale, x: atX + (camera.x - atX) * by, y: atY + (camera.y - atY) * by };
}

export function panned(camera: Camera, dx: number, dy: number): Camera {
  return { ...camera, x: camera.x + dx, y: camera.y + dy };
}

const clamp = (scale: number) => Math.min(Math.max(scale, MIN_SCALE), MAX_SCALE);
