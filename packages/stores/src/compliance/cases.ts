/**
 * One test case of a port. The caller registers it: `for (const { name, run } of storeCases) it(name, () =>
 * run(open))`.
 */
export interface Case<Open> {
  readonly name: string;
  run(open: Open): Promise<void>;
}
