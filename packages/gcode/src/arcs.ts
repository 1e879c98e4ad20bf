/** Maximum distance between an arc and its chords, mm. */
export const arcTolerance = 0.005;
const maxChords = 2000;
const turn = 2 * Math.PI;

/** An arc in the XY plane, drawn as chords. Angles in radians, counter-clockwise. */
export interface Arc {
  centreX: number;
  centreY: number;
  radius: number;
  /** Radius at the end. It differs slightly if the file rounded its numbers. */
  endRadius: number;
  from: number;
  /** Signed: negative is clockwise (G2). */
  sweep: number;
  chords: number;
}

/** Why words do not describe an arc. */
export type ArcFault = 'no centre' | 'no radius' | 'start and end differ in radius' | 'radius too small' | 'too large';

/** Arc from the centre, given as an offset from the start (I, J). If end and start are equal, it is a full circle. */
export function arcByCentre(
  startX: number,
  startY: number,
  endX: number,
  endY: number,
  offsetX: number,
  offsetY: number,
  clockwise: boolean,
): Arc | ArcFault {
  const centreX = startX + offsetX;
  const centreY = startY + offsetY;
  const radius = Math.hypot(offsetX, offsetY);
  const endRadius = Math.hypot(endX - centreX, endY - centreY);
  if (radius < 1e-6) return 'no radius';
  if (radius > 1e6) return 'too large';
  const difference = Math.abs(radius - endRadius);
  if (difference > 0.5 || (difference > 0.05 && difference > radius * 0.01)) return 'start and end differ in radius';
  const from = Math.atan2(startY - centreY, startX - centreX);
  let sweep = Math.atan2(endY - centreY, endX - centreX) - from;
  if (Math.abs(startX - endX) < 1e-9 && Math.abs(startY - endY) < 1e-9) sweep = clockwise ? -turn : turn;
  else if (clockwise && sweep >= 0) sweep -= turn;
  else if (!clockwise && sweep <= 0) sweep += turn;
  return { centreX, centreY, radius, endRadius, from, sweep, chords: chordsOf(radius, sweep) };
}

/** Arc from the radius (R): positive for the shorter arc, negative for the longer. */
export function arcByRadius(
  startX: number,
  startY: number,
  endX: number,
  endY: number,
  radius: number,
  clockwise: boolean,
): Arc | ArcFault {
  const dx = endX - startX;
  const dy = endY - startY;
  const chord = Math.hypot(dx, dy);
  if (chord < 1e-6 || radius === 0) return 'no radius';
  const squared = radius * radius - (chord * chord) / 4;
  // A half circle may be off by the file's rounding.
  if (squared < -0.01 * Math.max(Math.abs(radius), 1)) return 'radius too small';
  const away = Math.sqrt(Math.max(squared, 0)) * (clockwise === radius > 0 ? -1 : 1);
  return arcByCentre(startX, startY, endX, endY, dx / 2 - (dy / chord) * away, dy / 2 + (dx / chord) * away, clockwise);
}

function chordsOf(radius: number, sweep: number): number {
  const step = 2 * Math.acos(Math.max(1 - arcTolerance / radius, 0));
  return Math.min(Math.max(Math.ceil(Math.abs(sweep) / step), 1), maxChords);
}
