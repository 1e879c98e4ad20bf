/** Files and folders that a supervisor writes. */
export interface RunPaths {
  readonly folder: string;
  readonly lock: string;
  readonly addresses: string;
  readonly status: string;
  readonly logs: string;
}
