import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Closer, concatBytes, MillraceError, systemClock, systemRandom } from '@millrace/base';
import { initInstallation, openInstallation, openSession, startInstallation } from '@millrace/cli';
import {
  grantLicence,
  registerAll,
  requestPrint,
  requireCompleted,
  type Session,
  storeDesign,
  watchPrint,
} from '@millrace/client';
import { prepareFile } from '@millrace/client/node';
import { estimateDesign, syntheticDesign } from '@millrace/gcode';
import { type Row, rowOf } from './bench.ts';

const PRINTS = 3;
const DESIGN_BYTES = 500_000;
/** Duration of a print in real seconds, enough for one or two tables of order 24. */
const SECONDS = 6;

/**
 * An installation of five processes on this computer prints the same design several times. Measures the time from the
 * permit to the machine's first line, by control's clock, and the peak memory of the agent (VmHWM, which includes the
 * pages of Node itself).
 */
export async function printRows(note: (text: string) => void): Promise<Row[]> {
  const rows: Row[] = [];
  for (const order of [16, 24] as const) {
    note(`five processes, order ${order}: ${PRINTS} prints of ${DESIGN_BYTES} bytes`);
    const { firstLine, megabytes } = await prints(order);
    rows.push(rowOf(`order ${order}: permit to first line`, 'ms', firstLine));
    if (megabytes !== undefined) rows.push(rowOf(`order ${order}: agent’s memory, largest`, 'MB', [megabytes]));
  }
  return rows;
}

async function prints(order: 16 | 24) {
  const closer = new Closer();
  const folder = await mkdtemp(join(tmpdir(), 'millrace-bench-'));
  closer.add({ close: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }) });
  try {
    const content = concatBytes(...syntheticDesign({ bytes: DESIGN_BYTES, seed: 1 }));
    const { totalSeconds } = await estimateDesign([content]);
    const fleet = await start(folder, { order, factor: Math.ceil(totalSeconds / SECONDS) }, closer);
    const { owner, operator, machine } = fleet;
    const file = join(folder, 'part.gcode');
    await writeFile(file, content);
    const { design } = await storeDesign(owner, await prepareFile(owner, file, {}, () => undefined), () => undefined);
    const terms = { design, objects: PRINTS, machines: [machine], materials: [], days: 1, holder: 'operator' };
    const licence = await grantLicence(owner, terms);
    const firstLine: number[] = [];
    for (let i = 0; i < PRINTS; i++) {
      const outcome = await watchPrint(operator, await requestPrint(operator, licence, machine), () => undefined);
      requireCompleted(outcome);
      firstLine.push(await untilFirstLine(owner, outcome.view.object ?? ''));
    }
    return { firstLine, megabytes: await peakOf(fleet.pid()) };
  } finally {
    await closer.close();
  }
}

async function start(folder: string, { order, factor }: { order: 16 | 24; factor: number }, closer: Closer) {
  const home = join(folder, 'installation');
  const modules = { clock: systemClock, random: systemRandom };
  const { layout } = await initInstallation({ home, factor, users: ['owner', 'operator'], ...modules });
  const installation = await openInstallation(home);
  const [entry] = installation.description.machines;
  if (entry === undefined) throw new MillraceError('E_CONFIG', 'the installation has no machine');
  const settings = join(layout.machine(entry.name), 'machine.json');
  const json = JSON.parse(await readFile(settings, 'utf8')) as { agent: object };
  await writeFile(settings, JSON.stringify({ ...json, agent: { ...json.agent, order, suite: 'keccak256' } }));
  const session = async (user: string) => {
    const opened = await openSession({ installation, user, ...modules });
    closer.add({ close: async () => opened.close() });
    return opened;
  };
  const { supervisor } = await startInstallation({
    installation,
    clock: systemClock,
    ports: {},
    register: async () => registerAll(await session('admin')),
  });
  closer.add({ close: () => supervisor.stop() });
  return {
    owner: await session('owner'),
    operator: await session('operator'),
    machine: entry.registration.machine,
    pid: () => supervisor.status().processes.find(({ name }) => name === entry.name)?.pid,
  };
}

/** Time from the permit to the report that precedes the machine's first byte, ms. */
async function untilFirstLine(owner: Session, object: string): Promise<number> {
  const { events } = await owner.api.object(object);
  const at = (type: string) => events.find((event) => event.type === type)?.time ?? Number.NaN;
  return at('started') - at('permitted');
}

/** Peak memory in MB (10^6 bytes), on systems that report it. */
async function peakOf(pid: number | null | undefined): Promise<number | undefined> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const kilobytes = /^VmHWM:\s+(\d+) kB/m.exec(status)?.[1];
  return kilobytes === undefined ? undefined : (Number(kilobytes) * 1_024) / 1e6;
}
