import type { LicenceView, MachineView, PrintView, SpoolView } from '@millrace/api';
import { toMillraceError } from '@millrace/base';
import { useState } from 'preact/hooks';
import { errorText } from './error-text.ts';
import { Signing } from './gesture.tsx';
import { GrantForm } from './grant-form.tsx';
import { useLive } from './live.ts';
import { useLoaded } from './loaded.ts';
import { Age } from './machines-page.tsx';
import { Card, Facts, Shown } from './parts.tsx';
import { type Check, checksFor } from './print-checks.ts';
import { readLicences, readMachines, readObjects, readPrints, readSpools } from './reading.ts';
import { leftOf, machinesFor } from './reading-order.ts';
import { RehearseButton } from './rehearse-button.tsx';
import { api } from './server.ts';
import { acts, session } from './session.ts';
import { Strip } from './strip.tsx';
import { formatCount, formatMoney, formatTime, words } from './words.ts';

async function read() {
  const [licences, objects, machines, prints] = await Promise.all([
    readLicences(),
    readObjects(),
    readMachines(),
    readPrints(),
  ]);
  return { licences, objects, machines, prints, spools: await readSpools() };
}
type Everything = Awaited<ReturnType<typeof read>>;

export function LicencesPage() {
  const w = words.value;
  const live = useLive('licences', read);
  return (
    <>
      <h1>{w.licences}</h1>
      <Age live={live} />
      {acts(session.view.value, 'designer') ? <GrantForm done={live.again} /> : undefined}
      <Shown loaded={live}>
        {(all) =>
          all.licences.length === 0 ? (
            <p>{w.noLicences}</p>
          ) : (
            all.licences.map((licence) => (
              <Licence key={licence.licence} licence={licence} all={all} again={live.again} />
            ))
          )
        }
      </Shown>
    </>
  );
}

function Licence({
  licence,
  all,
  again,
}: {
  readonly licence: LicenceView;
  readonly all: Everything;
  readonly again: () => void;
}) {
  const w = words.value;
  const { objects, machines, prints, spools } = all;
  const refused = prints.filter((print) => print.licence === licence.licence && print.state === 'refused');
  const view = session.view.value;
  const holds = acts(view, 'operator') && [view?.key, view?.organisation].includes(licence.holder);
  const left = leftOf(licence);
  return (
    <Card title={w.licenceOf(licence.licence.slice(0, 8))}>
      <Strip licence={licence} objects={objects} />
      <Facts
        rows={[
          [w.left, w.numberOf(formatCount(left), formatCount(licence.objects + licence.credits.length))],
          [w.state, w.licenceStates[licence.status]],
          [w.design, licence.design, 'code'],
          [w.validUntil, formatTime(licence.notAfter)],
          [w.materials, licence.materials.length === 0 ? w.anyMaterial : licence.materials.join(', ')],
          [w.price, licence.price && formatMoney(licence.price.amount, licence.price.currency)],
          [w.refusals, refused.length === 0 ? undefined : formatCount(refused.length)],
        ]}
      />
      {refused.length === 0 ? undefined : (
        <ul class="statements after">
          {refused.slice(0, 5).map(({ print, code, reason, next }) => (
            <li key={print}>
              <span aria-hidden="true">✕</span>
              {errorText(code) === undefined ? undefined : <span>{errorText(code)} </span>}
              <span lang="en">
                {code}: {reason} {next}
              </span>
            </li>
          ))}
        </ul>
      )}
      {holds && left > 0 ? (
        <PrintForm licence={licence} machines={machines} prints={prints} spools={spools} again={again} />
      ) : undefined}
    </Card>
  );
}

function PrintForm({
  licence,
  machines,
  prints,
  spools,
  again,
}: {
  readonly licence: LicenceView;
  readonly machines: readonly MachineView[];
  readonly prints: readonly PrintView[];
  readonly spools: readonly SpoolView[];
  readonly again: () => void;
}) {
  const w = words.value;
  const offered = machinesFor(licence, machines);
  const [chosen, setChosen] = useState<string>();
  const machine = offered.find((one) => one.machine === chosen) ?? offered[0];
  const odometer = useLoaded(machine?.machine ?? '', async () => {
    if (machine === undefined) return undefined;
    return api.machines.odometer({ id: machine.machine }).catch((error: unknown) => {
      // A machine without prints has none, and its figures may be nobody's business yet.
      if (['E_NOT_FOUND', 'E_FORBIDDEN'].includes(toMillraceError(error).code)) return undefined;
      throw error;
    });
  });
  const checks = checksFor({ licence, machine, spools, prints, odometer: odometer.value, now: Date.now() });
  const ready = checks.every(({ ok }) => ok) && odometer.error === undefined;
  return (
    <div class="after">
      <Signing
        label={w.print}
        disabled={!ready}
        job={(identity) => ({ type: 'print', identity, licence: licence.licence, machine: machine?.machine ?? '' })}
        done={() => {
          again();
          location.hash = '#/prints';
        }}
      >
        <label>
          {w.machine}
          <select value={machine?.machine} onChange={(event) => setChosen(event.currentTarget.value)}>
            {offered.map((one) => (
              <option key={one.machine} value={one.machine}>
                {one.serial}
              </option>
            ))}
          </select>
        </label>
        <ul class="statements checks">
          {checks.map((check) => (
            <Checked key={check.name} check={check} />
          ))}
        </ul>
      </Signing>
      {machine === undefined ? undefined : (
        <RehearseButton key={machine.machine} licence={licence.licence} machine={machine.machine} />
      )}
    </div>
  );
}

function Checked({ check: { name, ok, says } }: { readonly check: Check }) {
  const w = words.value;
  return (
    <li data-check={name} data-ok={ok} class={ok ? 'right' : 'wrong'}>
      <span aria-hidden="true">{ok ? '✓' : '✕'}</span>
      <span>
        <b>{w.checkNames[name]}: </b>
        {w.checks[says]}
      </span>
    </li>
  );
}
