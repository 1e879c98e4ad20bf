import { type Context, withSession } from './context.ts';

export function metrics(context: Context): Promise<void> {
  return withSession(context, 'admin', async ({ api }) => {
    const text = new TextDecoder().decode(await api.metrics());
    context.terminal.result({ metrics: text }, text.trimEnd());
  });
}
