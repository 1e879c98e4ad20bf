import type { PrintView } from '@millrace/api';
import { Signing } from './gesture.tsx';
import { lazy } from './lazy.tsx';
import { STALE_MS, useLive } from './live.ts';
import { Age, Progress } from './machines-page.tsx';
import { operatorWords } from './operator-words.ts';
import { Card, Facts, Shown } from './parts.tsx';
import { PrintCommands } from './print-commands.tsx';
import { readMachines, readPrints } from './reading.ts';
import { inOrder } from './reading-order.ts';
import { acts, session } from './session.ts';
import { formatCount, formatTime, words } from './words.ts';

const SHOWN = 50;
const LivePrint = lazy(async () => (await import('./view/live-print.tsx')).LivePrint);

async function read() {
  const [prints, machines] = await Promise.all([readPrints(), readMachines()]);
  return { prints: inOrder(prints), serials: new Map(machines.map(({ machine, serial }) => [machine, serial])) };
}

export function PrintsPage() {
  const w = words.value;
  const live = useLive('prints', read);
  return (
    <>
      <h1>{w.prints}</h1>
      <Age live={live} />
      <Shown loaded={live}>
        {({ prints, serials }) => (
          <div class={live.age > STALE_MS ? 'list stale' : 'list'}>
            {prints.length === 0 ? (
              <p>{w.noPrints}</p>
            ) : (
              <p>{w.shownOf(formatCount(Math.min(SHOWN, prints.length)), formatCount(prints.length))}</p>
            )}
            {prints.slice(0, SHOWN).map((print) => (
              <Print key={print.print} print={print} serial={serials.get(print.machine)} again={live.again} />
            ))}
          </div>
        )}
      </Shown>
    </>
  );
}

export function Print({
  print,
  serial,
  again,
}: {
  readonly print: PrintView;
  readonly serial: string | undefined;
  readonly again: () => void;
}) {
  const w = words.value;
  const { state, object, orderedBy, code, reason, next } = print;
  const under = state === 'running' || state === 'permitted';
  const view = session.view.value;
  const holds = acts(view, 'operator') && [view?.key, view?.organisation].includes(print.holder);
  const who = [orderedBy.name, orderedBy.organisation?.name].filter((name) => name !== undefined).join(', ');
  return (
    <Card kind="print">
      <h2>
        <span class={`badge ${state}`} data-print-state={state}>
          {print.halt === undefined ? w.printStates[state] : operatorWords.value.paused}
        </span>{' '}
        {object === undefined ? (
          <span class="mono">{print.print.slice(0, 8)}</span>
        ) : (
          <a class="mono" href={`#/certificate/${object}`}>
            {object.slice(0, 8)}
            {object.slice(object.lastIndexOf('-'))}
          </a>
        )}
      </h2>
      {under ? <Progress print={print} /> : undefined}
      {under ? <PrintCommands print={print} again={again} /> : undefined}
      {[view?.key, view?.organisation].includes(print.owner) ? <LivePrint print={print} /> : undefined}
      <Facts
        rows={[
          [w.machine, serial ?? print.machine.slice(0, 8)],
          [w.orderedBy, who === '' ? undefined : who],
          [w.ordered, formatTime(print.created)],
          [w.startBy, state === 'queued' ? formatTime(print.startBy) : undefined],
          [w.reason, code === undefined ? undefined : `${code}: ${reason ?? ''}`],
          [w.next, next],
        ]}
      />
      {state === 'queued' && holds ? (
        <Signing
          plain
          label={w.cancelPrint}
          job={(identity) => ({ type: 'cancel', identity, print: print.print })}
          done={again}
        />
      ) : undefined}
    </Card>
  );
}
