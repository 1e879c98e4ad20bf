/**
 * The results of `task` for each item, in the order of the items. Up to `most` tasks run at once, ahead of what the
 * caller has taken; those that run when it stops are left to end. Throws what a task throws when its turn comes.
 */
export async function* mapAhead<T, R>(
  items: AsyncIterable<T> | Iterable<T>,
  most: number,
  task: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const running: Promise<R>[] = [];
  for await (const item of items) {
    const result = task(item);
    result.catch(() => undefined); // thrown below, unless the caller stops before
    running.push(result);
    if (running.length >= most) yield running.shift() as Promise<R>;
  }
  for (const result of running) yield result;
}
