import { systemClock } from '@millrace/base';
import { openAuthority } from '@millrace/identity';
import { createEngine } from '@millrace/live-matrix';
import { type Seen, serveParent } from './bench-fleet-ipc.ts';
import { type Counts, FleetMachine, type MachineParts, machineName } from './bench-fleet-machine.ts';
import { createCells } from './bench-fleet-setup.ts';

/* A process that runs many machines on one timer. */

const TICK_MS = 50;
/** Connections that are opened concurrently. */
const AT_ONCE = 16;

const zero = (): Counts => ({
  running: 0,
  frames: 0,
  keys: 0,
  reverse: 0,
  taken: 0,
  wrong: 0,
  starved: 0,
  lost: 0,
  latency: [],
});
const counts = zero();
const machines: FleetMachine[] = [];
let parts: MachineParts | undefined;

setInterval(() => {
  const now = performance.now();
  for (const machine of machines) machine.tick(now);
}, TICK_MS);

async function add(count: number, { fleet, ...rest }: MachineParts): Promise<void> {
  const authority = await openAuthority(fleet.authority, () => systemClock.now());
  let left = count;
  const connect = async () => {
    while (left-- > 0) {
      const name = machineName();
      const tls = await authority.issue({ role: 'machine', name });
      await new Promise<void>((resolve) => {
        machines.push(new FleetMachine(name, tls, { fleet, ...rest }, resolve));
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, connect));
}

function see(): Seen {
  return { ...counts, machines: machines.length, latency: Float64Array.from(counts.latency) };
}

serveParent(async (message) => {
  switch (message.type) {
    case 'load':
      parts = { fleet: message.fleet, host: message.host, engine: createEngine(), cells: createCells(), counts };
      return { type: 'ready' };
    case 'add':
      if (parts === undefined) throw new Error('not set up');
      await add(message.machines, parts);
      return { type: 'ready' };
    case 'reset':
      Object.assign(counts, { ...zero(), running: counts.running });
      return { type: 'ready' };
    case 'see':
      return { type: 'seen', seen: see() };
    default:
      throw new Error(`not for machines: ${message.type}`);
  }
});
