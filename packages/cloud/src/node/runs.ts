/** Runs of neighbouring numbers, at most `most` long. */
export function runsOf(numbers: Iterable<number>, most: number): number[][] {
  const runs: number[][] = [];
  for (const number of [...new Set(numbers)].sort((a, b) => a - b)) {
    const run = runs.at(-1);
    if (run !== undefined && run.length < most && run.at(-1) === number - 1) run.push(number);
    else runs.push([number]);
  }
  return runs;
}
