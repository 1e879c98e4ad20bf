// The long tests repeat one thing at many points: they kill a process at each of its writes, or race for each number of
// objects. MILLRACE_KILLS=N runs every Nth point, and MILLRACE_SHARE says which: points I, I + N, I + 2 N, …

/** Distance of the points that run: 1 by default, so that all run. */
export const every = Number(process.env.MILLRACE_KILLS ?? 1);

/** Index of the first point that runs, less than `every`. */
export const first = Number(process.env.MILLRACE_SHARE ?? 0) % every;

/** The points of a list that run here. */
export function shareOf<T>(points: readonly T[]): T[] {
  return points.filter((_, index) => index % every === first);
}

/** One item of a short list if a share runs, in turn; all of them otherwise. `npm test` runs all, `.ci/run` a share. */
export function oneOf<T>(items: readonly T[]): readonly T[] {
  return every === 1 ? items : items.filter((_, index) => index === first % items.length);
}
