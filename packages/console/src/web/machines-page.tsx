import type { MachineView, PrintView, SpoolView } from '@millrace/api';
import type { ComponentChildren } from 'preact';
import { Camera, mayLook } from './camera.tsx';
import { type Live, STALE_MS, useLive } from './live.ts';
import { Shown } from './parts.tsx';
import { PrintCommands } from './print-commands.tsx';
import { readMachines, readPrints, readSpools } from './reading.ts';
import { isActive } from './reading-order.ts';
import { acts, session } from './session.ts';
import { Spools } from './spool-form.tsx';
import { formatCount, formatSeconds, formatTemperature, words } from './words.ts';

const read = async () => ({
  machines: await readMachines(),
  prints: await readPrints(),
  spools: await readSpools(),
});

export function MachinesPage() {
  const w = words.value;
  const live = useLive('machines', read);
  return (
    <>
      <h1>{w.machines}</h1>
      <Age live={live} />
      <Shown loaded={live}>
        {({ machines, prints, spools }) =>
          machines.length === 0 ? (
            <p>{w.noMachines}</p>
          ) : (
            <div class={live.age > STALE_MS ? 'two stale' : 'two'}>
              {machines.map((machine) => (
                <Machine
                  key={machine.machine}
                  machine={machine}
                  prints={prints.filter((print) => print.machine === machine.machine)}
                  spools={spools.filter((spool) => spool.machine === machine.machine)}
                  sinceRead={live.sinceRead}
                  again={live.again}
                />
              ))}
            </div>
          )
        }
      </Shown>
    </>
  );
}

/** How old the values of a page are. Old ones are grey. */
export function Age({ live }: { readonly live: Live<unknown> }) {
  const w = words.value;
  if (live.value === undefined) return undefined;
  const stale = live.age > STALE_MS;
  return (
    <p class={stale ? 'age old' : 'age'}>
      {stale ? w.staleSince(formatSeconds(live.age / 1000)) : w.readAgo(formatSeconds(live.age / 1000))}
    </p>
  );
}

export function Machine({
  machine,
  prints,
  spools,
  sinceRead = 0,
  again,
}: {
  readonly machine: MachineView;
  readonly prints: readonly PrintView[];
  /** What is loaded; without it, the card is an example, and nothing can be loaded. */
  readonly spools?: readonly SpoolView[];
  /** Since the prints were read, ms. */
  readonly sinceRead?: number;
  readonly again: () => void;
}) {
  const w = words.value;
  const running = prints.find(({ state }) => state === 'running' || state === 'permitted');
  const waiting = prints.filter(({ state }) => state === 'queued').length;
  const state = !machine.online ? 'offline' : running === undefined ? 'idle' : 'printing';
  const figures = running?.progress?.machine;
  const temperatures = figures?.temperatures;
  const machineAge = ageAt(running?.progress?.machineAge, sinceRead);
  return (
    <section class="card machine" data-state={state}>
      <h2>{machine.serial}</h2>
      <p>
        <span class={`badge ${state}`}>{w.machineStates[state]}</span>{' '}
        <span class="quiet">
          {machine.kind} · <span class="mono">{machine.machine.slice(0, 8)}</span>
        </span>
      </p>
      {running === undefined ? undefined : <Progress print={running} sinceRead={sinceRead} />}
      <dl class="small">
        {temperatures?.hotend === undefined ? undefined : (
          <>
            <dt>{w.hotend}</dt>
            <Aged age={machineAge}>{formatTemperature(temperatures.hotend)}</Aged>
          </>
        )}
        {temperatures?.bed === undefined ? undefined : (
          <>
            <dt>{w.bed}</dt>
            <Aged age={machineAge}>{formatTemperature(temperatures.bed)}</Aged>
          </>
        )}
        {figures?.buffer === undefined ? undefined : (
          <>
            <dt>{w.buffer}</dt>
            <Aged age={machineAge}>{formatSeconds(figures.buffer)}</Aged>
          </>
        )}
        <dt>{w.waiting}</dt>
        <dd>{formatCount(prints.filter(isActive).length === 0 ? 0 : waiting)}</dd>
      </dl>
      {spools !== undefined && mayLook(machine) ? <Camera machine={machine.machine} /> : undefined}
      {running === undefined ? undefined : <PrintCommands print={running} again={again} />}
      {spools !== undefined && acts(session.view.value, 'operator') ? (
        <Spools machine={machine.machine} spools={spools} again={again} />
      ) : undefined}
    </section>
  );
}

/** The age of a figure now, from its age when it was read, ms. */
const ageAt = (age: number | undefined, sinceRead: number) => (age === undefined ? undefined : age + sinceRead);

/** A value of a list with its own age: it turns grey when nobody reports it any more. */
function Aged({ age, children }: { readonly age: number | undefined; readonly children: ComponentChildren }) {
  const w = words.value;
  return (
    <dd class={age !== undefined && age > STALE_MS ? 'aged old' : 'aged'}>
      {children}
      {age === undefined ? undefined : <span class="small"> · {w.ago(formatSeconds(age / 1000))}</span>}
    </dd>
  );
}

export function Progress({ print, sinceRead = 0 }: { readonly print: PrintView; readonly sinceRead?: number }) {
  const w = words.value;
  const age = ageAt(print.progress?.age, sinceRead);
  const share = print.segments === 0 ? 0 : Math.min(1, (print.progress?.acked ?? 0) / print.segments);
  const percent = Math.floor(100 * share);
  return (
    <progress
      class={age !== undefined && age > STALE_MS ? 'bar-of stale' : 'bar-of'}
      max={100}
      value={percent}
      aria-label={w.progressOf(formatCount(percent))}
    >
      {percent}
    </progress>
  );
}
