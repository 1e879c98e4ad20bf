import { type Closable, Closer } from '@millrace/base';

/** The node that `create` makes, which closes `opened` after itself; `opened` is closed at once when there is no node. */
export async function closeWith<N extends Closable>(opened: Closable, create: () => Promise<N>): Promise<N> {
  const closer = new Closer();
  closer.add(opened);
  try {
    const node = closer.add(await create());
    return { ...node, close: () => closer.close() };
  } catch (error) {
    await closer.close();
    throw error;
  }
}
