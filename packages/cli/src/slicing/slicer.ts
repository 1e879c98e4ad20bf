/** What a slicer is asked to do. */
export interface SliceTask {
  /** STL or 3MF. */
  readonly model: string;
  /** The profile's file. */
  readonly profile: string;
  /** Where the G-code goes. */
  readonly output: string;
  readonly signal?: AbortSignal | undefined;
  /** Percent, where the slicer says so. */
  readonly progress: (percent: number) => void;
}

/** A slicer by its command line, found on this computer. */
export interface Slicer {
  /** Name and version. */
  readonly name: string;
  readonly program: string;
  /** @throws {MillraceError} E_SLICER with the slicer's own words */
  slice(task: SliceTask): Promise<void>;
}

/** How one kind of slicer is found and asked. */
export interface SlicerKind {
  /** Names under which it is installed. */
  readonly programs: readonly string[];
  /** What the file of a profile ends with. */
  readonly profiles: readonly string[];
  open(program: string, signal?: AbortSignal): Promise<Slicer>;
}
