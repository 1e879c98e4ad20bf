import type { LicenceView, MachineView, ObjectView, PrintView, SpoolView } from '@millrace/api';
import { describe, expect, it } from 'vitest';
import { checksFor, type PrintCase } from '../src/web/print-checks.ts';
import { cellsOf, inOrder } from '../src/web/reading-order.ts';

const licence = {
  ...{ licence: 'ab', objects: 3, credits: ['ab-1'], permitted: 2, status: 'active', materials: ['PLA'] },
  ...{ notBefore: 100, notAfter: 200, machines: ['m'] },
} as unknown as LicenceView;
const machine = { machine: 'm', online: true } as unknown as MachineView;
const spool = (name: string, supplier?: object) => ({ machine: 'm', name, supplier }) as unknown as SpoolView;
const given = (changes: Partial<PrintCase> = {}): PrintCase => ({
  ...{ licence, machine, spools: [], prints: [], odometer: undefined, now: 150 },
  ...changes,
});
const says = (changes: Partial<PrintCase>) => checksFor(given(changes)).map(({ ok, says: what }) => `${ok} ${what}`);

describe('the checks before a print', () => {
  it('are all green for a machine that is ready', () => {
    expect(says({})).toEqual(['true machineReady', 'true spoolUnknown', 'true safetyClear', 'true licenceLeft']);
    expect(says({ spools: [spool('PLA')] })[1]).toBe('true spoolRight');
    expect(says({ licence: { ...licence, materials: [] } })[1]).toBe('true spoolAny');
  });

  it('say what to do about each red one', () => {
    expect(says({ machine: { ...machine, online: false } })[0]).toBe('false machineOffline');
    expect(says({ machine: undefined })[0]).toBe('false machineMissing');
    expect(says({ spools: [spool('ABS')] })[1]).toBe('false spoolOther');
    const certified = { ...licence, materials: ['PLA certified by Supplier'] };
    expect(says({ licence: certified })[1]).toBe('false spoolNone');
    expect(says({ licence: certified, spools: [spool('PLA')] })[1]).toBe('false spoolOther');
    expect(says({ licence: certified, spools: [spool('PLA', {})] })[1]).toBe('true spoolRight');
    const odometer = { alarm: {}, cleared: [] } as unknown as NonNullable<PrintCase['odometer']>;
    expect(says({ odometer })[2]).toBe('false safetyAlarm');
    expect(says({ licence: { ...licence, permitted: 4 } })[3]).toBe('false licenceUsed');
    expect(says({ now: 99 })[3]).toBe('false licenceEarly');
    expect(says({ now: 201 })[3]).toBe('false licenceOver');
    expect(says({ licence: { ...licence, status: 'suspended' } })[3]).toBe('false licenceNotActive');
  });
});

describe('what the pages show', () => {
  it('has a cell for every object, credited ones too', () => {
    const objects = [
      { object: 'ab-2', state: 'completed' },
      { object: 'cd-1', state: 'failed' },
    ] as unknown as ObjectView[];
    expect(cellsOf(licence, objects).map(({ number, state }) => `${number} ${state}`)).toEqual([
      '1 earlier',
      '2 completed',
      '3 free',
      '4 free',
    ]);
    const large = { ...licence, objects: 10_000, permitted: 5_000 };
    const numbers = cellsOf(large, []).map(({ number, state }) => `${number} ${state}`);
    expect([numbers.length, numbers[0], numbers.at(-1)]).toEqual([100, '4921 earlier', '5020 free']);
  });

  it('has running prints first, then the queue in its order, then the newest', () => {
    const print = (name: string, state: string, place: number, created: number) =>
      ({ print: name, state, place, created }) as unknown as PrintView;
    const listed = [
      print('old', 'completed', 0, 1),
      print('second', 'queued', 8, 3),
      print('first', 'queued', 7, 4),
      print('now', 'running', 0, 2),
      print('new', 'failed', 0, 9),
    ];
    expect(inOrder(listed).map((view) => view.print)).toEqual(['now', 'first', 'second', 'new', 'old']);
  });
});
