import { signal } from '@preact/signals';
import { route, routeOf } from './route.ts';

/** Query of the address with which a provider of company sign-in has sent the person back. */
export const answer = signal<string | undefined>(undefined);

/**
 * Takes the provider's answer out of the address, so that it stays in no history. Control accepts it only from the
 * browser that has begun the sign-in.
 */
export function takeAnswer(): void {
  const { search, pathname } = location;
  if (!new URLSearchParams(search).has('state')) return;
  answer.value = search.slice(1);
  history.replaceState(null, '', `${pathname}#/sign-in`);
  route.value = routeOf(location.hash);
}
