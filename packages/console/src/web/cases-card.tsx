import type { CaseView } from '@millrace/api';
import { useState } from 'preact/hooks';
import { reasonNames } from './case-reasons.ts';
import { Signing } from './gesture.tsx';
import { useLoaded } from './loaded.ts';
import { Card, Facts } from './parts.tsx';
import { readDesigns } from './reading.ts';
import { acts, session } from './session.ts';
import { usageWords } from './usage-words.ts';
import { formatTime } from './words.ts';

/** Failure cases of own designs and licences. Owners decide on the open ones. */
export function CasesCard({ cases, again }: { readonly cases: readonly CaseView[]; readonly again: () => void }) {
  const w = usageWords.value;
  const decides = acts(session.view.value, 'designer');
  const { value: designs = [] } = useLoaded(`case-designs-${decides}`, async () => (decides ? readDesigns() : []));
  return (
    <Card title={w.cases}>
      {cases.length === 0 ? <p>{w.noCases}</p> : undefined}
      {cases.map((view) => (
        <OneCase
          key={view.object}
          view={view}
          mayDecide={view.state === 'open' && designs.some(({ design }) => design === view.design)}
          again={again}
        />
      ))}
    </Card>
  );
}

function OneCase({
  view,
  mayDecide,
  again,
}: {
  readonly view: CaseView;
  readonly mayDecide: boolean;
  readonly again: () => void;
}) {
  const w = usageWords.value;
  const [note, setNote] = useState('');
  const { object, state, reason, created, evidence, byPolicy } = view;
  const job = (credit: boolean) => (identity: Parameters<NonNullable<Parameters<typeof Signing>[0]['job']>>[0]) => ({
    ...{ type: 'decide-case' as const, identity, view, credit },
    ...(note === '' ? {} : { note }),
  });
  return (
    <div class="key" data-case={object} data-case-state={state}>
      <p>
        <span class={`badge ${state === 'open' ? 'queued' : state === 'credited' ? 'completed' : 'failed'}`}>
          {w.caseStates[state]}
        </span>{' '}
        {byPolicy === true ? <span class="quiet">{w.byPolicy}</span> : undefined}
      </p>
      <Facts
        rows={[
          [w.object, object, 'code'],
          [w.reason, reasonNames.value[reason]],
          [w.reported, formatTime(created)],
          [w.note, view.note],
        ]}
      />
      {evidence ? <p class="quiet small">{w.evidence}</p> : undefined}
      {!mayDecide ? undefined : (
        <details>
          <summary>
            {w.credit} / {w.deny} …
          </summary>
          <p class="small">{w.creditText}</p>
          <label>
            {w.note}
            <input type="text" maxLength={200} value={note} onInput={(event) => setNote(event.currentTarget.value)} />
          </label>
          <Signing label={w.credit} job={job(true)} done={again} />
          <Signing label={w.deny} plain job={job(false)} done={again} />
        </details>
      )}
    </div>
  );
}
