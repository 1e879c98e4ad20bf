import type { PrintView } from '@millrace/api';
import { errorText } from './error-text.ts';
import { FailureForm } from './failure-form.tsx';
import { lazy } from './lazy.tsx';
import { STALE_MS, useLive } from './live.ts';
import { Age, Progress } from './machines-page.tsx';
import { operatorWords } from './operator-words.ts';
import { Card, Facts, Shown } from './parts.tsx';
import { PrintCommands } from './print-commands.tsx';
import { ClearQueue, holds, QueueControls } from './queue-controls.tsx';
import { readMachines, readPrints } from './reading.ts';
import { inOrder } from './reading-order.ts';
import { session } from './session.ts';
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
            <ClearQueue prints={prints} again={live.again} />
            {prints.slice(0, SHOWN).map((print) => (
              <Print
                key={print.print}
                print={print}
                serial={serials.get(print.machine)}
                isNext={isNextOf(print, prints)}
                again={live.again}
              />
            ))}
          </div>
        )}
      </Shown>
    </>
  );
}

/** Whether no other print of this holder comes before it on its machine. */
const isNextOf = ({ machine, holder, place = 0 }: PrintView, prints: readonly PrintView[]) =>
  !prints.some(
    (other) =>
      other.state === 'queued' && other.machine === machine && other.holder === holder && (other.place ?? 0) < place,
  );

export function Print({
  print,
  serial,
  isNext,
  again,
}: {
  readonly print: PrintView;
  readonly isNext: boolean;
  readonly serial: string | undefined;
  readonly again: () => void;
}) {
  const w = words.value;
  const { state, object, orderedBy, code, reason, next } = print;
  const under = state === 'running' || state === 'permitted';
  const view = session.view.value;
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
          [w.meaning, errorText(code)],
          [w.reason, code === undefined ? undefined : `${code}: ${reason ?? ''}`, 'en'],
          [w.next, next, 'en'],
        ]}
      />
      {state === 'queued' && holds(print) ? <QueueControls print={print} isNext={isNext} again={again} /> : undefined}
      {!under && object !== undefined && holds(print) ? <FailureForm print={print} again={again} /> : undefined}
    </Card>
  );
}
