import { signal } from '@preact/signals';

// Addresses are fragments: the server never sees them, so an invitation in one stays in the browser.

export interface Route {
  readonly page: string;
  /** What follows the page, for example the number of an entry. */
  readonly rest: readonly string[];
}

export function routeOf(hash: string): Route {
  const [page = '', ...rest] = hash.replace(/^#\/?/, '').split('/').map(decoded);
  return { page, rest };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const route = signal(routeOf(location.hash));
addEventListener('hashchange', () => {
  route.value = routeOf(location.hash);
});
