import type { PrintView } from '@millrace/api';
import { Signing } from './gesture.tsx';
import { operatorWords } from './operator-words.ts';
import { acts, session } from './session.ts';
import { formatCount, words } from './words.ts';

/** Whether the person acts as an operator of the print's holder. */
export function holds(print: PrintView): boolean {
  const view = session.view.value;
  return acts(view, 'operator') && [view?.key, view?.organisation].includes(print.holder);
}

/** Takes a print that waits out of the queue, or makes it the next of its holder on that machine. */
export function QueueControls({
  print,
  isNext,
  again,
}: {
  readonly print: PrintView;
  readonly isNext: boolean;
  readonly again: () => void;
}) {
  return (
    <div class="commands">
      {isNext ? undefined : (
        <Signing
          plain
          label={operatorWords.value.first}
          job={(identity) => ({ type: 'first', identity, print: print.print })}
          done={again}
        />
      )}
      <Signing
        plain
        label={words.value.cancelPrint}
        job={(identity) => ({ type: 'cancel', identity, print: print.print })}
        done={again}
      />
    </div>
  );
}

/** Empties the person's queue with one signature each, after one gesture. */
export function ClearQueue({ prints, again }: { readonly prints: readonly PrintView[]; readonly again: () => void }) {
  const own = prints.filter((print) => print.state === 'queued' && holds(print)).map(({ print }) => print);
  if (own.length < 2) return undefined;
  return (
    <Signing
      plain
      label={operatorWords.value.clear(formatCount(own.length))}
      job={(identity) => ({ type: 'clear', identity, prints: own })}
      done={again}
    />
  );
}
