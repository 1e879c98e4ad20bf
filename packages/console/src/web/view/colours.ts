import { pathKinds } from '@millrace/gcode';

/** Colours of the tokens, as the theme has them now. */
export interface PathColours {
  /** By index in `pathKinds`. */
  readonly kinds: readonly string[];
  readonly tools: readonly string[];
  /** What is not made yet. */
  readonly rest: string;
  readonly grid: string;
  readonly head: string;
  readonly ground: string;
}

/** Tools take the colours of these kinds in turn. */
export const toolKinds = ['outer', 'bridge', 'infill', 'solid', 'support', 'inner'] as const;

export function readColours(element: Element): PathColours {
  const style = getComputedStyle(element);
  const token = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    kinds: pathKinds.map((kind) => token(`path-${kind}`)),
    tools: toolKinds.map((kind) => token(`path-${kind}`)),
    ...{ rest: token('path-rest'), grid: token('path-grid'), head: token('text'), ground: token('page') },
  };
}
