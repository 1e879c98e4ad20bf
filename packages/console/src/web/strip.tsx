import type { LicenceView, ObjectView } from '@millrace/api';
import { useState } from 'preact/hooks';
import { identity } from './identity.ts';
import { Failure } from './parts.tsx';
import { type Cell, cellsOf } from './reading-order.ts';
import { api, installation, log } from './server.ts';
import { acts, session } from './session.ts';
import type { CheckedStrip } from './strip-check.ts';
import { stripWords } from './strip-words.ts';
import { formatCount, words } from './words.ts';

interface Check {
  /** What was checked: another state of the strip is not. */
  readonly of: string;
  readonly done?: number;
  readonly result?: CheckedStrip;
  readonly error?: unknown;
}

/** N cells, from permit to certificate. The owner compares them with the ledger, in the browser. */
export function Strip({
  licence,
  objects,
}: {
  readonly licence: LicenceView;
  readonly objects: readonly ObjectView[];
}) {
  const w = words.value;
  const [known, setCheck] = useState<Check>();
  const cells = cellsOf(licence, objects);
  const of = cells.map(({ state }) => state).join();
  const check = known?.of === of ? known : undefined;
  const run = async () => {
    setCheck({ of, done: 0 });
    try {
      setCheck({ of, result: await compare(licence.licence, cells, (done) => setCheck({ of, done })) });
    } catch (error) {
      setCheck({ of, error });
    }
  };
  const failures = check?.result?.failures;
  const view = session.view.value;
  const owns = acts(view, 'designer') && [view?.key, view?.organisation].includes(licence.owner);
  return (
    <>
      <ol class="strip" aria-label={w.stripOf(formatCount(licence.objects))}>
        {cells.map((cell) => (
          <li
            key={cell.number}
            class={`cell ${failures?.has(cell.number) ? 'wrong' : toneOf(cell)}`}
            data-state={cell.state}
            data-checked={check?.result === undefined ? undefined : !failures?.has(cell.number)}
          >
            <span class="quiet">{formatCount(cell.number)}</span>
            {cell.object === undefined ? (
              <span>{cell.state === 'free' ? w.free : w.earlier}</span>
            ) : (
              <a href={`#/certificate/${cell.object}`}>{stateWord(cell.state)}</a>
            )}
          </li>
        ))}
      </ol>
      {owns ? <Compared check={check} count={cells.length} run={() => void run()} /> : undefined}
    </>
  );
}

function Compared({
  check,
  count,
  run,
}: {
  readonly check: Check | undefined;
  readonly count: number;
  readonly run: () => void;
}) {
  const w = stripWords.value;
  const { done, result, error } = check ?? {};
  const failed = [...(result?.failures ?? [])];
  return (
    <div class="compared" data-strip={result === undefined ? undefined : failed.length === 0 ? 'right' : 'wrong'}>
      {done === undefined ? undefined : <p role="status">{w.checking(formatCount(done), formatCount(count))}</p>}
      {result === undefined ? undefined : (
        <div role="status">
          <p>
            {w.checked(formatCount(result.size))}{' '}
            {result.witnesses.length === 0 ? w.unwitnessed : w.witnessed(result.witnesses.join(', '))}{' '}
            {w.objects(formatCount(result.objects), formatCount(result.absent))}
            {result.unchecked === 0 ? '' : ` ${w.unchecked(formatCount(result.unchecked))}`}
          </p>
          {failed.length === 0 ? undefined : (
            <p>{w.failed(failed.map(([number]) => formatCount(number)).join(', '))}</p>
          )}
        </div>
      )}
      {failed[0] === undefined ? undefined : <Failure error={failed[0][1]} />}
      {error === undefined ? undefined : <Failure error={error} />}
      <button type="button" class="plain" disabled={done !== undefined} onClick={run}>
        {check === undefined ? w.check : w.again}
      </button>
    </div>
  );
}

/** By the keys of this browser's invitation, if it has one: another server cannot name others. */
async function compare(licence: string, cells: readonly Cell[], progress: (done: number) => void) {
  const [{ checkStrip }, { directoryBy }, { logKeysOf }] = await Promise.all([
    import('./strip-check.ts'),
    import('./cloud.ts'),
    import('@millrace/protocol'),
  ]);
  const named = await installation();
  const own = identity.value;
  const logKeys = own === undefined ? named.logKeys : logKeysOf((await directoryBy(own)).directory);
  return checkStrip(
    { licence, cells },
    {
      log,
      certificate: (id) => api.objects.certificate({ id }),
      map: (body) => api.ledger.map({ body }),
      opening: async (index) => (await api.ledger.openings({ cursor: String(index), limit: 1 })).items[0],
    },
    { logKeys, witnesses: named.witnesses, authority: own?.adminKey ?? named.adminKey },
    progress,
  );
}

/** States come from the ledger; a new kind is shown as it is. */
function stateWord(state: string): string {
  const known: Readonly<Record<string, string>> = words.value.objectStates;
  return known[state] ?? state;
}

function toneOf({ state }: Cell): string {
  if (state === 'completed') return 'done';
  if (['failed', 'alarmed', 'alarm'].includes(state)) return 'wrong';
  return state === 'free' ? 'free' : 'under-way';
}
