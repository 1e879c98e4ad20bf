import { disclosedTo, type MachineView, type PrintView, type Progress } from '@millrace/api';
import { type Disclosure, disclosures } from '@millrace/protocol/shapes';
import { useState } from 'preact/hooks';
import { Machine } from './machines-page.tsx';
import { Print } from './prints-page.tsx';
import { words } from './words.ts';

/** What the operator may see of a running print, what each part of it gives away, and how the operator's screen looks. */
export function Disclosures({
  disclose,
  change,
  machine,
}: {
  readonly disclose: readonly Disclosure[];
  readonly change: (disclose: readonly Disclosure[]) => void;
  /** On which the screen is shown. */
  readonly machine: MachineView | undefined;
}) {
  const w = words.value;
  const [shown, setShown] = useState(false);
  return (
    <fieldset>
      <legend>{w.discloseTitle}</legend>
      <p class="quiet">{w.discloseAlways}</p>
      {disclosures.map((one) => (
        <label key={one} class="tick">
          <input
            type="checkbox"
            checked={disclose.includes(one)}
            onChange={(event) =>
              change(
                disclosures.filter((each) => (each === one ? event.currentTarget.checked : disclose.includes(each))),
              )
            }
          />{' '}
          <strong>{w.disclosureNames[one]}</strong>: {w.disclosureTexts[one]}
        </label>
      ))}
      <button type="button" class="plain" aria-expanded={shown} onClick={() => setShown(!shown)}>
        {w.seeAsOperator}
      </button>
      {shown && machine !== undefined ? <OperatorScreen disclose={disclose} machine={machine} /> : undefined}
    </fieldset>
  );
}

/** Figures of a print half done, as a machine reports them. */
const example: Progress = {
  acked: 50,
  revision: 12,
  matrix: { order: 24, suite: 'keccak256', revisionMs: 1_000 },
  machine: {
    ...{ state: 'running', buffer: 28, wire: 900_000, hints: 54_000 },
    temperatures: { hotend: 210, bed: 60, chamber: 25 },
  },
};

/** The cards of the operator's own pages, filled by the function with which control fills them. */
function OperatorScreen({
  disclose,
  machine,
}: {
  readonly disclose: readonly Disclosure[];
  readonly machine: MachineView;
}) {
  const w = words.value;
  const none = '0'.repeat(32);
  const print: PrintView = {
    ...{ print: none, licence: none, design: none, machine: machine.machine, owner: none, holder: none },
    ...{ orderedBy: { key: none, name: w.anOperator }, state: 'running', segments: 100 },
    ...{ created: Date.now(), startBy: Date.now(), progress: disclosedTo(example, disclose) },
  };
  return (
    <div class="operator-screen" data-disclose={disclose.join(' ')}>
      <p class="quiet">{w.operatorScreen}</p>
      <Machine machine={{ ...machine, online: true }} prints={[print]} again={() => undefined} />
      <Print print={print} serial={machine.serial} isNext again={() => undefined} />
      <p>{disclose.includes('position') ? w.operatorSeesPath : w.operatorSeesNoPath}</p>
    </div>
  );
}
