import type { PrintView } from '@millrace/api';
import type { CaseReason } from '@millrace/protocol';
import { caseReasons } from '@millrace/protocol/shapes';
import { useState } from 'preact/hooks';
import { reasonNames } from './case-reasons.ts';
import { Signing } from './gesture.tsx';
import { operatorWords } from './operator-words.ts';

const SHORTER_THAN = 1_000;

/** Reports that an object cannot be used. The owner alone can open text and photo. */
export function FailureForm({ print, again }: { readonly print: PrintView; readonly again: () => void }) {
  const w = operatorWords.value;
  const [reason, setReason] = useState<CaseReason>('adhesion');
  const [text, setText] = useState('');
  const [photo, setPhoto] = useState<File>();
  const [done, setDone] = useState(false);
  const { object, licence } = print;
  if (object === undefined) return undefined;
  if (done) return <p role="status">{w.reported}</p>;
  return (
    <details class="after">
      <summary>{w.reportFailure}</summary>
      <Signing
        label={w.signReport}
        job={(identity) => ({
          ...{ type: 'report-failure', identity, object, licence, reason },
          ...(text === '' ? {} : { text }),
          ...(photo === undefined ? {} : { photo }),
        })}
        done={() => {
          setDone(true);
          again();
        }}
      >
        <label>
          {w.reason}
          <select value={reason} onChange={(event) => setReason(event.currentTarget.value as CaseReason)}>
            {caseReasons.map((one) => (
              <option key={one} value={one}>
                {reasonNames.value[one]}
              </option>
            ))}
          </select>
        </label>
        <label>
          {w.text}
          <textarea
            maxLength={SHORTER_THAN}
            value={text}
            onInput={(event) => setText(event.currentTarget.value.trimStart())}
          />
        </label>
        <label>
          {w.photo}
          <input
            type="file"
            accept="image/jpeg,image/png"
            capture="environment"
            onChange={(event) => setPhoto(event.currentTarget.files?.[0])}
          />
        </label>
        <p class="quiet">{w.sealed}</p>
      </Signing>
    </details>
  );
}
