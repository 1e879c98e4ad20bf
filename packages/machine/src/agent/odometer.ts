import { join } from 'node:path';
import { Mutex } from '@millrace/base';
import { filamentGrams, pla } from '@millrace/gcode';
import type { Odometer } from '@millrace/protocol';
import { z } from 'zod';
import type { Telemetry } from '../drivers/contract.ts';
import { type StateSigner, signedFile } from './signed-file.ts';
import type { SpoolState } from './spool-state.ts';

const amount = z.number().int().nonnegative();

/** Integers, because CBOR here has no fractions. */
const schema = z.strictObject({
  seconds: amount,
  /** With the spindle or the laser on. */
  spindle: amount.default(0),
  micrometres: amount,
  milligrams: amount,
  started: amount,
  ended: amount,
  /** The machine's own counter of filament, µm, when it was last read. */
  counter: amount,
  /** Where the running or last object began. */
  from: z.strictObject({ micrometres: amount, milligrams: amount }),
});

/**
 * What the machine has done in its life: hours of motion, material, objects. In data/odometer.state, signed. It is
 * durable before a document states it, so that it goes back only when the disk does.
 */
export interface MachineOdometer {
  /** An object is about to move the machine. */
  begin(): Promise<void>;
  /** The object has ended. */
  end(): Promise<void>;
  /** Reads the machine and makes the count durable. */
  read(): Promise<Odometer>;
  /** What the machine states to the cloud for which it makes the object. */
  statement(): Promise<{ readonly odometer?: Odometer }>;
  /** Material of the running or last object, rounded up. */
  readonly used: { readonly metres: number; readonly grams: number };
}

/** @param telemetry of the machine. Its own counter of filament also shows what it made without this agent. */
export async function openOdometer(
  folder: string,
  signer: StateSigner,
  { telemetry, spool }: { readonly telemetry: () => Telemetry; readonly spool: Pick<SpoolState, 'filament'> },
): Promise<MachineOdometer> {
  const file = signedFile(join(folder, 'odometer.state'), signer, {
    label: 'odometer',
    schema,
    remedy:
      'remove it: the machine’s odometer then begins at zero, and owners have to clear the alarm that this raises',
  });
  const nothing = { seconds: 0, spindle: 0, micrometres: 0, milligrams: 0, started: 0, ended: 0, counter: 0 };
  let state = (await file.read()) ?? { ...nothing, from: { micrometres: 0, milligrams: 0 } };
  let seconds = 0; // of the run, when last read
  let passed = 0; // part of a second that is not counted yet
  let [cutting, cut] = [0, 0]; // the same for the spindle
  const writes = new Mutex();
  const observe = () => {
    const now = telemetry();
    const counter = Math.round(now.odometer * 1_000);
    // A counter that is lower began again: a board was switched off, or replaced.
    const micrometres = Math.max(0, counter - (counter < state.counter ? 0 : state.counter));
    passed += now.machineSeconds - (now.machineSeconds < seconds ? 0 : seconds);
    seconds = now.machineSeconds;
    const whole = Math.floor(passed);
    passed -= whole;
    const { spindleSeconds = 0 } = now;
    cut += spindleSeconds - (spindleSeconds < cutting ? 0 : cutting);
    cutting = spindleSeconds;
    const wholeCut = Math.floor(cut);
    cut -= wholeCut;
    const { diameter = pla.diameterMm * 1_000, density = pla.densityGramsPerCm3 * 1_000 } = spool.filament;
    const filament = { diameterMm: diameter / 1_000, densityGramsPerCm3: density / 1_000 };
    state = {
      ...state,
      counter,
      seconds: state.seconds + whole,
      spindle: state.spindle + wholeCut,
      micrometres: state.micrometres + micrometres,
      milligrams: state.milligrams + Math.round(1_000 * filamentGrams(micrometres / 1_000, filament)),
    };
  };
  const change = (edit: (current: typeof state) => typeof state) =>
    writes.run(async () => {
      observe();
      state = edit(state);
      await file.write(state);
    });
  const read = async () => {
    await change((current) => current);
    const { started, ended } = state;
    return {
      minutes: Math.floor(state.seconds / 60),
      ...(state.spindle === 0 ? {} : { spindle: Math.floor(state.spindle / 60) }),
      metres: Math.floor(state.micrometres / 1_000_000),
      grams: Math.floor(state.milligrams / 1_000),
      started,
      ended,
    };
  };
  return {
    begin: () =>
      change((current) => {
        [seconds, cutting] = [0, 0]; // the driver begins a run
        const { micrometres, milligrams, started } = current;
        return { ...current, started: started + 1, from: { micrometres, milligrams } };
      }),
    end: () => change((current) => ({ ...current, ended: current.ended + 1 })),
    read,
    statement: async () => ({ odometer: await read() }),
    get used() {
      const { micrometres, milligrams, from } = state;
      return {
        metres: Math.ceil((micrometres - from.micrometres) / 1_000_000),
        grams: Math.ceil((milligrams - from.milligrams) / 1_000),
      };
    },
  };
}

/**
 * Another cloud does not permit all that this machine makes, so it gets no odometer. Its objects are counted.
 * @param onBegin called before the machine moves
 */
export function countedOnly(odometer: MachineOdometer, onBegin: () => void): MachineOdometer {
  return {
    begin: () => {
      onBegin();
      return odometer.begin();
    },
    end: odometer.end,
    read: odometer.read,
    statement: async () => ({}),
    get used() {
      return odometer.used;
    },
  };
}
