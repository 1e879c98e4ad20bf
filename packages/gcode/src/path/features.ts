/** What a straight piece of path does. Its index here is its number in `LayerPath.kinds`. */
export const pathKinds = [
  'travel',
  'outer',
  'inner',
  'infill',
  'solid',
  'bridge',
  'support',
  'skirt',
  'other',
  'cut',
] as const;
export type PathKind = (typeof pathKinds)[number];

export const TRAVEL = pathKinds.indexOf('travel');
export const OTHER = pathKinds.indexOf('other');
export const CUT = pathKinds.indexOf('cut');

/** Names that slicers give to the features of a part. The first rule that matches counts. */
const rules: readonly (readonly [pattern: RegExp, kind: PathKind])[] = [
  [/overhang|bridge/, 'bridge'],
  [/support/, 'support'],
  [/skirt|brim|raft|tower|prime/, 'skirt'],
  [/outer|external/, 'outer'],
  [/solid|skin|surface|ironing/, 'solid'],
  [/fill|gap/, 'infill'],
  [/wall|perimeter|inner/, 'inner'],
];

/** PrusaSlicer and CuraEngine: `;TYPE:Perimeter`. Bambu Studio: `; FEATURE: Inner wall`. */
const markers = [';TYPE:', '; FEATURE:'].map((text) => new TextEncoder().encode(text));
const MAX_NAME = 64;
const latin1 = new TextDecoder('latin1');

/** The feature that a comment at the beginning of a line announces; undefined if it announces none. */
export function featureAt(bytes: Uint8Array, at: number): number | undefined {
  const marker = markers.find((text) => text.every((byte, n) => bytes[at + n] === byte));
  if (marker === undefined) return undefined;
  const from = at + marker.length;
  const name = latin1.decode(bytes.subarray(from, from + MAX_NAME)).split('\n', 1)[0] ?? '';
  const kind = rules.find(([pattern]) => pattern.test(name.toLowerCase()))?.[1] ?? 'other';
  return pathKinds.indexOf(kind);
}
