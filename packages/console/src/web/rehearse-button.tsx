import { useState } from 'preact/hooks';
import { Signing } from './gesture.tsx';
import type { Rehearsed } from './operator-jobs.ts';
import { operatorWords } from './operator-words.ts';

/** Asks the machine whether the design fits. Nothing moves, and no object is counted. */
export function RehearseButton({ licence, machine }: { readonly licence: string; readonly machine: string }) {
  const w = operatorWords.value;
  const [answer, setAnswer] = useState<Rehearsed>();
  return (
    <>
      <Signing
        plain
        label={w.rehearse}
        job={(identity) => ({ type: 'rehearse', identity, licence, machine })}
        done={(value) => setAnswer(value as Rehearsed)}
      />
      {answer === undefined ? undefined : (
        <p role="status" data-rehearsal={answer.outcome ?? 'none'}>
          {answer.outcome === 'fits' ? w.fits : undefined}
          {answer.outcome === 'does-not-fit' ? w.fitsNot(answer.rules.join(', ')) : undefined}
          {answer.outcome === undefined ? w.notRehearsed(answer.code ?? '') : undefined}
        </p>
      )}
    </>
  );
}
