/** One promise of a port. Runners are the caller's: `for (const { name, run } of storeCases) it(name, () => run(open))`. */
export interface Case<Open> {
  readonly name: string;
  run(open: Open): Promise<void>;
}
