import type { SpoolView } from '@millrace/api';
import { useState } from 'preact/hooks';
import { readCodeOf } from './code-reader.ts';
import { CodeScanner } from './code-scanner.tsx';
import { Signing } from './gesture.tsx';
import { operatorWords } from './operator-words.ts';
import { formatCount } from './words.ts';

/** What is loaded on a machine, and a certified spool that is loaded by the code on its label. */
export function Spools({
  machine,
  spools,
  again,
}: {
  readonly machine: string;
  readonly spools: readonly SpoolView[];
  readonly again: () => void;
}) {
  const w = operatorWords.value;
  const [code, setCode] = useState('');
  const [unread, setUnread] = useState(false);
  const scan = async (file: File | undefined) => {
    if (file === undefined) return;
    const found = await readCodeOf(file).catch(() => undefined);
    setUnread(found === undefined);
    if (found !== undefined) setCode(found);
  };
  return (
    <>
      <p class="quiet">
        {spools.length === 0
          ? w.noSpool
          : spools
              .map(({ name, supplier, grams, used }) => {
                const left = grams === undefined ? undefined : w.gramsLeft(formatCount(Math.max(0, grams - used)));
                return [name, supplier?.name ?? w.uncertified, left].filter((part) => part !== undefined).join(' · ');
              })
              .join(', ')}
      </p>
      <details>
        <summary>{w.loadSpool}</summary>
        <Signing
          label={w.load}
          disabled={code.trim() === ''}
          job={(identity) => ({ type: 'load-spool', identity, machine, code })}
          done={() => {
            setCode('');
            again();
          }}
        >
          <label>
            {w.spoolCode}
            <input
              type="text"
              autocomplete="off"
              spellcheck={false}
              value={code}
              onInput={(event) => setCode(event.currentTarget.value)}
            />
          </label>
          <div class="row">
            <CodeScanner
              found={(found) => {
                setUnread(false);
                setCode(found);
              }}
            />
            <label class="button plain">
              {w.scan}
              <input
                type="file"
                accept="image/*"
                capture="environment"
                onChange={(event) => void scan(event.currentTarget.files?.[0])}
              />
            </label>
          </div>
          {unread ? <p role="status">{w.notRead}</p> : undefined}
        </Signing>
      </details>
    </>
  );
}
