export type Colour = readonly [red: number, green: number, blue: number];

// From the plate upwards: indigo, blue, teal, sand, amber. All are light enough to show shading.
const stops: readonly Colour[] = [
  [94, 84, 190],
  [70, 128, 214],
  [58, 182, 180],
  [178, 204, 134],
  [250, 190, 92],
];

export const ink = {
  top: [30, 34, 46] as Colour,
  bottom: [13, 15, 22] as Colour,
  grid: [92, 104, 132] as Colour,
  text: [232, 236, 244] as Colour,
  faint: [146, 156, 178] as Colour,
  travel: [116, 130, 168] as Colour,
};

/** Colour for a height: `share` runs from 0 at the plate to 1 at the top. */
export function heightColour(share: number): Colour {
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const below = Math.min(Math.floor(place), stops.length - 2);
  return mix(stops[below] as Colour, stops[below + 1] as Colour, place - below);
}

export function mix(a: Colour, b: Colour, share: number): Colour {
  return [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share];
}

export function hex(colour: Colour): string {
  return `#${colour.map((part) => Math.round(part).toString(16).padStart(2, '0')).join('')}`;
}
