import { type Disclosure, usualDisclosures } from '@millrace/protocol/shapes';
import { useState } from 'preact/hooks';
import { Disclosures } from './disclosures.tsx';
import { Signing } from './gesture.tsx';
import { useLoaded } from './loaded.ts';
import { readOwnDesigns } from './own-designs.ts';
import { Shown } from './parts.tsx';
import { readMachines, readOrganisations } from './reading.ts';
import { words } from './words.ts';

async function read() {
  const [{ designs }, machines, organisations] = await Promise.all([
    readOwnDesigns(),
    readMachines(),
    readOrganisations(),
  ]);
  return {
    designs: designs.filter(({ state }) => state === 'stored'),
    machines,
    organisations: organisations.filter(({ kinds }) => kinds.includes('bureau')),
  };
}

/** The owner's licence, in one form and with one signature. */
export function GrantForm({
  done,
  design,
  open = false,
}: {
  readonly done: () => void;
  /** The design to begin with. */
  readonly design?: string;
  readonly open?: boolean;
}) {
  const w = words.value;
  const loaded = useLoaded('grant', read);
  return (
    <details class="card" open={open}>
      <summary>{w.grantTitle}</summary>
      <Shown loaded={loaded}>{(offered) => <Form offered={offered} first={design} done={done} />}</Shown>
    </details>
  );
}

function Form({
  offered,
  first,
  done,
}: {
  readonly offered: Awaited<ReturnType<typeof read>>;
  readonly first: string | undefined;
  readonly done: () => void;
}) {
  const w = words.value;
  const { designs, machines, organisations } = offered;
  const [design, setDesign] = useState(first ?? designs[0]?.design ?? '');
  const [holder, setHolder] = useState(organisations[0]?.organisation ?? '');
  const [objects, setObjects] = useState(1);
  const [days, setDays] = useState(30);
  const [material, setMaterial] = useState('');
  const [chosen, setChosen] = useState<readonly string[]>([]);
  const [disclose, setDisclose] = useState<readonly Disclosure[]>(usualDisclosures);
  const [granted, setGranted] = useState(false);
  if (designs.length === 0) return <p class="after">{w.noDesigns}</p>;
  return (
    <Signing
      label={w.grant}
      disabled={chosen.length === 0 || !(objects >= 1) || !(days > 0) || holder === ''}
      job={(identity) => ({
        ...{ type: 'grant', identity, design, holder, objects, days, machines: chosen, disclose },
        materials: material.trim() === '' ? [] : [material.trim()],
      })}
      done={() => {
        setGranted(true);
        done();
      }}
    >
      <label>
        {w.design}
        <select value={design} onChange={(event) => setDesign(event.currentTarget.value)}>
          {designs.map((one) => (
            <option key={one.design} value={one.design}>
              {one.name} ({one.design.slice(0, 8)})
            </option>
          ))}
        </select>
      </label>
      <label>
        {w.holder}
        <select value={holder} onChange={(event) => setHolder(event.currentTarget.value)}>
          {organisations.map(({ organisation, name }) => (
            <option key={organisation} value={organisation}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label>
        {w.objectsN}
        <input
          type="number"
          min={1}
          max={1_000_000}
          required
          value={objects}
          onInput={(event) => setObjects(event.currentTarget.valueAsNumber)}
        />
      </label>
      <label>
        {w.days}
        <input
          type="number"
          min={1}
          max={3_650}
          required
          value={days}
          onInput={(event) => setDays(event.currentTarget.valueAsNumber)}
        />
      </label>
      <label>
        {w.materialWanted}
        <input
          type="text"
          maxLength={60}
          autocomplete="off"
          value={material}
          onInput={(event) => setMaterial(event.currentTarget.value)}
        />
      </label>
      <p class="quiet after">{w.grantNote}</p>
      <fieldset>
        <legend>{w.machines}</legend>
        {machines.map(({ machine, serial }) => (
          <label key={machine} class="tick">
            <input
              type="checkbox"
              checked={chosen.includes(machine)}
              onChange={(event) =>
                setChosen(event.currentTarget.checked ? [...chosen, machine] : chosen.filter((one) => one !== machine))
              }
            />{' '}
            {serial}
          </label>
        ))}
      </fieldset>
      <Disclosures
        disclose={disclose}
        change={setDisclose}
        machine={machines.find(({ machine }) => chosen.includes(machine)) ?? machines[0]}
      />
      {granted ? <p role="status">{w.granted}</p> : undefined}
    </Signing>
  );
}
