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

/** "3, 7-12, 40": the first ten runs. */
export function ranges(numbers: Iterable<number>): string {
  const runs = runsOf(numbers, Number.POSITIVE_INFINITY);
  const shown = runs.slice(0, 10).map((run) => (run.length === 1 ? String(run[0]) : `${run[0]}-${run.at(-1)}`));
  return `${shown.join(', ')}${runs.length > 10 ? ', …' : ''}`;
}
