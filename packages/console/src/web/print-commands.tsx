import type { PrintView } from '@millrace/api';
import type { PrintCommand } from '@millrace/protocol/shapes';
import { useRef, useState } from 'preact/hooks';
import { SigningState, useSigning } from './gesture.tsx';
import { operatorWords } from './operator-words.ts';
import { Facts } from './parts.tsx';
import { acts, session } from './session.ts';

/** How long the button has to be pressed that ends a print, ms. */
const HOLD_MS = 1_200;

/** What the person may command: operators of the holder everything, designers of the owner no emergency stop. */
function roleIn({ holder, owner }: PrintView): 'operator' | 'owner' | undefined {
  const view = session.view.value;
  const is = (party: string) => [view?.key, view?.organisation].includes(party);
  if (acts(view, 'operator') && is(holder)) return 'operator';
  return acts(view, 'designer') && is(owner) ? 'owner' : undefined;
}

/**
 * Pause, resume, cancel and emergency stop of a running print. The browser signs each, and the machine verifies it. The
 * emergency stop is sent at once; the end of a print needs a long press, released after it.
 */
export function PrintCommands({ print, again }: { readonly print: PrintView; readonly again: () => void }) {
  const w = operatorWords.value;
  const signing = useSigning();
  const [sent, setSent] = useState<PrintCommand>();
  const role = roleIn(print);
  const { halt } = print;
  const command = async (name: PrintCommand) => {
    setSent(name);
    await signing.sign(
      (identity) => ({ type: 'command', identity, print: print.print, command: name }),
      () => again(),
    );
    setSent(undefined);
  };
  const button = (name: PrintCommand, style: string) => (
    <button
      type="button"
      class={style}
      disabled={signing.busy && name !== 'stop'}
      data-command={name}
      onClick={() => void command(name)}
    >
      {sent === name ? w.sending : w.commands[name]}
    </button>
  );
  return (
    <>
      {halt === undefined ? undefined : (
        <div class="notice halt" role="status" data-halt={halt.actor}>
          <Facts
            rows={[
              [w.pausedBy, w.actors[halt.actor as keyof typeof w.actors] ?? halt.actor],
              [w.cause, halt.cause, ['agent', 'controller'].includes(halt.actor) ? 'en' : undefined],
              [w.nextStep, halt.nextStep, 'en'],
            ]}
          />
        </div>
      )}
      {role === undefined ? undefined : (
        <form class="commands" onSubmit={(event) => event.preventDefault()}>
          <SigningState signing={signing} />
          {halt === undefined ? button('pause', 'plain') : button('resume', 'plain')}
          <HoldButton
            label={sent === 'cancel' ? w.sending : w.commands.cancel}
            disabled={signing.busy}
            done={() => void command('cancel')}
          />
          {role === 'operator' ? button('stop', 'danger') : undefined}
        </form>
      )}
    </>
  );
}

/** A button for what cannot be undone: it acts when it is released after a long press, by pointer or key. */
export function HoldButton({
  label,
  disabled,
  done,
}: {
  readonly label: string;
  readonly disabled: boolean;
  readonly done: () => void;
}) {
  const w = operatorWords.value;
  const since = useRef<number | undefined>(undefined);
  const [holding, setHolding] = useState(false);
  const begin = () => {
    since.current ??= performance.now();
    setHolding(true);
  };
  const end = (acted: boolean) => {
    const held = since.current === undefined ? 0 : performance.now() - since.current;
    since.current = undefined;
    setHolding(false);
    if (acted && held >= HOLD_MS) done();
  };
  const isKey = ({ key }: KeyboardEvent) => key === ' ' || key === 'Enter';
  return (
    <button
      type="button"
      class={holding ? 'plain hold holding' : 'plain hold'}
      disabled={disabled}
      title={w.holdHint}
      data-command="cancel"
      onPointerDown={begin}
      onPointerUp={() => end(true)}
      onPointerLeave={() => end(false)}
      onPointerCancel={() => end(false)}
      onContextMenu={(event) => event.preventDefault()}
      onKeyDown={(event) => {
        if (!isKey(event)) return;
        event.preventDefault();
        begin();
      }}
      onKeyUp={(event) => {
        if (isKey(event)) end(true);
      }}
      onBlur={() => end(false)}
    >
      {holding ? w.holdOn : label}
    </button>
  );
}
