import type { LicenceView, MachineView, ObjectView, PrintView } from '@millrace/api';

/** Prints that have not ended. */
const active: ReadonlySet<PrintView['state']> = new Set(['queued', 'permitted', 'running']);
export const isActive = ({ state }: PrintView) => active.has(state);

/** Running and waiting prints, each machine's in its order; then the others, the newest first. */
export function inOrder(prints: readonly PrintView[]): PrintView[] {
  const rank = ({ state }: PrintView) => (state === 'queued' ? 1 : 0);
  const waiting = prints.filter(isActive);
  const ended = prints.filter((print) => !isActive(print));
  return [
    ...waiting.sort((a, b) => rank(a) - rank(b) || (a.place ?? 0) - (b.place ?? 0)),
    ...ended.sort((a, b) => b.created - a.created),
  ];
}

/** One cell of a licence's strip. */
export interface Cell {
  readonly number: number;
  /** State of its object; `free` if none was permitted yet, `earlier` if its object was not read. */
  readonly state: string;
  readonly object?: string;
}

/** Cells of a strip at most: those around the next object. */
const MOST_CELLS = 100;
const AHEAD = 20;

/** The objects of a licence, and those that were credited, from permit to certificate. */
export function cellsOf(licence: LicenceView, objects: readonly ObjectView[]): Cell[] {
  const own = new Map(
    objects.flatMap((view) => {
      const [id, number] = splitObject(view.object);
      return id === licence.licence ? [[number, view] as const] : [];
    }),
  );
  const count = licence.objects + licence.credits.length;
  const last = Math.min(count, Math.max(MOST_CELLS, licence.permitted + AHEAD));
  const first = Math.max(1, last - MOST_CELLS + 1);
  return Array.from({ length: last - first + 1 }, (_, at) => {
    const number = first + at;
    const found = own.get(number);
    if (found !== undefined) return { number, state: found.state, object: found.object };
    return { number, state: number <= licence.permitted ? 'earlier' : 'free' };
  });
}

/** "licence-number". */
function splitObject(object: string): [licence: string, number: number] {
  const at = object.lastIndexOf('-');
  return [object.slice(0, at), Number(object.slice(at + 1))];
}

export const leftOf = ({ objects, credits, permitted }: LicenceView) => objects + credits.length - permitted;

/** The machines on which a licence may be printed, of those that are registered. */
export function machinesFor(licence: LicenceView, machines: readonly MachineView[]): MachineView[] {
  return machines.filter(({ machine }) => licence.machines.includes(machine));
}
