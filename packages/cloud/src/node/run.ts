import { type Closable, Closer } from '@millrace/base';

/** Creates a node that closes `opened` after itself. Closes `opened` at once if `create` fails. */
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
