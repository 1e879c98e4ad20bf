import { expect, it } from 'vitest';
import { Choice } from '../src/callers.ts';
import { type Address, addressesOf, nodesInOrder } from '../src/index.ts';

const at = (port: number): Address => ({ host: 'd.example', port });

it('goes round, from a random address, also when the list changes', () => {
  let list = [at(1), at(2), at(3)];
  const ring = new Choice(() => list, 0.5);
  expect([1, 2, 3, 4].map(() => ring.next().port)).toEqual([2, 3, 1, 2]);
  list = [at(1), at(2)];
  expect(ring.next().port).toBe(1);
  list = [at(8), at(9)];
  expect(ring.next().port).toBe(9);
  list = [];
  expect(() => ring.next()).toThrow(expect.objectContaining({ code: 'E_CONFIG' }));
});

it('begins at each address equally often', () => {
  const begun = new Map<number, number>();
  for (let n = 0; n < 3_000; n++) {
    const { port } = new Choice(() => [at(1), at(2), at(3)], Math.random()).next();
    begun.set(port, (begun.get(port) ?? 0) + 1);
  }
  for (const count of begun.values()) expect(count).toBeGreaterThan(800);
});

const node = (id: string, ...addresses: Address[]) =>
  ({ id, role: 'distribution', addresses, fingerprint: '', identity: '' }) as const;

it('lists every node’s first address before second ones, and the configured one only if none is listed', () => {
  const bootstrap = () => at(7);
  const nodes = [node('d-1', at(1), at(2)), node('d-2', at(3))];
  expect(addressesOf({ nodes }, 'distribution', bootstrap).map(({ port }) => port)).toEqual([1, 3, 2]);
  expect(addressesOf({ nodes: [node('d-1')] }, 'distribution', bootstrap)).toEqual([at(7)]);
  expect(addressesOf({ nodes: [node('d-1')] }, 'distribution', undefined)).toEqual([]);
});

it('orders the nodes differently for each partition, and keeps the order of those that stay', () => {
  const nodes = [node('d-1'), node('d-2'), node('d-3')];
  const installation = '00'.repeat(16);
  const orderOf = (partition: string, of = nodes) =>
    nodesInOrder({ installation, nodes: of }, 'distribution', partition).map(({ id }) => id);
  const first = new Set<string>();
  for (let n = 0; n < 60; n++) {
    const order = orderOf(String(n));
    first.add(order[0] ?? '');
    expect(
      orderOf(
        String(n),
        nodes.filter(({ id }) => id !== 'd-2'),
      ),
    ).toEqual(order.filter((id) => id !== 'd-2'));
  }
  expect(first.size).toBe(3);
});
