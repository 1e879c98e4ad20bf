import { useRef } from 'preact/hooks';
import { readHead } from './ledger-proof.ts';
import { STALE_MS, useLive } from './live.ts';
import { useLoaded } from './loaded.ts';
import { Age } from './machines-page.tsx';
import { Card, Facts, Shown, Verdict } from './parts.tsx';
import {
  type Alarm,
  alarmsOf,
  Metrics,
  type NodeState,
  nodesOf,
  parseMetrics,
  type Reading,
  rateOf,
} from './platform-data.ts';
import { platformWords } from './platform-words.ts';
import { api, installation, log } from './server.ts';
import { session } from './session.ts';
import { Table } from './table.tsx';
import { formatBytes, formatCount, formatDay, formatSeconds } from './words.ts';

async function read(): Promise<Reading> {
  const text = new TextDecoder().decode(await api.metrics.read());
  return { metrics: new Metrics(parseMetrics(text)), at: Date.now() };
}

/** The state of the installation, for its administrator. */
export function PlatformPage() {
  const w = platformWords.value;
  return (
    <>
      <h1>{w.title}</h1>
      {session.view.value?.admin === true ? <Platform /> : <p>{w.onlyAdministrator}</p>}
    </>
  );
}

function Platform() {
  const w = platformWords.value;
  const live = useLive('platform', read);
  const rate = useRate('millrace_revisions_total', live.value);
  return (
    <>
      <p>{w.text}</p>
      <Age live={live} />
      <Shown loaded={live}>
        {(reading) => {
          const { metrics, at } = reading;
          const nodes = nodesOf(metrics, at);
          return (
            <div class={live.age > STALE_MS ? 'list stale' : 'list'}>
              <Alarms alarms={alarmsOf(metrics, nodes, at)} />
              <Nodes nodes={nodes} />
              <div class="two">
                <Vault metrics={metrics} />
                <Work metrics={metrics} rate={rate} />
                <LedgerCard metrics={metrics} />
              </div>
            </div>
          );
        }}
      </Shown>
    </>
  );
}

/** Rate of a counter. Nodes report every ten seconds, so the reading before the last change is what counts. */
function useRate(name: string, reading: Reading | undefined): number | undefined {
  const kept = useRef<{ first: Reading; rate: number | undefined }>(undefined);
  if (reading === undefined) return undefined;
  const known = kept.current;
  if (known === undefined) kept.current = { first: reading, rate: undefined };
  else if (reading.at - known.first.at >= 20_000)
    kept.current = { first: reading, rate: rateOf(name, known.first, reading) };
  return kept.current?.rate;
}

function Alarms({ alarms }: { readonly alarms: readonly Alarm[] }) {
  const w = platformWords.value;
  if (alarms.length === 0) return <Verdict tone="good" title={w.allWell} text={w.allWellText} />;
  return (
    <div class="card notice error" role="alert">
      <h2>{w.needsYou(formatCount(alarms.length))}</h2>
      <ul>
        {alarms.map((alarm) => (
          <li key={JSON.stringify(alarm)} data-alarm={alarm.what}>
            {'node' in alarm ? <span class="mono">{alarm.node} </span> : undefined}
            {w.alarms[alarm.what]}
          </li>
        ))}
      </ul>
    </div>
  );
}

function Nodes({ nodes }: { readonly nodes: readonly NodeState[] }) {
  const w = platformWords.value;
  const seen = ({ role, silentMs }: NodeState) =>
    role === 'control' ? '–' : silentMs === undefined ? w.never : w.ago(formatSeconds(silentMs / 1_000));
  return (
    <Card title={w.nodes}>
      <Table
        label={w.nodes}
        columns={[w.node, w.seen, w.directory, w.certificate, w.memory, w.disk, w.delay]}
        rows={nodes.map((node) => [
          <span class="mono" data-node={node.id}>
            {node.id}
          </span>,
          seen(node),
          shown(node.directory, formatCount),
          shown(node.certificateUntil, formatDay),
          shown(node.memory, formatBytes),
          shown(node.diskFree, formatBytes),
          shown(node.delay, (seconds) => `${formatCount(Math.round(seconds * 1_000))} ms`),
        ])}
      />
    </Card>
  );
}

const shown = (value: number | undefined, format: (value: number) => string) =>
  value === undefined ? '–' : format(value);

function Vault({ metrics }: { readonly metrics: Metrics }) {
  const w = platformWords.value;
  const progress = metrics.sum('millrace_sweep_progress');
  return (
    <Card title={w.vault}>
      <Facts
        rows={[
          [w.epoch, shown(metrics.sum('millrace_vault_epoch'), formatCount)],
          [w.cells, shown(metrics.sum('millrace_vault_cells'), formatCount)],
          [w.problems, shown(metrics.sum('millrace_vault_problems'), formatCount)],
          [
            w.sweep,
            progress === undefined || progress >= 1 ? w.noSweep : `${formatCount(Math.floor(100 * progress))} %`,
          ],
          [w.period, shown(metrics.sum('millrace_sweep_period_seconds'), formatSeconds)],
          [w.reached, shown(metrics.sum('millrace_sweep_reached_seconds'), formatSeconds)],
        ]}
      />
    </Card>
  );
}

function Work({ metrics, rate }: { readonly metrics: Metrics; readonly rate: number | undefined }) {
  const w = platformWords.value;
  return (
    <Card title={w.work}>
      <Facts
        rows={[
          [w.machines, shown(metrics.sum('millrace_machines_online'), formatCount)],
          [w.prints, shown(metrics.sum('millrace_prints_running'), formatCount)],
          [w.streams, shown(metrics.sum('millrace_streams'), formatCount)],
          [w.revisions, rate === undefined ? w.counting : formatCount(Math.round(rate))],
          [w.permits, shown(metrics.sum('millrace_permits_total'), formatCount)],
        ]}
      />
    </Card>
  );
}

function LedgerCard({ metrics }: { readonly metrics: Metrics }) {
  const w = platformWords.value;
  const entries = metrics.sum('millrace_ledger_entries');
  const { value: head } = useLoaded(`head-${entries}`, async () => readHead(log, await installation()));
  const witnesses = head?.cosignatures.map(({ name }) => name) ?? [];
  return (
    <Card title={w.ledger}>
      <Facts
        rows={[
          [w.entries, shown(entries, formatCount)],
          [w.witnesses, witnesses.length === 0 ? w.noWitnesses : witnesses.join(', ')],
        ]}
      />
    </Card>
  );
}
