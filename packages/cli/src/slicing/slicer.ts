/** Input of a slicer. */
export interface SliceTask {
  /** STL or 3MF. */
  readonly model: string;
  /** The profile's file. */
  readonly profile: string;
  /** Output file for the G-code. */
  readonly output: string;
  readonly signal?: AbortSignal | undefined;
  /** Called with the percentage, if the slicer reports it. */
  readonly progress: (percent: number) => void;
}

/** A slicer found on this computer, called by its command line. */
export interface Slicer {
  /** Name and version. */
  readonly name: string;
  readonly program: string;
  /** @throws {MillraceError} E_SLICER with the slicer's output */
  slice(task: SliceTask): Promise<void>;
}

/** How one kind of slicer is found and called. */
export interface SlicerKind {
  /** Names of its executables. */
  readonly programs: readonly string[];
  /** File name extensions of its profiles. */
  readonly profiles: readonly string[];
  open(program: string, signal?: AbortSignal): Promise<Slicer>;
}
