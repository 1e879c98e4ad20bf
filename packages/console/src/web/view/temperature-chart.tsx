import { formatSeconds, formatTemperature } from '../words.ts';
import type { Sample } from './print-history.ts';
import { viewWords } from './words.ts';

const WIDTH = 600;
const HEIGHT = 160;
const LEFT = 44;
const BOTTOM = 20;
const TOP = 8;
/** Step of the scale, °C. */
const STEP = 50;

/** Temperatures since the page was opened. */
export function TemperatureChart({ samples }: { readonly samples: readonly Sample[] }) {
  const w = viewWords.value;
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined || (last.hotend ?? last.bed) === undefined) return undefined;
  const span = Math.max(last.at - first.at, 1);
  const highest = samples.reduce((most, { hotend, bed }) => Math.max(most, hotend ?? 0, bed ?? 0), 1);
  const top = Math.ceil(highest / STEP) * STEP;
  const x = (at: number) => LEFT + ((at - first.at) / span) * (WIDTH - LEFT - 4);
  const y = (celsius: number) => TOP + (1 - Math.max(celsius, 0) / top) * (HEIGHT - TOP - BOTTOM);
  const line = (read: (sample: Sample) => number | undefined) =>
    samples.flatMap((sample) => {
      const celsius = read(sample);
      return celsius === undefined ? [] : [`${x(sample.at).toFixed(1)},${y(celsius).toFixed(1)}`];
    });
  const names = [
    last.hotend === undefined ? undefined : w.hotend(formatTemperature(last.hotend)),
    last.bed === undefined ? undefined : w.bed(formatTemperature(last.bed)),
  ].filter((name) => name !== undefined);
  return (
    <figure class="temperatures">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`${w.temperatures}: ${names.join(', ')}`}>
        {Array.from({ length: top / STEP + 1 }, (_, n) => n * STEP)
          .filter((celsius) => top <= 4 * STEP || celsius % (2 * STEP) === 0)
          .map((celsius) => (
            <g key={celsius}>
              <line class="scale" x1={LEFT} x2={WIDTH} y1={y(celsius)} y2={y(celsius)} />
              <text x={LEFT - 6} y={y(celsius) + 4} text-anchor="end">
                {celsius}
              </text>
            </g>
          ))}
        <text x={LEFT} y={HEIGHT - 4}>
          {w.ago(formatSeconds(span / 1000))}
        </text>
        <polyline class="hotend" points={line(({ hotend }) => hotend).join(' ')} />
        <polyline class="bed" points={line(({ bed }) => bed).join(' ')} />
      </svg>
      <figcaption>
        {last.hotend === undefined ? undefined : (
          <span>
            <span class="swatch outer" aria-hidden="true" /> {w.hotend(formatTemperature(last.hotend))}
          </span>
        )}
        {last.bed === undefined ? undefined : (
          <span>
            <span class="swatch bridge" aria-hidden="true" /> {w.bed(formatTemperature(last.bed))}
          </span>
        )}
      </figcaption>
    </figure>
  );
}
